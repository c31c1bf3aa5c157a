//! The list of repositories and mirrors.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reveille_text::{bounded, duration};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use crate::catalog::parse_netblock;
use crate::error::{BadFile, Reason};

/// Longest list of mirrors.
const LONGEST: u64 = 16 << 20;

/// A file of repositories and mirrors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MirrorFile {
    version: u32,
    pub(super) repositories: Vec<Repository>,
    pub(super) mirrors: Vec<Mirror>,
    #[serde(default)]
    pub(super) freshness: Freshness,
}

/// A repository that is mirrored.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repository {
    pub(super) repo: Spanned<String>,
    /// The architecture in clients' requests; none for a repository with all architectures.
    pub(super) arch: Option<String>,
    pub(super) path: String,
    /// URL of the original.
    pub(super) origin: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// The file that changes whenever the repository changes.
    probe: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Rpm,
    Apt,
}

/// A mirror.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mirror {
    pub(super) name: Spanned<String>,
    /// Base URLs by protocol.
    pub(super) urls: BTreeMap<String, String>,
    pub(super) country: Option<String>,
    bandwidth: Option<String>,
    #[serde(default)]
    pub(super) asn: Vec<u32>,
    #[serde(default)]
    pub(super) netblocks: Vec<String>,
    /// Only clients in its networks may use it.
    #[serde(default)]
    pub(super) private: bool,
    /// The path of each repository.
    pub(super) content: BTreeMap<String, String>,
}

/// Which mirrors are left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Freshness {
    max_lag: Spanned<String>,
    every: Spanned<String>,
    on_unreachable: Spanned<String>,
    if_all_stale: IfAllStale,
}

/// The answer if every mirror is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IfAllStale {
    Origin,
    Keep,
}

// === impl MirrorFile ===

impl MirrorFile {
    pub(super) fn read(path: &Path) -> Result<Self, BadFile> {
        let text = bounded::text(path, LONGEST).map_err(|error| BadFile::new(path, error))?;
        let file: Self =
            serde_saphyr::from_str(&text).map_err(|error| BadFile::new(path, mistake(&error)))?;
        file.check().map_err(|mistake| BadFile::new(path, mistake))?;
        Ok(file)
    }

    fn check(&self) -> Result<(), Reason> {
        if self.version != 1 {
            return Err(Reason::Mirrors(format!(
                "unknown version {}; this program reads version 1",
                self.version
            )));
        }
        let mut seen = std::collections::HashSet::new();
        for repository in &self.repositories {
            let at = |what: String| {
                place(
                    &repository.repo,
                    &format!("repository {}: {what}", repository.key()),
                )
            };
            if !seen.insert(repository.key()) {
                return Err(at("it appears twice".to_owned()));
            }
            repository.check().map_err(at)?;
        }
        let mut names = std::collections::HashSet::new();
        for mirror in &self.mirrors {
            let at = |what: String| place(&mirror.name, &format!("mirror {}: {what}", mirror.name.value));
            if !names.insert(&mirror.name.value) {
                return Err(at("it appears twice".to_owned()));
            }
            mirror.check().map_err(at)?;
            for repo in mirror.content.keys() {
                if !self.repositories.iter().any(|known| known.repo.value == *repo) {
                    return Err(at(format!(
                        "content names {repo}, which is not a repository of this file"
                    )));
                }
            }
        }
        self.freshness.check()
    }
}

// === impl Repository ===

impl Repository {
    fn check(&self) -> Result<(), String> {
        for (what, word) in [("repo", &self.repo.value), ("path", &self.path)] {
            if word.trim_matches('/').is_empty() || word.contains(|c: char| c.is_control()) {
                return Err(format!("{what} {word:?} is not a name"));
            }
        }
        match &self.origin {
            Some(origin) if !(is_url(origin, "https") || is_url(origin, "http")) => Err(format!(
                "origin {origin:?} is not a URL with the protocol https or http"
            )),
            _ => Ok(()),
        }
    }

    /// Name and architecture, in MirrorManager's form.
    pub(super) fn key(&self) -> String {
        format!("{}+{}", self.repo.value, self.arch.as_deref().unwrap_or("all"))
    }

    pub(super) fn directory(&self) -> &str {
        self.path.trim_matches('/')
    }

    /// The file that `check` fetches to compare a mirror with the origin, below the repository.
    pub(super) fn probe(&self) -> &str {
        match (&self.probe, self.kind) {
            (Some(probe), _) => probe.trim_start_matches('/'),
            (None, Kind::Rpm) => "repodata/repomd.xml",
            (None, Kind::Apt) => "dists/stable/Release",
        }
    }
}

// === impl Mirror ===

