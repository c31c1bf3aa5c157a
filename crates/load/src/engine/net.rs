//! Connections: names, TCP, proxies, TLS. Each phase is timed, and its failures have kinds of their own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, Shared};
use reveille_text::duration;
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http1::Buffers;
use super::stream::{Failure, Stream};
use crate::scenario::{Http, Scenario, Version};
use crate::stats::{Kind, Phases};
use crate::target::Origin;

/// Names are looked up again after this time, so that a service can move during a test.
const NAME_AGE: Duration = Duration::from_secs(30);

/// Names that were not found are looked up again after this time.
const FAILURE_AGE: Duration = Duration::from_secs(1);

/// What all users of a shard share to connect.
pub(crate) struct Net {
    tls: Option<TlsConnector>,
    /// Lookups of names. Users that wait for the same name share one.
    names: RefCell<HashMap<String, Shared<LocalBoxFuture<'static, Rc<Found>>>>>,
    pub(crate) http: Http,
    pub(crate) buffers: Buffers,
}

/// The result of a lookup.
struct Found {
    at: Instant,
    addresses: Result<Vec<IpAddr>, String>,
}

// === impl Net ===

impl Net {
    pub(crate) fn new(http: &Http, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self {
            tls: tls.map(TlsConnector::from),
            names: RefCell::default(),
            http: http.clone(),
            buffers: Buffers::default(),
        }
    }

    /// Waits as long as the simulated line takes for a request and the first byte of its answer.
    pub(crate) async fn line(&self, bytes: usize) {
        let network = &self.http.network;
        let time = network.latency + network.time_for(bytes as u64);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    /// Waits until the simulated line would have carried `bytes` of an answer whose first byte came at `since`.
    pub(crate) async fn shape(&self, bytes: u64, since: Instant) {
        let due = self.http.network.time_for(bytes);
        if !due.is_zero() {
            tokio::time::sleep_until((since + due).into()).await;
        }
    }

    /// Connects. Returns whether HTTP/2 is used.
    pub(crate) async fn connect(
        &self,
        origin: &Origin,
        phases: &mut Phases,
    ) -> Result<(Stream, bool), Failure> {
        let limit = self.http.connect_timeout;
        tokio::time::timeout(limit, self.connect_unlimited(origin, phases))
            .await
            .unwrap_or_else(|_| {
                Err(Failure::new(
                    Kind::ConnectTimeout,
                    format!(
                        "no connection to {} within {}",
                        origin.authority,
                        duration::shown(limit)
                    ),
                ))
            })
    }

    async fn connect_unlimited(
        &self,
        origin: &Origin,
        phases: &mut Phases,
    ) -> Result<(Stream, bool), Failure> {
        let (host, port) = self
            .http
            .proxy
            .as_ref()
            .map_or((&origin.host, origin.port), |(host, port)| (host, *port));
        let started = Instant::now();
        let (addresses, asked) = self.addresses(host, port).await?;
        let resolved = Instant::now();
        if asked {
            phases.resolve = Some(resolved - started);
        }
        // The connection takes a round trip, and TLS another one.
        self.line(0).await;
        let mut failure = Failure::new(Kind::Resolve, format!("{host} has no address"));
        let mut connected = None;
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => failure = Failure::connecting(&error, address, port),
            }
        }
        let Some(mut stream) = connected else {
            return Err(failure);
        };
        // Small requests are sent at once.
        let _ = stream.set_nodelay(true);
        let now = Instant::now();
        phases.connect = Some(now - resolved);
        if !origin.tls {
            return Ok((Stream::Left(stream), self.http.version == Version::Two));
        }
        if self.http.proxy.is_some() {
            tunnel(&mut stream, origin).await?;
        }
        let Some(connector) = &self.tls else {
            return Err(Failure::new(Kind::Tls, "TLS is not set up"));
        };
        self.line(0).await;
        let name = ServerName::try_from(origin.host.clone()).map_err(|_| {
            Failure::new(
                Kind::Tls,
                format!("{} is not a name that certificates have", origin.host),
            )
        })?;
        let stream = connector.connect(name, stream).await.map_err(|error| {
            let kind = if error
                .get_ref()
                .is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
            {
                Kind::Tls
            } else {
                Failure::stream_kind(&error, Kind::Tls)
            };
            Failure::new(kind, format!("TLS with {}: {error}", origin.authority))
        })?;
        phases.tls = Some(now.elapsed());
        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if self.http.version == Version::Two && !two {
            return Err(Failure::new(
                Kind::Protocol,
                format!("{} does not speak HTTP/2", origin.authority),
            ));
        }
        Ok((Stream::Right(Box::new(stream)), two))
    }

    /// The addresses of a host, and whether they were looked up.
    async fn addresses(&self, host: &str, port: u16) -> Result<(Vec<IpAddr>, bool), Failure> {
        let given = self
            .http
            .resolve
            .iter()
            .find(|(name, of, _)| name == host && *of == port);
        if let Some((_, _, address)) = given {
            return Ok((vec![*address], false));
        }
        if let Ok(address) = host.parse() {
            return Ok((vec![address], false));
        }
        let known = self.names.borrow().get(host).cloned();
        let known = known.filter(|asked| asked.peek().is_none_or(|found| found.holds()));
        let asked = known.unwrap_or_else(|| {
            let asked = find(host.to_owned(), port).boxed_local().shared();
            self.names.borrow_mut().insert(host.to_owned(), asked.clone());
            asked
        });
        let waits = asked.peek().is_none();
        let found = asked.await;
        match &found.addresses {
            Ok(addresses) => Ok((addresses.clone(), waits)),
            Err(error) => Err(Failure::new(Kind::Resolve, format!("{host}: {error}"))),
        }
    }
}

