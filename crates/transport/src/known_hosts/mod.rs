//! Known host keys, and how to treat unknown ones.
//!
//! Supports OpenSSH's `known_hosts` format (sshd(8)): plain, wildcard, negated and hashed names, `@revoked`,
//! `@cert-authority`. Each file is read once. New keys are appended to one of our files, durably, before
//! authentication; writers in one process share an append and its sync, and writers in several processes use a file
//! lock.
//!
//! A host's certificate is accepted if it is signed by an authority that is trusted for the host's name; see
//! [`certificate`]. A certificate from an unknown authority counts as the plain key in it.

mod certificate;
mod record;
mod table;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use reveille_account::HostKeyPolicy;
use russh::keys::{Certificate, HashAlg, PublicKey};

use self::record::Record;
use self::table::{Entry, Marker, Since, Table};

/// Why a host's key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyProblem {
    /// The key is not known, and the policy is strict.
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
    /// The key, or the key of the authority that signed it, is marked as revoked.
    #[error("the host's key {fingerprint} is revoked in {place}")]
    Revoked {
        /// SHA-256 fingerprint of the key received.
        fingerprint: String,
        /// `file:line` of the revocation.
        place: String,
    },
    /// The authority is trusted, but the certificate is not valid for this host and time.
    #[error("the host's certificate {fingerprint}, by the authority in {place}, {why}")]
    Certificate {
        /// SHA-256 fingerprint of the key in it.
        fingerprint: String,
        /// `file:line` of the authority.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// A new key could not be recorded.
    #[error("can't record the host's key: {0}")]
    NotRecorded(String),
}

/// A known-hosts file that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read known hosts from {path}: {why}", path = path.display())]
pub struct KnownHostsError {
    path: PathBuf,
    why: String,
}

/// All known host keys, and the file for new ones.
#[derive(Debug, Default)]
pub struct KnownHosts {
    table: Mutex<Table>,
    files: Vec<PathBuf>,
    record: Record,
}

/// How a host's key is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Known before this process began, by itself or by its authority.
    Known,
    /// Seen by this process for the first time, on this connection or an earlier one: otherwise a man in the middle
    /// could end the first connection to be known on the second.
    New,
    /// Not checked.
    Unchecked,
}

/// The names under which a host's key is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownName {
    /// As in the files: plain for port 22 and for an alias, otherwise `[address]:port`.
    listed: String,
    /// As in certificates. Like ssh, a host at another port is also looked up by this name, if it is not listed.
    principal: String,
}

/// A key that was received from a host.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) algorithm: String,
    pub(crate) blob: Vec<u8>,
    pub(crate) fingerprint: String,
}

// === impl KnownName ===

impl KnownName {
    /// The names that OpenSSH uses for a host.
    pub(crate) fn new(address: &str, port: u16, alias: Option<&str>) -> Self {
        let principal = alias.unwrap_or(address).to_ascii_lowercase();
        let listed = match alias {
            None if port != 22 => format!("[{principal}]:{port}"),
            _ => principal.clone(),
        };
        Self { listed, principal }
    }

    /// The entries for both names.
    fn find(&self, table: &mut Table) -> Vec<usize> {
        let mut found = table.find(&self.listed);
        if self.listed != self.principal {
            found.extend(table.find(&self.principal));
        }
        found
    }
}

// === impl Received ===

impl Received {
    pub(crate) fn new(key: &PublicKey) -> Result<Self, russh::keys::ssh_key::Error> {
        Ok(Self {
            algorithm: key.algorithm().as_str().to_owned(),
            blob: key.to_bytes()?,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

// === impl KnownHosts ===

impl KnownHosts {
    /// Reads the existing ones of `files`, the user's before the system's; new keys will go to `record`, which is read
    /// too.
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
            files: files.to_vec(),
            record: Record::new(record),
        })
    }

    /// All files, starting with the one for new keys.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.record
            .path()
            .into_iter()
            .chain(self.files.iter().map(PathBuf::as_path))
    }

