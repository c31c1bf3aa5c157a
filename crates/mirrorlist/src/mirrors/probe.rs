//! Checking how old mirrors are: the file that changes with a repository is fetched from its origin and from every
//! mirror, and compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::list::MirrorFile;
use super::state::{Original, State, state_path};
use crate::error::{BadFile, Reason};

/// Longest time to fetch one file.
const PATIENCE: Duration = Duration::from_secs(20);

/// Most origins, or mirrors, that are read at the same time.
const AT_ONCE: usize = 16;

/// Longest `Release` or `repomd.xml`.
const LONGEST: usize = 16 << 20;

/// Most redirects that are followed.
const REDIRECTS: u32 = 5;

/// A server's answer to one request.
enum Fetched {
    Body(Bytes),
    Elsewhere(String),
}

/// Why a file can't be fetched.
type Problem = Box<dyn std::error::Error + Send + Sync>;

/// A mirror's name, and a directory on it.
type Copy = (String, String);

/// Checks every mirror of a list once, writes the results beside it, and returns them.
pub async fn probe(path: &Path) -> Result<State, BadFile> {
    let file = MirrorFile::read(path)?;
    let place = state_path(path);
    let mut state = State::read(&place)?;
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let tls = Arc::new(tls(path)?);
    // Architectures of one repository may share a directory.
    let (mut origins, mut copies) = (BTreeMap::new(), BTreeMap::new());
    for repository in &file.repositories {
        let directory = repository.directory().to_owned();
        for mirror in &file.mirrors {
            let urls = mirror.repository_urls(repository);
            if let Some(url) = urls.iter().find(|url| url.starts_with("http")) {
                let copy = (mirror.name.value.clone(), directory.clone());
                let url = format!("{url}/{}", repository.probe());
                copies.entry(copy).or_insert(url);
            }
        }
        if let Some(origin) = &repository.origin {
            let url = format!("{}/{}", origin.base(), repository.probe());
            origins.entry(directory).or_insert(url);
        }
    }
    state.keep(&origins, &copies);
    // Twice as long as a mirror may lack the next version.
    let max_lag = file.freshness.max_lag.0.as_secs();
    let oldest = now.saturating_sub(max_lag.saturating_mul(2));
    fetch_all(origins, &tls, |url, directory, fetched| {
        let known = state.origins.entry(directory).or_default();
        match fetched {
            Ok(bytes) => known.has(Original::of(&bytes, now), oldest),
            Err(problem) => known.problem = Some(format!("{url}: {problem}")),
        }
    })
    .await;
    fetch_all(copies, &tls, |url, copy, fetched| {
        state.judge(url, copy, fetched, now);
    })
    .await;
    state.checked = now;
    state.write(&place).map_err(|error| BadFile::new(&place, error))?;
    Ok(state)
}

// === impl State ===

impl State {
    /// Removes the results for other origins and copies, which are no longer in the list.
    fn keep(&mut self, origins: &BTreeMap<String, String>, copies: &BTreeMap<Copy, String>) {
        self.origins
            .retain(|directory, _| origins.contains_key(directory));
        self.mirrors.retain(|mirror, directories| {
            let is_kept = |directory: &String| copies.contains_key(&(mirror.clone(), directory.clone()));
            directories.retain(|directory, _| is_kept(directory));
            !directories.is_empty()
        });
    }

    fn judge(&mut self, url: &str, (mirror, directory): Copy, fetched: Result<Bytes, String>, now: u64) {
        let origin = self.origins.get(&directory);
        let findings = self.mirrors.entry(mirror).or_default();
        let finding = findings.entry(directory).or_default();
        match fetched {
            Err(problem) => {
                finding.failures = finding.failures.saturating_add(1);
                finding.problem = Some(format!("{url}: {problem}"));
            }
            Ok(bytes) => {
                finding.failures = 0;
                finding.problem = None;
                finding.behind_since = origin.and_then(|origin| {
                    let sha256 = hex(&Sha256::digest(&bytes));
                    origin.behind_since(&sha256, finding.behind_since, now)
                });
            }
        }
    }
}

// === impl Original ===

