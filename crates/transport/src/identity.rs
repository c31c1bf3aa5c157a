//! Keys and certificates from files, and the agent.
//!
//! Files are read once, before anything is dispatched. For an encrypted key the [`Keyring`] asks for a passphrase once
//! per file, unless the agent holds the key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{self, Certificate, PrivateKey, PublicKey};

use crate::agent;
use reveille_text::Secret;

/// How many passphrases to try on a file.
const PASSPHRASES: u32 = 3;
/// The names of keys that OpenSSH tries by default.
const DEFAULTS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// The keys to offer, in order.
#[derive(Debug, Default)]
pub struct Identities {
    pub(crate) keys: Vec<Identity>,
    /// Certificates whose key is only in the agent.
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) agent: Option<PathBuf>,
    /// Keys of the agent that a file names, which are offered before its others.
    pub(crate) named: Vec<KeyData>,
    /// If set, the only keys of the agent to offer.
    pub(crate) only: Option<Vec<KeyData>>,
    /// The files as given, for the system's `ssh`.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) certificate_files: Vec<PathBuf>,
}

/// A key with its certificate, if any.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) key: Arc<PrivateKey>,
    pub(crate) certificates: Vec<Certificate>,
}

/// The keys to load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Private key files, each with the certificate beside it, `KEY-cert.pub`, if there is one; or public key files of
    /// keys that the agent holds.
    pub keys: Vec<PathBuf>,
    /// Additional certificates (ssh_config's `CertificateFile`).
    pub certificates: Vec<PathBuf>,
    /// The socket of an SSH agent, whose keys are offered after the others.
    pub agent: Option<PathBuf>,
    /// Offer only those of the agent's keys that are listed above (`IdentitiesOnly`).
    pub only: bool,
}

/// A key or certificate file that is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't use the key {path}: {why}", path = path.display())]
pub struct IdentityError {
    path: PathBuf,
    why: String,
}

/// Asks for the passphrase of a key file; none to continue without that key.
pub type Ask<'a> = Box<dyn FnMut(&Path) -> Option<Secret> + 'a>;

/// Reads each key file once, however many hosts use it.
#[derive(Default)]
pub struct Keyring<'a> {
    ask: Option<Ask<'a>>,
    read: HashMap<PathBuf, Result<File, IdentityError>>,
}

/// The content of a key file.
#[derive(Debug, Clone)]
enum File {
    Open(Arc<PrivateKey>),
    /// Encrypted, without a known passphrase; the agent may have the key.
    Closed(Box<PublicKey>),
    /// Only the public key is in a file; the agent may have the other half, as with password managers and hardware keys.
    Public(Box<PublicKey>),
}

// === impl Keyring ===

impl<'a> Keyring<'a> {
    /// A keyring that can't decrypt keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// A keyring that asks for passphrases.
    pub fn asking(ask: impl FnMut(&Path) -> Option<Secret> + 'a) -> Self {
        Self {
            ask: Some(Box::new(ask)),
            read: HashMap::new(),
        }
    }

    /// Loads all wanted keys; fails if one is not usable.
    pub fn load(&mut self, wanted: &Wanted) -> Result<Identities, IdentityError> {
        let held = self.held_by_agent(wanted);
        let mut identities = Identities::empty(wanted);
        for path in &wanted.keys {
            self.take(path, &held, &mut identities)?;
        }
        for path in &wanted.certificates {
            identities.take_certificate(read_certificate(path)?);
        }
        identities.files.clone_from(&wanted.keys);
        Ok(identities)
    }

    /// The keys in `directory` (`~/.ssh`) that OpenSSH tries by default, with the certificates and the agent of `wanted`;
    /// unusable ones are returned as warnings.
    pub fn defaults(&mut self, directory: &Path, wanted: &Wanted) -> (Identities, Vec<IdentityError>) {
        let wanted = Wanted {
            keys: DEFAULTS
                .iter()
                .map(|name| directory.join(name))
                .filter(|path| is_key(path))
                .collect(),
            ..wanted.clone()
        };
        let held = self.held_by_agent(&wanted);
        let mut identities = Identities::empty(&wanted);
        let mut warnings = Vec::new();
        for path in &wanted.keys {
            // A public key without its private key is no mistake here.
            if path.exists()
                || matches!(self.read(path, &held), Ok(File::Public(key)) if held.contains(key.key_data()))
            {
                warnings.extend(self.take(path, &held, &mut identities).err());
            }
        }
        for path in &wanted.certificates {
            match read_certificate(path) {
                Ok(certificate) => identities.take_certificate(certificate),
                Err(error) => warnings.push(error),
            }
        }
        (identities, warnings)
    }