    /// The algorithms of the keys known for a host, which should be offered first.
    pub(crate) fn algorithms(&self, name: &KnownName) -> Vec<String> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of = |name: &str| -> Vec<String> {
            let found = table.find(name).into_iter().map(|index| &table.entries[index]);
            found
                .filter(|entry| entry.marker == Marker::None)
                .map(|entry| entry.algorithm.clone())
                .collect()
        };
        let mut algorithms = of(&name.listed);
        if algorithms.is_empty() {
            algorithms = of(&name.principal);
        }
        algorithms.sort();
        algorithms.dedup();
        algorithms
    }

    /// Whether an authority is trusted for this host; only then does the client ask for certificates.
    pub(crate) fn has_authority(&self, name: &KnownName) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.authorities > 0
            && name
                .find(&mut table)
                .into_iter()
                .any(|index| table.entries[index].marker == Marker::Authority)
    }

    /// Checks a host's key, and records a new one if the policy allows it.
    pub(crate) async fn check(
        &self,
        name: &KnownName,
        received: Received,
        policy: HostKeyPolicy,
    ) -> Result<Trust, HostKeyProblem> {
        if policy == HostKeyPolicy::Off {
            return Ok(Trust::Unchecked);
        }
        let Received {
            algorithm,
            blob,
            fingerprint,
        } = received;
        let line = format!("{} {algorithm} {}\n", name.listed, BASE64.encode(&blob));
        let seen = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let everywhere = name.find(&mut table);
            let entries = everywhere.iter().map(|index| &table.entries[*index]);
            if let Some(place) = revoked(entries, &blob) {
                return Err(HostKeyProblem::Revoked { fingerprint, place });
            }
            let found = table.find(&name.listed);
            let entries = || found.iter().map(|index| &table.entries[*index]);
            let first = entries().find(|entry| entry.marker == Marker::None);
            // Another algorithm counts as a mismatch too; otherwise a man in the middle could offer just that one.
            if let Some(first) = first.map(|entry| entry.place.clone()) {
                let same = found.iter().copied().filter(|index| {
                    let entry = &table.entries[*index];
                    entry.marker == Marker::None && entry.key == blob
                });
                match same.map(|index| (table.entries[index].since, index)).min() {
                    Some((Since::Before, _)) => return Ok(Trust::Known),
                    Some((Since::Recorded, _)) => return Ok(Trust::New),
                    // Another connection is recording it, or failed to.
                    Some((Since::Seen, index)) => (index, true),
                    None => {
                        return Err(HostKeyProblem::Mismatch {
                            fingerprint,
                            place: first,
                        });
                    }
                }
            } else {
                let is_known = |index: &usize| {
                    let entry = &table.entries[*index];
                    entry.marker == Marker::None && entry.since == Since::Before && entry.key == blob
                };
                // Another key of the bare name says nothing about this port.
                if everywhere.iter().any(is_known) {
                    return Ok(Trust::Known);
                }
                if policy == HostKeyPolicy::Strict {
                    return Err(HostKeyProblem::Unknown { fingerprint });
                }
                let place = self
                    .record
                    .path()
                    .map_or_else(|| "this run".to_owned(), |path| path.display().to_string());
                let entry = Entry {
                    marker: Marker::None,
                    algorithm: algorithm.clone(),
                    key: blob.clone(),
                    place,
                    since: Since::Seen,
                };
                (table.add(&name.listed, entry), false)
            }
        };
        self.make_durable(seen, line).await?;
        Ok(Trust::New)
    }

    /// Records a new key durably before anything is authenticated with it. If the key was `seen` before, waits for the
    /// other connection's attempt first; if that failed, tries once more.
    async fn make_durable(&self, (index, seen): (usize, bool), line: String) -> Result<(), HostKeyProblem> {
        let failed = |error: Arc<std::io::Error>| HostKeyProblem::NotRecorded(error.to_string());
        if seen {
            // This waits for all lines that were queued before.
            self.record.append(String::new()).await.map_err(failed)?;
            let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            if table.entries[index].since == Since::Recorded {
                return Ok(());
            }
        }
        self.record.append(line).await.map_err(failed)?;
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.entries[index].since = Since::Recorded;
        Ok(())
    }

    /// Checks a host's certificate. If its authority is not trusted for this host, it counts as the key in it.
    pub(crate) async fn check_certificate(
        &self,
        name: &KnownName,
        shown: &Certificate,
        policy: HostKeyPolicy,
        now: u64,
    ) -> Result<Trust, HostKeyProblem> {
        let key = PublicKey::new(shown.public_key().clone(), "");
        let unreadable =
            |error: russh::keys::ssh_key::Error| HostKeyProblem::NotRecorded(format!("unreadable: {error}"));
        let received = Received::new(&key).map_err(unreadable)?;
        let authority = PublicKey::new(shown.signature_key().clone(), "")
            .to_bytes()
            .map_err(unreadable)?;
        if policy != HostKeyPolicy::Off {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let found = name.find(&mut table);
            let entries = || found.iter().map(|index| &table.entries[*index]);
            let fingerprint = received.fingerprint.clone();
            if let Some(place) = revoked(entries(), &received.blob).or_else(|| revoked(entries(), &authority))
            {
                return Err(HostKeyProblem::Revoked { fingerprint, place });
            }
            let trusted = entries().find(|entry| entry.marker == Marker::Authority && entry.key == authority);
            if let Some(entry) = trusted {
                return match certificate::judge(shown, &name.principal, now) {
                    Ok(()) => Ok(Trust::Known),
                    Err(why) => Err(HostKeyProblem::Certificate {
                        fingerprint,
                        place: entry.place.clone(),
                        why,
                    }),
                };
            }
        }
        self.check(name, received, policy).await
    }
}

