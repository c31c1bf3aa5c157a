//! The source of copies to hosts: a file, a text, or a directory, read once for all hosts.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use reveille_text::bounded;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::digest::{IDENTITY, hash_of, identity, stamp};
use super::tree::Tree;

/// The size of a block, the unit in which interrupted copies continue.
pub(crate) const BLOCK: u64 = 65_536;

/// The most to read of a local file without a size, in bytes.
const MADE_LIMIT: u64 = 16 * 1024 * 1024;

/// The source of a copy. All hosts of a step share it, so nothing is read or hashed twice.
#[derive(Debug)]
pub struct Original(pub(crate) Kind);

#[derive(Debug)]
pub(crate) enum Kind {
    File(Whole),
    Tree(Arc<Tree>),
}

/// The content of one file.
pub(crate) struct Whole {
    pub(crate) content: Content,
    pub(crate) size: u64,
    /// Identifies the content: another file, or another version of it, has another identity.
    pub(crate) identity: String,
    /// Hexadecimal SHA-256 of the first bytes, by their number.
    hashes: Mutex<HashMap<u64, Arc<str>>>,
}

#[derive(Clone)]
pub(crate) enum Content {
    File(PathBuf),
    Memory(Bytes),
}

// === impl Original ===

impl Original {
    /// Opens the file or directory at `path`. Reading a directory blocks.
    pub fn at(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        if metadata.is_dir() {
            return Tree::read(path).map(|tree| Self(Kind::Tree(Arc::new(tree))));
        }
        if !metadata.is_file() {
            return Err(io::Error::other("it is neither a file nor a directory"));
        }
        if metadata.len() == 0 {
            // The kernel makes the content of some files when they are read.
            let content = bounded::bytes(path, MADE_LIMIT).map_err(io::Error::other)?;
            return Ok(Self::text(content.into()));
        }
        let identity = identity_of(path, &metadata);
        Ok(Self(Kind::File(Whole {
            content: Content::File(path.to_owned()),
            size: metadata.len(),
            identity,
            hashes: Mutex::default(),
        })))
    }

    /// A text that is not in a file.
    pub fn text(content: Bytes) -> Self {
        let hash: Arc<str> = HEXLOWER.encode(&Sha256::digest(&content)).into();
        Self(Kind::File(Whole {
            size: content.len() as u64,
            identity: hash[..IDENTITY].to_owned(),
            hashes: Mutex::new(HashMap::from([(content.len() as u64, hash)])),
            content: Content::Memory(content),
        }))
    }

    /// Whether the source is unchanged. Directories count as unchanged after they were read.
    pub fn is_current(&self) -> bool {
        match &self.0 {
            Kind::File(whole) => whole.is_current(),
            Kind::Tree(_) => true,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.0, Kind::Tree(_))
    }
}

// === impl Whole ===

impl Whole {
    /// Whether the file is unchanged since it was opened.
    pub(crate) fn is_current(&self) -> bool {
        match &self.content {
            Content::Memory(_) => true,
            Content::File(path) => {
                std::fs::metadata(path).is_ok_and(|metadata| identity_of(path, &metadata) == self.identity)
            }
        }
    }

    /// The hash of the first `length` bytes.
    pub(crate) async fn hash(&self, length: u64) -> io::Result<Arc<str>> {
        // Concurrent requests for the same hash wait for one computation.
        let mut hashes = self.hashes.lock().await;
        if let Some(known) = hashes.get(&length) {
            return Ok(Arc::clone(known));
        }
        let content = self.content.clone();
        let computed = spawn_blocking(move || match content {
            Content::Memory(bytes) => {
                let end = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                Ok(HEXLOWER.encode(&Sha256::digest(&bytes[..end])))
            }
            Content::File(path) => hash_of(std::fs::File::open(path)?.take(length)),
        });
        let hash: Arc<str> = computed.await.map_err(io::Error::other)??.into();
        hashes.insert(length, Arc::clone(&hash));
        Ok(hash)
    }
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A text may contain secrets.
        match &self.content {
            Content::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Content::Memory(_) => write!(formatter, "Text({} bytes)", self.size),
        }
    }
}

fn identity_of(path: &Path, metadata: &std::fs::Metadata) -> String {
    // A resumed run may name the file by another path.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    identity([
        path.as_os_str().as_encoded_bytes(),
        &metadata.len().to_le_bytes(),
        &stamp(metadata),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that is resumed from another directory names the file by another path; its part of a copy fits all the same.
    #[test]
    fn a_file_is_the_same_by_any_path() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let metadata = std::fs::metadata(&file).unwrap();
        let identity = |path: &Path| identity_of(path, &metadata);
        assert_eq!(identity(&file), identity(&inner.join("../file")));
        assert_ne!(identity(&file), identity(&directory.path().join("other")));
    }
}