impl Original {
    fn of(bytes: &[u8], since: u64) -> Self {
        Self {
            sha256: hex(&Sha256::digest(bytes)),
            sha512: hex(&Sha512::digest(bytes)),
            size: bytes.len() as u64,
            since,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn tls(path: &Path) -> Result<ClientConfig, BadFile> {
    let bad = |what: String| BadFile::new(path, Reason::Mirrors(what));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(format!("can't set up TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// Fetches some URLs at the same time, and calls `each` with each result.
async fn fetch_all<T: Send + 'static>(
    wanted: BTreeMap<T, String>,
    tls: &Arc<ClientConfig>,
    mut each: impl FnMut(&str, T, Result<Bytes, String>),
) {
    let mut waiting = wanted.into_iter();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.len() < AT_ONCE
            && let Some((what, url)) = waiting.next()
        {
            let tls = Arc::clone(tls);
            tasks.spawn(async move { (fetch(&url, &tls).await, url, what) });
        }
        match tasks.join_next().await {
            Some(Ok((fetched, url, what))) => each(&url, what, fetched),
            // The panic hook has reported a panic.
            Some(Err(_)) => {}
            None => return,
        }
    }
}

async fn fetch(url: &str, tls: &Arc<ClientConfig>) -> Result<Bytes, String> {
    match tokio::time::timeout(PATIENCE, follow(url, tls)).await {
        Ok(fetched) => fetched.map_err(|problem| problem.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Follows redirects, as package clients do.
async fn follow(url: &str, tls: &Arc<ClientConfig>) -> Result<Bytes, Problem> {
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS {
        match get(&url, tls).await? {
            Fetched::Body(body) => return Ok(body),
            Fetched::Elsewhere(location) => url = resolve(&url, &location),
        }
    }
    Err(format!("more than {REDIRECTS} redirects").into())
}

/// The URL of a redirect; `location` may be a path only.
fn resolve(url: &str, location: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return location.to_owned();
    };
    let rest = rest.split('?').next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{host}{path}{location}")
    } else if location
        .split_once("://")
        // The query of a relative path may contain a URL.
        .is_some_and(|(scheme, _)| {
            scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        })
    {
        location.to_owned()
    } else {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{host}{directory}/{location}")
    }
}

async fn get(url: &str, tls: &Arc<ClientConfig>) -> Result<Fetched, Problem> {
    let uri: hyper::Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
    let host = uri.host().ok_or("the URL has no host")?.to_owned();
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(format!("{url} is neither http nor https").into()),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let stream = TcpStream::connect((bare.as_str(), port)).await?;
    if secure {
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(ServerName::try_from(bare)?, stream).await?;
        exchange(stream, &uri, &host).await
    } else {
        exchange(stream, &uri, &host).await
    }
}

async fn exchange<S>(stream: S, uri: &hyper::Uri, host: &str) -> Result<Fetched, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function, so that a mirror that still sends is not read any more.
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri
        .port_u16()
        .map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let request = Request::get(target)
        .header(HOST, host)
        .header(
            USER_AGENT,
            concat!("reveille-mirrorlist/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if response.status().is_redirection()
        && let Some(location) = response.headers().get(LOCATION)
    {
        let location = location.to_str().map_err(|_| "the redirect is not a URL")?;
        return Ok(Fetched::Elsewhere(location.to_owned()));
    }
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()).into());
    }
    let body = Limited::new(response.into_body(), LONGEST).collect().await?;
    Ok(Fetched::Body(body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_on() {
        let url = "http://m.example:8080/debian/dists/Release";
        for (location, expected) in [
            ("https://n.example/x", "https://n.example/x"),
            ("//n.example/x", "http://n.example/x"),
            ("/x", "http://m.example:8080/x"),
            ("x", "http://m.example:8080/debian/dists/x"),
            ("?y", "http://m.example:8080/debian/dists/Release?y"),
            ("/x?from=http://n/", "http://m.example:8080/x?from=http://n/"),
            (
                "x?from=http://n/",
                "http://m.example:8080/debian/dists/x?from=http://n/",
            ),
        ] {
            assert_eq!(resolve(url, location), expected);
        }
        assert_eq!(resolve("http://m.example", "x"), "http://m.example/x");
        assert_eq!(resolve("http://m.example/a/b?c/d", "x"), "http://m.example/a/x");
    }
}
