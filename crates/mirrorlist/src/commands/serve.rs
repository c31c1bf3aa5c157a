//! `reveille-mirrorlist serve`

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use reveille_mirrorlist::TrustedProxies;
use reveille_mirrorlist::server::{Address, GRACE, Options, Running, StartError, TlsFiles};
use reveille_text::duration;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::printer::say;
use super::{Choice, Files, descriptors};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    choice: Choice,
    /// Where clients connect: ADDRESS:PORT or unix:PATH (repeatable); unused if systemd passes sockets
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:3000",
        help_heading = "Network"
    )]
    listen: Vec<Address>,
    /// Where /healthz, /readyz, /metrics and POST /-/reload are: ADDRESS:PORT or unix:PATH
    ///
    /// Where /healthz, /readyz, /metrics and POST /-/reload are: ADDRESS:PORT, which should be a private address, or
    /// unix:PATH, a socket for its owner and group.
    #[arg(long, value_name = "ADDR", help_heading = "Network")]
    admin: Option<Address>,
    /// Networks or addresses of proxies whose Forwarded or X-Forwarded-For is trusted, besides this machine
    /// (repeatable)
    #[arg(long, value_name = "CIDR", value_parser = network, help_heading = "Network")]
    trusted_proxy: Vec<IpNet>,
    /// Certificates for TLS in PEM, the server's own first
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Network")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Network")]
    tls_key: Option<PathBuf>,
    /// Requests a second that one client may make [default: unlimited]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    rate_limit: Option<NonZeroUsize>,
    /// Connections at once, if the limit of open files (LimitNOFILE=) allows them; further ones wait
    #[arg(long, value_name = "N", default_value = "16384", help_heading = "Limits")]
    max_connections: NonZeroUsize,
    /// Threads that answer [default: one for each processor]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    workers: Option<NonZeroUsize>,
    /// Fail /healthz if the data are older than this, such as 6h
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Limits")]
    max_stale: Option<Duration>,
    /// How often to check the files for changes; 0 disables the checks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse, help_heading = "Data")]
    watch: Duration,
    /// Append a line for each answer about a repository, for MirrorManager's statistics
    #[arg(long, value_name = "FILE", help_heading = "Logs")]
    log: Option<PathBuf>,
    /// Append a line for each request
    #[arg(long, value_name = "FILE", help_heading = "Logs")]
    access_log: Option<PathBuf>,
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
    // Do not wait for a thread that reads or opens a file: it may never end.
    runtime.shutdown_background();
    ended
}

async fn serve(options: &Options) -> Result<(), Failure> {
    let internal = |error: std::io::Error| Failure::Internal(format!("can't catch signals: {error}"));
    // Before files are read, because a SIGHUP in the meantime must not end the program.
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
    let snapshot = server.snapshot();
    for warning in snapshot.warnings() {
        tracing::warn!("{warning}");
    }
    say(&format!("loaded {}", snapshot.summary()));
    drop(snapshot);
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
                    // The result is in the log.
                    let _ = server.reload().await;
                };
                tokio::select! {
                    () = reloaded => {}
                    // A network file system may be slow.
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

/// A network, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| net.trunc())
        .map_err(|_| "not a network or an address; write 10.0.0.0/8 or 192.0.2.1".to_owned())
}

// === impl Arguments ===

impl Arguments {
    fn options(&self) -> Options {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Options {
            sources: self.files.sources(),
            listen: self.listen.clone(),
            admin: self.admin.clone(),
            rules: self.choice.rules(),
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
