//! Durable attempts: follows the work that the host keeps, across connections.

use std::time::Duration;

use reveille_account::Stream;
use reveille_ledger::Ticket;
use reveille_transport::supervisor::{Beat, Begun, Durable, End, Key, SuperviseError};
use reveille_transport::{Become, signal_name};
use tokio::time::Instant;

use crate::Failure;
use crate::ended::{Ended, Over, refused};
use crate::output::Output;
use crate::watchdog::{Due, Limits};
use crate::watched::{AFTER_KILL, Killing, Looking, Verdict, Watched, looked, stopped};
use crate::way::Way;

/// What is known about the supervisor of durable work.
pub(crate) struct Beginning {
    /// The supervisor, once it has started.
    pub(crate) begun: Option<Begun>,
    /// The commit of that, if it was not on record before.
    pub(crate) recording: Option<Ticket>,
}

/// Follows durable work that was started or re-attached to.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of an attempt; a struct would be named after this function"
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
    let mut attached: Option<(Duration, Option<Instant>)> = None;
    let mut finished = false;
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
        } else if output.is_fatal() && killing.is_none() && !finished {
            Verdict::Kill(watched.fatal())
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
                    Ok(Beat::Attached { finished: over, ran }) => {
                        finished = over;
                        watched.overseen.attached(ran);
                        attached = ran.map(|ran| (ran, (!finished).then(Instant::now)));
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
                            ran: attached.map(|(ran, since)| ran + since.map_or(Duration::ZERO, |since| since.elapsed())),
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
                        // A connection that can't carry the kill can't carry the output either: reconnect.
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
                        looking = Some(Box::pin(watched.look(output.last_line())));
                        continue;
                    }
                    Due::Hard(_) if killing.is_some() => {
                        let message = "the host did not report the end of the killed command".to_owned();
                        return Ok(alone(match killing {
                            Some(Killing { kill, .. }) if !kill.verified => Ended::Survives {
                                class: kill.class,
                                message: format!("{}; it could not be killed: {message}", kill.evidence),
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
                // Keep reading the channel: it reports the end, and a talkative command would fill it, so that the kill
                // would wait for itself.
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

/// Durable work that ended without a status.
fn without_status(end: &End) -> Ended {
    match end {
        End::Never => Ended::Never,
        End::Absent => Ended::Absent,
        End::Elsewhere => Ended::Elsewhere,
        End::Rebooted => Ended::Unknown {
            message: "the host rebooted while the command ran".to_owned(),
        },
        End::Gone | End::Exit { .. } => Ended::Vanished {
            message: "the command and its supervisor vanished from the host without an exit status"
                .to_owned(),
        },
    }
}

/// An end after which the host keeps nothing that waits for us.
fn alone(ended: Ended) -> (Ended, Option<Box<Durable>>) {
    (ended, None)
}

/// A POSIX shell reports a signal as a status above 128.
fn inferred_signal(status: i32) -> Option<String> {
    signal_name(status - 128).map(str::to_owned)
}
