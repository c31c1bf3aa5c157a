//! From a request to an answer, on one snapshot.

use std::net::IpAddr;

use fastrand::Rng;
use reveille_text::harmless::word;

use crate::query::{MOST_PROTOCOLS, Query};
use crate::refusal::Refusal;
use crate::render::{self, Format, Wanted};
use crate::select::{Client, Rules, Selection, Source};
use crate::snapshot::Snapshot;
use crate::target::Target;

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    /// The client behind trusted proxies.
    pub(crate) client: IpAddr,
    pub(crate) agent: Option<&'a [u8]>,
}

/// The answer to a client.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    pub(crate) location: Option<String>,
    /// The source of the first mirrors, or why there are none.
    pub(crate) source: Result<Option<Source>, &'static str>,
    /// A line for MirrorManager's statistics.
    pub(crate) log: Option<LogLine>,
}

/// A line of MirrorManager's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    pub(crate) address: IpAddr,
    pub(crate) country: String,
    pub(crate) repo: String,
    pub(crate) arch: String,
}

const TEXT: &str = "text/plain";
const METALINK: &str = "application/metalink+xml";

// === impl Answer ===

impl Answer {
    /// Answers any request from a snapshot.
    pub(crate) fn to(request: &Request<'_>, snapshot: &Snapshot, rules: Rules, random: &mut Rng) -> Self {
        let metalink = request.path.ends_with("/metalink");
        if !metalink && !request.path.ends_with("/mirrorlist") {
            return Self::refuse(&Refusal::NotServed, false, rules, snapshot);
        }
        let mut log = None;
        let mut answer = Self::list(request, metalink, snapshot, rules, random, &mut log)
            .unwrap_or_else(|refusal| Self::refuse(&refusal, metalink, rules, snapshot));
        answer.log = log;
        answer
    }

    /// Answers why there is no list.
    pub(crate) fn refuse(refusal: &Refusal, metalink: bool, rules: Rules, snapshot: &Snapshot) -> Self {
        let text = refusal.text(&snapshot.catalog().repositories.listing);
        Self {
            status: refusal.status(rules.strict),
            content_type: if metalink { METALINK } else { TEXT },
            body: if metalink { render::failure(&text) } else { text },
            location: None,
            source: Err(refusal.kind()),
            log: None,
        }
    }

    fn list(
        request: &Request<'_>,
        metalink: bool,
        snapshot: &Snapshot,
        rules: Rules,
        random: &mut Rng,
        log: &mut Option<LogLine>,
    ) -> Result<Self, Refusal> {
        let catalog = snapshot.catalog();
        let query = Query::parse(request.query);
        if query.protocols().len() > MOST_PROTOCOLS {
            return Err(Refusal::TooManyProtocols);
        }
        let target = Target::find(catalog, &query, metalink)?;
        let client = client(&query, request.client, snapshot)?;
        *log = LogLine::of(&query, &client);
        let mut selection = Selection::make(snapshot, &target, &query, client, rules, random, None);
        let protocols = query.protocols();
        let mut wanted = Wanted {
            protocols: &protocols,
            most: protocols.len().max(1),
        };
        if protocols.is_empty() {
            wanted = Wanted::ALL;
        } else {
            selection.header.push_str("protocol = ");
            let asked = query.protocol.as_deref().unwrap_or_default();
            selection.header.push_str(&word(asked));
        }
        if query.time {
            let created = catalog.created();
            selection
                .header
                .push_str(&format!("\n# database creation time: {created}"));
        }
        let nothing = !protocols.is_empty() && !wanted.is_offered(catalog, &selection.hosts);
        if nothing && !rules.strict && !selection.hosts.is_empty() {
            let header = std::mem::take(&mut selection.header);
            return Err(Refusal::NoMirror { header });
        }
        if metalink {
            let versions =
                catalog
                    .files
                    .get(&target.name, &target.file)
                    .ok_or_else(|| Refusal::NoMetalink {
                        what: format!("{}/{}", target.name, word(&target.file)),
                    })?;
            let body = render::metalink(catalog, &target, &selection.hosts, wanted, versions);
            return Ok(Self::found(METALINK, body, &selection));
        }
        let suffix = target.suffix(catalog);
        if query.redirect {
            let is_wanted = |protocol: &&str| protocols.is_empty() || protocols.contains(protocol);
            let web: Vec<&str> = ["https", "http"].into_iter().filter(is_wanted).collect();
            let web = Wanted {
                protocols: &web,
                most: 1,
            };
            let hosts = match web.protocols {
                [] => &[],
                _ => selection.hosts.as_slice(),
            };
            let location = render::redirect(catalog, hosts, web, &suffix);
            let mut answer = Self::found(TEXT, String::new(), &selection);
            answer.status = if location.is_some() { 302 } else { 404 };
            answer.location = location;
            return Ok(answer);
        }
        let format = Format::choose(query.format.as_deref(), request.agent);
        if protocols.is_empty() {
            wanted = Wanted {
                protocols: match format {
                    Format::Plain => &["https", "http", "ftp"],
                    Format::Apt => &["https", "http"],
                },
                most: 1,
            };
        }
        let body = render::list(
            catalog,
            &selection.hosts,
            wanted,
            format,
            &selection.header,
            &suffix,
        );
        Ok(Self::found(TEXT, body, &selection))
    }

    fn found(content_type: &'static str, body: String, selection: &Selection) -> Self {
        Self {
            status: 200,
            content_type,
            body,
            location: None,
            source: Ok(selection.found),
            log: None,
        }
    }
}

// === impl LogLine ===

impl LogLine {
    fn of(query: &Query<'_>, client: &Client<'_>) -> Option<Self> {
        let (repo, arch) = (query.repo.as_deref()?, query.arch.as_deref()?);
        let by_path = query.path.is_some();
        Some(Self {
            address: client.address,
            country: client.country.to_owned(),
            repo: repo.to_owned(),
            arch: if !by_path && repo.contains("source") {
                "source".to_owned()
            } else {
                arch.to_owned()
            },
        })
    }
}

/// The client, and the address that the answer is for.
pub(crate) fn client<'a>(
    query: &Query<'_>,
    itself: IpAddr,
    snapshot: &'a Snapshot,
) -> Result<Client<'a>, Refusal> {
    let address = match query.ip.as_deref() {
        None | Some("") => itself,
        Some(text) => text
            .parse::<IpAddr>()
            .map_err(|_| Refusal::InvalidAddress)?
            .to_canonical(),
    };
    Ok(Client {
        address,
        itself,
        country: snapshot.country(address).0,
    })
}
