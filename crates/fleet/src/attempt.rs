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
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use reveille_account::{Class, EventKind, HostName, StepRef, Stream, Token};
use reveille_ledger::Ticket;
use reveille_pace::Deadline;
use reveille_pace::watchdog::{Decision, Limit, SetBy};
use reveille_transport::supervisor::{self, Beat, Begun, Durable, End, Key, SuperviseError};
use reveille_transport::transfer::TransferError;
use reveille_transport::{Become, ConnectError, ExecError, Heard, Input, Session, Target, signal_name};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::Failure;
use crate::copy;
use crate::engine::Engine;
use crate::look::Seen;
use crate::output::Output;
use crate::watchdog::{Due, Lasted, Limits, Overseen};
use crate::work::{Waits, Work};

/// Bytes of each stream that a host keeps of a durable command.
pub(crate) const SPOOL_CAP: u64 = 64 << 20;
/// Bytes of input sent at a time.
const CHUNK: usize = 32 * 1024;
/// How long a check such as `skip_if` may take.
const CHECK: Duration = Duration::from_mins(2);
/// Bytes of the answer to a small question that are kept.
const ANSWER_LIMIT: usize = 16 * 1024;
/// How long a killed command may take to show its end.
const AFTER_KILL: Duration = Duration::from_secs(15);
/// How long a kill may take on the connection of what is killed: TERM, two seconds, KILL, a check, and a slow host.
const KILL_HERE: Duration = Duration::from_secs(10);
/// How long it is waited for before one over a second connection is tried as well: a part of the deadline that passed, at
/// least and at most.
const KILL_ALONE: (u32, Duration, Duration) = (10, Duration::from_millis(500), Duration::from_secs(3));
/// How long a kill may take over a connection of its own, which is to be made first.
const KILL_BESIDE: Duration = Duration::from_secs(20);
/// How long a kill over a connection that has just left a look without an answer may take, beyond the deadline, as a part
/// of the deadline, and at least.
const KILL_UNANSWERED: (u32, Duration) = (10, Duration::from_secs(1));
/// An operator's deadline for the whole that is this late goes before whatever a command still says.
const TOO_LATE: Duration = Duration::from_secs(1);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It is over, by itself or by our kill.
    Over(Over),
    /// Surely nothing ran.
    Refused { class: Class, message: String },
    /// The connection broke before anything was sent.
    NotSent { message: String },
    /// The connection broke. Durable work goes on and can be attached to.
    Lost { message: String },
    /// It was to be ended and can't be: it may run for ever.
    Survives { class: Class, message: String },
    /// It ran and is gone, and nobody can tell how it ended.
    Vanished { message: String },
    /// It never started, and its token never will.
    Never,
    /// Nothing of it is on the host.
    Absent,
    /// Another machine answered.
    Elsewhere,
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
    /// How long a command took that ended by itself.
    pub(crate) lasted: Option<Lasted>,
    /// Some of its output was lost.
    pub(crate) missed: bool,
    /// How long it ran, where that is not since its start here.
    pub(crate) ran: Option<Duration>,
}

/// A deadline that passed, and what was done about it.
#[derive(Debug)]
pub(crate) struct Kill {
    pub(crate) class: Class,
    pub(crate) deadline: Duration,
    /// From the last progress that was seen until then; a copy's is not watched.
    pub(crate) lag: Option<Duration>,
    /// Whether everything that belonged to the command is known to be gone.
    pub(crate) verified: bool,
    pub(crate) evidence: String,
}

impl Kill {
    /// What was done, as the beginning of a sentence.
    pub(crate) fn what(&self) -> &'static str {
        match self.class {
            Class::WatchdogIdle => "killed for silence",
            Class::AsksAQuestion => "ended because it asks a question",
            _ => "killed for taking too long",
        }
    }
}

/// The way to a host: its session, and what another one takes.
pub(crate) struct Way<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) target: &'a Target,
    /// Whom and what it is for.
    pub(crate) host: &'a HostName,
    pub(crate) at: &'a StepRef,
}

