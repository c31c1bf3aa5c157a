//! An authenticated connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{Class, Phase};
use russh::ChannelOpenFailure;
use russh::client::Handle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::client::{Handler, Report};
use crate::error::{ConnectError, ExecError};
use crate::exec::Exec;
use crate::wire::Switch;

/// An authenticated connection to one host. Dropping it cuts the connection.
pub struct Session {
    handle: Handle<Handler>,
    switch: Switch,
    report: Arc<Report>,
    deadline: Duration,
    // Dropped after the connection that runs through it.
    _jump: Option<Box<Session>>,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(
        handle: Handle<Handler>,
        switch: Switch,
        report: Arc<Report>,
        deadline: Duration,
        jump: Option<Box<Session>>,
    ) -> Self {
        Self {
            handle,
            switch,
            report,
            deadline,
            _jump: jump,
        }
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Why the connection ended, in words.
    pub fn why_closed(&self) -> String {
        self.report
            .said()
            .unwrap_or_else(|| "the connection was closed".to_owned())
    }

    /// Starts `command` and returns once the host has accepted it.
    pub async fn exec(&self, command: impl Into<Vec<u8>>) -> Result<Exec, ExecError> {
        let refused = |message: String| ExecError::Refused {
            class: Class::ChannelRefused,
            message,
        };
        let channel = match timeout(self.deadline, self.handle.channel_open_session()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                return Err(refused(format!(
                    "the host refused to open a session: {}",
                    open_failure(&why)
                )));
            }
            Ok(Err(_)) => return Err(ExecError::NotSent(self.why_closed())),
            Err(_) => {
                return Err(refused(format!(
                    "the host did not open a session within {:?}",
                    self.deadline
                )));
            }
        };
        match timeout(self.deadline, Exec::start(channel, command.into())).await {
            Ok(result) => result.map_err(|error| match error {
                ExecError::Unanswered(_) => ExecError::Unanswered(self.why_closed()),
                other => other,
            }),
            Err(_) => Err(ExecError::Unanswered(format!(
                "no reply within {:?}",
                self.deadline
            ))),
        }
    }

    /// A byte stream from the host on to another address.
    pub(crate) async fn forward(
        &self,
        address: &str,
        port: u16,
        deadline: Duration,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ConnectError> {
        let failed = |class, message| ConnectError::new(Phase::Tcp, class, message);
        match timeout(
            deadline,
            self.handle
                .channel_open_direct_tcpip(address, port.into(), "127.0.0.1", 0),
        )
        .await
        {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))) => Err(failed(
                Class::ConnectRefused,
                format!("it can't connect to {address}:{port}"),
            )),
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
                let message = format!(
                    "it refused to forward to {address}:{port}: {}",
                    open_failure(&why)
                );
                Err(failed(Class::ChannelRefused, message))
            }
            Ok(Err(_)) => Err(failed(Class::SshInitiatedFailed, self.why_closed())),
            Err(_) => Err(failed(
                Class::ConnectTimeout,
                format!("no answer from {address}:{port} within {deadline:?}"),
            )),
        }
    }

    /// Says goodbye, so that the host logs an orderly end, and cuts the connection.
    pub async fn close(self) {
        let goodbye = self.handle.disconnect(russh::Disconnect::ByApplication, "", "");
        // A host that does not take the goodbye is cut all the same.
        let _ = timeout(Duration::from_secs(1), goodbye).await;
        tokio::task::yield_now().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.switch.cut();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

fn open_failure(why: &ChannelOpenFailure) -> String {
    match why {
        ChannelOpenFailure::AdministrativelyProhibited => "administratively prohibited".to_owned(),
        ChannelOpenFailure::ConnectFailed => "connect failed".to_owned(),
        ChannelOpenFailure::UnknownChannelType => "unknown channel type".to_owned(),
        ChannelOpenFailure::ResourceShortage => "resource shortage".to_owned(),
        ChannelOpenFailure::Other { code, .. } => format!("code {code}"),
    }
}
