//! Vaults: text encrypted by `ansible-vault`, as whole files and as single `!vault` values.
//!
//! A vault's text is a header line, `$ANSIBLE_VAULT;1.1;AES256` or `$ANSIBLE_VAULT;1.2;AES256;ID`, and hexadecimal
//! digits that encode three more hexadecimal numbers, each on a line: salt, HMAC-SHA-256 of the ciphertext, ciphertext.
//! PBKDF2-HMAC-SHA-256 derives 80 bytes from a password and the salt: the AES-256 key, the HMAC key, and the first
//! counter block. Padding follows PKCS#7. The HMAC is checked before decryption, in constant time.

use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use aes::Aes256;
use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use ctr::Ctr128BE;
use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reveille_account::SourceError;
use reveille_text::{Secret, harmless};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::program;
use crate::InventoryError;

/// The start of every vault.
pub(crate) const HEADER: &str = "$ANSIBLE_VAULT";
/// Rounds of PBKDF2, fixed by the format.
const ROUNDS: u32 = 10_000;
/// How many derived keys are kept, so that each pair of password and salt is derived once; further keys are derived
/// again.
const KEYS_KEPT: usize = 1024;
/// The longest password, in bytes.
pub(crate) const MAX_PASSWORD_BYTES: u64 = 64 << 10;
/// The size in bytes of an AES block, and of the first counter block.
const BLOCK: usize = 16;
/// The size in bytes of each of the two keys.
const KEY: usize = 32;

/// The passwords for vaults.
///
/// A vault with an id (`$ANSIBLE_VAULT;1.2;AES256;prod`) is tried with the passwords of that id first, then with all
/// others, as in Ansible.
///
/// ```
/// use reveille_inventory::{Secret, VaultPasswords};
///
/// let mut passwords = VaultPasswords::default();
/// passwords.add(None, Secret::new("hunter2"));
/// passwords.add(Some("prod"), Secret::new("correct horse"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct VaultPasswords {
    entries: Vec<(Option<String>, Secret)>,
}

/// Decrypts vaults, and keeps the derived keys.
#[derive(Debug, Default)]
pub(crate) struct Vault {
    passwords: VaultPasswords,
    keys: HashMap<(usize, Vec<u8>), Keys>,
    /// Whether every vault is taken for an empty text.
    sealed: bool,
}

/// Why a vault can't be decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closed {
    /// There are no passwords.
    NoPassword { id: Option<String> },
    /// None of the passwords is right.
    WrongPassword { id: Option<String>, tried: usize },
    /// The text is not a vault.
    Malformed(String),
}

/// The key of the cipher, the key of the HMAC, and the first counter block.
#[derive(Clone)]
struct Keys(Zeroizing<[u8; KEY + KEY + BLOCK]>);

/// A parsed vault.
struct Envelope {
    id: Option<String>,
    salt: Vec<u8>,
    signature: Vec<u8>,
    ciphertext: Vec<u8>,
}

// === impl VaultPasswords ===

impl VaultPasswords {
    /// Adds a password; `id` is the vault id that it is for, if any.
    pub fn add(&mut self, id: Option<&str>, password: Secret) {
        self.entries.push((id.map(str::to_owned), password));
    }