impl Way<'_> {
    /// Tells the ledger that work was found again.
    async fn attached(&self, token: Token, finished: bool) -> Result<(), Failure> {
        let found = if finished { "finished" } else { "running" }.to_owned();
        let found = EventKind::Reattached {
            step: self.at.clone(),
            token,
            found,
        };
        self.engine.handle.record_host(self.host, found).await?;
        Ok(())
    }

    /// Kills durable work; over a second connection if the host opens no second session on the first, or does not answer
    /// on it soon after the `deadline` that passed. `deaf` is that it has just been seen not to.
    async fn stop(
        &self,
        escalate: Option<&Become>,
        key: &Key,
        begun: Option<&Begun>,
        deaf: bool,
        deadline: Duration,
    ) -> Result<bool, SuperviseError> {
        let mut here = Box::pin(timeout(
            KILL_HERE,
            supervisor::stop(self.session, escalate, key, begun),
        ));
        let (part, least, most) = KILL_ALONE;
        let alone = (deadline / part).clamp(least, most);
        let mut why = "no answer on its own connection".to_owned();
        let mut hopeless = deaf;
        if !deaf {
            match timeout(alone, &mut here).await {
                Ok(Ok(Err(SuperviseError::Exec(ExecError::Refused {
                    class: Class::ChannelRefused,
                    message,
                })))) => (why, hopeless) = (message, true),
                Ok(Ok(other)) => return other,
                Ok(Err(_)) => hopeless = true,
                Err(_) => {}
            }
        }
        let beside = async {
            let lost = |error: ConnectError| {
                SuperviseError::Lost(format!("{why}; and beside it: {}", error.message))
            };
            let beside = self.engine.connect_beside(self.target).await.map_err(lost)?;
            let stopped = supervisor::stop(&beside, escalate, key, begun).await;
            beside.close().await;
            stopped
        };
        let mut beside = Box::pin(async {
            timeout(KILL_BESIDE, beside).await.unwrap_or_else(|_| {
                let beside = format!("{why}; and beside it no answer within {KILL_BESIDE:?}");
                Err(SuperviseError::Lost(beside))
            })
        });
        if hopeless {
            return beside.await;
        }
        // Whichever gets through: both do the same, and the second finds nothing left to do.
        tokio::select! {
            biased;
            Ok(Ok(verified)) = &mut here => Ok(verified),
            stopped = &mut beside => stopped,
        }
    }
}

/// One attempt under watch, as the loop that follows it sees it.
struct Watched<'a> {
    way: &'a Way<'a>,
    escalate: Option<&'a Become>,
    key: &'a Key,
    overseen: Overseen,
    heard: Option<Stream>,
    /// The host has just left a look without an answer.
    deaf: bool,
}

/// A kill that is under way, or that was made and whose effect is waited for.
struct Killing<'a> {
    kill: Kill,
    /// Nothing once it has been told what it came to.
    stopping: Option<Stopping<'a>>,
    /// When the end of what was killed is no longer waited for.
    until: Option<Instant>,
}

/// A kill that is under way, to tell whether all of it is known to be gone.
type Stopping<'a> = Pin<Box<dyn Future<Output = Result<bool, SuperviseError>> + Send + 'a>>;

/// A look that is under way.
type Looking<'a> = Pin<Box<dyn Future<Output = Result<Seen, Failure>> + Send + 'a>>;

/// What the watchdog wants of the attempt.
enum Verdict {
    /// Nothing.
    GoOn,
    /// Its end.
    Kill(Kill),
    /// To be told as gone without a status.
    Gone(String),
    /// A new connection.
    Reconnect(String),
}

// === impl Watched ===

impl<'a> Watched<'a> {
    fn new(way: &'a Way<'a>, escalate: Option<&'a Become>, key: &'a Key, limits: &Limits) -> Self {
        Self {
            way,
            escalate,
            key,
            overseen: way.engine.overseer.start(limits),
            heard: None,
            deaf: false,
        }
    }

    fn heard(&mut self, stream: Stream) {
        self.overseen.heard();
        self.heard = Some(stream);
    }