impl Mirror {
    fn check(&self) -> Result<(), String> {
        self.bandwidth()?;
        for netblock in &self.netblocks {
            if parse_netblock(netblock).is_none() {
                return Err(format!("{netblock:?} is not a network; write 10.0.0.0/8"));
            }
        }
        if self.urls.is_empty() {
            return Err("it has no urls".to_owned());
        }
        for (protocol, url) in &self.urls {
            if !is_url(url, protocol) {
                return Err(format!("{url:?} is not a URL with the protocol {protocol}"));
            }
        }
        if let Some(country) = &self.country
            && !(country.len() == 2 && country.bytes().all(|letter| letter.is_ascii_alphabetic()))
        {
            return Err(format!(
                "country {country:?} is not a code of two letters, such as DE"
            ));
        }
        if self.private && self.netblocks.is_empty() && self.asn.is_empty() {
            return Err(
                "it is private, but has neither netblocks nor asn whose clients could use it".to_owned(),
            );
        }
        Ok(())
    }

    /// The bandwidth in Mbit/s.
    pub(super) fn bandwidth(&self) -> Result<i64, String> {
        let Some(text) = &self.bandwidth else {
            return Ok(100);
        };
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let factor = match text[digits.len()..].trim() {
            "" | "Mbit" => 1,
            "Gbit" => 1000,
            _ => 0,
        };
        match digits.trim().parse::<i64>() {
            Ok(number) if factor > 0 && number > 0 => Ok(number.saturating_mul(factor)),
            _ => Err(format!("{text:?} is not a bandwidth; write 10Gbit or 100Mbit")),
        }
    }

    /// The URLs of a repository, the best protocol first. If the repository's path begins with the content's path, the
    /// mirror has the same tree; otherwise the content's path is the repository itself.
    pub(super) fn repository_urls(&self, repository: &Repository) -> Vec<String> {
        let Some(content) = self.content.get(&repository.repo.value) else {
            return Vec::new();
        };
        let content = content.trim_matches('/');
        let directory = repository.directory();
        let same_tree = directory
            .strip_prefix(content)
            .is_some_and(|rest| content.is_empty() || rest.is_empty() || rest.starts_with('/'));
        let path = if same_tree { directory } else { content };
        let mut urls: Vec<(&String, &String)> = self.urls.iter().collect();
        urls.sort_by_key(|(protocol, _)| {
            ["https", "http"]
                .iter()
                .position(|best| best == protocol)
                .unwrap_or(2)
        });
        urls.into_iter()
            .map(|(_, base)| {
                format!("{}/{path}", base.trim_end_matches('/'))
                    .trim_end_matches('/')
                    .to_owned()
            })
            .collect()
    }
}

// === impl Freshness ===

impl Freshness {
    fn check(&self) -> Result<(), Reason> {
        let of = |field: &'static str, value: &Spanned<String>| {
            let value = value.clone();
            move |what: String| place(&value, &format!("freshness: {field}: {what}"))
        };
        self.max_lag().map_err(of("max_lag", &self.max_lag))?;
        self.every().map_err(of("every", &self.every))?;
        self.drop_after()
            .map_err(of("on_unreachable", &self.on_unreachable))?;
        Ok(())
    }

    /// How long a mirror may be behind its origin.
    pub(super) fn max_lag(&self) -> Result<Duration, String> {
        duration::parse(&self.max_lag.value)
    }

    /// How often mirrors are checked.
    pub(super) fn every(&self) -> Result<Duration, String> {
        match duration::parse(&self.every.value)? {
            Duration::ZERO => Err("the interval must not be 0; write 30m".to_owned()),
            every => Ok(every),
        }
    }

    /// After how many failures in a row a mirror is left out; never if `None`.
    pub(super) fn drop_after(&self) -> Result<Option<u32>, String> {
        let text = &self.on_unreachable.value;
        if text == "keep" {
            return Ok(None);
        }
        let number = text.strip_prefix("drop_after_");
        match number.and_then(|number| number.parse().ok()) {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => Err(format!(
                "{text:?} is neither keep nor drop_after_N, such as drop_after_3"
            )),
        }
    }

    pub(super) fn if_all_stale(&self) -> IfAllStale {
        self.if_all_stale
    }
}

impl Default for Freshness {
    fn default() -> Self {
        let nowhere = |text: &str| Spanned::new(text.to_owned(), Location::UNKNOWN, Location::UNKNOWN);
        Self {
            max_lag: nowhere("12h"),
            every: nowhere("30m"),
            on_unreachable: nowhere("drop_after_3"),
            if_all_stale: IfAllStale::Origin,
        }
    }
}

/// The parser's mistake with its place.
fn mistake(error: &serde_saphyr::Error) -> Reason {
    let error = error.without_snippet();
    let text = error.to_string();
    // The place comes before the text, as in all messages.
    let what = text.split(" at line ").next().unwrap_or(&text).to_owned();
    match error.location() {
        Some(location) => Reason::Place {
            line: usize::try_from(location.line()).unwrap_or(0),
            column: usize::try_from(location.column()).unwrap_or(0),
            what,
        },
        None => Reason::Mirrors(what),
    }
}

fn place(name: &Spanned<String>, what: &str) -> Reason {
    Reason::Place {
        line: usize::try_from(name.referenced.line()).unwrap_or(0),
        column: usize::try_from(name.referenced.column()).unwrap_or(0),
        what: what.to_owned(),
    }
}

fn is_url(text: &str, protocol: &str) -> bool {
    text.strip_prefix(protocol)
        .and_then(|rest| rest.strip_prefix("://"))
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}
