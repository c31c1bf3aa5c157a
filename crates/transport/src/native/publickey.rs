//! Keys and certificates, from files and from the agent, offered one after the other.

use std::path::Path;
use std::sync::Arc;

use reveille_account::{Class, Phase};
use russh::MethodKind;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};

use super::authenticate::{Answer, Talk};
use super::signer::Own;
use crate::error::ConnectError;
use crate::identity::Identity;

/// Keys offered at most; sshd gives up after six by default.
const KEYS_OFFERED: usize = 5;

type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// What has been offered on a connection.
#[derive(Debug, Default)]
pub(super) struct Offers {
    count: usize,
    /// Keys that were accepted in part: the host wants another one.
    used: Vec<KeyData>,
    rsa: Rsa,
}

/// How RSA keys are signed with, on one connection.
#[derive(Debug, Default, Clone, Copy)]
enum Rsa {
    /// The host has not been asked.
    #[default]
    Unknown,
    With(HashAlg),
    /// Not at all: the host takes SHA-1 alone.
    Never,
}

/// How one key signs.
#[derive(Debug, Clone, Copy)]
enum Signing {
    Plain,
    Rsa(HashAlg),
}

// === impl Signing ===

impl Signing {
    fn hash(self) -> Option<HashAlg> {
        match self {
            Self::Plain => None,
            Self::Rsa(hash) => Some(hash),
        }
    }
}

// === impl Offers ===

impl Offers {
    /// Offers that came to nothing.
    pub(super) fn refused(&self) -> usize {
        self.count.saturating_sub(self.used.len())
    }

    fn more(&self) -> bool {
        self.count < KEYS_OFFERED
    }
}

// === impl Talk ===