    /// Waits until something is due. What comes meanwhile wins, so that nothing is judged that has been said already.
    async fn due(next: Option<(Instant, Due)>) -> Due {
        match next {
            Some((at, due)) => {
                sleep_until(at).await;
                due
            }
            None => std::future::pending().await,
        }
    }

    /// The operator's deadline for the whole, if it passed so long ago that nothing goes before it any more: what never
    /// stops talking must not keep its deadline from being seen.
    fn too_late(&self) -> Option<Duration> {
        match self.overseen.next(true) {
            Some((at, Due::Hard(deadline))) if at + TOO_LATE <= Instant::now() => Some(deadline),
            _ => None,
        }
    }

    /// Looks at it, for as long as the deadline that it is for leaves time. The caller goes on listening meanwhile.
    fn look(&self, said: &str) -> impl Future<Output = Result<Seen, Failure>> + use<'a> {
        let (way, escalate, key) = (self.way, self.escalate, self.key);
        let (before, glance) = (self.overseen.counters, self.overseen.glance());
        let (_, _, time) = self.overseen.looked_for();
        let said = said.to_owned();
        async move {
            let looking = Box::pin(way.look(escalate, key, before, glance, &said));
            timeout(time, looking)
                .await
                .unwrap_or_else(|_| Ok(Seen::unanswered(time)))
        }
    }

    /// What follows from a look.
    async fn judge(&mut self, seen: Seen) -> Result<Verdict, Failure> {
        self.deaf = seen.deaf;
        let (deadline, limit, _) = self.overseen.looked_for();
        if seen.counters.is_some() {
            self.overseen.counters = seen.counters;
        }
        let decision = self.overseen.look(seen.evidence);
        let words = format!("{}; {}", self.evidence(), seen.words);
        Box::pin(self.way.note_look(deadline, &words, &decision)).await?;
        Ok(match decision {
            Decision::Extend { .. } | Decision::WarnAndWait { .. } => Verdict::GoOn,
            Decision::Reconnect => Verdict::Reconnect(words),
            Decision::EarlyExit => Verdict::Gone(words),
            Decision::Ask { prompt } => Verdict::Kill(Kill {
                class: Class::AsksAQuestion,
                deadline: self.overseen.elapsed(),
                lag: Some(self.overseen.silence()),
                verified: false,
                evidence: format!("it waits for an answer: {prompt}"),
            }),
            Decision::Kill { why } => Verdict::Kill(self.kill(deadline, limit, format!("{words}; {why}"))),
        })
    }

    /// A deadline of the operator's is named as it was set; one of ours, which may have been extended, as it was kept.
    fn kill(&self, deadline: Deadline, limit: Limit, evidence: String) -> Kill {
        let (class, kept) = match deadline {
            Deadline::Idle => (Class::WatchdogIdle, self.overseen.silence()),
            Deadline::Total => (Class::WatchdogTotal, self.overseen.elapsed()),
        };
        Kill {
            class,
            deadline: match limit.by {
                SetBy::Operator => limit.length,
                SetBy::Auto => kept,
            },
            lag: Some(self.overseen.silence()),
            verified: false,
            evidence,
        }
    }

    /// The operator's deadline for the whole has passed.
    fn late(&self, deadline: Duration) -> Kill {
        Kill {
            class: Class::WatchdogTotal,
            deadline,
            lag: Some(self.overseen.silence()),
            verified: false,
            evidence: self.evidence(),
        }
    }

    /// A wait did not give up when it was to.
    fn gave_up(&self) -> Kill {
        Kill {
            class: Class::CommandFailed,
            deadline: self.overseen.elapsed(),
            lag: None,
            verified: false,
            evidence: self.evidence(),
        }
    }

    fn evidence(&self) -> String {
        let silent = self.overseen.silence().as_secs_f64();
        match self.heard {
            None => format!("no output in {silent:.1} s"),
            Some(stream) => format!("last output on {} {silent:.1} s ago", stream.as_str()),
        }
    }
}

// === impl Killing ===

impl Killing<'_> {
    /// The end of what was killed has come. What it had started may take the kill a little longer.
    async fn finish(self) -> Kill {
        let Self {
            mut kill, stopping, ..
        } = self;
        if let Some(stopping) = stopping {
            kill.verified = matches!(timeout(AFTER_KILL, stopping).await, Ok(Ok(true)));
        }
        kill
    }
}

