//! The state directory: where it may be, and how it stays writable when the disk is full.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use crate::{Error, Result};

/// Space set aside for writing the last outcomes when the disk is full.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// On a small or nearly full disk the reserve is this part of the free space.
const RESERVE_SHARE: u64 = 16;

/// The smallest reserve worth keeping.
const RESERVE_LEAST: u64 = 1 << 20;

/// Whether the ledger can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerState {
    /// Yes.
    Writable,
    /// The disk is full and the reserve was released: stop dispatching, finish what is running. Remains set until the
    /// ledger is opened again.
    DiskFull,
}

/// The state directory, its reserve, and whether the reserve was used.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    state: watch::Sender<LedgerState>,
}

// === impl Disk ===

impl Disk {
    /// Creates or checks the directory; `create` also sets the reserve aside.
    pub(crate) fn open(directory: &Path, create: bool) -> Result<Self> {
        let refused = |error: io::Error| Error::StateDirectory {
            path: directory.to_owned(),
            reason: error.to_string(),
        };
        if create {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(refused)?;
        }
        let metadata = fs::metadata(directory).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoLedger {
                path: directory.to_owned(),
            },
            _ => refused(error),
        })?;
        if !metadata.is_dir() {
            return Err(refused(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        if let Some(filesystem) = network_filesystem(directory).map_err(refused)? {
            return Err(Error::NetworkFilesystem {
                path: directory.to_owned(),
                filesystem,
            });
        }
        let disk = Self::at(directory);
        if create {
            disk.set_aside();
        }
        Ok(disk)
    }

    /// An existing directory, without a reserve.
    pub(crate) fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            state: watch::Sender::new(LedgerState::Writable),
        }
    }

    /// Assumes free space again, as opening the ledger again would.
    #[cfg(feature = "memory")]
    pub(crate) fn reopen(&self) {
        self.state.send_replace(LedgerState::Writable);
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn state(&self) -> watch::Receiver<LedgerState> {
        self.state.subscribe()
    }

    pub(crate) fn full(&self) -> Error {
        Error::DiskFull {
            path: self.directory.clone(),
        }
    }

    /// Releases the reserve and marks the disk as full for good.
    pub(crate) fn release(&self) {
        let newly = self.state.send_replace(LedgerState::DiskFull) == LedgerState::Writable;
        if newly {
            let released = fs::remove_file(self.reserve()).is_ok();
            tracing::error!(
                state_dir = %self.directory.display(),
                reserve_released = released,
                "the ledger's disk is full: no more hosts are dispatched"
            );
        }
    }

    /// Releases the reserve, so that little can be written to a full disk. Returns whether there was one.
    pub(crate) fn spend_reserve(&self) -> bool {
        let released = fs::remove_file(self.reserve()).is_ok();
        tracing::warn!(
            state_dir = %self.directory.display(),
            reserve_released = released,
            "the ledger's disk is full"
        );
        released
    }

    fn reserve(&self) -> PathBuf {
        self.directory.join("reserve")
    }

    fn set_aside(&self) {
        let reserve = self.reserve();
        if fs::metadata(&reserve).is_ok_and(|metadata| metadata.len() >= RESERVE_LEAST) {
            return;
        }
        if let Err(error) = preallocate(&self.directory, &reserve) {
            let _ = fs::remove_file(&reserve);
            tracing::warn!(%error, "can't set space aside for a full disk");
        }
    }
}

fn preallocate(directory: &Path, reserve: &Path) -> io::Result<()> {
    let free = rustix::fs::statvfs(directory)?;
    let size = RESERVE_BYTES.min(free.f_bavail.saturating_mul(free.f_frsize) / RESERVE_SHARE);
    if size < RESERVE_LEAST {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            "the disk is nearly full",
        ));
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(reserve)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
    Ok(())
}

/// Creates a directory that only its owner may read.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("make", path))
}

/// Opens a lock file that only its owner may read.
pub(crate) fn lock_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open", path))
}

/// Returns the name of the network filesystem that contains `path`, by the magic numbers of `statfs(2)`.
#[cfg(target_os = "linux")]
#[expect(clippy::cast_sign_loss, reason = "the field's sign has no meaning")]
fn network_filesystem(path: &Path) -> io::Result<Option<&'static str>> {
    const NETWORK: [(u64, &str); 12] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xfe53_4d42, "SMB2"),
        (0xff53_4d42, "CIFS"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x0bd0_0bd0, "Lustre"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x4750_4653, "GPFS"),
        (0x1983_0326, "BeeGFS"),
        (0x7375_7245, "Coda"),
    ];
    // The field is signed and as wide as a word; only its low 32 bits are the magic number.
    let magic = rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff;
    Ok(NETWORK
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| *name))
}

/// Other systems have no portable check, so the locks are trusted.
#[cfg(not(target_os = "linux"))]
fn network_filesystem(_path: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

/// Whether the system reported that no space, or no quota, is left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_space_aside_and_gives_it_back_once() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::open(directory.path(), true).unwrap();
        let reserve = directory.path().join("reserve");
        assert!(fs::metadata(&reserve).unwrap().len() >= RESERVE_LEAST);
        assert_eq!(*disk.state().borrow(), LedgerState::Writable);
        disk.release();
        disk.release();
        assert!(!reserve.exists());
        assert_eq!(*disk.state().borrow(), LedgerState::DiskFull);
    }

    #[test]
    fn a_file_is_no_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(
            Disk::open(&file, true),
            Err(Error::StateDirectory { .. })
        ));
        let missing = directory.path().join("missing");
        assert!(matches!(Disk::open(&missing, false), Err(Error::NoLedger { .. })));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn local_filesystems_are_accepted() {
        assert_eq!(network_filesystem(Path::new("/proc")).unwrap(), None);
    }
}
