//! Compares a file or directory with what a copy would replace, and changes nothing.

use bytes::{Bytes, BytesMut};

use super::listed::mode;
use super::original::{Content, Kind, Whole};
use super::script::Verb;
use super::{Comparison, Destination, Original, TransferError, home, is_hash, push};
use crate::escalate::Become;
use crate::session::Session;
use crate::supervisor::channel::{Channel, open};

/// Up to this size the host sends the content, so that it can be shown.
pub const SHOWN_BYTES: u64 = 256 * 1024;

/// A file on the host.
struct Found {
    /// A link to the file, which a copy replaces.
    is_link: bool,
    mode: String,
    /// Names and numbers of the owner and the group.
    owner: [String; 2],
    group: [String; 2],
    size: u64,
    hash: String,
    content: Option<Bytes>,
}

/// Finds what [`upload`](super::upload) would change.
///
/// # Errors
///
/// The connection was lost, or the host's file can't be read.
pub async fn compare(
    session: &Session,
    escalate: Option<&Become>,
    original: &Original,
    destination: &Destination,
) -> Result<Comparison, TransferError> {
    let destination = &*home::whole(session, escalate, destination).await?;
    let whole = match &original.0 {
        Kind::Tree(tree) => return push::compare(session, escalate, tree, destination).await,
        Kind::File(whole) => whole,
    };
    let orders = format!(
        "{} {SHOWN_BYTES}\n{}\n{}\n",
        whole.size, destination.path, destination.name
    );
    let mut channel = open(session, escalate, Verb::Compare.script(), &orders).await?;
    let words = channel.words(session).await?;
    let after = content(whole).await?;
    let (what, place) = words.split_once(' ').unwrap_or((&words, ""));
    let is_inside = place == "in" || place.starts_with("in ");
    let path = match destination.path.trim_end_matches('/') {
        directory if is_inside => format!("{directory}/{}", destination.name),
        _ => destination.path.clone(),
    };
    let new = |what: &str| Comparison {
        path: path.clone(),
        changes: vec![what.to_owned()],
        before: None,
        after: after.clone(),
    };
    match what {
        "absent" => return Ok(new("it is new")),
        "nowhere" => return Ok(new("it is new, and its directory has to be made first")),
        "dangling" => return Ok(new("it is new; a link to nothing is there")),
        _ => {}
    }
    let mut found = Found::parse(&words).ok_or_else(|| TransferError::said(&words))?;
    if found.size <= SHOWN_BYTES {
        found.content = Some(read(&mut channel, session, found.size).await?);
    }
    let mut changes = Vec::new();
    if found.is_link {
        changes.push("it is a link and becomes a file".to_owned());
    }
    if !same(whole, &found, after.as_ref()).await? {
        changes.push("content".to_owned());
    }
    if let Some(mode) = &destination.mode
        && mode.trim_start_matches('0') != found.mode.trim_start_matches('0')
    {
        changes.push(format!("mode {} to {mode}", found.mode));
    }
    for (what, wanted, there) in [
        ("owner", &destination.owner, &found.owner),
        ("group", &destination.group, &found.group),
    ] {
        if let Some(wanted) = wanted
            && !there.contains(wanted)
        {
            changes.push(format!("{what} {} to {wanted}", there[0]));
        }
    }
    Ok(Comparison {
        path,
        changes,
        before: found.content,
        after,
    })
}

/// Whether the contents are equal.
async fn same(whole: &Whole, found: &Found, after: Option<&Bytes>) -> Result<bool, TransferError> {
    if whole.size != found.size {
        return Ok(false);
    }
    if let (Some(before), Some(after)) = (&found.content, after) {
        return Ok(before == after);
    }
    if !is_hash(&found.hash) {
        let message =
            "the host has no program that can hash a file of this size, so that it can't be compared";
        return Err(TransferError::Remote(message.to_owned()));
    }
    Ok(*found.hash == *whole.hash(whole.size).await?)
}

/// The content to send, if it is small.
async fn content(whole: &Whole) -> Result<Option<Bytes>, TransferError> {
    if whole.size > SHOWN_BYTES {
        return Ok(None);
    }
    Ok(Some(match &whole.content {
        Content::Memory(bytes) => bytes.clone(),
        Content::File(path) => tokio::fs::read(path).await?.into(),
    }))
}

async fn read(channel: &mut Channel, session: &Session, size: u64) -> Result<Bytes, TransferError> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut content = BytesMut::new();
    while content.len() < size {
        let Some(bytes) = channel.data().await else {
            return Err(TransferError::Lost(session.why_closed()));
        };
        content.extend_from_slice(&bytes);
    }
    // If the file grows meanwhile, the announced size counts.
    content.truncate(size);
    Ok(content.freeze())
}

// === impl Found ===

impl Found {
    /// Reads `found - -rw-r--r-- OWNER GROUP UID GID SIZE HASH`.
    fn parse(words: &str) -> Option<Self> {
        let words: Vec<&str> = words.strip_prefix("found ")?.split(' ').collect();
        let [_, mode, owner, group, uid, gid, size, hash] = words[..] else {
            return None;
        };
        Some(Self {
            is_link: mode.starts_with('l'),
            mode: format!("{:04o}", self::mode(mode)?),
            owner: [owner.to_owned(), uid.to_owned()],
            group: [group.to_owned(), gid.to_owned()],
            size: size.parse().ok()?,
            hash: hash.to_owned(),
            content: None,
        })
    }
}