async fn find(host: String, port: u16) -> Rc<Found> {
    let found = tokio::net::lookup_host((host, port)).await;
    Rc::new(Found {
        at: Instant::now(),
        addresses: found
            .map(|found| found.map(|address| address.ip()).collect())
            .map_err(|error| error.to_string()),
    })
}

impl Found {
    fn holds(&self) -> bool {
        let age = match self.addresses {
            Ok(_) => NAME_AGE,
            Err(_) => FAILURE_AGE,
        };
        self.at.elapsed() < age
    }
}

/// Asks a proxy for a tunnel to the origin.
async fn tunnel(stream: &mut TcpStream, origin: &Origin) -> Result<(), Failure> {
    const MAX_HEAD: usize = 8192;
    let fail = |error: &io::Error| {
        Failure::new(
            Failure::stream_kind(error, Kind::Other),
            format!("proxy: {error}"),
        )
    };
    let to = format!("{}:{}", origin.host, origin.port);
    stream
        .write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())
        .await
        .map_err(|error| fail(&error))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(Failure::new(
                Kind::Protocol,
                "the head of the proxy's answer is too long",
            ));
        }
        head.push(stream.read_u8().await.map_err(|error| fail(&error))?);
    }
    let line = String::from_utf8_lossy(&head);
    let line = line.lines().next().unwrap_or_default();
    if line
        .split(' ')
        .nth(1)
        .is_some_and(|status| status.len() == 3 && status.starts_with('2'))
    {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Unreachable,
        format!("the proxy answered: {line}"),
    ))
}

/// The TLS configuration of all users. A failure to make one matters only if the scenario is known to use TLS.
pub(super) fn tls_for(scenario: &Scenario) -> Result<Option<Arc<rustls::ClientConfig>>, String> {
    match tls_config(&scenario.http) {
        Ok(config) => Ok(Some(config)),
        Err(error) if scenario.needs_tls() => Err(error),
        Err(_) => Ok(None),
    }
}

fn tls_config(http: &Http) -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = if http.tls.verify {
        let roots = http.tls.ca.clone().unwrap_or_else(|| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        });
        if roots.is_empty() {
            return Err(
                "no certificate authorities found; install ca-certificates, or name a file with `http: {ca: …}`".into(),
            );
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth()
    };
    if !http.tls.resumption {
        config.resumption = rustls::client::Resumption::disabled();
    }
    config.alpn_protocols = match http.version {
        Version::One => vec![b"http/1.1".to_vec()],
        Version::Two => vec![b"h2".to_vec()],
        Version::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// Accepts any certificate, for `verify: false`.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}

type Valid = Result<HandshakeSignatureValid, rustls::Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_once_and_a_failure_is_remembered() {
        let net = Net::new(&Http::default(), None);
        // The name is longer than a label may be, so that no query leaves this machine.
        let nobody = "x".repeat(64);
        let all = futures::future::join_all((0..50).map(|_| net.addresses(&nobody, 80))).await;
        assert!(
            all.iter()
                .all(|found| matches!(found, Err(failure) if failure.kind == Kind::Resolve))
        );
        let asked = net.names.borrow().get(&nobody).cloned().expect("asked for");
        let first = asked.peek().expect("answered").at;
        assert!(net.addresses(&nobody, 80).await.is_err());
        let again = net
            .names
            .borrow()
            .get(&nobody)
            .and_then(|asked| Some(asked.peek()?.at));
        assert!(again == Some(first) || first.elapsed() >= FAILURE_AGE);
        assert!(matches!(net.addresses("localhost", 80).await, Ok((_, true))));
        assert!(matches!(net.addresses("localhost", 80).await, Ok((_, false))));
    }
}
