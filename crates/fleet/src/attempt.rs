//! One attempt of one step: plain or durable, under its deadlines.
//!
//! ```text
//!               ┌ Over      by itself, or killed when a deadline passed
//!  attempt ─────┼ Refused   surely nothing ran
//!               ├ Vanished  it ran and is gone without a status
//!               ├ Lost      the connection broke; nothing ran, or durable work goes on
//!               └ Unknown   it is not known what ran
//! ```

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Class, EventKind, HostName, StepRef, Stream, Token};
use reveille_ledger::RunHandle;
use reveille_pace::{Deadline, Deadlines};
use reveille_transport::supervisor::{self, Beat, Durable, End, Key, Offsets, Payload, SuperviseError};
use reveille_transport::transfer::TransferError;
use reveille_transport::{Become, ExecError, Heard, Input, Session, Target, signal_name};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Failure;
use crate::copy;
use crate::engine::Engine;
use crate::output::Output;
use crate::work::Work;

/// Bytes of each stream that a host keeps of a durable command.
const SPOOL_CAP: u64 = 64 << 20;
/// Bytes of input sent at a time.
const CHUNK: usize = 32 * 1024;
/// How long a check such as `skip_if` may take.
const CHECK: Duration = Duration::from_mins(2);
/// Bytes of the answer to a small question that are kept.
const ANSWER_LIMIT: usize = 16 * 1024;
/// How long a killed command may take to show its end.
const AFTER_KILL: Duration = Duration::from_secs(15);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It is over, by itself or by our kill.
    Over(Over),
    /// Surely nothing ran.
    Refused { class: Class, message: String },
    /// The connection broke. Nothing ran, or durable work goes on and can be attached to.
    Lost { message: String },
    /// It ran and is gone, and nobody can tell how it ended.
    Vanished { message: String },
    /// It never started, and its token never will.
    Never,
    /// It may or may not have run, and there is nothing to ask.
    Unknown { message: String },
}

/// An attempt that is over.
#[derive(Debug, Default)]
pub(crate) struct Over {
    pub(crate) exit_status: Option<i32>,
    pub(crate) signal: Option<String>,
    /// Whether the host changed, as far as can be told: a command that ran is taken to have changed it.
    pub(crate) changed: bool,
    pub(crate) killed: Option<Kill>,
    /// Why a copy did not come about; it has no exit status that says so.
    pub(crate) failed: Option<String>,
}

/// A deadline that passed, and what was done about it.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) class: Class,
    pub(crate) deadline: Duration,
    /// Whether everything that belonged to the command is known to be gone.
    pub(crate) verified: bool,
    pub(crate) evidence: String,
}

impl Kill {
    /// What was done, as the beginning of a sentence.
    pub(crate) fn what(&self) -> &'static str {
        match self.class {
            Class::WatchdogIdle => "killed for silence",
            _ => "killed for taking too long",
        }
    }
}

/// The way to a host: its session, and what another one takes.
pub(crate) struct Way<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) target: &'a Target,
}

impl Way<'_> {
    /// Kills durable work; over a second connection if the host opens no second session on the first.
    async fn stop(&self, escalate: Option<&Become>, key: &Key) -> Result<bool, SuperviseError> {
        let full = match supervisor::stop(self.session, escalate, key).await {
            Err(SuperviseError::Exec(ExecError::Refused {
                class: Class::ChannelRefused,
                message,
            })) => message,
            other => return other,
        };
        let beside = match self.engine.connect_beside(self.target).await {
            Ok(session) => session,
            Err(error) => return Err(SuperviseError::Lost(format!("{full}; and beside it: {error}"))),
        };
        let stopped = supervisor::stop(&beside, escalate, key).await;
        beside.close().await;
        stopped
    }
}

/// Tells the ledger when work was found again.
pub(crate) struct Announce<'a> {
    pub(crate) handle: &'a RunHandle,
    pub(crate) host: &'a HostName,
    pub(crate) step: &'a StepRef,
    pub(crate) token: Token,
}

impl Announce<'_> {
    async fn attached(&self, finished: bool) -> Result<(), Failure> {
        let found = if finished { "finished" } else { "running" }.to_owned();
        let found = EventKind::Reattached {
            step: self.step.clone(),
            token: self.token,
            found,
        };
        self.handle.record_host(self.host, found).await?;
        Ok(())
    }
}

/// Which deadline passed, with which class.
struct Passed {
    class: Class,
    deadline: Duration,
}

