//! What the engine takes from the machine that it runs on, apart from the network and the ledger.
//!
//! Everything here would make two equal runs differ. A simulator brings its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;

use reveille_account::{Class, HostName, RunId, Token};
use reveille_history::HostHistory;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// Bytes of what a local command says which are read.
const ANSWER: u64 = 64 * 1024;

/// The machine that the engine runs on.
#[derive(Clone)]
pub struct World {
    /// Where tokens come from: nobody can guess one.
    pub tokens: Arc<dyn Fn() -> Token + Send + Sync>,
    /// Whether the engine watches this machine's clock, processors and memory, and opens fewer sessions when they are
    /// short.
    pub watched: bool,
    /// Whether a thread of its own waits for the disk. When it comes back is chance.
    pub threads: bool,
    /// Runs the operator's command that puts another machine in a host's place.
    pub replace: Arc<dyn Fn(Replacement) -> Replacing + Send + Sync>,
    /// Is told what a task takes its host's history to be whenever all of it is on record. It is for simulations; nothing
    /// follows from it.
    pub on_record: Option<OnRecord>,
}

/// Somebody who wants to know what a host's task takes its history to be.
pub type OnRecord = Arc<dyn Fn(&HostName, &HostHistory) + Send + Sync>;

/// A host that another machine is to take the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// The operator's command.
    pub command: String,
    /// The host.
    pub host: HostName,
    /// Where it was reached so far.
    pub address: String,
    /// How it failed.
    pub class: Class,
    /// The run.
    pub run: RunId,
    /// Which machine it would be after the first one, from 1: with run and host the same for the same replacement, so that a
    /// command that is asked again after a crash can tell.
    pub number: u32,
}

/// The operator's command on its way: what it wrote to standard output, or in words why that is no answer.
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

/// Runs the command in a shell of this machine.
async fn run(replacement: Replacement) -> Result<Vec<u8>, String> {
    let Replacement {
        command,
        host,
        address,
        class,
        run,
        number,
    } = replacement;
    let mut child = Command::new("sh")
        .args(["-c", &command])
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
        Err(format!("`{command}` ended with {status}"))
    }
}
