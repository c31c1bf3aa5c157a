//! `reveille-mirrorlist serve`

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use reveille_mirrorlist::server::{Address, GRACE, Options, Running, StartError, TlsFiles};
use reveille_mirrorlist::{Rules, TrustedProxies};
use reveille_text::duration;
use tokio::signal::unix::{SignalKind, signal};

use super::{Files, descriptors};
use crate::{Failure, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Where clients are answered: ADDRESS:PORT or unix:PATH; repeatable. Sockets that systemd passes count instead
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    listen: Vec<Address>,
    /// Where /healthz, /readyz, /metrics and POST /-/reload are: ADDRESS:PORT, which should be private, or unix:PATH, which
    /// is for its owner and group
    #[arg(long, value_name = "ADDR")]
    admin: Option<Address>,
    /// Append a line for each answer about a repository, as MirrorManager does for its statistics
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Append a line for each request
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// Add mirrors of all the world when fewer than this are near
    #[arg(long, value_name = "N", default_value_t = 5)]
    minimum: usize,
    /// Proxies whose X-Forwarded-For or Forwarded is believed, besides this machine; repeatable
    #[arg(long, value_name = "CIDR", value_parser = network)]
    trusted_proxy: Vec<IpNet>,
    /// Answer as MirrorManager's server does even where that is questionable
    #[arg(long)]
    strict_compat: bool,
    /// Certificates for TLS, in PEM, the server's own first
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Requests a second that one client may make [default: no limit]
    #[arg(long, value_name = "N")]
    rate_limit: Option<NonZeroUsize>,
    /// Connections at once, if the limit of open files (LimitNOFILE=) is enough for them; further ones wait
    #[arg(long, value_name = "N", default_value = "16384")]
    max_connections: NonZeroUsize,
    /// Threads that answer [default: one a processor]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// /healthz fails when the data are older than this, such as 6h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    max_stale: Option<Duration>,
    /// How often to look whether files have changed; 0 for never
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    watch: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("REVEILLE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    let internal = |error: std::io::Error| Failure::Internal(format!("can't start: {error}"));
    let mut options = arguments.options();
    options.connections = descriptors::connections(options.connections, options.workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    let ended = runtime.block_on(serve(&options));
    // Files that can't be read to their end, or opened, hold nothing up.
    runtime.shutdown_background();
    ended
}

async fn serve(options: &Options) -> Result<(), Failure> {
    let internal = |error: std::io::Error| Failure::Internal(format!("can't catch signals: {error}"));
    // Before files are read: a SIGHUP meanwhile must not end the program.
    let mut hangup = signal(SignalKind::hangup()).map_err(internal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    let started = tokio::select! {
        started = Running::start(options) => started,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let server = started.map_err(|error| match error {
        StartError::System(error) => Failure::Internal(format!("can't start: {error}")),
        other => Failure::Input(other.to_string()),
    })?;
    for warning in server.snapshot().warnings() {
        tracing::warn!("{warning}");
    }
    for address in server.addresses() {
        say(&format!("listening on {address}"));
    }
    for path in server.paths() {
        say(&format!("listening on unix:{}", path.display()));
    }
    if let Some(address) = server.admin() {
        say(&format!("admin on {address}"));
    } else if let Some(address) = &options.admin {
        say(&format!("admin on {address}"));
    }
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                server.reopen_logs();
                let reloaded = async {
                    server.reload_tls().await;
                    // The outcome is in the log; the old data serve on if it failed.
                    let _ = server.reload().await;
                };
                tokio::select! {
                    () = reloaded => {}
                    // Files may be far away, and slow.
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    server.stop().await;
    Ok(())
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| net.trunc())
        .map_err(|_| "not a network; write 10.0.0.0/8 or an address".to_owned())
}

// === impl Arguments ===

impl Arguments {
    fn options(&self) -> Options {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Options {
            sources: self.files.sources(),
            listen: self.listen.clone(),
            admin: self.admin.clone(),
            rules: Rules {
                minimum: self.minimum,
                strict: self.strict_compat,
            },
            proxies: TrustedProxies::new(self.trusted_proxy.iter().copied()),
            log: self.log.clone(),
            access_log: self.access_log.clone(),
            tls: self
                .tls_cert
                .clone()
                .zip(self.tls_key.clone())
                .map(|(certificates, key)| TlsFiles { certificates, key }),
            rate_limit: self.rate_limit,
            connections: self.max_connections,
            workers: self.workers.unwrap_or(processors),
            max_stale: self.max_stale,
            watch: (!self.watch.is_zero()).then_some(self.watch),
            grace: GRACE,
        }
    }
}