/// Watches one attempt: when it started, when it last moved.
struct Watch {
    limits: Deadlines,
    started: Instant,
    moved: Instant,
    heard: Option<Stream>,
}

// === impl Watch ===

impl Watch {
    fn new(limits: Deadlines) -> Self {
        let now = Instant::now();
        Self {
            limits,
            started: now,
            moved: now,
            heard: None,
        }
    }

    fn heard(&mut self, stream: Stream) {
        self.moved = Instant::now();
        self.heard = Some(stream);
    }

    /// Waits for `next` unless a deadline passes first. If both are there, what came wins.
    async fn guard<T>(&self, next: impl Future<Output = T>) -> Result<T, Passed> {
        let Some((at, which)) = self.limits.next(self.started, self.moved) else {
            return Ok(next.await);
        };
        tokio::select! {
            biased;
            came = next => Ok(came),
            () = sleep_until(at) => Err(match which {
                Deadline::Idle => Passed { class: Class::WatchdogIdle, deadline: self.limits.idle.unwrap_or_default() },
                Deadline::Total => Passed { class: Class::WatchdogTotal, deadline: self.limits.total.unwrap_or_default() },
            }),
        }
    }

    fn evidence(&self) -> String {
        let silent = self.moved.elapsed().as_secs_f64();
        match self.heard {
            None => format!("no output in {silent:.1} s"),
            Some(stream) => format!("last output on {} {silent:.1} s ago", stream.as_str()),
        }
    }
}

/// Runs `command` plainly. A broken connection leaves nothing to ask afterwards.
pub(crate) async fn plain(
    session: &Session,
    escalate: Option<&Become>,
    command: &str,
    input: Option<&Bytes>,
    limits: Deadlines,
    output: &mut Output<'_>,
) -> Result<Ended, Failure> {
    // Boxed, as every future that is done with before the long wait: what is inlined is held as long as the session.
    let mut exec = match Box::pin(session.run(escalate, command)).await {
        Ok(exec) => exec,
        Err(ExecError::Refused { class, message }) => return Ok(Ended::Refused { class, message }),
        Err(ExecError::NotSent(message)) => return Ok(Ended::Lost { message }),
        Err(ExecError::Unanswered(message)) => return Ok(Ended::Unknown { message }),
    };
    let mut watch = Watch::new(limits);
    let (mut status, mut signal) = (None, None);
    // A command that does not read its input must not hold up its own output: both are waited for together.
    let mut sending = Box::pin(send_all(exec.input(), input.cloned()));
    let mut sent = false;
    loop {
        let next = async {
            loop {
                tokio::select! {
                    heard = exec.next() => return heard,
                    () = &mut sending, if !sent => sent = true,
                }
            }
        };
        match watch.guard(next).await {
            Ok(Heard::Stdout(bytes)) => {
                watch.heard(Stream::Stdout);
                output.take(Stream::Stdout, &bytes)?;
            }
            Ok(Heard::Stderr(bytes)) => {
                watch.heard(Stream::Stderr);
                output.take(Stream::Stderr, &bytes)?;
            }
            Ok(Heard::ExitStatus(number)) => status = i32::try_from(number).ok(),
            Ok(Heard::ExitSignal(name)) => signal = Some(name),
            Ok(Heard::Eof) => {}
            Ok(Heard::Lost) if status.is_none() && signal.is_none() => {
                return Ok(Ended::Unknown {
                    message: session.why_closed(),
                });
            }
            Ok(Heard::Closed | Heard::Lost) => {
                return Ok(Ended::Over(Over {
                    exit_status: status,
                    signal,
                    changed: true,
                    ..Over::default()
                }));
            }
            Err(Passed { class, deadline }) => {
                let evidence = format!(
                    "{}; its connection was closed, which may not end it",
                    watch.evidence()
                );
                exec.signal_kill().await;
                let killed = Some(Kill {
                    class,
                    deadline,
                    verified: false,
                    evidence,
                });
                return Ok(Ended::Over(Over {
                    changed: true,
                    killed,
                    ..Over::default()
                }));
            }
        }
    }
}

async fn send_all(target: Input, input: Option<Bytes>) {
    for start in (0..input.as_ref().map_or(0, Bytes::len)).step_by(CHUNK) {
        let Some(input) = &input else { break };
        let chunk = input.slice(start..input.len().min(start + CHUNK));
        // A command may close its input before it has read all of it.
        if target.send(chunk).await.is_err() {
            return;
        }
    }
    let _ = target.end().await;
}

