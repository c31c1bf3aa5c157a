//! russh's callbacks during a connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use reveille_account::HostKeyPolicy;
use reveille_text::harmless::line_up_to;
use russh::keys::PublicKeyOrCertificate;
use tokio::sync::Notify;

use crate::known_hosts::{HostKeyProblem, KnownHosts, KnownName, Received, Trust};
use crate::target::Target;

/// How much of a host's disconnect message to keep, in characters.
const WORDS_LIMIT: usize = 200;

/// What russh's task learns for later.
#[derive(Debug, Default)]
pub(crate) struct Report {
    heard: Mutex<Told>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Told {
    said: Option<String>,
    trust: Option<Trust>,
    password_sent: bool,
}

// === impl Report ===

impl Report {
    /// The host's message when it ended the connection, or russh's reason.
    pub(crate) fn said(&self) -> Option<String> {
        self.told(|told| told.said.clone())
    }

    /// Whether not to offer passwords on this connection, because the host's key is new and the policy forbids it.
    pub(super) fn keeps_passwords_back(&self, target: &Target) -> bool {
        let trust = self.told(|told| told.trust);
        // A key that was not checked yet is not trusted either.
        !matches!(trust, Some(Trust::Known | Trust::Unchecked))
            && !target.authentication.password_to_new_hosts
    }

    /// Whether the password was sent on this connection.
    pub(super) fn password_was_sent(&self) -> bool {
        self.told(|told| told.password_sent)
    }

    pub(super) fn password_is_sent(&self) {
        self.told(|told| told.password_sent = true);
    }

    /// Waits for the end of the connection.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn told<T>(&self, look: impl FnOnce(&mut Told) -> T) -> T {
        look(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct Handler {
    pub(super) name: KnownName,
    pub(super) policy: HostKeyPolicy,
    pub(super) known_hosts: Arc<KnownHosts>,
    pub(super) report: Arc<Report>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HandlerError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error(transparent)]
    HostKey(#[from] HostKeyProblem),
}

impl russh::client::Handler for Handler {
    type Error = HandlerError;

    async fn check_server_key(&mut self, presented: &PublicKeyOrCertificate) -> Result<bool, HandlerError> {
        let trust = match presented {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let received = Received::new(key).map_err(|error| HandlerError::Ssh(error.into()))?;
                self.known_hosts.check(&self.name, received, self.policy).await?
            }
            PublicKeyOrCertificate::Certificate(certificate) => {
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                self.known_hosts
                    .check_certificate(&self.name, certificate, self.policy, now)
                    .await?
            }
        };
        // A later key exchange shows the same key.
        self.report
            .told(|told| told.trust.get_or_insert(trust).to_owned());
        Ok(true)
    }

    async fn disconnected(
        &mut self,
        reason: russh::client::DisconnectReason<HandlerError>,
    ) -> Result<(), HandlerError> {
        let words = match reason {
            russh::client::DisconnectReason::ReceivedDisconnect(info) => {
                line_up_to(&info.message, WORDS_LIMIT)
            }
            russh::client::DisconnectReason::Error(HandlerError::Ssh(russh::Error::KeepaliveTimeout)) => {
                "the host stopped answering keep-alives".to_owned()
            }
            // The caller knows already that the stream has ended.
            russh::client::DisconnectReason::Error(_) => String::new(),
        };
        if !words.is_empty() {
            self.report.told(|told| told.said = Some(words));
        }
        self.report.ended.notify_one();
        Ok(())
    }
}