/// The place where a key is marked as revoked.
fn revoked<'a>(mut entries: impl Iterator<Item = &'a Entry>, key: &[u8]) -> Option<String> {
    entries
        .find(|entry| entry.marker == Marker::Revoked && entry.key == key)
        .map(|entry| entry.place.clone())
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha1::Sha1;

    use super::*;

    fn name(address: &str, port: u16) -> KnownName {
        KnownName::new(address, port, None)
    }

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
            .check(&name("web1", 22), key("a"), HostKeyPolicy::AcceptNew)
            .await
            .unwrap();
        hosts
            .check(&name("web1", 22), key("a"), HostKeyPolicy::Strict)
            .await
            .unwrap();
        let record = directory.path().join("record");
        assert_eq!(
            std::fs::read_to_string(&record).unwrap(),
            "web1 ssh-ed25519 YQ==\n"
        );
        let again = KnownHosts::load(&[], Some(record.clone())).unwrap();
        let problem = again
            .check(&name("web1", 22), key("b"), HostKeyPolicy::AcceptNew)
            .await
            .unwrap_err();
        assert_eq!(
            problem.to_string(),
            format!("the host's key SHA256:x is not the one in {}:1", record.display())
        );
        again
            .check(&name("web1", 22), key("b"), HostKeyPolicy::Off)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_host_at_another_port_is_known_by_its_bare_name() {
        let (_directory, hosts) = known("web1 ssh-ed25519 YQ==\n@revoked web1 ssh-ed25519 cg==\n");
        let strict = HostKeyPolicy::Strict;
        let there = name("web1", 2222);
        assert_eq!(hosts.algorithms(&there), ["ssh-ed25519"]);
        assert_eq!(hosts.check(&there, key("a"), strict).await, Ok(Trust::Known));
        let revoked = hosts.check(&there, key("r"), HostKeyPolicy::AcceptNew).await;
        assert!(
            matches!(revoked, Err(HostKeyProblem::Revoked { .. })),
            "{revoked:?}"
        );
        // Another key is neither wrong nor known, because another server may listen at this port.
        let unknown = hosts.check(&there, key("b"), strict).await;
        assert!(
            matches!(unknown, Err(HostKeyProblem::Unknown { .. })),
            "{unknown:?}"
        );
        let new = hosts.check(&there, key("b"), HostKeyPolicy::AcceptNew).await;
        assert_eq!(new, Ok(Trust::New));
        // Once the port is listed, its line counts alone.
        let wrong = hosts.check(&there, key("a"), strict).await;
        assert!(matches!(wrong, Err(HostKeyProblem::Mismatch { .. })), "{wrong:?}");
        // An alias is a name without a port.
        let alias = KnownName::new("web1", 2222, Some("web9"));
        let unknown = hosts.check(&alias, key("a"), strict).await;
        assert!(
            matches!(unknown, Err(HostKeyProblem::Unknown { .. })),
            "{unknown:?}"
        );
    }

    #[tokio::test]
    async fn a_key_stays_new_for_the_life_of_the_process() {
        let (directory, hosts) = known("web2 ssh-ed25519 YQ==\n");
        let accept = HostKeyPolicy::AcceptNew;
        for _ in 0..3 {
            let trust = hosts.check(&name("web1", 22), key("a"), accept).await;
            assert_eq!(trust, Ok(Trust::New));
        }
        let trust = hosts.check(&name("web2", 22), key("a"), accept).await;
        assert_eq!(trust, Ok(Trust::Known));
        let record = directory.path().join("record");
        let lines = std::fs::read_to_string(&record).unwrap();
        assert_eq!(lines, "web1 ssh-ed25519 YQ==\n", "once");
        // The next process knows it.
        let next = KnownHosts::load(&[], Some(record)).unwrap();
        let trust = next.check(&name("web1", 22), key("a"), accept).await;
        assert_eq!(trust, Ok(Trust::Known));
    }

    #[tokio::test]
    async fn what_could_not_be_recorded_is_tried_again_and_never_taken_for_known() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("state/record");
        let hosts = KnownHosts::load(&[], Some(record.clone())).unwrap();
        let accept = HostKeyPolicy::AcceptNew;
        for _ in 0..2 {
            let refused = hosts.check(&name("web1", 22), key("a"), accept).await;
            assert!(
                matches!(refused, Err(HostKeyProblem::NotRecorded(_))),
                "{refused:?}"
            );
        }
        std::fs::create_dir(directory.path().join("state")).unwrap();
        let trust = hosts.check(&name("web1", 22), key("a"), accept).await;
        assert_eq!(trust, Ok(Trust::New));
        assert_eq!(
            std::fs::read_to_string(&record).unwrap(),
            "web1 ssh-ed25519 YQ==\n"
        );
        // A different key under that name is still a mismatch.
        let refused = hosts.check(&name("web1", 22), key("b"), accept).await;
        assert!(
            matches!(refused, Err(HostKeyProblem::Mismatch { .. })),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn connections_at_the_same_time_share_one_line() {
        let (directory, hosts) = known("");
        let host = name("bastion", 22);
        let checks = (0..16).map(|_| hosts.check(&host, key("a"), HostKeyPolicy::AcceptNew));
        for trust in futures::future::join_all(checks).await {
            assert_eq!(trust, Ok(Trust::New));
        }
        let lines = std::fs::read_to_string(directory.path().join("record")).unwrap();
        assert_eq!(lines, "bastion ssh-ed25519 YQ==\n");
    }

    #[tokio::test]
    async fn strict_refuses_what_is_unknown() {
        let (_directory, hosts) = known("web1 ssh-ed25519 YQ==\n");
        let strict = HostKeyPolicy::Strict;
        assert!(matches!(
            hosts.check(&name("web2", 22), key("a"), strict).await,
            Err(HostKeyProblem::Unknown { .. })
        ));
        assert!(hosts.check(&name("WEB1", 22), key("a"), strict).await.is_ok());
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
            assert!(
                hosts.check(&name(host, port), key("a"), strict).await.is_ok(),
                "{host}"
            );
        }
        assert!(matches!(
            hosts.check(&name("bad.example", 22), key("a"), strict).await,
            Err(HostKeyProblem::Unknown { .. })
        ));
        let revoked = hosts
            .check(&name("any", 22), key("z"), HostKeyPolicy::AcceptNew)
            .await;
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
                    .check(
                        &name(&format!("h{number}"), 22),
                        key("a"),
                        HostKeyPolicy::AcceptNew,
                    )
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
}
