//! The list of repositories and mirrors. Each value is checked by its type, so that a mistake is reported with its
//! place.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use reveille_text::{bounded, duration};
use serde::Deserialize;
use serde_saphyr::Spanned;

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
    pub(super) repo: Spanned<Name>,
    /// The architecture in clients' requests; none for a repository with all architectures.
    arch: Option<String>,
    path: Name,
    /// URL of the original.
    pub(super) origin: Option<Origin>,
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
    urls: BTreeMap<String, String>,
    pub(super) country: Option<Country>,
    #[serde(default)]
    pub(super) bandwidth: Bandwidth,
    #[serde(default)]
    pub(super) asn: Vec<u32>,
    #[serde(default)]
    pub(super) netblocks: Vec<Network>,
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
    /// How long a mirror may be behind its origin.
    pub(super) max_lag: Time,
    /// How often mirrors are checked.
    pub(super) every: Interval,
    pub(super) on_unreachable: OnUnreachable,
    pub(super) if_all_stale: IfAllStale,
}

/// The answer if every mirror is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum IfAllStale {
    Origin,
    Keep,
}

/// A name with something else than slashes in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Name(pub(super) String);

/// A URL of https or http.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Origin(String);

/// Two letters in upper case.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Country(pub(super) String);

/// In Mbit/s.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Bandwidth(pub(super) i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Network(pub(super) IpNet);

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Time(pub(super) Duration);

/// A time that is not 0.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Interval(pub(super) Duration);

/// After how many failures in a row a mirror is left out; never if `None`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct OnUnreachable(pub(super) Option<u32>);

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
        let mut keys = HashSet::new();
        for repository in &self.repositories {
            let key = repository.key();
            if !keys.insert(key.clone()) {
                return Err(place(&repository.repo, format!("repository {key} appears twice")));
            }
        }
        let mut names = HashSet::new();
        for mirror in &self.mirrors {
            let name = &mirror.name.value;
            let at = |what: String| place(&mirror.name, format!("mirror {name}: {what}"));
            if !names.insert(name) {
                return Err(at("it appears twice".to_owned()));
            }
            mirror.check().map_err(at)?;
            let is_known =
                |repo: &&String| self.repositories.iter().any(|known| known.repo.value.0 == **repo);
            if let Some(repo) = mirror.content.keys().find(|repo| !is_known(repo)) {
                return Err(at(format!(
                    "content names {repo}, which is not a repository of this file"
                )));
            }
        }
        Ok(())
    }
}

// === impl Repository ===

impl Repository {
    /// Name and architecture, in MirrorManager's form.
    pub(super) fn key(&self) -> String {
        let arch = self.arch.as_deref().unwrap_or("all");
        format!("{}+{arch}", self.repo.value.0)
    }

    pub(super) fn directory(&self) -> &str {
        self.path.0.trim_matches('/')
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
        if self.urls.is_empty() {
            return Err("it has no urls".to_owned());
        }
        let wrong = self.urls.iter().find(|(protocol, url)| !is_url(url, protocol));
        if let Some((protocol, url)) = wrong {
            return Err(format!("{url:?} is not a URL with the protocol {protocol}"));
        }
        if self.private && self.netblocks.is_empty() && self.asn.is_empty() {
            return Err(
                "it is private, but has neither netblocks nor asn whose clients could use it".to_owned(),
            );
        }
        Ok(())
    }

    /// The URLs of a repository, the best protocol first. If the repository's path begins with the content's path, the
    /// mirror has the same tree; otherwise the content's path is the repository itself.
    pub(super) fn repository_urls(&self, repository: &Repository) -> Vec<String> {
        let Some(content) = self.content.get(&repository.repo.value.0) else {
            return Vec::new();
        };
        let content = content.trim_matches('/');
        let directory = repository.directory();
        let same_tree = directory
            .strip_prefix(content)
            .is_some_and(|rest| content.is_empty() || rest.is_empty() || rest.starts_with('/'));
        let path = if same_tree { directory } else { content };
        let mut urls: Vec<(&String, &String)> = self.urls.iter().collect();
        urls.sort_by_key(|(protocol, _)| match protocol.as_str() {
            "https" => 0,
            "http" => 1,
            _ => 2,
        });
        let url = |base: &String| format!("{}/{path}", base.trim_end_matches('/'));
        urls.into_iter()
            .map(|(_, base)| url(base).trim_end_matches('/').to_owned())
            .collect()
    }
}

// === impl Freshness ===

impl Default for Freshness {
    fn default() -> Self {
        Self {
            max_lag: Time(Duration::from_hours(12)),
            every: Interval(Duration::from_mins(30)),
            on_unreachable: OnUnreachable(Some(3)),
            if_all_stale: IfAllStale::Origin,
        }
    }
}

// === impl Origin ===

impl Origin {
    /// The URL without a slash at its end.
    pub(super) fn base(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if is_url(&text, "https") || is_url(&text, "http") {
            return Ok(Self(text));
        }
        Err(format!("{text:?} is not a URL with the protocol https or http"))
    }
}

// === impl Name ===

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim_matches('/').is_empty() || text.contains(|c: char| c.is_control()) {
            return Err(format!("{text:?} is not a name or a path"));
        }
        Ok(Self(text))
    }
}

// === impl Country ===

impl TryFrom<String> for Country {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 2 && text.bytes().all(|letter| letter.is_ascii_alphabetic()) {
            return Ok(Self(text.to_uppercase()));
        }
        Err(format!(
            "{text:?} is not a country code of two letters, such as DE"
        ))
    }
}

// === impl Bandwidth ===

impl TryFrom<String> for Bandwidth {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (digits, unit) = text.split_at(text.trim_end_matches(|c: char| !c.is_ascii_digit()).len());
        let factor = match unit.trim() {
            "" | "Mbit" => 1,
            "Gbit" => 1000,
            _ => 0,
        };
        match digits.trim().parse::<i64>() {
            Ok(number) if factor > 0 && number > 0 => Ok(Self(number.saturating_mul(factor))),
            _ => Err(format!("{text:?} is not a bandwidth; write 10Gbit or 100Mbit")),
        }
    }
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self(100)
    }
}

// === impl Network ===

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let net = parse_netblock(&text).map(Self);
        net.ok_or_else(|| format!("{text:?} is not a network; write 10.0.0.0/8"))
    }
}

// === impl Time ===

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        duration::parse(&text).map(Self)
    }
}

// === impl Interval ===

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match duration::parse(&text)? {
            Duration::ZERO => Err("the interval must not be 0; write 30m".to_owned()),
            every => Ok(Self(every)),
        }
    }
}

// === impl OnUnreachable ===

impl TryFrom<String> for OnUnreachable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = text.strip_prefix("drop_after_");
        match number.and_then(|number| number.parse().ok()) {
            Some(number) if number > 0 => Ok(Self(Some(number))),
            _ if text == "keep" => Ok(Self(None)),
            _ => Err(format!(
                "{text:?} is neither keep nor drop_after_N, such as drop_after_3"
            )),
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

fn place<T>(value: &Spanned<T>, what: String) -> Reason {
    Reason::Place {
        line: usize::try_from(value.referenced.line()).unwrap_or(0),
        column: usize::try_from(value.referenced.column()).unwrap_or(0),
        what,
    }
}

fn is_url(text: &str, protocol: &str) -> bool {
    text.strip_prefix(protocol)
        .and_then(|rest| rest.strip_prefix("://"))
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}
