//! A server on loopback that counts requests and behaves as their paths say, and the program under test.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpListener;

/// A server that lives as long as the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    // Dropping it ends the server.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Counts {
    paths: Mutex<BTreeMap<String, u64>>,
    tokens: AtomicU64,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server, with TLS if there is a configuration.
    pub(crate) fn start_with(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let counts = Arc::new(Counts::default());
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::clone(&counts);
        // `/slow` answers one request at a time, which limits the rate.
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, turn, tls) = (Arc::clone(&shared), Arc::clone(&turn), tls.clone());
                let resumed = Arc::clone(&counts);
                tokio::spawn(async move {
                    let service =
                        service_fn(move |request| answer(request, Arc::clone(&counts), Arc::clone(&turn)));
                    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // Errors are ignored, because clients may leave.
                    if let Some(config) = tls {
                        let acceptor = tokio_rustls::TlsAcceptor::from(config);
                        if let Ok(stream) = acceptor.accept(stream).await {
                            let kind = stream.get_ref().1.handshake_kind();
                            if kind == Some(rustls::HandshakeKind::Resumed) {
                                let mut paths = resumed.paths.lock().expect("no panic");
                                *paths.entry("resumed".to_owned()).or_default() += 1;
                            }
                            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                        }
                    } else {
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        Self {
            address,
            counts,
            _runtime: runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of requests to a path; for `resumed`, of resumed TLS sessions.
    pub(crate) fn count(&self, path: &str) -> u64 {
        self.counts
            .paths
            .lock()
            .expect("no panic")
            .get(path)
            .copied()
            .unwrap_or(0)
    }
}

async fn answer(
    request: Request<Incoming>,
    counts: Arc<Counts>,
    turn: Arc<tokio::sync::Mutex<()>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    *counts
        .paths
        .lock()
        .expect("no panic")
        .entry(path.clone())
        .or_default() += 1;
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut response = Response::new(Full::default());
    let body = |text: String| Full::new(Bytes::from(text));
    match path.as_str() {
        "/token" => {
            let number = counts.tokens.fetch_add(1, Ordering::SeqCst) + 1;
            *response.body_mut() = body(format!(r#"{{"token": "secret-{number}", "expires_in": 2}}"#));
        }
        "/guarded" => {
            let good = header("authorization").starts_with("Bearer secret-");
            *response.status_mut() = if good {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            };
        }
        "/slow" => {
            let _turn = turn.lock().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        "/missing" => *response.status_mut() = StatusCode::NOT_FOUND,
        "/login" => {
            let set = hyper::header::HeaderValue::from_static("session=abc; Path=/; HttpOnly");
            response.headers_mut().insert("set-cookie", set);
            response
                .headers_mut()
                .insert("location", hyper::header::HeaderValue::from_static("/cart"));
            *response.status_mut() = StatusCode::SEE_OTHER;
        }
        "/cart" => {
            let good = header("cookie") == "session=abc";
            *response.status_mut() = if good {
                StatusCode::OK
            } else {
                StatusCode::FORBIDDEN
            };
            *response.body_mut() = body(r#"{"items": [{"id": 7}], "csrf": "x1"}"#.to_owned());
        }
        "/echo" => {
            let kind = header("content-type");
            let bytes = request
                .into_body()
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            *response.body_mut() = Full::new(bytes.unwrap_or_default());
            if let Ok(kind) = hyper::header::HeaderValue::from_str(&kind) {
                response.headers_mut().insert("content-type", kind);
            }
        }
        "/version" => *response.body_mut() = body(format!("{:?}", request.version())),
        _ => *response.body_mut() = body("hello".to_owned()),
    }
    Ok(response)
}

/// A directory with a scenario.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
}

/// Data for scenarios whose users, and so the test, stop after a number of iterations.
pub(crate) const TURNS: &str = "data: {turn: {csv: turns.csv, on_end: stop}}";

impl Bench {
    pub(crate) fn new(scenario: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("load.yaml"), scenario).expect("written");
        Self { directory }
    }

    /// Writes the rows for `TURNS`: the number of iterations, however fast this machine is.
    pub(crate) fn turns(self, count: usize) -> Self {
        let rows = "one\n".repeat(count);
        std::fs::write(self.path("turns.csv"), format!("turn\n{rows}")).expect("written");
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reveille-load"));
        command
            .current_dir(self.directory.path())
            .arg("load.yaml")
            .args(["--threads", "1", "--quiet"])
            .args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("started")
    }

    /// The exit status and the summary.
    pub(crate) fn summary(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        let summary = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().expect("not killed"), summary)
    }
}

/// The number of failures of a kind.
pub(crate) fn failures(summary: &Value, kind: &str) -> u64 {
    let errors = summary["errors"].as_array().expect("a list");
    errors
        .iter()
        .filter(|failures| failures["kind"] == kind)
        .filter_map(|failures| failures["count"].as_u64())
        .sum()
}

/// Checks that every started request ended in one of three ways.
pub(crate) fn assert_balanced(summary: &Value) {
    let requests = &summary["requests"];
    let count = |name: &str| requests[name].as_u64().expect(name);
    assert_eq!(
        count("started"),
        count("completed") + count("failed") + count("unfinished"),
        "{requests}"
    );
}
