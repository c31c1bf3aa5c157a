//! Connections: names, TCP, proxies, TLS; every phase is timed and fails with a kind of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, Shared};
use reveille_text::duration;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http1::Buffers;
use super::target::Origin;
use crate::scenario::{Http, Version};
use crate::stats::{Kind, Phases};

/// Names are asked for again after this time, so that a service may move during a test.
const NAME_AGE: Duration = Duration::from_secs(30);

/// The same for names that were not found.
const FAILURE_AGE: Duration = Duration::from_secs(1);

/// What all users of a shard connect with.
pub(crate) struct Net {
    tls: Option<TlsConnector>,
    /// Each name is asked for once, however many users wait for its address.
    names: RefCell<HashMap<String, Shared<LocalBoxFuture<'static, Rc<Found>>>>>,
    pub(crate) http: Http,
    pub(crate) buffers: Buffers,
}

/// Where a name leads, or why it leads nowhere.
struct Found {
    at: Instant,
    addresses: Result<Vec<IpAddr>, String>,
}

/// A connection to an origin, before HTTP.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why something failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) text: String,
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

    /// What a slower line takes to carry a request to the service, and the answer's first byte back.
    pub(crate) async fn line(&self, bytes: usize) {
        let network = &self.http.network;
        let time = network.latency + network.time_for(bytes as u64);
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }

    /// Waits until a slower line would have carried so many bytes of an answer, whose first one came at `since`.
    pub(crate) async fn shape(&self, bytes: u64, since: Instant) {
        let due = self.http.network.time_for(bytes);
        if !due.is_zero() {
            tokio::time::sleep_until((since + due).into()).await;
        }
    }

    /// Connects; says what was agreed on with TLS.
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
        // A connection takes a round trip, and TLS another one.
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
        // Small requests are not to wait for each other.
        let _ = stream.set_nodelay(true);
        let now = Instant::now();
        phases.connect = Some(now - resolved);
        if !origin.tls {
            return Ok((Stream::Plain(stream), self.http.version == Version::Two));
        }
        if self.http.proxy.is_some() {
            tunnel(&mut stream, origin).await?;
        }
        let Some(connector) = &self.tls else {
            return Err(Failure::new(Kind::Tls, "TLS is not set up"));
        };
        self.line(0).await;
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|_| Failure::new(Kind::Tls, format!("{} is no name for a certificate", origin.host)))?;
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
        Ok((Stream::Tls(Box::new(stream)), two))
    }

    /// The addresses of a host, and whether anybody had to be asked.
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

/// Asks a proxy for a way to the origin.
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
            return Err(Failure::new(Kind::Protocol, "the proxy's answer has no end"));
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
    Err(Failure::new(Kind::Unreachable, format!("the proxy said: {line}")))
}

/// The certificates in a file, each of which can be believed.
pub(crate) fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut authorities = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        rustls::RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| error.to_string())?;
        authorities.push(certificate);
    }
    if authorities.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(authorities)
}

/// One TLS configuration for all users of all shards.
pub(crate) fn tls_config(http: &Http) -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = if http.tls.verify {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(authorities) = &http.tls.ca {
            for certificate in authorities {
                roots
                    .add(certificate.clone())
                    .map_err(|error| error.to_string())?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err(
                "no certificate authority is known here; install ca-certificates, or name one with `http: {ca: …}`".into(),
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

/// Believes any certificate, as `verify: false` asks for.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    fn connecting(error: &io::Error, address: IpAddr, port: u16) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => Kind::Refused,
            io::ErrorKind::TimedOut => Kind::ConnectTimeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Kind::Unreachable,
            _ => Self::stream_kind(error, Kind::Other),
        };
        Self::new(kind, format!("connecting to {address} port {port}: {error}"))
    }

    /// What an error of a connection is; `ended` is what an end in the wrong place is.
    pub(crate) fn stream_kind(error: &io::Error, ended: Kind) -> Kind {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Kind::Reset
            }
            io::ErrorKind::UnexpectedEof => ended,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Kind::Tester,
            _ => match error.raw_os_error() {
                // EMFILE, ENFILE, ENOBUFS: ours, not the service's.
                Some(24 | 23 | 105) => Kind::Tester,
                _ => Kind::Other,
            },
        }
    }
}

// === impl Stream ===

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_a_failure_is_remembered() {
        let net = Net::new(&Http::default(), None);
        // Longer than a label may be, so that nobody is asked over the network.
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
