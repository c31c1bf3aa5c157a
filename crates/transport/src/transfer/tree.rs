//! Reads a local directory for copying to hosts.

use std::fs::Metadata;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tar::{Builder, EntryType, Header};

use super::digest::{hash_of, identity, stamp};

/// How many entries of a directory may be copied.
pub(crate) const ENTRIES_LIMIT: usize = 1_000_000;

/// A directory with everything below it; directories come before their contents.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    /// Permission bits of the directory itself.
    pub(crate) mode: u32,
    pub(crate) entries: Vec<Entry>,
    /// Identifies this state of the directory.
    pub(crate) identity: String,
}

/// An entry below a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its path relative to the directory.
    pub(crate) path: Vec<u8>,
    pub(crate) node: Node,
}

#[derive(Debug)]
pub(crate) enum Node {
    Directory {
        mode: u32,
    },
    File {
        mode: u32,
        size: u64,
        hash: OnceLock<String>,
    },
    Link {
        target: Vec<u8>,
    },
}

// === impl Tree ===

impl Tree {
    /// Reads the directory at `root`, which may be a link; links below it stay links.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut entries = Vec::new();
        let mut facts: Vec<u8> = root.as_os_str().as_bytes().to_vec();
        let mut unread = vec![Vec::new()];
        while let Some(directory) = unread.pop() {
            let at = join(root, &directory);
            let refused = |path: &Path, why: String| io::Error::other(format!("{}: {why}", path.display()));
            let mut names: Vec<_> = std::fs::read_dir(&at)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .map_err(|error| refused(&at, error.to_string()))?;
            names.sort_by_key(std::fs::DirEntry::file_name);
            for name in names {
                let full = name.path();
                let metadata = name
                    .metadata()
                    .map_err(|error| refused(&full, error.to_string()))?;
                let mut path = directory.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend(name.file_name().into_vec());
                if path.contains(&b'\n') {
                    return Err(refused(
                        &full,
                        "a name with a line break can't be copied".to_owned(),
                    ));
                }
                let node = Node::of(&full, &metadata).map_err(|error| refused(&full, error.to_string()))?;
                facts.extend_from_slice(&path);
                facts.extend_from_slice(&metadata.len().to_le_bytes());
                facts.extend_from_slice(&stamp(&metadata));
                facts.extend_from_slice(&metadata.mode().to_le_bytes());
                if matches!(node, Node::Directory { .. }) {
                    unread.push(path.clone());
                }
                entries.push(Entry { path, node });
                if entries.len() > ENTRIES_LIMIT {
                    return Err(refused(
                        root,
                        format!("it has more than {ENTRIES_LIMIT} entries; copy its parts"),
                    ));
                }
            }
        }
        Ok(Self {
            root: root.to_owned(),
            mode: std::fs::metadata(root)?.mode() & 0o777,
            entries,
            identity: identity([&facts[..]]),
        })
    }

    /// The local path of an entry.
    pub(crate) fn local(&self, entry: &Entry) -> PathBuf {
        join(&self.root, &entry.path)
    }

    /// The hash of a file, computed once for all hosts.
    pub(crate) fn hash<'a>(&self, entry: &'a Entry) -> io::Result<&'a str> {
        let Node::File { hash, .. } = &entry.node else {
            return Ok("");
        };
        if let Some(hash) = hash.get() {
            return Ok(hash);
        }
        let computed = hash_of(std::fs::File::open(self.local(entry))?)?;
        Ok(hash.get_or_init(|| computed))
    }

    /// Writes the entries with these numbers as an archive; files get `mode`, if set.
    pub(crate) fn pack(&self, wanted: &[usize], mode: Option<u32>, sink: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(sink);
        let modified = |entry: &Entry| {
            std::fs::symlink_metadata(self.local(entry)).map_or(0, |metadata| metadata.mtime())
        };
        for entry in wanted.iter().map(|index| &self.entries[*index]) {
            let path = Path::new(std::ffi::OsStr::from_bytes(&entry.path));
            let header = |kind, mode, size, modified: i64| {
                let mut header = Header::new_gnu();
                header.set_entry_type(kind);
                header.set_mode(mode);
                header.set_size(size);
                header.set_mtime(u64::try_from(modified).unwrap_or(0));
                header
            };
            match &entry.node {
                Node::Directory { mode } => {
                    let mut header = header(EntryType::Directory, *mode, 0, modified(entry));
                    archive.append_data(&mut header, path, io::empty())?;
                }
                Node::Link { target } => {
                    let target = Path::new(std::ffi::OsStr::from_bytes(target));
                    let mut header = header(EntryType::Symlink, 0o777, 0, modified(entry));
                    archive.append_link(&mut header, path, target)?;
                }
                Node::File { mode: own, size, .. } => {
                    let local = self.local(entry);
                    let named = |error: io::Error| io::Error::other(format!("{}: {error}", local.display()));
                    let file = std::fs::File::open(&local).map_err(named)?;
                    let metadata = file.metadata().map_err(named)?;
                    if metadata.len() != *size {
                        return Err(named(io::Error::other("it has changed since the copy began")));
                    }
                    let mode = mode.unwrap_or(*own);
                    let mut header = header(EntryType::Regular, mode, *size, metadata.mtime());
                    let exactly = Exactly {
                        source: file.take(*size),
                        left: *size,
                    };
                    archive.append_data(&mut header, path, exactly).map_err(named)?;
                }
            }
        }
        archive.into_inner()?.flush()
    }
}

// === impl Node ===

impl Node {
    fn of(path: &Path, metadata: &Metadata) -> io::Result<Self> {
        let kind = metadata.file_type();
        if kind.is_dir() {
            Ok(Node::Directory {
                mode: metadata.mode() & 0o777,
            })
        } else if kind.is_file() {
            Ok(Node::File {
                mode: metadata.mode() & 0o777,
                size: metadata.len(),
                hash: OnceLock::new(),
            })
        } else if kind.is_symlink() {
            Ok(Node::Link {
                target: std::fs::read_link(path)?.into_os_string().into_vec(),
            })
        } else {
            Err(io::Error::other(
                "it is neither a file, a directory nor a link, and can't be copied",
            ))
        }
    }
}

/// A source that must have exactly the announced number of bytes.
struct Exactly<R> {
    source: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.left -= read as u64;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it became shorter while it was sent"));
        }
        Ok(read)
    }
}

fn join(root: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() {
        root.to_owned()
    } else {
        root.join(std::ffi::OsStr::from_bytes(path))
    }
}