impl Talk<'_> {
    /// Offers keys until one is accepted, none is left, or the host has had enough.
    pub(super) async fn offer_keys(&mut self) -> Result<Answer, ConnectError> {
        let target = self.target;
        let identities = &target.authentication.identities;
        for identity in &identities.keys {
            let public = identity.key.public_key().key_data();
            for certificate in &identity.certificates {
                let answer = self.offer_certificate(&identity.key, certificate).await?;
                if answer != Answer::Refused {
                    return Ok(self.used(public, answer));
                }
            }
            let Some(signing) = self.ready(public).await? else {
                continue;
            };
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&identity.key), signing.hash());
            let result = self
                .handle
                .authenticate_publickey(target.user.as_str(), key)
                .await;
            let answer = self.judge(result.map_err(|error| error.to_string()))?;
            if answer != Answer::Refused {
                return Ok(self.used(public, answer));
            }
        }
        match &identities.agent {
            Some(socket) if self.keys.more() && self.takes(MethodKind::PublicKey) => {
                self.offer_agent(socket).await
            }
            _ => Ok(Answer::Refused),
        }
    }

    async fn offer_agent(&mut self, socket: &Path) -> Result<Answer, ConnectError> {
        let asked = async {
            let mut agent: Agent = AgentClient::connect_uds(socket).await?.dynamic();
            // Keys that are only for certain hosts are shown to a connection that says which one it is.
            if let Some(binding) = self.handle.agent_session_binding() {
                // An agent that does not know of that has no such keys.
                let _ = agent.bind_session(binding, false).await;
            }
            let held = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, held))
        };
        let (mut agent, held) = match asked.await {
            Ok(asked) => asked,
            Err(error) => {
                self.tried
                    .push(format!("the SSH agent at {}: {error}", socket.display()));
                return Ok(Answer::Refused);
            }
        };
        let identities = &self.target.authentication.identities;
        for identity in held {
            let (public, own) = match identity {
                AgentIdentity::PublicKey { key, .. } => (key, None),
                AgentIdentity::Certificate { certificate, .. } => (
                    PublicKey::new(certificate.public_key().clone(), ""),
                    Some(certificate),
                ),
            };
            let data = public.key_data();
            let from_file = |identity: &Identity| identity.key.public_key().key_data() == data;
            if own.is_none() && identities.keys.iter().any(from_file)
                || identities.only.as_ref().is_some_and(|only| !only.contains(data))
            {
                continue;
            }
            let beside = identities
                .certificates
                .iter()
                .filter(|certificate| certificate.public_key() == data);
            for certificate in own.iter().chain(beside) {
                let answer = self.offer_held_certificate(&mut agent, certificate).await?;
                if answer != Answer::Refused {
                    return Ok(self.used(data, answer));
                }
            }
            if own.is_some() {
                continue;
            }
            let Some(signing) = self.ready(data).await? else {
                continue;
            };
            let user = self.target.user.as_str();
            let result = self
                .handle
                .authenticate_publickey_with(user, public.clone(), signing.hash(), &mut agent)
                .await;
            let answer = self.judge_signed(result)?;
            if answer != Answer::Refused {
                return Ok(self.used(data, answer));
            }
        }
        Ok(Answer::Refused)
    }

    async fn offer_certificate(
        &mut self,
        key: &Arc<PrivateKey>,
        certificate: &Certificate,
    ) -> Result<Answer, ConnectError> {
        let Some(signing) = self.ready(certificate.public_key()).await? else {
            return Ok(Answer::Refused);
        };
        let mut own = Own(Arc::clone(key));
        let user = self.target.user.as_str();
        let result = self
            .handle
            .authenticate_certificate_with(user, certificate.clone(), signing.hash(), &mut own)
            .await;
        self.judge_signed(result)
    }

    async fn offer_held_certificate(
        &mut self,
        agent: &mut Agent,
        certificate: &Certificate,
    ) -> Result<Answer, ConnectError> {
        let Some(signing) = self.ready(certificate.public_key()).await? else {
            return Ok(Answer::Refused);
        };
        let user = self.target.user.as_str();
        let result = self
            .handle
            .authenticate_certificate_with(user, certificate.clone(), signing.hash(), agent)
            .await;
        self.judge_signed(result)
    }

    /// Counts an offer and says how to sign; nothing if this key is not to be offered.
    async fn ready(&mut self, key: &KeyData) -> Result<Option<Signing>, ConnectError> {
        if !self.keys.more() || !self.takes(MethodKind::PublicKey) || self.keys.used.contains(key) {
            return Ok(None);
        }
        let signing = if key.algorithm().is_rsa() {
            match self.rsa().await? {
                Rsa::With(hash) => Signing::Rsa(hash),
                Rsa::Unknown | Rsa::Never => return Ok(None),
            }
        } else {
            Signing::Plain
        };
        self.keys.count += 1;
        Ok(Some(signing))
    }

    /// Asks the host, once, which hash it takes with RSA.
    async fn rsa(&mut self) -> Result<Rsa, ConnectError> {
        if matches!(self.keys.rsa, Rsa::Unknown) {
            self.keys.rsa = match self.handle.best_supported_rsa_hash().await {
                Ok(Some(Some(best))) => Rsa::With(best),
                // A host that does not say what it takes is asked for SHA-512, as OpenSSH does.
                Ok(None) => Rsa::With(HashAlg::Sha512),
                Ok(Some(None)) => {
                    self.tried.push(
                        "the RSA key was kept back, because the host takes it with SHA-1 only".to_owned(),
                    );
                    Rsa::Never
                }
                Err(error) => {
                    let message = error.to_string();
                    return Err(ConnectError::new(
                        Phase::Authentication,
                        Class::SshInitiatedFailed,
                        message,
                    ));
                }
            };
        }
        Ok(self.keys.rsa)
    }

    fn used(&mut self, key: &KeyData, answer: Answer) -> Answer {
        self.keys.used.push(key.clone());
        answer
    }

    /// A signer that fails (an agent that is locked, a touch that did not come) is one refused key.
    fn judge_signed<E: std::fmt::Display>(
        &mut self,
        result: Result<russh::client::AuthResult, E>,
    ) -> Result<Answer, ConnectError> {
        match result {
            Err(error) if !self.handle.is_closed() => {
                self.tried.push(format!("a key could not sign: {error}"));
                Ok(Answer::Refused)
            }
            other => self.judge(other.map_err(|error| error.to_string())),
        }
    }
}