/// Runs `command` plainly. A broken connection leaves nothing to ask afterwards. A wait that is to give up by itself is
/// ended here if it does not.
pub(crate) async fn plain(
    way: &Way<'_>,
    escalate: Option<&Become>,
    command: &str,
    pty: bool,
    waits: Option<&Waits>,
    limits: &Limits,
    output: &mut Output<'_>,
) -> Result<Ended, Failure> {
    let session = way.session;
    let command = format!("{command}\n");
    let started = if pty {
        Box::pin(session.run_on_terminal(escalate, &command)).await
    } else {
        Box::pin(session.run(escalate, &command)).await
    };
    let mut exec = match started {
        Ok(exec) => exec,
        Err(ExecError::Refused { class, message }) => return Ok(Ended::Refused { class, message }),
        Err(ExecError::NotSent(message)) => return Ok(Ended::NotSent { message }),
        Err(ExecError::Unanswered(message)) => return Ok(Ended::Unknown { message }),
    };
    // Of what has no token it is looked at what else runs on the connection.
    let key = Key {
        run: way.engine.handle.run(),
        epoch: way.engine.handle.epoch(),
        token: Token::new([0; 16]),
        place: None,
    };
    let mut watched = Watched::new(way, escalate, &key, limits);
    let (mut status, mut signal) = (None, None);
    let mut whole = false;
    let input = way.engine.settings.input.clone();
    // A command that does not read its input must not hold up its own output: both are waited for together. A terminal
    // stays open, with nobody at it.
    let mut sending = (!pty).then(|| Box::pin(send_all(exec.input(), input)));
    let mut looking: Option<Looking<'_>> = None;
    let mut killing: Option<Killing<'_>> = None;
    let mut closed = false;
    let gives_up = waits.and_then(|waits| Instant::now().checked_add(waits.longest()));
    loop {
        let due = match &killing {
            Some(_) => None,
            None => watched.overseen.next(looking.is_some()),
        };
        let late = watched.too_late().filter(|_| killing.is_none());
        let verdict = if let Some(deadline) = late {
            Verdict::Kill(watched.late(deadline))
        } else {
            tokio::select! {
                biased;
                heard = exec.next(), if !closed => match heard {
                    Heard::Stdout(bytes) => {
                        watched.heard(Stream::Stdout);
                        output.take(Stream::Stdout, &bytes)?;
                        continue;
                    }
                    Heard::Stderr(bytes) => {
                        watched.heard(Stream::Stderr);
                        output.take(Stream::Stderr, &bytes)?;
                        continue;
                    }
                    Heard::ExitStatus(number) => {
                        status = i32::try_from(number).ok();
                        continue;
                    }
                    Heard::ExitSignal(name) => {
                        signal = Some(name);
                        continue;
                    }
                    Heard::Eof => {
                        whole = true;
                        continue;
                    }
                    // What it left behind is still being ended.
                    Heard::Closed | Heard::Lost if killing.is_some() => {
                        closed = true;
                        continue;
                    }
                    Heard::Lost if status.is_none() && signal.is_none() => {
                        return Ok(Ended::Unknown {
                            message: session.why_closed(),
                        });
                    }
                    last @ (Heard::Closed | Heard::Lost) => {
                        return Ok(Ended::Over(Over {
                            exit_status: status,
                            signal,
                            changed: true,
                            lasted: watched.overseen.end(),
                            // What comes behind the exit status may not have come.
                            missed: !whole && matches!(last, Heard::Lost),
                            ..Over::default()
                        }));
                    }
                },
                stopped = stopped(&mut killing) => {
                    let Some(Killing { mut kill, .. }) = killing else { continue };
                    kill.verified = stopped.unwrap_or(false);
                    exec.signal_kill().await;
                    return Ok(Ended::Over(ended_by_us(kill, waits)));
                }
                () = sent(&mut sending) => {
                    sending = None;
                    continue;
                }
                seen = looked(&mut looking) => {
                    looking = None;
                    Box::pin(watched.judge(seen?)).await?
                }
                () = passed(gives_up), if killing.is_none() => Verdict::Kill(watched.gave_up()),
                due = Watched::due(due) => match due {
                    Due::Look => {
                        looking = Some(Box::pin(watched.look(&output.last_line())));
                        continue;
                    }
                    Due::Hard(deadline) => Verdict::Kill(watched.late(deadline)),
                },
            }
        };
        match verdict {
            Verdict::GoOn => {}
            Verdict::Gone(message) => return Ok(Ended::Vanished { message }),
            Verdict::Reconnect(message) => return Ok(Ended::Unknown { message }),
            Verdict::Kill(kill) => {
                looking = None;
                let (part, least) = KILL_UNANSWERED;
                let time = if watched.deaf {
                    (kill.deadline / part).max(least).min(KILL_HERE)
                } else {
                    KILL_HERE
                };
                let key = &key;
                let stopping = Box::pin(async move {
                    let late = SuperviseError::Lost(format!("no answer within {time:?}"));
                    let halting = Box::pin(supervisor::halt(session, escalate, key));
                    timeout(time, halting).await.unwrap_or(Err(late))
                });
                killing = Some(Killing {
                    kill,
                    stopping: Some(stopping),
                    until: None,
                });
            }
        }
    }
}

