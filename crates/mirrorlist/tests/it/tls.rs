//! TLS without a web server in front.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use reveille_mirrorlist::server::{Running, TlsFiles};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::net::{data, options, serve};

/// A certificate and its key, in PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Sends a request to a server that must have a certificate.
fn ask(address: SocketAddr, trusted: &str) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.write_all(
        b"GET /mirrorlist?repo=repo-0&arch=x86_64&country=global HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn write(directory: &Path, (certificate, key): &(String, String)) {
    fs::write(directory.join("cert.pem"), certificate).unwrap();
    fs::write(directory.join("key.pem"), key).unwrap();
}

fn reload(server: &Running) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(server.reload_tls());
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let directory = data("example");
    let path = directory.path();
    let (one, two) = (certificate(), certificate());
    write(path, &one);
    let mut options = options(path);
    options.tls = Some(TlsFiles {
        certificates: path.join("cert.pem"),
        key: path.join("key.pem"),
    });
    serve(&options, |server| {
        let address = server.addresses()[0];
        let has = |trusted: &(String, String)| match ask(address, &trusted.0) {
            Ok(text) => {
                assert!(text.contains("country = global"), "{text}");
                true
            }
            Err(_) => false,
        };
        assert!(has(&one) && !has(&two));
        write(path, &two);
        reload(server);
        assert!(has(&two) && !has(&one));
        // A key that does not match the certificate.
        write(path, &(one.0.clone(), two.1.clone()));
        reload(server);
        fs::write(path.join("cert.pem"), "damage").unwrap();
        reload(server);
        assert!(has(&two) && !has(&one));
    });
}

#[test]
fn it_does_not_start_without_its_certificate() {
    let directory = data("example");
    let path = directory.path();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    write(path, &certificate());
    let whole = fs::read(path.join("cert.pem")).unwrap();
    let mut options = options(path);
    options.tls = Some(TlsFiles {
        certificates: path.join("cert.pem"),
        key: path.join("key.pem"),
    });
    let message = || {
        let started = runtime.block_on(Running::start(&options));
        started.err().unwrap().to_string()
    };
    fs::write(path.join("cert.pem"), "nothing").unwrap();
    assert!(message().contains("cert.pem: the file has no certificate"));
    fs::write(path.join("cert.pem"), whole).unwrap();
    fs::write(path.join("key.pem"), certificate().1).unwrap();
    assert!(message().contains("key.pem: the key does not match the certificate"));
    fs::remove_file(path.join("key.pem")).unwrap();
    assert!(message().contains("key.pem: not a private key in PEM"));
}
