//! TLS and HTTP/2.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::server::{Bench, Server, TURNS, failures};

pub(crate) fn tls_server(bench: &Bench) -> Server {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    std::fs::write(bench.path("ca.pem"), cert.pem()).expect("written");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Server::start_with(Some(Arc::new(config)))
}

fn scenario(port: u16, http: &str, version: &str) -> String {
    format!(
        "base_url: https://localhost:{port}
http: {{resolve: 'localhost:{port}:127.0.0.1', {http}}}
wait: 10ms
{TURNS}
tasks: [{{get: /version, expect: {{contains: {version}}}}}]
stages: [{{users: 3, for: 5m}}]
"
    )
}

#[test]
fn certificates_are_checked_and_versions_negotiated() {
    let bench = Bench::new("").turns(12);
    let server = tls_server(&bench);
    let port = server.address.port();
    for (http, version, good) in [
        ("ca: ca.pem", "HTTP/2.0", true),
        ("ca: ca.pem, version: '1.1'", "HTTP/1.1", true),
        ("verify: false, version: 2", "HTTP/2.0", true),
        ("verify: true", "HTTP/2.0", false),
    ] {
        std::fs::write(bench.path("load.yaml"), scenario(port, http, version)).expect("written");
        let (status, summary) = bench.summary(&[]);
        if good {
            assert_eq!(
                (status, &summary["requests"]["failed"]),
                (0, &0.into()),
                "{http}: {summary:#}"
            );
            assert_eq!(summary["connections"], 3);
            assert_eq!(summary["phases"]["tls"]["count"], 3);
        } else {
            assert_eq!(status, 3);
            assert!(failures(&summary, "tls") > 0, "{summary:#}");
        }
    }
}

#[test]
fn a_missing_authority_is_a_mistake_with_a_place() {
    for (name, why) in [
        ("gone.pem", "No such file"),
        ("load.yaml", "it contains no certificate"),
    ] {
        let bench = Bench::new(&format!(
            "base_url: http://127.0.0.1:1\nhttp:\n  ca: {name}\ntasks: [{{get: /}}]\nstages: [{{users: 1, for: 1s}}]\n"
        ));
        let output = bench.run(&[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && said.contains("--> load.yaml:3:7"), "{said}");
    }
}

#[test]
fn http_2_without_tls_is_used_on_request() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\nhttp: {{version: 2}}\nwait: 10ms\ntasks: [{{get: /version, expect: {{contains: HTTP/2.0}}}}]\nstages: [{{users: 3, for: 300ms}}]\n",
        server.url()
    ));
    let (status, summary) = bench.summary(&[]);
    assert_eq!(
        (status, &summary["requests"]["failed"]),
        (0, &0.into()),
        "{summary:#}"
    );
}

#[test]
fn sessions_are_resumed_unless_resumption_is_off() {
    let bench = Bench::new("").turns(12);
    let server = tls_server(&bench);
    let port = server.address.port();
    for (resumption, resumes) in [(false, false), (true, true)] {
        let http = format!("ca: ca.pem, keep_alive: false, resumption: {resumption}, version: '1.1'");
        std::fs::write(bench.path("load.yaml"), scenario(port, &http, "HTTP/1.1")).expect("written");
        let (status, summary) = bench.summary(&[]);
        assert_eq!(status, 0, "{summary:#}");
        assert_eq!(summary["connections"], 12);
        assert_eq!(server.count("resumed") > 0, resumes);
    }
}
