//! Host keys: which are known, and what to do about the others.
//!
//! The files are OpenSSH's `known_hosts` (sshd(8)): plain, wildcard, negated and hashed names, `@revoked`. All are read
//! once. New keys are appended to one file of ours, durably, before anything is authenticated; writers in one process
//! share an append and its sync, writers in several processes a file lock.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use tokio::time::{Instant, sleep_until};

/// Appends are at least this far apart; keys that come in between share the next one.
const APPEND_INTERVAL: Duration = Duration::from_millis(40);
/// Bytes of a `known_hosts` file that are read at most.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

/// What to do about a host whose key is not known. A key that *differs* from a known one is refused by all but `Off`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Refuse.
    Strict,
    /// Remember it and go on.
    #[default]
    AcceptNew,
    /// Accept any key, remember nothing.
    Off,
}

/// Why a host's key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyProblem {
    /// Not known, and the policy is strict.
    #[error("the host's key {fingerprint} is not known, and the policy is strict")]
    Unknown {
        /// SHA-256 fingerprint of the key received.
        fingerprint: String,
    },
    /// Another key is known.
    #[error("the host's key {fingerprint} is not the one in {place}")]
    Mismatch {
        /// SHA-256 fingerprint of the key received.
        fingerprint: String,
        /// `file:line` of the known key.
        place: String,
    },
    /// The key is marked as revoked.
    #[error("the host's key {fingerprint} is revoked in {place}")]
    Revoked {
        /// SHA-256 fingerprint of the key received.
        fingerprint: String,
        /// `file:line` of the mark.
        place: String,
    },
    /// A new key could not be remembered.
    #[error("can't remember the host's key: {0}")]
    NotRecorded(String),
}

/// A file of known hosts that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read known hosts from {path}: {why}", path = path.display())]
pub struct KnownHostsError {
    path: PathBuf,
    why: String,
}

/// All known host keys, and the file that new ones go to.
#[derive(Debug, Default)]
pub struct KnownHosts {
    table: Mutex<Table>,
    record: Option<PathBuf>,
    pending: Mutex<Vec<Pending>>,
    /// Held by whoever appends; when that last happened.
    writing: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    exact: HashMap<String, Vec<usize>>,
    patterns: Vec<(String, usize)>,
    hashed: Vec<(Vec<u8>, Vec<u8>, usize)>,
}

#[derive(Debug)]
struct Entry {
    marker: Marker,
    algorithm: String,
    key: Vec<u8>,
    place: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    Authority,
}

#[derive(Debug)]
struct Pending {
    line: String,
    done: tokio::sync::oneshot::Sender<Result<(), Arc<io::Error>>>,
}

/// A key as received from a host.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) algorithm: String,
    pub(crate) blob: Vec<u8>,
    pub(crate) fingerprint: String,
}

// === impl KnownHosts ===

impl KnownHosts {
    /// Reads every file of `files` that exists; new keys will go to `record`, which is read too.
    pub fn load(files: &[PathBuf], record: Option<PathBuf>) -> Result<Self, KnownHostsError> {
        let mut table = Table::default();
        for path in files.iter().chain(record.iter()) {
            table.read(path).map_err(|why| KnownHostsError {
                path: path.clone(),
                why,
            })?;
        }
        Ok(Self {
            table: Mutex::new(table),
            record,
            ..Self::default()
        })
    }

    /// The algorithms of the keys known for a host, so that it can be asked for those first.
    pub(crate) fn algorithms(&self, address: &str, port: u16) -> Vec<String> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut algorithms: Vec<String> = table
            .find(&known_name(address, port))
            .into_iter()
            .map(|index| &table.entries[index])
            .filter(|entry| entry.marker == Marker::None)
            .map(|entry| entry.algorithm.clone())
            .collect();
        algorithms.sort();
        algorithms.dedup();
        algorithms
    }

    /// Checks a host's key against what is known, and remembers a new one if the policy says so.
    pub(crate) async fn check(
        &self,
        address: &str,
        port: u16,
        received: Received,
        policy: HostKeyPolicy,
    ) -> Result<(), HostKeyProblem> {
        if policy == HostKeyPolicy::Off {
            return Ok(());
        }
        let name = known_name(address, port);
        let Received {
            algorithm,
            blob,
            fingerprint,
        } = received;
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let found = table.find(&name);
            let entries = || found.iter().map(|index| &table.entries[*index]);
            if let Some(entry) = entries().find(|entry| entry.marker == Marker::Revoked && entry.key == blob)
            {
                return Err(HostKeyProblem::Revoked {
                    fingerprint,
                    place: entry.place.clone(),
                });
            }
            let mut plain = entries().filter(|entry| entry.marker == Marker::None).peekable();
            // Another algorithm counts as a mismatch too: otherwise whoever sits in between offers just that one.
            if let Some(first) = plain.peek().map(|entry| entry.place.clone()) {
                return if plain.any(|entry| entry.key == blob) {
                    Ok(())
                } else {
                    Err(HostKeyProblem::Mismatch {
                        fingerprint,
                        place: first,
                    })
                };
            }
            if policy == HostKeyPolicy::Strict {
                return Err(HostKeyProblem::Unknown { fingerprint });
            }
            let place = self
                .record
                .as_ref()
                .map_or_else(|| "this run".to_owned(), |path| path.display().to_string());
            let entry = Entry {
                marker: Marker::None,
                algorithm: algorithm.clone(),
                key: blob.clone(),
                place,
            };
            table.add(&name, entry);
        }
        let line = format!("{name} {algorithm} {}\n", BASE64.encode(&blob));
        self.append(line)
            .await
            .map_err(|error| HostKeyProblem::NotRecorded(error.to_string()))
    }

    /// Appends a line durably; lines that wait at the same time share the write and the sync.
    async fn append(&self, line: String) -> Result<(), Arc<io::Error>> {
        let Some(path) = self.record.clone() else {
            return Ok(());
        };
        let (done, mut waiting) = tokio::sync::oneshot::channel();
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Pending { line, done });
        let mut turn = self.writing.lock().await;
        if let Ok(result) = waiting.try_recv() {
            return result;
        }
        if let Some(last) = *turn {
            sleep_until(last + APPEND_INTERVAL).await;
        }
        *turn = Some(Instant::now());
        let batch = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let text: String = batch.iter().map(|pending| pending.line.as_str()).collect();
        let result = tokio::task::spawn_blocking(move || append_durably(&path, text.as_bytes()))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(Arc::new);
        for pending in batch {
            // A waiter that is gone no longer needs to know.
            let _ = pending.done.send(result.clone());
        }
        result
    }
}