    /// Adds the password in a file, given as `FILE` or `ID@FILE`, as in `--vault-password-file`.
    ///
    /// An executable file is run, and prints the password. Blanks and newlines around the password are ignored.
    pub fn add_file(&mut self, argument: &str) -> Result<(), InventoryError> {
        let (id, file) = match argument.split_once('@') {
            Some((id, file)) if !Path::new(argument).exists() => (Some(id), file),
            _ => (None, argument),
        };
        let path = Path::new(file);
        let fail = |source| InventoryError::read(path, source);
        let metadata = fs::metadata(path).map_err(fail)?;
        let executable = metadata.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
        let mut bytes = Zeroizing::new(Vec::new());
        if executable {
            *bytes = program::password(path)?;
        } else {
            let file = fs::File::open(path).map_err(fail)?;
            file.take(MAX_PASSWORD_BYTES + 1)
                .read_to_end(&mut bytes)
                .map_err(fail)?;
        }
        let wrong = |problem| InventoryError::VaultPassword {
            file: file.to_owned(),
            problem,
        };
        if bytes.len() as u64 > MAX_PASSWORD_BYTES {
            return Err(wrong("is longer than 64 KiB"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not text in UTF-8"))?;
        if text.trim().is_empty() {
            return Err(wrong("is empty"));
        }
        self.add(id.filter(|id| !id.is_empty()), Secret::new(text.trim()));
        Ok(())
    }

    /// Whether there is no password.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

// === impl Vault ===

impl Vault {
    pub(crate) fn new(passwords: VaultPasswords) -> Self {
        Self {
            passwords,
            ..Self::default()
        }
    }

    /// Takes every vault for an empty text, for readers who want nothing that is in one.
    pub(crate) fn sealed() -> Self {
        Self {
            sealed: true,
            ..Self::default()
        }
    }

    /// Decrypts `text`.
    pub(crate) fn open(&mut self, text: &str) -> Result<Zeroizing<Vec<u8>>, Closed> {
        if self.sealed {
            return Ok(Zeroizing::new(Vec::new()));
        }
        let envelope = Envelope::parse(text).map_err(Closed::Malformed)?;
        let count = self.passwords.entries.len();
        if count == 0 {
            return Err(Closed::NoPassword { id: envelope.id });
        }
        let named = |index: &usize| {
            let (id, _) = &self.passwords.entries[*index];
            id.as_deref().unwrap_or("default") == envelope.id.as_deref().unwrap_or("default")
        };
        let mut order: Vec<usize> = (0..count).filter(named).collect();
        order.extend((0..count).filter(|index| !named(index)));
        for index in order {
            let keys = self.keys(index, &envelope.salt);
            if let Some(plain) = envelope.decrypt(&keys)? {
                return Ok(plain);
            }
        }
        Err(Closed::WrongPassword {
            id: envelope.id,
            tried: count,
        })
    }

    fn keys(&mut self, password: usize, salt: &[u8]) -> Keys {
        if let Some(keys) = self.keys.get(&(password, salt.to_vec())) {
            return keys.clone();
        }
        let mut derived = Zeroizing::new([0; KEY + KEY + BLOCK]);
        let secret = self.passwords.entries[password].1.expose();
        pbkdf2::pbkdf2_hmac::<Sha256>(secret.as_bytes(), salt, ROUNDS, &mut *derived);
        let keys = Keys(derived);
        if self.keys.len() < KEYS_KEPT {
            self.keys.insert((password, salt.to_vec()), keys.clone());
        }
        keys
    }
}

// === impl Closed ===

impl Closed {
    /// The mistake that `place` makes of the message, with a hint.
    pub(crate) fn shown_at(&self, place: impl FnOnce(String) -> SourceError) -> SourceError {
        let (message, hint) = self.message();
        SourceError {
            hint: hint.map(str::to_owned),
            ..place(message)
        }
    }

    /// The message, and a hint.
    fn message(&self) -> (String, Option<&'static str>) {
        let called = |what: &str, id: &Option<String>| {
            id.as_ref()
                .map_or_else(String::new, |id| format!("{what} with the id `{id}`"))
        };
        match self {
            Closed::NoPassword { id } => (
                format!(
                    "this is encrypted{}, but there is no vault password",
                    called("", id)
                ),
                Some("give it with `--vault-password-file FILE`"),
            ),
            Closed::WrongPassword { id, tried } => {
                let wrong = match tried {
                    1 => "the vault password is wrong".to_owned(),
                    _ => format!("none of the {tried} vault passwords is right"),
                };
                (
                    format!("{wrong} for this{}", called(" vault", id)),
                    Some("check `--vault-password-file`; a vault with another id needs its own"),
                )
            }
            Closed::Malformed(message) => (format!("this is not a complete vault: {message}"), None),
        }
    }
}

// === impl Keys ===

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys(…)")
    }
}

// === impl Envelope ===

impl Envelope {
    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.trim().lines();
        let header = lines.next().unwrap_or_default();
        let words: Vec<&str> = header.split(';').map(str::trim).collect();
        let id = match words[..] {
            [HEADER, "1.1" | "1.2", "AES256"] => None,
            [HEADER, "1.2", "AES256", id] => Some(id.to_owned()),
            [HEADER, "1.0", ..] => return Err("the format 1.0 is not supported; encrypt it again".into()),
            [HEADER, "1.1" | "1.2", cipher, ..] => {
                return Err(format!("the cipher `{}` is not known", brief(cipher)));
            }
            [HEADER, version, ..] => return Err(format!("the format `{}` is not known", brief(version))),
            _ => return Err(format!("its first line is not `{HEADER};1.1;AES256`")),
        };
        let digits: String = lines.map(str::trim).collect();
        let outer = decode(digits.as_bytes())?;
        let mut parts = outer.splitn(3, |byte| *byte == b'\n');
        let mut next = |what: &str| {
            let digits = parts.next().ok_or_else(|| format!("its {what} is missing"))?;
            decode(digits)
        };
        Ok(Self {
            id,
            salt: next("salt")?,
            signature: next("signature")?,
            ciphertext: next("content")?,
        })
    }

    /// Decrypts the content; none if the keys are wrong.
    fn decrypt(&self, keys: &Keys) -> Result<Option<Zeroizing<Vec<u8>>>, Closed> {
        let (cipher, rest) = keys.0.split_at(KEY);
        let (signature, counter) = rest.split_at(KEY);
        let mut mac = Hmac::<Sha256>::new_from_slice(signature).expect("HMAC takes keys of any length");
        mac.update(&self.ciphertext);
        if mac.verify_slice(&self.signature).is_err() {
            return Ok(None);
        }
        let mut plain = Zeroizing::new(self.ciphertext.clone());
        let mut cipher = Ctr128BE::<Aes256>::new_from_slices(cipher, counter)
            .expect("a key of 32 bytes and a block of 16");
        cipher.apply_keystream(&mut plain);
        let padding = plain.last().copied().map_or(0, usize::from);
        let padded = (1..=BLOCK).contains(&padding)
            && plain.len().is_multiple_of(BLOCK)
            && plain.ends_with(&vec![plain[plain.len() - 1]; padding]);
        if !padded {
            return Err(Closed::Malformed("its padding is wrong".into()));
        }
        let length = plain.len() - padding;
        plain.truncate(length);
        Ok(Some(plain))
    }
}

fn decode(digits: &[u8]) -> Result<Vec<u8>, String> {
    HEXLOWER_PERMISSIVE
        .decode(digits)
        .map_err(|_| "it contains characters other than hexadecimal digits, or is cut off".into())
}

fn brief(text: &str) -> String {
    harmless::line_up_to(text, 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `s3kr1t` encrypted by `ansible-vault encrypt_string` with the password `hunter2`.
    const SAMPLE: &str = include_str!("../../tests/vault-sample");

    fn vault(passwords: &[(Option<&str>, &str)]) -> Vault {
        let mut known = VaultPasswords::default();
        for (id, password) in passwords {
            known.add(*id, Secret::new(*password));
        }
        Vault::new(known)
    }

    #[test]
    fn a_vault_opens_with_its_password() {
        let mut open = vault(&[(Some("x"), "wrong"), (None, "hunter2")]);
        assert_eq!(&open.open(SAMPLE).expect("opens")[..], b"s3kr1t");
        assert_eq!(open.keys.len(), 1, "its own password comes first");
        assert_eq!(&open.open(SAMPLE).expect("opens")[..], b"s3kr1t");
        assert_eq!(open.keys.len(), 1, "a salt is stretched once");
        assert!(!format!("{open:?}").contains("hunter2"));
    }

    #[test]
    fn a_closed_vault_says_why() {
        let closed = |text: &str, passwords: &[(Option<&str>, &str)]| {
            vault(passwords).open(text).expect_err("closed").message().0
        };
        let id = SAMPLE.replace("1.1;AES256", "1.2;AES256;prod");
        assert_eq!(
            closed(SAMPLE, &[]),
            "this is encrypted, but there is no vault password"
        );
        assert_eq!(
            closed(&id, &[(None, "x")]),
            "the vault password is wrong for this vault with the id `prod`"
        );
        assert!(
            closed(SAMPLE, &[(None, "x"), (Some("y"), "z")]).starts_with("none of the 2 vault passwords")
        );
        for (text, reason) in [
            ("$ANSIBLE_VAULT;1.1;AES", "the cipher `AES` is not known"),
            ("$ANSIBLE_VAULT;3;AES256", "the format `3` is not known"),
            ("$ANSIBLE_VAULT", "its first line"),
            ("$ANSIBLE_VAULT;1.1;AES256\nxyz", "hexadecimal"),
            ("$ANSIBLE_VAULT;1.1;AES256\n3031", "its signature is missing"),
        ] {
            assert!(closed(text, &[(None, "x")]).contains(reason), "{text}");
        }
        let cut = &SAMPLE[..SAMPLE.len() - 40];
        assert!(!closed(cut, &[(None, "hunter2")]).contains("s3kr1t"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r"(\$ANSIBLE_VAULT|;1\.[12]|;AES256|;x|\n|30|0a|3[0-9]|é){0,24}") {
            let _ = Envelope::parse(&text);
        }
    }
}
