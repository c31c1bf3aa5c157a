//! Checks work that is silent or late, before anything is done about it.

use std::fmt::Write as _;
use std::time::Duration;

use reveille_account::{Class, EventKind};
use reveille_pace::Deadline;
use reveille_pace::watchdog::{Decision, Evidence, Extension, Holder};
use reveille_text::duration;
use reveille_transport::supervisor::{self, Alive, Counters, Key, Look, SuperviseError};
use reveille_transport::{Become, ExecError};
use tokio::time::sleep;

use crate::Failure;
use crate::way::Way;

/// The result of a check.
pub(crate) struct Seen {
    pub(crate) evidence: Evidence,
    /// The counters, for the next check.
    pub(crate) counters: Option<Counters>,
    /// A description.
    pub(crate) words: String,
    /// The host did not answer in time.
    pub(crate) deaf: bool,
}

impl Way<'_> {
    /// Checks the work of `key`; if that has no directory, everything that runs on this connection. `before` contains
    /// the counters of the last check; without it, they are read twice, `glance` apart. `said` is the last line of
    /// output.
    pub(crate) async fn look(
        &self,
        escalate: Option<&Become>,
        key: &Key,
        mut before: Option<Counters>,
        glance: Duration,
        said: &str,
    ) -> Result<Seen, Failure> {
        loop {
            let alive = match self.glance(escalate, key).await {
                Ok(Look::Alive(alive)) => alive,
                Ok(Look::Finished) => return Ok(Seen::plain(Evidence::Moves, "it has ended")),
                Ok(Look::Gone) => return Ok(Seen::plain(Evidence::Gone, "its processes are gone")),
                Ok(Look::Unknown) => {
                    return Ok(Seen::plain(Evidence::None, "the host can't report on it"));
                }
                Err(SuperviseError::Fenced(epoch)) => return Err(Failure::Fenced(epoch)),
                Err(_) if self.session.is_closed() => {
                    return Ok(Seen::plain(Evidence::ConnectionDead, &self.session.why_closed()));
                }
                Err(error) => return Ok(Seen::plain(Evidence::None, &format!("no answer ({error})"))),
            };
            if before.is_none() && alive.lock.is_none() && !asks(&alive, said) {
                before = Some(alive.counters);
                sleep(glance).await;
                continue;
            }
            return Ok(Seen::of(&alive, before, said));
        }
    }

    /// Checks once, over a second connection if the host permits no second session on the first.
    async fn glance(&self, escalate: Option<&Become>, key: &Key) -> Result<Look, SuperviseError> {
        let full = match supervisor::look(self.session, escalate, key).await {
            Err(SuperviseError::Exec(ExecError::Refused {
                class: Class::ChannelRefused,
                message,
            })) => message,
            other => return other,
        };
        // A plain command can be observed only on its own connection.
        if key.place.is_none() {
            return Ok(Look::Unknown);
        }
        let beside =
            self.engine.connect_beside(self.target).await.map_err(|error| {
                SuperviseError::Lost(format!("{full}; over a second connection: {error}"))
            })?;
        let seen = supervisor::look(&beside, escalate, key).await;
        beside.close().await;
        seen
    }

    /// Records a check, unless its only result is that one is not enough.
    pub(crate) async fn note_look(
        &self,
        deadline: Deadline,
        seen: &str,
        decision: &Decision,
    ) -> Result<(), Failure> {
        let words = match decision {
            Decision::Extend {
                why: Extension::LookAgain,
                ..
            } => return Ok(()),
            Decision::Extend { why, .. } => format!("extended: {why}"),
            Decision::WarnAndWait { .. } => {
                "it seems stuck, but the job does not allow killing it; still waiting".to_owned()
            }
            Decision::Kill { why } => format!("killed: {why}"),
            Decision::Ask { .. } => "killed, because it waits for input".to_owned(),
            Decision::EarlyExit => "its processes are gone".to_owned(),
            Decision::Reconnect => "reconnecting".to_owned(),
        };
        let looked = EventKind::Looked {
            step: self.at.clone(),
            deadline: match deadline {
                Deadline::Idle => "silence",
                Deadline::Total => "total",
            }
            .to_owned(),
            evidence: seen.to_owned(),
            decision: words,
            stuck: matches!(decision, Decision::WarnAndWait { .. }),
        };
        self.engine.handle.record_host(self.host, looked).await?;
        Ok(())
    }
}

/// Whether work waits for input: a process reads from a terminal, or it is another user's, which can't be seen, and the
/// last line is that of a question.
fn asks(alive: &Alive, said: &str) -> bool {
    alive.asks || alive.may_ask && said.trim_end().ends_with([':', '?'])
}

// === impl Seen ===

impl Seen {
    fn plain(evidence: Evidence, words: &str) -> Self {
        Self {
            evidence,
            counters: None,
            words: words.to_owned(),
            deaf: false,
        }
    }

    /// The result of a check without an answer within `time`.
    pub(crate) fn unanswered(time: Duration) -> Self {
        Self {
            deaf: true,
            ..Self::plain(
                Evidence::None,
                &format!("a check got no answer within {}", duration::shown(time)),
            )
        }
    }

    fn of(alive: &Alive, before: Option<Counters>, said: &str) -> Self {
        let counters = alive.counters;
        let moves = before.is_some_and(|before| before != counters);
        let mut words = match counters.processes {
            1 => "1 process".to_owned(),
            processes => format!("{processes} processes"),
        };
        words.push_str(match (before, moves) {
            (None, _) => "",
            (_, true) => ", making progress",
            (_, false) => ", no progress",
        });
        if alive.load != "-" {
            let _ = write!(words, ", load {}", alive.load);
        }
        let evidence = if asks(alive, said) {
            Evidence::WaitsForInput {
                prompt: said.to_owned(),
            }
        } else if let Some((pid, name)) = &alive.lock {
            let _ = write!(words, ", a package lock is held by {name} (pid {pid})");
            Evidence::WaitsForLock(Holder {
                pid: *pid,
                name: name.clone(),
            })
        } else if moves {
            Evidence::Moves
        } else {
            Evidence::Still
        };
        Self {
            evidence,
            counters: Some(counters),
            words,
            deaf: false,
        }
    }
}
