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
use crate::output::LastLine;
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
        said: &LastLine,
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
            if before.is_none() && alive.lock.is_none() && !alive.asks {
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

    fn of(alive: &Alive, before: Option<Counters>, said: &LastLine) -> Self {
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
        // What another user's process waits for can't be seen. A question that nothing follows tells it.
        let seems_to_ask =
            alive.may_ask && before.is_some() && !moves && said.is_open && said.text.ends_with([':', '?']);
        let evidence = if alive.asks || seems_to_ask {
            Evidence::WaitsForInput {
                prompt: said.text.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_users_process_asks_only_if_a_question_is_open_and_nothing_moves() {
        let counters = |cpu| Counters {
            processes: 2,
            cpu,
            bytes: 9,
            last_pid: 7,
        };
        let asks = |may_ask, before, text: &str, is_open| {
            let alive = Alive {
                counters: counters(5),
                load: "-".to_owned(),
                asks: false,
                may_ask,
                lock: None,
            };
            let said = LastLine {
                text: text.to_owned(),
                is_open,
            };
            matches!(
                Seen::of(&alive, before, &said).evidence,
                Evidence::WaitsForInput { .. }
            )
        };
        let still = Some(counters(5));
        assert!(asks(true, still, "[sudo] password for alice:", true));
        assert!(
            !asks(false, still, "Password:", true),
            "every process can be seen"
        );
        assert!(!asks(true, still, "Unpacking:", false), "the line has ended");
        assert!(!asks(true, still, "Unpacking", true), "it is no question");
        assert!(!asks(true, Some(counters(4)), "Password:", true), "it moves");
        assert!(
            !asks(true, None, "Password:", true),
            "nothing is known of its progress"
        );
    }
}