/// What a plain command came to that we ended.
fn ended_by_us(mut kill: Kill, waits: Option<&Waits>) -> Over {
    if let (Class::CommandFailed, Some(waits)) = (kill.class, waits) {
        return Over {
            failed: Some(waits.words.clone()),
            ..Over::default()
        };
    }
    if !kill.verified {
        kill.evidence
            .push_str("; its channel was closed, which may not end it");
    }
    Over {
        changed: true,
        killed: Some(kill),
        ..Over::default()
    }
}

/// Waits for a moment, for ever if there is none.
async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Waits until all input is sent, for ever if there is none to send.
async fn sent(sending: &mut Option<Pin<Box<impl Future<Output = ()>>>>) {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

/// Waits for what a kill that is under way comes to.
async fn stopped(killing: &mut Option<Killing<'_>>) -> Result<bool, SuperviseError> {
    match killing {
        Some(Killing {
            stopping: Some(stopping),
            ..
        }) => stopping.await,
        _ => std::future::pending().await,
    }
}

/// Waits for a look that is under way.
async fn looked(looking: &mut Option<Looking<'_>>) -> Result<Seen, Failure> {
    match looking {
        Some(seen) => seen.await,
        None => std::future::pending().await,
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

/// What is known of the supervisor of durable work.
pub(crate) struct Beginning {
    /// The supervisor, once it has begun.
    pub(crate) begun: Option<Begun>,
    /// The commit of that, if it was not on record before.
    pub(crate) recording: Option<Ticket>,
}

/// Follows durable work that was started or attached to.
#[expect(
    clippy::too_many_arguments,
    reason = "all of what an attempt is; a struct would be named after this function"
)]
pub(crate) async fn durable(
    way: &Way<'_>,
    escalate: Option<&Become>,
    key: &Key,
    mut work: Box<Durable>,
    number: u32,
    beginning: &mut Beginning,
    limits: &Limits,
    output: &mut Output<'_>,
) -> Result<(Ended, Option<Box<Durable>>), Failure> {
    let mut attached: Option<(Instant, Duration)> = None;
    let mut watched = Watched::new(way, escalate, key, limits);
    let mut killing: Option<Killing<'_>> = None;
    let mut looking: Option<Looking<'_>> = None;
    loop {
        let due = match &killing {
            Some(killing) => killing.until.map(|until| (until, Due::Hard(AFTER_KILL))),
            None => watched.overseen.next(looking.is_some()),
        };
        let late = watched.too_late().filter(|_| killing.is_none());
        let verdict = if let Some(deadline) = late {
            Verdict::Kill(watched.late(deadline))
        } else {
            tokio::select! {
                biased;
                beat = work.next() => match beat {
                    Err(error) => return refused(error).map(alone),
                    Ok(Beat::Started(supervisor)) => {
                        let recording = way.engine.note_begun(way.host, way.at, number, &supervisor);
                        beginning.recording = Some(recording);
                        beginning.begun = Some(supervisor);
                        continue;
                    }
                    Ok(Beat::Attached { finished, age }) => {
                        watched.overseen.attached(age);
                        attached = age.filter(|_| !finished).map(|age| (Instant::now(), age));
                        Box::pin(way.attached(key.token, finished)).await?;
                        continue;
                    }
                    Ok(Beat::Stdout(bytes)) => {
                        watched.heard(Stream::Stdout);
                        output.take(Stream::Stdout, &bytes)?;
                        continue;
                    }
                    Ok(Beat::Stderr(bytes)) => {
                        watched.heard(Stream::Stderr);
                        output.take(Stream::Stderr, &bytes)?;
                        continue;
                    }
                    Ok(Beat::Lost) => {
                        return Ok(alone(Ended::Lost {
                            message: way.session.why_closed(),
                        }));
                    }
                    Ok(Beat::End(End::Exit { status, slain, over: missed })) => {
                        let killed = match killing {
                            Some(killing) if slain.is_some() => Some(Box::pin(killing.finish()).await),
                            _ => None,
                        };
                        let signal = inferred_signal(status);
                        let over = Over {
                            exit_status: signal.is_none().then_some(status),
                            signal,
                            changed: true,
                            lasted: if killed.is_none() { watched.overseen.end() } else { None },
                            killed,
                            failed: None,
                            missed,
                            ran: attached.map(|(at, age)| at.elapsed() + age),
                        };
                        return Ok((Ended::Over(over), Some(work)));
                    }
                    Ok(Beat::End(end)) => return Ok(alone(without_status(&end))),
                },
                stopped = stopped(&mut killing) => {
                    let Some(killing) = &mut killing else { continue };
                    match stopped {
                        Ok(verified) => {
                            killing.kill.verified = verified;
                            killing.stopping = None;
                            killing.until = Some(Instant::now() + AFTER_KILL);
                            continue;
                        }
                        Err(SuperviseError::Fenced(epoch)) => return Err(Failure::Fenced(epoch)),
                        // A connection that can't carry the kill can't carry the output either: come back with a new one.
                        Err(error) => {
                            return Ok(alone(Ended::Lost {
                                message: format!("{}; the kill failed: {error}", killing.kill.evidence),
                            }));
                        }
                    }
                }
                seen = looked(&mut looking) => {
                    looking = None;
                    Box::pin(watched.judge(seen?)).await?
                }
                due = Watched::due(due) => match due {
                    Due::Look => {
                        looking = Some(Box::pin(watched.look(&output.last_line())));
                        continue;
                    }
                    Due::Hard(_) if killing.is_some() => {
                        let message = "the host did not show the end of what was killed".to_owned();
                        return Ok(alone(match killing {
                            Some(Killing { kill, .. }) if !kill.verified => Ended::Survives {
                                class: kill.class,
                                message: format!("{}; it could not be ended: {message}", kill.evidence),
                            },
                            _ => Ended::Lost { message },
                        }));
                    }
                    Due::Hard(deadline) => Verdict::Kill(watched.late(deadline)),
                },
            }
        };
        match verdict {
            Verdict::GoOn => {}
            Verdict::Gone(message) => return Ok(alone(Ended::Vanished { message })),
            Verdict::Reconnect(message) => return Ok(alone(Ended::Lost { message })),
            Verdict::Kill(kill) => {
                // The end comes on the same channel as always, which is read on: a command that talks would fill it, and the
                // kill would wait for itself.
                looking = None;
                let (begun, deaf, deadline) = (beginning.begun.clone(), watched.deaf, kill.deadline);
                let stopping =
                    Box::pin(async move { way.stop(escalate, key, begun.as_ref(), deaf, deadline).await });
                killing = Some(Killing {
                    kill,
                    stopping: Some(stopping),
                    until: None,
                });
            }
        }
    }
}

/// Durable work that ended, and nobody knows how.
fn without_status(end: &End) -> Ended {
    match end {
        End::Never => Ended::Never,
        End::Absent => Ended::Absent,
        End::Elsewhere => Ended::Elsewhere,
        End::Rebooted => Ended::Unknown {
            message: "the host was booted again while the command ran".to_owned(),
        },
        End::Gone | End::Exit { .. } => Ended::Vanished {
            message: "the command and its supervisor vanished from the host without an exit status"
                .to_owned(),
        },
    }
}

/// An end that leaves nothing on the host that waits for our word.
fn alone(ended: Ended) -> (Ended, Option<Box<Durable>>) {
    (ended, None)
}

/// Runs what is not durable: plain commands, copies, waiting for a port from here.
pub(crate) fn run<'a>(
    way: &'a Way<'_>,
    escalate: Option<&'a Become>,
    work: &'a Work,
    limits: &'a Limits,
    output: &'a mut Output<'_>,
) -> BoxFuture<'a, Result<Ended, Failure>> {
    match work {
        Work::Command {
            plain: command,
            pty,
            waits,
            ..
        } => Box::pin(plain(
            way,
            escalate,
            command,
            *pty,
            waits.as_ref(),
            limits,
            output,
        )),
        _ => Box::pin(copy_or_port(way, escalate, work, limits, output)),
    }
}