    fn held_by_agent(&self, wanted: &Wanted) -> Vec<KeyData> {
        let socket = wanted.agent.as_deref().filter(|_| !wanted.keys.is_empty());
        socket.map(agent::held).unwrap_or_default()
    }

    /// Adds the key in a file, and the certificate beside it.
    fn take(
        &mut self,
        path: &Path,
        held: &[KeyData],
        identities: &mut Identities,
    ) -> Result<(), IdentityError> {
        match self.read(path, held)? {
            File::Open(key) => {
                identities.name(key.public_key().key_data());
                identities.keys.push(Identity {
                    key,
                    certificates: Vec::new(),
                });
            }
            // Only the agent can use it.
            File::Closed(key) | File::Public(key) if held.contains(key.key_data()) => {
                identities.name(key.key_data());
                identities.named.push(key.key_data().clone());
            }
            File::Closed(_) => return Err(encrypted(path)),
            File::Public(_) => {
                return Err(IdentityError {
                    path: path.to_owned(),
                    why: "it is a public key, and no agent holds its private key; name the private key, or add it \
                          with ssh-add"
                        .to_owned(),
                });
            }
        }
        identities.take_beside(path)
    }

    fn read(&mut self, path: &Path, held: &[KeyData]) -> Result<File, IdentityError> {
        if let Some(known) = self.read.get(path) {
            return known.clone();
        }
        let file = read_key(path, held, self.ask.as_mut());
        self.read.insert(path.to_owned(), file.clone());
        file
    }
}

impl std::fmt::Debug for Keyring<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Keyring")
            .field("read", &self.read.len())
            .finish_non_exhaustive()
    }
}

// === impl Identities ===

impl Identities {
    /// Loads the given keys; fails if one is not usable. `agent` is the socket of an SSH agent, whose keys are offered
    /// after these.
    pub fn load(files: &[PathBuf], agent: Option<PathBuf>) -> Result<Self, IdentityError> {
        Keyring::new().load(&Wanted {
            keys: files.to_vec(),
            agent,
            ..Wanted::default()
        })
    }

    /// Whether there is nothing to offer.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.agent.is_none()
    }

    fn empty(wanted: &Wanted) -> Self {
        Self {
            agent: wanted.agent.clone(),
            only: wanted.only.then(Vec::new),
            certificate_files: wanted.certificates.clone(),
            ..Self::default()
        }
    }

    fn name(&mut self, key: &KeyData) {
        if let Some(only) = &mut self.only {
            only.push(key.clone());
        }
    }

    /// Adds the certificate beside a key.
    fn take_beside(&mut self, path: &Path) -> Result<(), IdentityError> {
        let beside = beside(path, "-cert.pub");
        if beside.exists() {
            self.take_certificate(read_certificate(&beside)?);
        }
        Ok(())
    }

    fn take_certificate(&mut self, certificate: Certificate) {
        let signs =
            |identity: &&mut Identity| identity.key.public_key().key_data() == certificate.public_key();
        let list = match self.keys.iter_mut().find(signs) {
            Some(identity) => &mut identity.certificates,
            None => &mut self.certificates,
        };
        if !list.contains(&certificate) {
            list.push(certificate);
        }
    }
}

