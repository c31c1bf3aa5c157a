//! Attempts that are not durable: plain commands, copies, and waits for a port from here.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use reveille_account::{Class, EventKind, Stream, Token};
use reveille_text::duration;
use reveille_transport::supervisor::{self, Key, SuperviseError};
use reveille_transport::transfer::TransferError;
use reveille_transport::{Become, ExecError, Heard, Input, Target};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::Failure;
use crate::copy;
use crate::ended::{Ended, Kill, Over};
use crate::output::Output;
use crate::watchdog::{Due, Limits};
use crate::watched::{Killing, Looking, Verdict, Watched, looked, passed, stopped};
use crate::way::{KILL_HERE, Way};
use crate::work::{Waits, Work};

/// Bytes of input sent at a time.
const CHUNK: usize = 32 * 1024;
/// How long an ended command's output may stay open before the operator is told what keeps it open.
const OUTPUT_LINGERS: Duration = Duration::from_secs(3);
/// How long a kill may take after a check without an answer on the same connection, beyond the deadline: a part of the
/// deadline, with a minimum.
const KILL_UNANSWERED: (u32, Duration) = (10, Duration::from_secs(1));

/// Runs work that is not durable: plain commands, copies, and waits for a port from here.
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

/// Runs `command` plainly. After a broken connection there is nothing to ask about. A wait that does not give up in
/// time is ended from here.
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
    // Without a token, a check covers everything that runs on the connection.
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
    // A command that does not read its input must not block its own output, so both are awaited together. A terminal
    // stays open, with nobody at it.
    let mut sending = (!pty).then(|| Box::pin(send_all(exec.input(), input)));
    let mut looking: Option<Looking<'_>> = None;
    let mut killing: Option<Killing<'_>> = None;
    let mut closed = false;
    let mut lingers: Option<Instant> = None;
    let gives_up = waits.and_then(|waits| Instant::now().checked_add(waits.longest()));
    loop {
        let due = match &killing {
            Some(_) => None,
            None => watched.overseen.next(looking.is_some()),
        };
        let late = watched.too_late().filter(|_| killing.is_none());
        let verdict = if let Some(deadline) = late {
            Verdict::Kill(watched.late(deadline))
        } else if output.is_fatal() && killing.is_none() && status.is_none() && signal.is_none() {
            Verdict::Kill(watched.fatal())
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
                        lingers = Instant::now().checked_add(OUTPUT_LINGERS);
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
                    // Its remaining processes are still being killed.
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
                            // Output after the exit status may be lost.
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
                () = passed(lingers), if killing.is_none() && !closed => {
                    lingers = None;
                    let message = still_open(status.unwrap_or_default());
                    let event = EventKind::Warning { message };
                    way.engine.handle.record_host(way.host, event).await?;
                    continue;
                }
                () = passed(gives_up), if killing.is_none() => Verdict::Kill(watched.gave_up()),
                due = Watched::due(due) => match due {
                    Due::Look => {
                        looking = Some(Box::pin(watched.look(output.last_line())));
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
                    let late = SuperviseError::Lost(format!("no answer within {}", duration::shown(time)));
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

/// What the operator is told about an ended command whose output is still open.
fn still_open(status: i32) -> String {
    format!(
        "the command ended with {status}, but a process that it started keeps its output open; redirect the output of \
         such processes: `nohup … >/dev/null 2>&1 &`"
    )
}

/// The result of a plain command that we ended.
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

/// Waits until all input is sent, forever if there is none.
async fn sent(sending: &mut Option<Pin<Box<impl Future<Output = ()>>>>) {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

async fn send_all(target: Input, input: Option<Bytes>) {
    for start in (0..input.as_ref().map_or(0, Bytes::len)).step_by(CHUNK) {
        let Some(input) = &input else { break };
        let chunk = input.slice(start..input.len().min(start + CHUNK));
        // A command may close its input early.
        if target.send(chunk).await.is_err() {
            return;
        }
    }
    let _ = target.end().await;
}

/// Runs a copy or a wait for a port.
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
                Work::Upload {
                    source,
                    destination,
                    secret,
                } => {
                    // Reading the local file first does not depend on the host.
                    let original = copy::original(way, source);
                    let copied = match way.session.meanwhile(original).await {
                        Ok(original) => copy::upload(way, escalate, &original, destination, *secret).await,
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
            let evidence = "no byte moved in either direction; the copy was aborted";
            return broken_off(Class::WatchdogIdle, limit, Some(limit), evidence);
        }
        Err(_) => {
            let evidence = "the copy was aborted";
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
            "port {port} of {} is not open after {}",
            target.address,
            duration::shown(within)
        )),
    }
}

/// The result of a copy: whether the host changed, with a message; or, if it failed, why it failed or how it ended.
type Copied = Result<Result<(bool, String), String>, Box<Ended>>;

fn sorted(result: Result<(bool, String), TransferError>) -> Copied {
    match result {
        Ok(copied) => Ok(Ok(copied)),
        Err(TransferError::Remote(message)) => Ok(Err(message)),
        Err(TransferError::Local(error)) => Ok(Err(error.to_string())),
        Err(TransferError::Lost(message)) => Err(Box::new(Ended::Lost { message })),
        Err(TransferError::Exec(ExecError::Refused { class, message })) => {
            Err(Box::new(Ended::Refused { class, message }))
        }
        Err(TransferError::Exec(error)) => Err(Box::new(Ended::Lost {
            message: error.to_string(),
        })),
    }
}