/// Copies, or waits for a port.
async fn copy_or_port(
    way: &Way<'_>,
    escalate: Option<&Become>,
    work: &Work,
    limits: &Limits,
    output: &mut Output<'_>,
) -> Result<Ended, Failure> {
    let target = way.target;
    let copying = async {
        let limit = limits.copy(way.session);
        let copying = async {
            match work {
                Work::Upload { source, destination } => {
                    // What is read here first is no matter of the host's.
                    let original = copy::original(way, source);
                    let copied = match way.session.meanwhile(original).await {
                        Ok(original) => copy::upload(way, escalate, &original, destination).await,
                        Err(error) => Err(error),
                    };
                    sorted(copied)
                }
                Work::Download { source, target } => {
                    sorted(copy::download(way, escalate, source, target).await)
                }
                Work::Port { .. } | Work::Command { .. } => Ok(Err(String::new())),
            }
        };
        if let Work::Port { port, within, every } = work {
            let opened = port_opens(target, *port, *within, *every).await;
            return Ok(Ok(opened.map(|changed| (changed, String::new()))));
        }
        tokio::select! {
            copied = copying => Ok(copied),
            () = copy::stalled(way.session, limit) => Err(limit.unwrap_or_default()),
        }
    };
    let hard = limits.hard();
    let broken_off = |class, deadline, lag, evidence: &str| {
        let killed = Some(Kill {
            class,
            deadline,
            lag,
            verified: true,
            evidence: evidence.to_owned(),
        });
        Ok(Ended::Over(Over {
            killed,
            ..Over::default()
        }))
    };
    let copied = match timeout(hard.unwrap_or(Duration::MAX), Box::pin(copying)).await {
        Ok(Ok(copied)) => copied,
        Ok(Err(limit)) => {
            let evidence = "no byte moved in either direction; the copy was broken off";
            return broken_off(Class::WatchdogIdle, limit, Some(limit), evidence);
        }
        Err(_) => {
            let evidence = "the copy was broken off";
            return broken_off(Class::WatchdogTotal, hard.unwrap_or_default(), None, evidence);
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
        Err(ended) => *ended,
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
type Copied = Result<Result<(bool, String), String>, Box<Ended>>;

fn sorted(result: Result<(bool, String), TransferError>) -> Copied {
    match result {
        Ok(copied) => Ok(Ok(copied)),
        Err(TransferError::Remote(message)) => Ok(Err(message)),
        Err(TransferError::Local(error)) => Ok(Err(error.to_string())),
        Err(TransferError::Lost(message)) => Err(Box::new(Ended::Lost { message })),
        Err(
            TransferError::Refused { class, message }
            | TransferError::Exec(ExecError::Refused { class, message }),
        ) => Err(Box::new(Ended::Refused { class, message })),
        Err(TransferError::Exec(error)) => Err(Box::new(Ended::Lost {
            message: error.to_string(),
        })),
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
