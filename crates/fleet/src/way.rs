//! An attempt's way to its host, and kills over it.

use std::time::Duration;

use reveille_account::{Class, EventKind, HostName, StepRef, Token};
use reveille_text::duration;
use reveille_transport::supervisor::{self, Begun, Key, SuperviseError};
use reveille_transport::{Become, ConnectError, ExecError, Session, Target};
use tokio::time::timeout;

use crate::Failure;
use crate::engine::Engine;

/// How long a kill may take on the command's own connection: TERM, two seconds, KILL, a check, and a slow host.
pub(crate) const KILL_HERE: Duration = Duration::from_secs(10);
/// How long to wait before trying a second connection as well: a part of the deadline that passed, with a minimum and a
/// maximum.
const KILL_ALONE: (u32, Duration, Duration) = (10, Duration::from_millis(500), Duration::from_secs(3));
/// How long a kill may take over a second connection, which must first be opened.
const KILL_BESIDE: Duration = Duration::from_secs(20);

/// The way to a host: its session, and what a second one needs.
pub(crate) struct Way<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) target: &'a Target,
    /// The host and the step.
    pub(crate) host: &'a HostName,
    pub(crate) at: &'a StepRef,
}

// === impl Way ===

impl Way<'_> {
    /// Records that remote work was found again.
    pub(crate) async fn attached(&self, token: Token, finished: bool) -> Result<(), Failure> {
        let found = if finished { "finished" } else { "running" }.to_owned();
        let found = EventKind::Reattached {
            step: self.at.clone(),
            token,
            found,
        };
        self.engine.handle.record_host(self.host, found).await?;
        Ok(())
    }

    /// Kills durable work. Uses a second connection if the host permits no second session on the first, or does not
    /// answer on it soon after the `deadline` that passed. `deaf` if it has just failed to answer.
    pub(crate) async fn stop(
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
                SuperviseError::Lost(format!("{why}; over a second connection: {}", error.message))
            };
            let beside = self.engine.connect_beside(self.target).await.map_err(lost)?;
            let stopped = supervisor::stop(&beside, escalate, key, begun).await;
            beside.close().await;
            stopped
        };
        let mut beside = Box::pin(async {
            timeout(KILL_BESIDE, beside).await.unwrap_or_else(|_| {
                let beside = format!(
                    "{why}; over a second connection: no answer within {}",
                    duration::shown(KILL_BESIDE)
                );
                Err(SuperviseError::Lost(beside))
            })
        });
        if hopeless {
            return beside.await;
        }
        // Both do the same; the slower one finds nothing left to kill.
        tokio::select! {
            biased;
            Ok(Ok(verified)) = &mut here => Ok(verified),
            stopped = &mut beside => stopped,
        }
    }
}