/// Starts durable work, or attaches to it, and follows it.
#[expect(clippy::too_many_arguments, reason = "all of what a durable attempt is")]
pub(crate) async fn durable(
    way: &Way<'_>,
    escalate: Option<&Become>,
    key: &Key,
    mut work: Durable,
    payload: &Payload,
    limits: Deadlines,
    output: &mut Output<'_>,
    announce: &Announce<'_>,
) -> Result<(Ended, Option<Box<Durable>>), Failure> {
    let [stdout, stderr] = output.offsets();
    if let Err(error) = work.go(payload, Offsets { stdout, stderr }, SPOOL_CAP).await {
        return refused(error).map(alone);
    }
    let mut watch = Watch::new(limits);
    let mut killed: Option<(Passed, bool, String)> = None;
    loop {
        let beat = match watch.guard(work.next()).await {
            Ok(Ok(beat)) => beat,
            Ok(Err(error)) => return refused(error).map(alone),
            Err(_) if killed.is_some() => {
                let message = "the host did not show the end of what was killed".to_owned();
                return Ok(alone(Ended::Lost { message }));
            }
            Err(passed) => {
                let evidence = watch.evidence();
                let verified = match Box::pin(way.stop(escalate, key)).await {
                    Ok(verified) => verified,
                    Err(SuperviseError::Fenced(epoch)) => return Err(Failure::Fenced(epoch)),
                    // A connection that can't carry the kill can't carry the output either: come back with a new one.
                    Err(error) => {
                        return Ok(alone(Ended::Lost {
                            message: format!("{evidence}; the kill failed: {error}"),
                        }));
                    }
                };
                killed = Some((passed, verified, evidence));
                // The end comes on the same channel as always.
                watch = Watch::new(Deadlines {
                    idle: None,
                    total: Some(AFTER_KILL),
                });
                continue;
            }
        };
        match beat {
            Beat::Started => {}
            Beat::Attached { finished } => announce.attached(finished).await?,
            Beat::Stdout(bytes) => {
                watch.heard(Stream::Stdout);
                output.take(Stream::Stdout, &bytes)?;
            }
            Beat::Stderr(bytes) => {
                watch.heard(Stream::Stderr);
                output.take(Stream::Stderr, &bytes)?;
            }
            Beat::Lost => {
                return Ok(alone(Ended::Lost {
                    message: way.session.why_closed(),
                }));
            }
            Beat::End(End::Never) => return Ok(alone(Ended::Never)),
            Beat::End(End::Gone) => {
                let message =
                    "the command and its supervisor vanished from the host without an exit status".to_owned();
                return Ok(alone(Ended::Vanished { message }));
            }
            Beat::End(End::Rebooted) => {
                let message = "the host was booted again while the command ran".to_owned();
                return Ok(alone(Ended::Unknown { message }));
            }
            Beat::End(End::Exit { status, slain, .. }) => {
                let killed = killed
                    .filter(|_| slain.is_some())
                    .map(|(passed, verified, evidence)| {
                        let Passed { class, deadline } = passed;
                        Kill {
                            class,
                            deadline,
                            verified,
                            evidence,
                        }
                    });
                let signal = inferred_signal(status);
                let exit_status = signal.is_none().then_some(status);
                let over = Over {
                    exit_status,
                    signal,
                    changed: true,
                    killed,
                    failed: None,
                };
                return Ok((Ended::Over(over), Some(Box::new(work))));
            }
        }
    }
}

/// An end that leaves nothing on the host that waits for our word.
fn alone(ended: Ended) -> (Ended, Option<Box<Durable>>) {
    (ended, None)
}