fn read_key(path: &Path, held: &[KeyData], ask: Option<&mut Ask<'_>>) -> Result<File, IdentityError> {
    let unusable = |why: String| IdentityError {
        path: path.to_owned(),
        why,
    };
    let other = |error: keys::Error| match error {
        keys::Error::IO(error) => unusable(error.to_string()),
        other => unusable(format!("{other} (is it a private key in OpenSSH or PEM form?)")),
    };
    match keys::load_secret_key(path, None) {
        Ok(key) => return Ok(File::Open(Arc::new(key))),
        Err(keys::Error::KeyIsEncrypted) => {}
        Err(error) => {
            return public_alone(path)
                .map(|key| File::Public(Box::new(key)))
                .ok_or_else(|| other(error));
        }
    }
    let public = public_half(path);
    if let Some(public) = &public
        && held.contains(public.key_data())
    {
        return Ok(File::Closed(Box::new(public.clone())));
    }
    let Some(ask) = ask else {
        return Err(encrypted(path));
    };
    for _ in 0..PASSPHRASES {
        let Some(passphrase) = ask(path) else {
            return Err(encrypted(path));
        };
        if let Ok(key) = keys::load_secret_key(path, Some(passphrase.expose())) {
            return Ok(File::Open(Arc::new(key)));
        }
    }
    Err(unusable(format!("none of {PASSPHRASES} passphrases was right")))
}

/// The public key of an encrypted file: inside in OpenSSH's format, otherwise beside it.
fn public_half(path: &Path) -> Option<PublicKey> {
    let inside = PrivateKey::read_openssh_file(path).ok();
    inside
        .map(|key| key.public_key().clone())
        .or_else(|| PublicKey::read_openssh_file(beside(path, ".pub")).ok())
}

/// The public key in a file, or beside the name of a private key that does not exist.
fn public_alone(path: &Path) -> Option<PublicKey> {
    let file = if path.exists() {
        path.to_owned()
    } else {
        beside(path, ".pub")
    };
    PublicKey::read_openssh_file(file).ok()
}

/// Whether there is a private key at a path, or the public key of that name.
pub fn is_key(path: &Path) -> bool {
    path.exists() || beside(path, ".pub").exists()
}

/// The path of a key with a suffix.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    beside.into()
}

fn read_certificate(path: &Path) -> Result<Certificate, IdentityError> {
    keys::load_openssh_certificate(path).map_err(|error| IdentityError {
        path: path.to_owned(),
        why: format!("{error} (is it an OpenSSH certificate?)"),
    })
}

fn encrypted(path: &Path) -> IdentityError {
    IdentityError {
        path: path.to_owned(),
        why: "it is encrypted; add it to an agent with ssh-add".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_file_and_why() {
        let missing = Identities::load(&["/nowhere/key".into()], None).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "can't use the key /nowhere/key: No such file or directory (os error 2)"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id_rsa");
        std::fs::write(&path, "not a key").unwrap();
        assert!(
            Identities::load(std::slice::from_ref(&path), None)
                .unwrap_err()
                .to_string()
                .contains("is it a private key")
        );
        let (identities, warnings) = Keyring::new().defaults(directory.path(), &Wanted::default());
        assert!(identities.is_empty());
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn a_passphrase_is_asked_for_once_a_file() {
        let directory = tempfile::tempdir().unwrap();
        for (name, kind) in [("id_ed25519", "ed25519"), ("id_rsa", "rsa")] {
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", kind, "-N", "opensesame", "-f"])
                .arg(directory.path().join(name))
                .status();
            assert!(made.unwrap().success());
        }
        let path = directory.path().join("id_ed25519");
        let named = Wanted {
            keys: vec![path.clone()],
            ..Wanted::default()
        };
        let refused = Keyring::new().load(&named).unwrap_err().to_string();
        assert!(
            refused.ends_with("it is encrypted; add it to an agent with ssh-add"),
            "{refused}"
        );
        assert_eq!(
            Keyring::new()
                .defaults(directory.path(), &Wanted::default())
                .1
                .len(),
            2
        );

        let mut asked = Vec::new();
        let mut answers = ["wrong", "opensesame", "opensesame"].into_iter();
        let mut ring = Keyring::asking(|path| {
            asked.push(path.file_name().unwrap().to_owned());
            answers.next().map(Secret::new)
        });
        assert_eq!(ring.load(&named).unwrap().keys.len(), 1);
        let (identities, warnings) = ring.defaults(directory.path(), &Wanted::default());
        assert_eq!((identities.keys.len(), warnings.len()), (2, 0));
        drop(ring);
        assert_eq!(asked, ["id_ed25519", "id_ed25519", "id_rsa"]);
    }
}
