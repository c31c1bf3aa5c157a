//! Worker processes: shards in other processes, which exchange lines of JSON with the conductor over pipes.
//!
//! The first line to a worker says what to run; commands follow. It answers with events. A worker stops when its input
//! ends, so that it never outlives its conductor. The same lines could go through a broker to workers on other machines.

use std::io::{BufRead as _, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::sync::mpsc;

use super::driver::Threads;
use super::message::{Command, Event, Tell};
use super::net::tls_for;
use super::options::{Options, Source};
use super::shard::Part;
use crate::scenario::{Given, Scenario};

/// The version of the worker protocol; a worker refuses other versions.
const PROTOCOL: u32 = 2;

/// What a worker runs.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    protocol: u32,
    source: Source,
    first: usize,
    count: usize,
    shards: usize,
    seed: u64,
}

/// An event with the number of its shard.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    shard: usize,
    event: Event,
}

/// The workers of a test.
pub(crate) struct Processes {
    lines: Vec<mpsc::UnboundedSender<String>>,
    children: Vec<Child>,
    /// The number of shards of each.
    threads: usize,
}

// === impl Processes ===

impl Processes {
    pub(crate) fn start(options: &Options, tell: &Tell) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("can't find this program: {error}"))?;
        let threads = options.threads.max(1);
        let mut this = Self {
            lines: Vec::new(),
            children: Vec::new(),
            threads,
        };
        for worker in 0..options.workers {
            let mut child = Process::new(&program)
                .arg("worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                // Ctrl-C reaches only the conductor, which tells workers to stop.
                .process_group(0)
                .spawn()
                .map_err(|error| format!("can't start worker {}: {error}", worker + 1))?;
            let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err("a worker has no pipes".into());
            };
            let first = worker * threads;
            let start = Start {
                protocol: PROTOCOL,
                source: options.source.clone(),
                first,
                count: threads,
                shards: threads * options.workers,
                seed: options.seed,
            };
            let text = serde_json::to_string(&start).map_err(|error| error.to_string())?;
            let (sender, mut receiver) = mpsc::unbounded_channel::<String>();
            let _ = sender.send(text);
            tokio::task::spawn_local(async move {
                while let Some(mut line) = receiver.recv().await {
                    line.push('\n');
                    if stdin.write_all(line.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
            let tell = Arc::clone(tell);
            tokio::task::spawn_local(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    match serde_json::from_str::<Line>(&line) {
                        Ok(line) if (first..first + threads).contains(&line.shard) => {
                            tell(line.shard, line.event);
                        }
                        Ok(_) | Err(_) => break,
                    }
                }
                // The conductor ignores this for shards that have ended.
                let text = format!("worker {} ended unexpectedly; its users are gone", worker + 1);
                for shard in first..first + threads {
                    tell(shard, Event::Broken(text.clone()));
                }
            });
            this.lines.push(sender);
            this.children.push(child);
        }
        Ok(this)
    }

    pub(crate) fn send(&self, command: &Command) {
        let Ok(text) = serde_json::to_string(command) else {
            return;
        };
        for lines in &self.lines {
            let _ = lines.send(text.clone());
        }
    }

    /// Kills the worker of this shard; returns its number.
    pub(crate) fn kill(&mut self, shard: usize) -> usize {
        let worker = shard / self.threads;
        if let Some(child) = self.children.get_mut(worker) {
            let _ = child.start_kill();
        }
        worker + 1
    }

    /// Waits until all have ended, and kills those that have not ended `within` some time.
    pub(crate) async fn wait(mut self, within: Duration) {
        self.lines.clear();
        let until = tokio::time::Instant::now() + within;
        for child in &mut self.children {
            if tokio::time::timeout_at(until, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

/// Runs a worker: reads commands from standard input, writes events to standard output.
pub fn serve() -> Result<(), String> {
    let mut first = String::new();
    std::io::stdin()
        .read_line(&mut first)
        .map_err(|error| format!("can't read from the conductor: {error}"))?;
    let start: Start = serde_json::from_str(&first)
        .map_err(|error| format!("standard input is not a conductor: {error}"))?;
    if start.protocol != PROTOCOL {
        return Err(format!(
            "the conductor uses version {} of the worker protocol, this program version {PROTOCOL}",
            start.protocol
        ));
    }
    let given = Given {
        env: crate::environment(),
        ..start.source.given
    };
    let scenario = Scenario::parse(&start.source.text, &start.source.file, &given)
        .map_err(|mistakes| mistakes.first().map_or_else(String::new, ToString::to_string))?;
    let first = Part {
        tls: tls_for(&scenario)?,
        scenario: Arc::new(scenario),
        shard: start.first,
        shards: start.shards,
        seed: start.seed,
    };
    let out = Mutex::new(std::io::stdout());
    let tell: Tell = Arc::new(move |shard, event| {
        if let Ok(mut text) = serde_json::to_string(&Line { shard, event }) {
            text.push('\n');
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            // If the conductor is gone, standard input ends as well, which stops this worker.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    });
    let threads = Threads::start(&first, start.count, &tell)?;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(command) = serde_json::from_str::<Command>(&line) else {
            break;
        };
        threads.send(&command);
    }
    threads.send(&Command::Cut);
    threads.join(|_| false);
    Ok(())
}
