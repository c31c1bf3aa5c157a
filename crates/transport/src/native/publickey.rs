//! Offers keys and certificates, from files and from the agent, one after the other.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use reveille_account::{Class, Phase};
use russh::MethodKind;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, HashAlg, PrivateKeyWithHashAlg, PublicKey};

use super::authenticate::{Answer, Talk};
use super::signer::Own;
use crate::error::ConnectError;
use crate::identity::Identity;

/// How many keys to offer; by default sshd gives up after six attempts.
const KEYS_OFFERED: usize = 5;

type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// The offers on a connection.
#[derive(Debug, Default)]
pub(super) struct Offers {
    count: usize,
    /// Keys that were accepted in part, so the host wants a different one next.
    used: Vec<KeyData>,
    rsa: Rsa,
}

/// How to sign with RSA keys on a connection.
#[derive(Debug, Default, Clone, Copy)]
enum Rsa {
    /// The host has not been asked.
    #[default]
    Unknown,
    With(HashAlg),
    /// Not at all: the host accepts only SHA-1.
    Never,
}

/// How to sign with a key.
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
    /// The number of refused keys.
    pub(super) fn refused(&self) -> usize {
        self.count.saturating_sub(self.used.len())
    }

    fn more(&self) -> bool {
        self.count < KEYS_OFFERED
    }
}

// === impl Talk ===

impl Talk<'_> {
    /// Offers keys until one is accepted, none is left, or the limit is reached.
    pub(super) async fn offer_keys(&mut self) -> Result<Answer, ConnectError> {
        let target = self.target;
        let identities = &target.authentication.identities;
        for identity in &identities.keys {
            let public = identity.key.public_key().key_data();
            let mut own = Own(Arc::clone(&identity.key));
            for certificate in &identity.certificates {
                let answer = self.offer_certificate(&mut own, certificate).await?;
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
            // For keys that are restricted to certain hosts, the agent must know the host of this connection.
            if let Some(binding) = self.handle.agent_session_binding() {
                // An agent without this extension has no such keys.
                let _ = agent.bind_session(binding, false).await;
            }
            let held = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, held))
        };
        let (mut agent, mut held) = match asked.await {
            Ok(asked) => asked,
            Err(error) => {
                self.tried
                    .push(format!("the SSH agent at {}: {error}", socket.display()));
                return Ok(Answer::Refused);
            }
        };
        let identities = &self.target.authentication.identities;
        // An agent may hold more keys than a host accepts offers.
        held.sort_by_key(|identity| {
            let key = match identity {
                AgentIdentity::PublicKey { key, .. } => key.key_data(),
                AgentIdentity::Certificate { certificate, .. } => certificate.public_key(),
            };
            !identities.named.contains(key)
        });
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
                let answer = self.offer_certificate(&mut agent, certificate).await?;
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

    async fn offer_certificate<S: russh::Signer<Error: Display>>(
        &mut self,
        signer: &mut S,
        certificate: &Certificate,
    ) -> Result<Answer, ConnectError> {
        let Some(signing) = self.ready(certificate.public_key()).await? else {
            return Ok(Answer::Refused);
        };
        let user = self.target.user.as_str();
        let result = self
            .handle
            .authenticate_certificate_with(user, certificate.clone(), signing.hash(), signer)
            .await;
        self.judge_signed(result)
    }

    /// Counts an offer and returns how to sign; none if this key must not be offered.
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

    /// Asks the host, once, which hash it accepts with RSA.
    async fn rsa(&mut self) -> Result<Rsa, ConnectError> {
        if matches!(self.keys.rsa, Rsa::Unknown) {
            self.keys.rsa = match self.handle.best_supported_rsa_hash().await {
                Ok(Some(Some(best))) => Rsa::With(best),
                // If the host does not list its algorithms, use SHA-512, as OpenSSH does.
                Ok(None) => Rsa::With(HashAlg::Sha512),
                Ok(Some(None)) => {
                    self.tried.push(
                        "the RSA key was not offered, because the host accepts RSA only with SHA-1"
                            .to_owned(),
                    );
                    Rsa::Never
                }
                Err(error) => {
                    let class = Class::SshInitiatedFailed;
                    return Err(ConnectError::new(Phase::Authentication, class, error.to_string()));
                }
            };
        }
        Ok(self.keys.rsa)
    }

    fn used(&mut self, key: &KeyData, answer: Answer) -> Answer {
        self.keys.used.push(key.clone());
        answer
    }

    /// If signing fails (the agent is locked, or nobody touched the hardware key), the key counts as refused.
    fn judge_signed<E: Display>(
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
