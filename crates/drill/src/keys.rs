//! Keys: the fleet's, a changed one, hosts' own, and the client's.

use fastrand::Rng;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;

/// The owner of a host key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    /// The whole fleet.
    Fleet,
    /// A host whose key has changed.
    Changed,
    /// A host with its own key.
    Host(u32),
}

/// A host key derived from the seed: the same fleet has the same keys.
pub(crate) fn host_key(seed: u64, whose: Whose) -> PrivateKey {
    let number = match whose {
        Whose::Fleet => 0,
        Whose::Changed => 1,
        Whose::Host(index) => 2 + u64::from(index),
    };
    // Not secret: with the seed anyone can impersonate a practice fleet on loopback.
    let mut random = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    Ed25519Keypair::from_seed(&bytes).into()
}

/// A new key for the client, from the system's randomness.
pub(crate) fn client_key() -> Result<PrivateKey, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Ed25519Keypair::from_seed(&bytes).into())
}
