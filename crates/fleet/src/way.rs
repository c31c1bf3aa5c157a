//! The way to a host that an attempt takes, and how it is killed over it.

use std::time::Duration;

use reveille_account::{Class, EventKind, HostName, StepRef, Token};
use reveille_text::duration;
use reveille_transport::supervisor::{self, Begun, Key, SuperviseError};
use reveille_transport::{Become, ConnectError, ExecError, Session, Target};
use tokio::time::timeout;

use crate::Failure;
use crate::engine::Engine;

/// How long a kill may take on the connection of what is killed: TERM, two seconds, KILL, a check, and a slow host.
pub(crate) const KILL_HERE: Duration = Duration::from_secs(10);
/// How long it is waited for before one over a second connection is tried as well: a part of the deadline that passed, at
/// least and at most.
const KILL_ALONE: (u32, Duration, Duration) = (10, Duration::from_millis(500), Duration::from_secs(3));
/// How long a kill may take over a connection of its own, which is to be made first.
const KILL_BESIDE: Duration = Duration::from_secs(20);

/// The way to a host: its session, and what another one takes.
pub(crate) struct Way<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) target: &'a Target,
    /// Whom and what it is for.
    pub(crate) host: &'a HostName,
    pub(crate) at: &'a StepRef,
}

// === impl Way ===

impl Way<'_> {
    /// Tells the ledger that work was found again.
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

    /// Kills durable work; over a second connection if the host opens no second session on the first, or does not answer
    /// on it soon after the `deadline` that passed. `deaf` is that it has just been seen not to.
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
                SuperviseError::Lost(format!("{why}; and beside it: {}", error.message))
            };
            let beside = self.engine.connect_beside(self.target).await.map_err(lost)?;
            let stopped = supervisor::stop(&beside, escalate, key, begun).await;
            beside.close().await;
            stopped
        };
        let mut beside = Box::pin(async {
            timeout(KILL_BESIDE, beside).await.unwrap_or_else(|_| {
                let beside = format!(
                    "{why}; and beside it no answer within {}",
                    duration::shown(KILL_BESIDE)
                );
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
