//! Uploads a file.

use std::io::SeekFrom;
use std::pin::pin;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::original::{BLOCK, Content, Kind, Whole};
use super::script::Verb;
use super::{Destination, Original, TransferError, home, is_hash, push};
use crate::error::ExecError;
use crate::escalate::Become;
use crate::exec::Input;
use crate::session::Session;
use crate::supervisor::channel::open;

/// Up to this size, the content is sent with the orders: asking first would cost more.
const BLIND: u64 = 64 * 1024;
/// How many bytes to read from a local file at a time, and how many to send at a time.
const READ: usize = 256 * 1024;
const CHUNK: usize = 32 * 1024;

/// The result of an upload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Whether the host changed.
    pub changed: bool,
    /// The number of files of a directory that were sent; zero for a single file.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// The number of a directory's files that the host already had.
    pub had: u64,
}

/// Copies `original` to the host.
pub async fn upload(
    session: &Session,
    escalate: Option<&Become>,
    original: &Original,
    destination: &Destination,
) -> Result<Sent, TransferError> {
    let destination = &*home::whole(session, escalate, destination).await?;
    match &original.0 {
        Kind::Tree(tree) => push::push(session, escalate, tree, destination).await,
        Kind::File(whole) => {
            let changed = file(session, escalate, whole, destination).await?;
            Ok(Sent {
                changed,
                ..Sent::default()
            })
        }
    }
}

async fn file(
    session: &Session,
    escalate: Option<&Become>,
    whole: &Whole,
    destination: &Destination,
) -> Result<bool, TransferError> {
    let word = |option: &Option<String>| option.clone().unwrap_or_else(|| "-".to_owned());
    let blind = whole.size <= BLIND;
    let orders = format!(
        "{} {} {} {} {}\n{}\n{}\n",
        whole.size,
        if blind { "-" } else { &whole.identity },
        word(&destination.mode),
        word(&destination.owner),
        word(&destination.group),
        destination.path,
        destination.name
    );
    let mut channel = open(session, escalate, Verb::Upload.script(), &orders).await?;
    let input = channel.exec.input();
    let from = if blind {
        Some(0)
    } else {
        let words = channel.words(session).await?;
        let from = from(session, whole, &words).await?;
        let answer = from.map_or_else(|| "have".to_owned(), |block| block.to_string());
        // If the host has given up, its reason is read below.
        let _ = input.send(format!("{answer}\n")).await;
        from
    };
    let sending = async {
        if let Some(block) = from {
            send(&input, whole, block * BLOCK).await?;
        }
        let _ = input.end().await;
        Ok::<(), TransferError>(())
    };
    // A host without space gives up in the middle, and reads no more.
    let (mut sending, mut answering) = (pin!(sending), pin!(channel.words(session)));
    let answer = tokio::select! {
        biased;
        words = &mut answering => words,
        sent = &mut sending => {
            sent?;
            answering.await
        }
    };
    match answer? {
        words if words == "end 0" => Ok(false),
        words if words == "end 1" => Ok(true),
        words => Err(TransferError::said(&words)),
    }
}

/// The block to start from, according to the host; none if it has everything.
async fn from(session: &Session, whole: &Whole, words: &str) -> Result<Option<u64>, TransferError> {
    let mut state = words.split(' ');
    let (Some("state"), Some(there), Some(blocks), Some(beginning)) =
        (state.next(), state.next(), state.next(), state.next())
    else {
        return Err(TransferError::said(words));
    };
    if is_hash(there) && *there == *session.meanwhile(whole.hash(whole.size)).await? {
        return Ok(None);
    }
    let blocks = blocks
        .parse::<u64>()
        .ok()
        .filter(|blocks| *blocks <= whole.size / BLOCK)
        .unwrap_or(0);
    if blocks > 0
        && is_hash(beginning)
        && *beginning == *session.meanwhile(whole.hash(blocks * BLOCK)).await?
    {
        return Ok(Some(blocks));
    }
    Ok(Some(0))
}

/// Sends the bytes from `start` on. If the host stops reading, it reports why.
async fn send(input: &Input, whole: &Whole, start: u64) -> Result<(), TransferError> {
    let path = match &whole.content {
        Content::Memory(bytes) => {
            let start = usize::try_from(start).unwrap_or(bytes.len()).min(bytes.len());
            let _ = send_chunks(input, bytes.slice(start..)).await;
            return Ok(());
        }
        Content::File(path) => path,
    };
    let mut file = tokio::fs::File::open(path).await?;
    file.set_max_buf_size(READ);
    file.seek(SeekFrom::Start(start)).await?;
    let mut left = whole.size - start;
    while left > 0 {
        let mut chunk = vec![0; READ.min(usize::try_from(left).unwrap_or(READ))];
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Err(TransferError::Remote(format!(
                "the local file became shorter while it was sent ({left} bytes)"
            )));
        }
        chunk.truncate(read);
        left -= read as u64;
        if left == 0 && !whole.is_current() {
            // The host does not install a file that is too short.
            let why = "the local file changed while it was sent".to_owned();
            return Err(TransferError::Remote(why));
        }
        if send_chunks(input, chunk.into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn send_chunks(input: &Input, mut bytes: Bytes) -> Result<(), ExecError> {
    while !bytes.is_empty() {
        input.send(bytes.split_to(bytes.len().min(CHUNK))).await?;
    }
    Ok(())
}
