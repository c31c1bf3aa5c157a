//! An attempt under watch: due deadlines, checks, and kills in progress.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use reveille_account::{Class, Stream};
use reveille_pace::Deadline;
use reveille_pace::watchdog::{Decision, Limit, SetBy};
use reveille_text::duration;
use reveille_transport::Become;
use reveille_transport::supervisor::{Key, SuperviseError};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Failure;
use crate::ended::Kill;
use crate::look::Seen;
use crate::output::LastLine;
use crate::watchdog::{Due, Limits, Overseen};
use crate::way::Way;

/// How long to wait for the end of a killed command.
pub(crate) const AFTER_KILL: Duration = Duration::from_secs(15);
/// From this lateness on, an operator's total deadline takes precedence over further output.
const TOO_LATE: Duration = Duration::from_secs(1);

/// An attempt under watch, as the loop that follows it sees it.
pub(crate) struct Watched<'a> {
    way: &'a Way<'a>,
    escalate: Option<&'a Become>,
    key: &'a Key,
    pub(crate) overseen: Overseen,
    heard: Option<Stream>,
    /// The host has just failed to answer a check.
    pub(crate) deaf: bool,
}

/// A kill in progress, or one whose effect is awaited.
pub(crate) struct Killing<'a> {
    pub(crate) kill: Kill,
    /// `None` once its result is known.
    pub(crate) stopping: Option<Stopping<'a>>,
    /// When to stop waiting for the end of the killed command.
    pub(crate) until: Option<Instant>,
}

/// A kill in progress; returns whether everything is known to be gone.
pub(crate) type Stopping<'a> = Pin<Box<dyn Future<Output = Result<bool, SuperviseError>> + Send + 'a>>;

/// A check in progress.
pub(crate) type Looking<'a> = Pin<Box<dyn Future<Output = Result<Seen, Failure>> + Send + 'a>>;

/// What the watchdog decided about the attempt.
pub(crate) enum Verdict {
    /// Go on.
    GoOn,
    /// Kill it.
    Kill(Kill),
    /// Report it as gone without a status.
    Gone(String),
    /// Reconnect.
    Reconnect(String),
}

// === impl Watched ===

impl<'a> Watched<'a> {
    pub(crate) fn new(way: &'a Way<'a>, escalate: Option<&'a Become>, key: &'a Key, limits: &Limits) -> Self {
        Self {
            way,
            escalate,
            key,
            overseen: way.engine.overseer.start(limits),
            heard: None,
            deaf: false,
        }
    }

    pub(crate) fn heard(&mut self, stream: Stream) {
        self.overseen.heard();
        self.heard = Some(stream);
    }

    /// Waits until something is due. Output that arrives meanwhile takes precedence, so that nothing is judged before
    /// it is read.
    pub(crate) async fn due(next: Option<(Instant, Due)>) -> Due {
        match next {
            Some((at, due)) => {
                sleep_until(at).await;
                due
            }
            None => std::future::pending().await,
        }
    }

    /// The operator's total deadline, if it is long past. It then takes precedence over output, so that constant output
    /// can't hide it.
    pub(crate) fn too_late(&self) -> Option<Duration> {
        match self.overseen.next(true) {
            Some((at, Due::Hard(deadline))) if at + TOO_LATE <= Instant::now() => Some(deadline),
            _ => None,
        }
    }

    /// Checks the attempt within the time that its deadline leaves. The caller keeps reading output meanwhile.
    pub(crate) fn look(&self, said: LastLine) -> impl Future<Output = Result<Seen, Failure>> + use<'a> {
        let (way, escalate, key) = (self.way, self.escalate, self.key);
        let (before, glance) = (self.overseen.counters, self.overseen.glance());
        let (_, _, time) = self.overseen.looked_for();
        async move {
            let looking = Box::pin(way.look(escalate, key, before, glance, &said));
            timeout(time, looking)
                .await
                .unwrap_or_else(|_| Ok(Seen::unanswered(time)))
        }
    }

    /// Decides after a check.
    pub(crate) async fn judge(&mut self, seen: Seen) -> Result<Verdict, Failure> {
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
                evidence: match prompt.as_str() {
                    "" => "it reads its terminal and printed no prompt".to_owned(),
                    prompt => format!("it printed a prompt: {prompt}"),
                },
            }),
            Decision::Kill { why } => Verdict::Kill(self.kill(deadline, limit, format!("{words}; {why}"))),
        })
    }

    /// Reports an operator's deadline as it was set; a chosen one, which may have been extended, as it was used.
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

    /// The kill for the operator's total deadline.
    pub(crate) fn late(&self, deadline: Duration) -> Kill {
        Kill {
            class: Class::WatchdogTotal,
            deadline,
            lag: Some(self.overseen.silence()),
            verified: false,
            evidence: self.evidence(),
        }
    }

    /// The kill for a fatal line of output.
    pub(crate) fn fatal(&self) -> Kill {
        Kill {
            class: Class::FatalPattern,
            deadline: self.overseen.elapsed(),
            lag: None,
            verified: false,
            evidence: "a line of its output is fatal".to_owned(),
        }
    }

    /// The kill for a wait that did not give up in time.
    pub(crate) fn gave_up(&self) -> Kill {
        Kill {
            class: Class::CommandFailed,
            deadline: self.overseen.elapsed(),
            lag: None,
            verified: false,
            evidence: self.evidence(),
        }
    }

    fn evidence(&self) -> String {
        let silent = duration::shown(self.overseen.silence());
        match self.heard {
            None if self.overseen.was_attached() => {
                format!("no output in the {silent} since re-attaching")
            }
            None => format!("no output in {silent}"),
            Some(stream) => format!("last output on {} {silent} ago", stream.as_str()),
        }
    }
}

// === impl Killing ===

impl Killing<'_> {
    /// The killed command has ended; waits a little for the processes that it had started.
    pub(crate) async fn finish(self) -> Kill {
        let Self {
            mut kill, stopping, ..
        } = self;
        if let Some(stopping) = stopping {
            kill.verified = matches!(timeout(AFTER_KILL, stopping).await, Ok(Ok(true)));
        }
        kill
    }
}

/// Waits for a point in time, forever if there is none.
pub(crate) async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Waits for the result of a kill in progress.
pub(crate) async fn stopped(killing: &mut Option<Killing<'_>>) -> Result<bool, SuperviseError> {
    match killing {
        Some(Killing {
            stopping: Some(stopping),
            ..
        }) => stopping.await,
        _ => std::future::pending().await,
    }
}

/// Waits for the result of a check in progress.
pub(crate) async fn looked(looking: &mut Option<Looking<'_>>) -> Result<Seen, Failure> {
    match looking {
        Some(seen) => seen.await,
        None => std::future::pending().await,
    }
}
