//! TLS for clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::start_error::StartError;

/// A certificate chain and its key, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate first.
    pub certificates: PathBuf,
    /// Its key, not encrypted.
    pub key: PathBuf,
}

/// The certificate for new connections.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

// === impl Tls ===

impl Tls {
    pub(super) fn open(files: &TlsFiles) -> Result<Self, StartError> {
        Ok(Self {
            files: files.clone(),
            current: ArcSwap::from_pointee(config(files)?),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again. If they can't be used, the old certificate stays.
    pub(super) fn reload(&self) {
        match config(&self.files) {
            Ok(config) => self.current.store(Arc::new(config)),
            Err(error) => tracing::error!("certificate not reloaded, the old one stays in use: {error}"),
        }
    }
}

fn config(files: &TlsFiles) -> Result<ServerConfig, StartError> {
    let bad = |path: &Path, what: &str| StartError::Tls(format!("{}: {what}", path.display()));
    let certificates = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(&files.certificates, &format!("not certificates in PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(bad(&files.certificates, "the file has no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| bad(&files.key, &format!("not a private key in PEM: {error}")))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| StartError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| {
            bad(
                &files.key,
                &format!("the key does not match the certificate: {error}"),
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
