//! What to authenticate with: keys from files, and the agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{self, PrivateKey};

/// The keys to offer, in order. Files are read once, before anything is dispatched.
#[derive(Debug, Default)]
pub struct Identities {
    pub(crate) keys: Vec<Arc<PrivateKey>>,
    pub(crate) agent: Option<PathBuf>,
}

/// A key file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't use the key {path}: {why}", path = path.display())]
pub struct IdentityError {
    path: PathBuf,
    why: String,
}

// === impl Identities ===

impl Identities {
    /// Reads the named keys; all must be usable. `agent` is the socket of an SSH agent, asked after the keys.
    pub fn load(files: &[PathBuf], agent: Option<PathBuf>) -> Result<Self, IdentityError> {
        let keys = files
            .iter()
            .map(|path| read_key(path))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, agent })
    }

    /// The keys that OpenSSH would try by itself from `directory` (`~/.ssh`); those that can't be used are returned
    /// as warnings.
    pub fn defaults(directory: &Path, agent: Option<PathBuf>) -> (Self, Vec<IdentityError>) {
        let mut warnings = Vec::new();
        let mut keys = Vec::new();
        for name in ["id_ed25519", "id_ecdsa", "id_rsa"] {
            let path = directory.join(name);
            if path.exists() {
                match read_key(&path) {
                    Ok(key) => keys.push(key),
                    Err(error) => warnings.push(error),
                }
            }
        }
        (Self { keys, agent }, warnings)
    }

    /// Whether there is nothing to offer.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.agent.is_none()
    }
}

fn read_key(path: &Path) -> Result<Arc<PrivateKey>, IdentityError> {
    keys::load_secret_key(path, None).map(Arc::new).map_err(|error| {
        let why = match error {
            keys::Error::KeyIsEncrypted => "it is encrypted; add it to an agent with ssh-add".to_owned(),
            keys::Error::IO(error) => error.to_string(),
            other => format!("{other} (is it a private key in OpenSSH or PEM form?)"),
        };
        IdentityError {
            path: path.to_owned(),
            why,
        }
    })
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
        let (identities, warnings) = Identities::defaults(directory.path(), None);
        assert!(identities.is_empty());
        assert_eq!(warnings.len(), 1);
    }
}
