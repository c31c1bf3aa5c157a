//! The server: listeners, workers, reloads.
//!
//! ```text
//! listeners ─► acceptor ─► worker 1 … n    a thread each, which get connections in turn
//!                             │ one snapshot a request
//!                          [pointer] ◄── reloader: SIGHUP, changed files, POST /-/reload
//!                             │
//!                           admin: health, metrics
//! ```

mod admin;
mod conditional;
mod limit;
mod listen;
mod log;
mod metrics;
mod notify;
mod reload;
mod service;
mod shared;
mod start_error;
mod tls;
mod workers;
mod write_timeout;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use self::listen::{Address, AddressError};
pub use self::start_error::StartError;
pub use self::tls::TlsFiles;

use self::limit::Limiter;
use self::listen::Audience;
use self::log::LineLog;
use self::metrics::Metrics;
use self::reload::{Reader, Reloader};
use self::shared::Shared;
use self::tls::Tls;
use crate::forwarded::TrustedProxies;
use crate::select::Rules;
use crate::snapshot::{Snapshot, Sources};
use crate::throttled_read::Answers;

/// How long requests in progress may take when the server stops: the default of [`Options`].
pub const GRACE: Duration = Duration::from_secs(10);

/// How long the last lines of logs may take to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How a server runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The files that are served.
    pub sources: Sources,
    /// Where clients connect; unused if systemd passes sockets.
    pub listen: Vec<Address>,
    /// Where health, metrics and reloads are.
    pub admin: Option<Address>,
    /// How answers are chosen.
    pub rules: Rules,
    /// Proxies whose headers about the client are trusted.
    pub proxies: TrustedProxies,
    /// MirrorManager's log of repositories and countries.
    pub log: Option<PathBuf>,
    /// A log of all requests.
    pub access_log: Option<PathBuf>,
    /// TLS for clients.
    pub tls: Option<TlsFiles>,
    /// Requests a second that one client may make.
    pub rate_limit: Option<NonZeroUsize>,
    /// Connections at once; further ones wait to be accepted.
    pub connections: NonZeroUsize,
    /// Threads that answer.
    pub workers: NonZeroUsize,
    /// Data older than this make `/healthz` fail.
    pub max_stale: Option<Duration>,
    /// How often files are checked for changes; never if `None`.
    pub watch: Option<Duration>,
    /// How long requests in progress may take when the server stops.
    pub grace: Duration,
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    paths: Vec<PathBuf>,
    admin: Option<SocketAddr>,
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    tls: Option<Arc<Tls>>,
    stop: watch::Sender<bool>,
    done: Vec<tokio::task::JoinHandle<()>>,
    grace: Duration,
    workers: workers::Workers,
}

/// The error of a thread that ended by a panic.
fn broken_off<E>(_: E) -> StartError {
    StartError::System(std::io::Error::other(reload::BROKEN_OFF))
}

/// Opens files in a thread, because opening a pipe or a file of a network file system may take long. Meanwhile the
/// program still reacts to signals.
async fn opened<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(open).await.map_err(broken_off)?
}

// === impl Running ===

impl Running {
    /// Loads the files, listens, and answers. Must be called within a tokio runtime.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        let files = options.tls.clone();
        let tls = opened(move || files.as_ref().map(Tls::open).transpose()).await?;
        let tls = tls.map(Arc::new);
        let (reader, answers) = (Reader::start()?, Answers::default());
        let tried = reader.stamps(&options.sources).await.map_err(broken_off)?;
        let first = reader
            .load(&options.sources, None, &answers)
            .await
            .map_err(broken_off)??;
        let paths = (options.log.clone(), options.access_log.clone());
        let (log, access_log) = opened(move || {
            let open = |path: Option<PathBuf>| path.as_ref().map(LineLog::open).transpose();
            Ok((open(paths.0)?, open(paths.1)?))
        })
        .await?;
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            metrics: Metrics::new(),
            snapshot: ArcSwap::from_pointee(first),
            answers,
            rules: options.rules,
            proxies: options.proxies.clone(),
            limiter: options.rate_limit.map(Limiter::new),
            log,
            access_log,
            max_stale: options.max_stale,
        });
        shared.metrics.loaded(&shared.snapshot.load());
        let reloader = Reloader::new(options.sources.clone(), Arc::clone(&shared), reader, tried);
        let reloader = Arc::new(reloader);
        let mut listeners = listen::inherited()?;
        if listeners.is_empty() {
            for address in &options.listen {
                listeners.push(address.listen(Audience::Clients)?);
            }
        }
        let addresses = listeners
            .iter()
            .filter_map(listen::Listener::local_address)
            .collect();
        let paths = listeners
            .iter()
            .filter_map(listen::Listener::local_path)
            .collect();
        let workers =
            workers::Workers::start(options.workers, &shared, tls.as_ref(), options.grace, &stopped)?;
        let places = Arc::new(tokio::sync::Semaphore::new(
            options.connections.get().min(tokio::sync::Semaphore::MAX_PERMITS),
        ));
        let mut done: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                tokio::spawn(workers.sender().accept(
                    listener,
                    Arc::clone(&places),
                    Arc::clone(&shared),
                    stopped.clone(),
                ))
            })
            .collect();
        let mut admin = None;
        if let Some(address) = &options.admin {
            let listener = address.listen(Audience::Administrators)?;
            admin = listener.local_address();
            done.push(tokio::spawn(admin::serve(
                listener,
                Arc::clone(&shared),
                Arc::clone(&reloader),
                stopped.clone(),
            )));
        }
        if let Some(every) = options.watch {
            done.push(tokio::spawn(reload::watch(Arc::clone(&reloader), every, stopped)));
        }
        notify::ready();
        Ok(Self {
            addresses,
            paths,
            admin,
            shared,
            reloader,
            tls,
            stop,
            done,
            grace: options.grace,
            workers,
        })
    }

    /// The IP addresses on which clients connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The Unix sockets on which clients connect.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The IP address on which the administrator connects.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Reads the files again. If that fails, the server keeps the old data.
    pub async fn reload(&self) -> Result<(), String> {
        self.reloader.reload().await
    }

    /// Reopens logs, after they were moved away.
    pub fn reopen_logs(&self) {
        for log in self.shared.logs() {
            log.reopen();
        }
    }

    /// Reads the certificate again, for new connections.
    pub async fn reload_tls(&self) {
        if let Some(tls) = self.tls.clone() {
            // The panic hook has reported a panic.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
    }

    /// Stops accepting, finishes requests in progress, and ends. Requests that take longer than the grace are cut off.
    pub async fn stop(self) {
        notify::stopping();
        // All receivers may be gone already.
        let _ = self.stop.send(true);
        for task in self.done {
            let _ = task.await;
        }
        self.workers.end(self.grace).await;
        let until = Instant::now() + LAST_LINES;
        for log in self.shared.logs() {
            log.flush(until);
        }
    }
}
