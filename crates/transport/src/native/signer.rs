//! Signs for a certificate with one of our keys; russh's own way can't choose the hash for RSA.

use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey, signature};

/// A key from a file.
pub(super) struct Own(pub(super) Arc<PrivateKey>);

/// Signing failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum OwnError {
    #[error("the connection was closed")]
    Closed,
    #[error("the key can't sign")]
    Sign,
}

// === impl Own ===

impl russh::Signer for Own {
    type Error = OwnError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, OwnError> {
        let signed: Result<Signature, _> = match self.0.key_data() {
            KeypairData::Rsa(rsa) => signature::Signer::try_sign(&(rsa, hash), &to_sign),
            _ => signature::Signer::try_sign(&*self.0, &to_sign),
        };
        let signed = signed.map_err(|_| OwnError::Sign)?;
        signed.encode_prefixed(&mut to_sign).map_err(|_| OwnError::Sign)?;
        Ok(to_sign)
    }
}

impl From<russh::SendError> for OwnError {
    fn from(_: russh::SendError) -> Self {
        Self::Closed
    }
}