/// Runs what is not durable: plain commands, copies, waiting for a port from here.
pub(crate) async fn run(
    way: &Way<'_>,
    escalate: Option<&Become>,
    work: &Work,
    limits: Deadlines,
    output: &mut Output<'_>,
) -> Result<Ended, Failure> {
    if let Work::Command { plain: command, .. } = work {
        return plain(
            way.session,
            escalate,
            command,
            way.engine.settings.input.as_ref(),
            limits,
            output,
        )
        .await;
    }
    let target = way.target;
    let copying = async {
        match work {
            Work::Upload { source, destination } => {
                sorted(copy::upload(way, escalate, source, destination).await)
            }
            Work::Download { source, target } => sorted(copy::download(way, escalate, source, target).await),
            Work::Port { port, within, every } => Ok(port_opens(target, *port, *within, *every)
                .await
                .map(|changed| (changed, String::new()))),
            Work::Command { .. } => Ok(Err(String::new())),
        }
    };
    let watch = Watch::new(Deadlines { idle: None, ..limits });
    let copied = match watch.guard(Box::pin(copying)).await {
        Ok(copied) => copied,
        Err(Passed { class, deadline }) => {
            let killed = Some(Kill {
                class,
                deadline,
                verified: true,
                evidence: "the copy was broken off".to_owned(),
            });
            return Ok(Ended::Over(Over {
                killed,
                ..Over::default()
            }));
        }
    };
    Ok(match copied {
        Ok(Ok((changed, words))) => {
            output.take(Stream::Stdout, &Bytes::from(words))?;
            Ended::Over(Over {
                exit_status: Some(0),
                changed,
                ..Over::default()
            })
        }
        Ok(Err(message)) => Ended::Over(Over {
            failed: Some(message),
            ..Over::default()
        }),
        Err(ended) => ended,
    })
}

async fn port_opens(target: &Target, port: u16, within: Duration, every: Duration) -> Result<bool, String> {
    let opening = async {
        loop {
            let connecting = TcpStream::connect((target.address.as_str(), port));
            if timeout(every.max(Duration::from_secs(1)), connecting)
                .await
                .is_ok_and(|result| result.is_ok())
            {
                return;
            }
            sleep(every).await;
        }
    };
    match timeout(within, opening).await {
        Ok(()) => Ok(false),
        Err(_) => Err(format!(
            "port {port} of {} is not open after {within:?}",
            target.address
        )),
    }
}

/// What a copy came to: whether the host changed, and what is to be said; or in words why not, if the attempt is over,
/// otherwise how it ended.
type Copied = Result<Result<(bool, String), String>, Ended>;

fn sorted(result: Result<(bool, String), TransferError>) -> Copied {
    match result {
        Ok(copied) => Ok(Ok(copied)),
        Err(TransferError::Remote(message)) => Ok(Err(message)),
        Err(TransferError::Local(error)) => Ok(Err(error.to_string())),
        Err(TransferError::Lost(message)) => Err(Ended::Lost { message }),
        Err(
            TransferError::Refused { class, message }
            | TransferError::Exec(ExecError::Refused { class, message }),
        ) => Err(Ended::Refused { class, message }),
        Err(TransferError::Exec(error)) => Err(Ended::Lost {
            message: error.to_string(),
        }),
    }
}

/// The exit status of a small command, and the beginning of what it writes.
pub(crate) async fn ask(
    session: &Session,
    escalate: Option<&Become>,
    command: &str,
) -> Result<(Option<u32>, Vec<u8>), (Class, String)> {
    let lost = |message: String| (Class::ConnectionLost, message);
    let mut exec = Box::pin(session.run(escalate, &format!("{command}\n")))
        .await
        .map_err(|error| match error {
            ExecError::Refused { class, message } => (class, message),
            other => lost(other.to_string()),
        })?;
    // Whether the end of the input arrives matters to nobody if the command is gone.
    let _ = exec.input().end().await;
    let mut status = None;
    let mut answer = Vec::new();
    let ending = async {
        loop {
            match exec.next().await {
                Heard::Stdout(bytes) => {
                    let room = ANSWER_LIMIT.saturating_sub(answer.len());
                    answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Heard::ExitStatus(number) => status = Some(number),
                Heard::Closed => return Ok(()),
                Heard::Lost => return Err(lost(session.why_closed())),
                Heard::Stderr(_) | Heard::ExitSignal(_) | Heard::Eof => {}
            }
        }
    };
    timeout(CHECK, ending)
        .await
        .map_err(|_| lost(format!("`{command}` did not answer within {CHECK:?}")))??;
    Ok((status, answer))
}

/// What a failed start of durable work comes to.
pub(crate) fn refused(error: SuperviseError) -> Result<Ended, Failure> {
    Ok(match error {
        SuperviseError::Exec(ExecError::Refused { class, message })
        | SuperviseError::Refused { class, message } => Ended::Refused { class, message },
        SuperviseError::Exec(error) => Ended::Lost {
            message: error.to_string(),
        },
        SuperviseError::Lost(message) => Ended::Lost { message },
        SuperviseError::Fenced(epoch) => return Err(Failure::Fenced(epoch)),
    })
}

/// A POSIX shell tells a signal as a status over 128.
fn inferred_signal(status: i32) -> Option<String> {
    signal_name(status - 128).map(str::to_owned)
}
