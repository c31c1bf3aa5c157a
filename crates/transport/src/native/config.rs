//! The parameters of connections, shared by hosts with the same needs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::Config;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, kex};

use crate::target::{Deadlines, KeepAlive};

/// How many bytes a peer may send on a channel before we read them. Together with the few messages that russh queues,
/// this bounds the cost of a flooding host.
const WINDOW: u32 = 256 * 1024;
/// How many messages of a channel russh queues before it stops reading the connection.
const CHANNEL_QUEUE: usize = 8;
/// How many keep-alives may stay unanswered.
const KEEP_ALIVES: usize = 3;

/// Host key algorithms, the preferred one first, without SHA-1 (`ssh-rsa`).
const HOST_KEYS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// Key exchanges, the preferred one first, without SHA-1. Hardened servers offer few: some of them only a NIST curve.
const KEY_EXCHANGES: [kex::Name; 16] = [
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G18_SHA512,
    kex::DH_G17_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G15_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// Ciphers, the preferred one first.
const CIPHERS: [cipher::Name; 6] = [
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// One configuration for each combination of parameters.
#[derive(Debug)]
pub(crate) struct Configs {
    deadlines: Deadlines,
    usual: Arc<Config>,
    others: Mutex<HashMap<Way, Arc<Config>>>,
}

/// The preferred algorithms, whether to ask for certificates, and the keep-alive settings.
type Way = (Vec<String>, bool, KeepAlive);

// === impl Configs ===

impl Configs {
    pub(crate) fn new(deadlines: Deadlines) -> Self {
        Self {
            usual: Arc::new(config(&deadlines, &[], false, KeepAlive::default())),
            deadlines,
            others: Mutex::default(),
        }
    }

    /// The configuration for a host whose known keys have the `known` algorithms, and which may have a certificate.
    pub(crate) fn get(&self, known: Vec<String>, certificates: bool, keep_alive: KeepAlive) -> Arc<Config> {
        let first = HOST_KEYS[0].as_str();
        let is_usual = !certificates && keep_alive == KeepAlive::default();
        if is_usual && (known.is_empty() || known.iter().any(|algorithm| algorithm == first)) {
            return Arc::clone(&self.usual);
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let way = (known, certificates, keep_alive);
        if let Some(config) = others.get(&way) {
            return Arc::clone(config);
        }
        let config = Arc::new(config(&self.deadlines, &way.0, certificates, keep_alive));
        others.insert(way, Arc::clone(&config));
        config
    }
}

fn config(deadlines: &Deadlines, known: &[String], certificates: bool, keep_alive: KeepAlive) -> Config {
    let is_known = |algorithm: &Algorithm| {
        known
            .iter()
            .any(|name| name == algorithm.as_str() || (name == "ssh-rsa" && algorithm.clone().is_rsa()))
    };
    let (mut keys, others): (Vec<_>, Vec<_>) = HOST_KEYS.into_iter().partition(is_known);
    keys.extend(others);
    Config {
        client_id: russh::SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-Reveille_",
            env!("CARGO_PKG_VERSION")
        ))),
        window_size: WINDOW,
        channel_buffer_size: CHANNEL_QUEUE,
        keepalive_interval: match keep_alive.interval {
            None => Some(deadlines.keep_alive),
            Some(Duration::ZERO) => None,
            Some(interval) => Some(interval),
        },
        // The library treats zero as no limit.
        keepalive_max: keep_alive.most.map_or(KEEP_ALIVES, |most| {
            usize::try_from(most).unwrap_or(usize::MAX).max(1)
        }),
        nodelay: true,
        preferred: Preferred {
            host_key_certificates: if certificates {
                Cow::Owned(keys.clone())
            } else {
                Cow::Borrowed(&[])
            },
            key: Cow::Owned(keys),
            kex: Cow::Borrowed(&KEY_EXCHANGES),
            cipher: Cow::Borrowed(&CIPHERS),
            ..Preferred::default()
        },
        ..Config::default()
    }
}