fn append_durably(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.lock()?;
    file.write_all(text)?;
    file.sync_data()
}

// === impl Table ===

impl Table {
    fn read(&mut self, path: &Path) -> Result<(), String> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, FILE_LIMIT + 1), &mut bytes)
            .map_err(|e| e.to_string())?;
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(format!("it is larger than {} MiB", FILE_LIMIT >> 20));
        }
        for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            self.read_line(line, &format!("{}:{}", path.display(), index + 1));
        }
        Ok(())
    }

    /// A line that can't be understood says nothing about any host, as in OpenSSH.
    fn read_line(&mut self, line: &str, place: &str) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let mut words = line.split_ascii_whitespace();
        let Some(mut names) = words.next() else { return };
        let marker = match names {
            "@revoked" => Marker::Revoked,
            "@cert-authority" => Marker::Authority,
            _ if names.starts_with('@') => return,
            _ => Marker::None,
        };
        if marker != Marker::None {
            let Some(next) = words.next() else { return };
            names = next;
        }
        let (Some(algorithm), Some(key)) = (words.next(), words.next()) else {
            return;
        };
        let Ok(key) = BASE64.decode(key.as_bytes()) else {
            return;
        };
        self.add(
            names,
            Entry {
                marker,
                algorithm: algorithm.to_owned(),
                key,
                place: place.to_owned(),
            },
        );
    }

    fn add(&mut self, names: &str, entry: Entry) {
        let index = self.entries.len();
        self.entries.push(entry);
        if let Some(hashed) = names.strip_prefix("|1|") {
            let Some((salt, hash)) = hashed.split_once('|') else {
                return;
            };
            let (Ok(salt), Ok(hash)) = (BASE64.decode(salt.as_bytes()), BASE64.decode(hash.as_bytes()))
            else {
                return;
            };
            self.hashed.push((salt, hash, index));
        } else if names.contains(['*', '?', '!']) {
            self.patterns.push((names.to_owned(), index));
        } else {
            for name in names.split(',').filter(|name| !name.is_empty()) {
                self.exact
                    .entry(name.to_ascii_lowercase())
                    .or_default()
                    .push(index);
            }
        }
    }

    fn find(&self, name: &str) -> Vec<usize> {
        let name = name.to_ascii_lowercase();
        let mut found = self.exact.get(&name).cloned().unwrap_or_default();
        found.extend(
            self.patterns
                .iter()
                .filter(|(list, _)| list_matches(list, &name))
                .map(|(_, index)| *index),
        );
        found.extend(
            self.hashed
                .iter()
                .filter(|(salt, hash, _)| hashes_to(salt, hash, &name))
                .map(|(.., index)| *index),
        );
        found
    }
}

/// The name that OpenSSH uses: bare on port 22, otherwise `[address]:port`.
fn known_name(address: &str, port: u16) -> String {
    if port == 22 {
        address.to_owned()
    } else {
        format!("[{address}]:{port}")
    }
}

fn hashes_to(salt: &[u8], hash: &[u8], name: &str) -> bool {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else {
        return false;
    };
    mac.update(name.as_bytes());
    mac.verify_slice(hash).is_ok()
}

/// A comma list of patterns: some must match, and no negated one.
fn list_matches(list: &str, name: &str) -> bool {
    let mut matched = false;
    for pattern in list.split(',') {
        if let Some(negated) = pattern.strip_prefix('!') {
            if glob_matches(negated, name) {
                return false;
            }
        } else {
            matched |= glob_matches(pattern, name);
        }
    }
    matched
}

