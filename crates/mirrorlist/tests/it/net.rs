//! A server with synthetic data, and a client.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use reveille_mirrorlist::server::{Options, Running};
use reveille_mirrorlist::synthetic::{self, Size};
use reveille_mirrorlist::{Data, Rules, Sources, TrustedProxies};

/// What takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const SIZE: Size = Size {
    directories: 40,
    hosts: 60,
    carriers: 30,
    prefixes: 300,
};

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A connection that is kept.
pub(crate) struct Client(BufReader<TcpStream>);

// === impl Reply ===

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The lines that are URLs.
    pub(crate) fn urls(&self) -> Vec<String> {
        let text = self.text();
        text.lines()
            .filter(|line| line.contains("://") && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }
}

// === impl Client ===

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn get(&mut self, target: &str, headers: &str) -> Reply {
        self.ask("GET", target, headers.as_bytes())
    }

    pub(crate) fn ask(&mut self, method: &str, target: &str, headers: &[u8]) -> Reply {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
        request.extend_from_slice(headers);
        request.extend_from_slice(b"\r\n");
        self.0.get_mut().write_all(&request).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(
                self.0.read_line(&mut head).unwrap() > 0,
                "the connection was closed after {head:?}"
            );
        }
        let mut reply = Reply {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: Vec::new(),
        };
        if method != "HEAD" && reply.status != 304 {
            let length: usize = reply
                .header("content-length")
                .map_or(0, |value| value.parse().unwrap());
            reply.body = vec![0; length];
            self.0.read_exact(&mut reply.body).unwrap();
        }
        reply
    }
}

/// Options for synthetic data in a directory, on free ports.
pub(crate) fn options(directory: &Path) -> Options {
    let file = |name: &str| Some(directory.join(name));
    Options {
        sources: Sources {
            data: Data::Cache(directory.join(synthetic::CACHE)),
            netblocks: file(synthetic::NETBLOCKS),
            countries: file(synthetic::COUNTRIES),
            geoip: file(synthetic::GEOIP),
        },
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        admin: Some("127.0.0.1:0".parse().unwrap()),
        rules: Rules {
            minimum: 5,
            strict: false,
        },
        proxies: TrustedProxies::default(),
        log: None,
        access_log: None,
        tls: None,
        rate_limit: None,
        connections: NonZeroUsize::new(500).unwrap(),
        workers: NonZeroUsize::new(2).unwrap(),
        max_stale: None,
        watch: None,
        grace: reveille_mirrorlist::server::GRACE,
    }
}

/// Synthetic data.
pub(crate) fn data(domain: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    synthetic::write(directory.path(), SIZE, domain, 3).unwrap();
    directory
}

/// Runs a server while `ask` asks, on a thread of its own.
pub(crate) fn serve<T: Send>(options: &Options, ask: impl FnOnce(&Running) -> T + Send) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Running::start(options)).unwrap();
    let result = ask(&server);
    runtime.block_on(server.stop());
    result
}
