//! Downloads a file, or a directory if the path is one.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use tokio::task::spawn_blocking;

use super::digest::hash_of;
use super::home::whole_path;
use super::original::BLOCK;
use super::place::{place, replaceable};
use super::pull::{Fetched, pull};
use super::script::Verb;
use super::{TransferError, is_hash};
use crate::escalate::Become;
use crate::session::Session;
use crate::supervisor::channel::{Channel, open};
use crate::supervisor::frames::Piece;

/// How many bytes to collect before writing them.
const WRITE: usize = 256 * 1024;

/// Copies `path` from the host to `target`, which is replaced at the end. More than `limit` bytes are refused.
///
/// An interrupted copy remains beside `target`, with the ending `.reveille-partial`, and is continued later.
pub async fn download(
    session: &Session,
    escalate: Option<&Become>,
    path: &str,
    target: &Path,
    limit: u64,
) -> Result<Fetched, TransferError> {
    replaceable(target)?;
    let path = &*whole_path(session, escalate, path).await?;
    let partial = partial(target);
    let named = |error: io::Error| io::Error::other(format!("can't write {}: {error}", partial.display()));
    if let Some(directory) = target.parent() {
        tokio::fs::create_dir_all(directory).await.map_err(named)?;
    }
    let blocks = size_of_file(&partial).map_or(0, |size| size / BLOCK);
    let here = size_of_file(target);
    let here_word = here.map_or_else(|| "-".to_owned(), |size| size.to_string());
    let orders = format!("{blocks} {here_word}\n{path}\n");
    let mut channel = open(session, escalate, Verb::Download.script(), &orders).await?;
    let words = channel.words(session).await?;
    if words == "directory" {
        return pull(session, escalate, path, target, &partial, limit).await;
    }
    let streams = words == "stream";
    let offer = if streams {
        Some(Offer::EMPTY)
    } else {
        Offer::parse(&words)
    };
    let offer = offer.ok_or_else(|| TransferError::said(&words))?;
    if offer.size > limit {
        return Err(TransferError::Remote(format!(
            "{path} has {} bytes, more than the {limit} allowed",
            offer.size
        )));
    }
    let mut from = 0;
    if offer.asks() {
        if here == Some(offer.size)
            && offer.whole.as_deref() == Some(&*session.meanwhile(hash(target, offer.size)).await?)
        {
            let _ = channel.exec.input().send("have\n").await;
            return Ok(Fetched::default());
        }
        let length = blocks * BLOCK;
        if blocks > 0
            && length <= offer.size
            && offer.beginning.as_deref() == Some(&*session.meanwhile(hash(&partial, length)).await?)
        {
            from = blocks;
        }
        let _ = channel.exec.input().send(format!("{from}\n")).await;
    }
    let mut options = OpenOptions::new();
    // The file to replace may be private. A new one is no more readable than on the host.
    options.mode(if here.is_some() { 0o600 } else { offer.mode | 0o600 });
    let mut file = options
        .create(true)
        .write(true)
        .truncate(false)
        .open(&partial)
        .await
        .map_err(named)?;
    file.set_max_buf_size(WRITE);
    file.set_len(from * BLOCK).await.map_err(named)?;
    file.seek(io::SeekFrom::Start(from * BLOCK))
        .await
        .map_err(named)?;
    let received = if streams {
        receive_all(&mut channel, &mut file, limit, path).await
    } else {
        receive(&mut channel, &mut file, offer.size - from * BLOCK, path).await
    };
    received.map_err(|error| match error {
        TransferError::Local(error) => named(error).into(),
        other => other,
    })?;
    session.meanwhile(file.sync_all()).await.map_err(named)?;
    let (from, to) = (partial.clone(), target.to_owned());
    let mode = offer.mode;
    let placed = spawn_blocking(move || place(&from, &to, mode));
    session.meanwhile(placed).await.map_err(io::Error::other)??;
    Ok(Fetched::default())
}

/// Writes the next `left` bytes of data to `file`. If the file grows meanwhile, the announced size counts.
async fn receive(
    channel: &mut Channel,
    file: &mut File,
    mut left: u64,
    path: &str,
) -> Result<(), TransferError> {
    let announced = left;
    let mut file = BufWriter::with_capacity(WRITE, file);
    while left > 0 {
        let Some(bytes) = channel.data().await else {
            // The received bytes help the next attempt.
            file.flush().await?;
            return Err(TransferError::Lost(format!(
                "{left} of {announced} bytes of {path} did not arrive"
            )));
        };
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= taken as u64;
        file.write_all(&bytes[..taken]).await?;
    }
    Ok(file.flush().await?)
}

/// Writes the data up to the host's word that it was all, to `file`.
async fn receive_all(
    channel: &mut Channel,
    file: &mut File,
    limit: u64,
    path: &str,
) -> Result<(), TransferError> {
    let mut file = BufWriter::with_capacity(WRITE, file);
    let mut written = 0;
    loop {
        match channel.piece().await {
            Some(Piece::Data(bytes)) => {
                written += bytes.len() as u64;
                if written > limit {
                    return Err(TransferError::Remote(format!(
                        "{path} has more than the {limit} bytes allowed"
                    )));
                }
                file.write_all(&bytes).await?;
            }
            Some(Piece::Frame(words)) if words == "end" => return Ok(file.flush().await?),
            Some(Piece::Frame(words)) => return Err(TransferError::said(&words)),
            None => {
                return Err(TransferError::Lost(format!("the end of {path} did not arrive")));
            }
        }
    }
}

/// A host's description of a file that it offers.
struct Offer {
    size: u64,
    /// The hash of the whole file, if it is as long as ours.
    whole: Option<String>,
    /// The hash of as many blocks as we have.
    beginning: Option<String>,
    /// Its permissions.
    mode: u32,
}

impl Offer {
    /// Of a file whose size is not known before its end.
    const EMPTY: Self = Self {
        size: 0,
        whole: None,
        beginning: None,
        mode: 0o644,
    };

    fn parse(words: &str) -> Option<Self> {
        let mut words = words.split(' ');
        (words.next() == Some("size")).then_some(())?;
        let size = words.next()?.parse().ok()?;
        let mut hash = || {
            let word = words.next()?;
            (word != "-").then(|| {
                if is_hash(word) {
                    word.to_owned()
                } else {
                    String::new()
                }
            })
        };
        let (whole, beginning) = (hash(), hash());
        Some(Self {
            size,
            whole,
            beginning,
            mode: super::listed::mode(words.next()?)? & 0o777,
        })
    }

    /// Whether the host waits for the block to start from.
    fn asks(&self) -> bool {
        self.whole.is_some() || self.beginning.is_some()
    }
}

/// The path of an incomplete copy: beside its destination, so that the rename is atomic.
fn partial(target: &Path) -> PathBuf {
    let mut partial = target.as_os_str().to_owned();
    partial.push(".reveille-partial");
    PathBuf::from(partial)
}

fn size_of_file(path: &Path) -> Option<u64> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

async fn hash(path: &Path, length: u64) -> io::Result<String> {
    let path = path.to_owned();
    let computed = spawn_blocking(move || hash_of(io::Read::take(std::fs::File::open(path)?, length)));
    computed.await.map_err(io::Error::other)?
}