/// `*` and `?` of sshd(8), in time linear in the name for each star.
fn glob_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase().into_bytes(), name.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star, tried)) = retry else { return false };
                retry = Some((star, tried + 1));
                at = star;
                from = tried + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Received {
        Received {
            algorithm: "ssh-ed25519".into(),
            blob: text.as_bytes().to_vec(),
            fingerprint: "SHA256:x".into(),
        }
    }

    fn known(lines: &str) -> (tempfile::TempDir, KnownHosts) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known_hosts");
        std::fs::write(&path, lines).unwrap();
        let hosts = KnownHosts::load(&[path], Some(directory.path().join("record"))).unwrap();
        (directory, hosts)
    }

    #[tokio::test]
    async fn a_new_key_is_remembered_and_another_then_refused() {
        let (directory, hosts) = known("");
        hosts
            .check("web1", 22, key("a"), HostKeyPolicy::AcceptNew)
            .await
            .unwrap();
        hosts
            .check("web1", 22, key("a"), HostKeyPolicy::Strict)
            .await
            .unwrap();
        let record = directory.path().join("record");
        assert_eq!(
            std::fs::read_to_string(&record).unwrap(),
            "web1 ssh-ed25519 YQ==\n"
        );
        let again = KnownHosts::load(&[], Some(record.clone())).unwrap();
        let problem = again
            .check("web1", 22, key("b"), HostKeyPolicy::AcceptNew)
            .await
            .unwrap_err();
        assert_eq!(
            problem.to_string(),
            format!("the host's key SHA256:x is not the one in {}:1", record.display())
        );
        again
            .check("web1", 22, key("b"), HostKeyPolicy::Off)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn strict_refuses_what_is_unknown() {
        let (_directory, hosts) = known("web1 ssh-ed25519 YQ==\n");
        let strict = HostKeyPolicy::Strict;
        assert!(matches!(
            hosts.check("web1", 2222, key("a"), strict).await,
            Err(HostKeyProblem::Unknown { .. })
        ));
        assert!(hosts.check("WEB1", 22, key("a"), strict).await.is_ok());
    }

    #[tokio::test]
    async fn patterns_hashes_ports_and_revocations() {
        // The hash is HMAC-SHA1 of "secret" under the salt "salt".
        let mut mac = Hmac::<Sha1>::new_from_slice(b"salt").unwrap();
        mac.update(b"secret");
        let hash = BASE64.encode(&mac.finalize().into_bytes());
        let (_directory, hosts) = known(&format!(
            "*.example,!bad.example ssh-ed25519 YQ==\n|1|c2FsdA==|{hash} ssh-ed25519 YQ==\n[h]:2222 ssh-ed25519 YQ==\n\
             @revoked * ssh-ed25519 eg==\nnot a line\n@cert-authority * ssh-ed25519 YQ==\n"
        ));
        let strict = HostKeyPolicy::Strict;
        for (host, port) in [("a.example", 22), ("secret", 22), ("h", 2222)] {
            assert!(hosts.check(host, port, key("a"), strict).await.is_ok(), "{host}");
        }
        assert!(matches!(
            hosts.check("bad.example", 22, key("a"), strict).await,
            Err(HostKeyProblem::Unknown { .. })
        ));
        let revoked = hosts.check("any", 22, key("z"), HostKeyPolicy::AcceptNew).await;
        assert!(matches!(revoked, Err(HostKeyProblem::Revoked { .. })));
    }

    #[tokio::test]
    async fn many_new_keys_at_once_are_whole_lines() {
        let (directory, hosts) = known("");
        let hosts = Arc::new(hosts);
        let checks = (0..200).map(|number| {
            let hosts = Arc::clone(&hosts);
            tokio::spawn(async move {
                hosts
                    .check(&format!("h{number}"), 22, key("a"), HostKeyPolicy::AcceptNew)
                    .await
            })
        });
        for check in checks.collect::<Vec<_>>() {
            check.await.unwrap().unwrap();
        }
        let text = std::fs::read_to_string(directory.path().join("record")).unwrap();
        assert_eq!(
            text.lines()
                .filter(|line| line.ends_with(" ssh-ed25519 YQ=="))
                .count(),
            200
        );
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text: String) {
            let mut table = Table::default();
            for line in text.lines() {
                table.read_line(line, "f:1");
            }
            let _ = table.find(&text);
        }

        #[test]
        fn globs_agree_with_a_naive_matcher(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            fn naive(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern.first(), name.first()) {
                    (None, None) => true,
                    (Some(b'*'), _) => naive(&pattern[1..], name) || (!name.is_empty() && naive(pattern, &name[1..])),
                    (Some(b'?'), Some(_)) => naive(&pattern[1..], &name[1..]),
                    (Some(a), Some(b)) if a == b => naive(&pattern[1..], &name[1..]),
                    _ => false,
                }
            }
            proptest::prop_assert_eq!(glob_matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
