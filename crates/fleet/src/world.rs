//! What the engine uses of its machine, apart from the network and the ledger.
//!
//! Everything here would make two equal runs differ, so the simulator replaces it.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use reveille_account::{Class, HostName, RunId, Stream, Token};
use reveille_history::HostHistory;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// The limit on the output read from a local command.
const ANSWER: u64 = 64 * 1024;

/// The machine that the engine runs on.
#[derive(Clone)]
pub struct World {
    /// Makes tokens, which must not be guessable.
    pub tokens: Arc<dyn Fn() -> Token + Send + Sync>,
    /// Whether the engine watches this machine's clock, CPU and memory, and lowers the session limit under pressure.
    pub watched: bool,
    /// Whether a separate thread waits for the disk, which makes the order of events random.
    pub threads: bool,
    /// Runs the operator's command that replaces a host's machine.
    pub replace: Arc<dyn Fn(Replacement) -> Replacing + Send + Sync>,
    /// Called with a host's output as it arrives. It must not wait.
    pub hear: Option<Hear>,
    /// Called with a task's view of its host's history whenever all of it is on record. For simulations only.
    pub on_record: Option<OnRecord>,
}

/// A callback that receives the output of a host, before the event that ends its step.
pub type Hear = Arc<dyn Fn(&HostName, Stream, &Bytes) + Send + Sync>;

/// A callback that receives a task's view of its host's history.
pub type OnRecord = Arc<dyn Fn(&HostName, &HostHistory) + Send + Sync>;

/// A host whose machine is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The operator's command.
    pub command: String,
    /// The directory in which it runs: the job file's, wherever the run is resumed.
    pub directory: PathBuf,
    /// The host.
    pub host: HostName,
    /// Its address so far.
    pub address: String,
    /// The class of its failure.
    pub class: Class,
    /// The run.
    pub run: RunId,
    /// The number of the new machine, from 1. Run, host and number identify a replacement, so that the command can
    /// recognise a repeated request after a crash.
    pub number: u32,
}

/// The running command: returns its standard output, or why there is no answer.
pub type Replacing = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send>>;

// === impl World ===

impl World {
    pub(crate) fn token(&self) -> Token {
        (self.tokens)()
    }
}

impl Default for World {
    fn default() -> Self {
        Self {
            tokens: Arc::new(random_token),
            watched: true,
            threads: true,
            replace: Arc::new(|replacement| Box::pin(run(replacement))),
            hear: None,
            on_record: None,
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("World")
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}

fn random_token() -> Token {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random source works once a process runs");
    Token::new(bytes)
}

/// Runs the command in a local shell.
async fn run(replacement: Replacement) -> Result<Vec<u8>, String> {
    let Replacement {
        command,
        directory,
        host,
        address,
        class,
        run,
        number,
    } = replacement;
    let mut child = Command::new("sh")
        .args(["-c", &command])
        .current_dir(directory)
        .env("REVEILLE_HOST", host.as_str())
        .env("REVEILLE_ADDRESS", &address)
        .env("REVEILLE_CLASS", class.as_str())
        .env("REVEILLE_REPLACEMENT", format!("{run}.{host}.{number}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("can't run `{command}`: {error}"))?;
    let mut said = Vec::new();
    let answering = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER).read_to_end(&mut said).await?;
        }
        child.wait().await
    };
    let status = answering.await.map_err(|error| error.to_string())?;
    if status.success() {
        Ok(said)
    } else {
        Err(format!("`{command}` failed: {status}"))
    }
}
