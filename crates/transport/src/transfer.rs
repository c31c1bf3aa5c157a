//! Files there and back, over a command channel: no SFTP server is needed, and `become` works as for commands.
//!
//! A file arrives under a temporary name beside its destination, is checked, and is renamed into place. Whether
//! anything changed is told by content, mode and owner.

use std::path::{Component, Path};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::ExecError;
use crate::escalate::Become;
use crate::session::Session;
use crate::supervisor::channel::{ChannelError, open};

/// Bytes read from a local file at a time.
const CHUNK: usize = 32 * 1024;

/// Reads its orders from standard input, then the file's bytes up to the end of the input.
const UPLOAD: &str = r#"umask 022;IFS=' ';say(){ printf '\036%s %s\n' "$N" "$*";};fail(){ say error "$@";[ "$T" ]&&rm -f "$T";exit 0;};T=;read -r N SIZE MODE OWNER GROUP||exit 0;IFS= read -r DEST;IFS= read -r NAME;say hello;[ -d "$DEST" ]&&DEST=${DEST%/}/$NAME;case $DEST in */*) DIR=${DEST%/*};; *) DIR=.;; esac;[ -d "${DIR:-/}" ]||fail "there is no directory ${DIR:-/}";T=$DEST.reveille-$N;(umask 077;cat >"$T") 2>/dev/null||fail "can't write $T (no space or no permission)";set -- $(ls -ln "$T");[ "$5" = "$SIZE" ]||fail "only $5 of $SIZE bytes arrived";meta(){ set -- $(ls -ldn "$DEST" 2>/dev/null);M="$1 $3 $4";};meta;WAS=$M;C=1;cmp -s "$T" "$DEST"&&C=0;F=$T;[ $C = 0 ]&&F=$DEST;if [ "$MODE" != - ];then chmod "$MODE" "$F" 2>/dev/null||fail "can't set mode $MODE on $F";elif [ $C = 1 ];then if [ -e "$DEST" ];then chmod --reference="$DEST" "$T" 2>/dev/null||chmod 644 "$T";else chmod 644 "$T";fi;fi;O=;[ "$OWNER" != - ]&&O=$OWNER;[ "$GROUP" != - ]&&O=$O:$GROUP;if [ "$O" ];then chown "$O" "$F" 2>/dev/null||fail "can't give $F to $O";fi;if [ $C = 1 ];then mv -f "$T" "$DEST" 2>/dev/null||fail "can't replace $DEST";else rm -f "$T";meta;[ "$M" = "$WAS" ]||C=1;fi;T=;say end $C"#;

/// Announces a size, then sends that file.
const DOWNLOAD: &str = r#"IFS=' ';say(){ printf '\036%s %s\n' "$N" "$*";};read -r N||exit 0;IFS= read -r SRC;say hello;[ -e "$SRC" ]||{ say error "there is no file $SRC";exit 0;};[ -f "$SRC" ]||{ say error "$SRC is not a file";exit 0;};[ -r "$SRC" ]||{ say error "$SRC can't be read";exit 0;};set -- $(ls -lnL "$SRC");say size "$5";exec cat "$SRC""#;

/// Where a file goes and what it becomes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The remote path; a directory gets the file under `name`.
    pub path: String,
    /// The file's name if `path` is a directory.
    pub name: String,
    /// Octal mode; without it that of the file replaced, or 0644.
    pub mode: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// Group.
    pub group: Option<String>,
}

/// A file that was not copied.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The command behind the copy could not be started.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The connection broke; the destination is as it was.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The host said why not.
    #[error("{0}")]
    Remote(String),
    /// The local side failed.
    #[error("{0}")]
    Local(#[from] std::io::Error),
    /// The login shell or `become` gave us no way to run the copy.
    #[error("{message}")]
    Refused {
        /// `no_shell`, `become_failed` or `become_missing`.
        class: reveille_account::Class,
        /// What was seen.
        message: String,
    },
}

// === impl TransferError ===

impl From<ChannelError> for TransferError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Exec(error) => Self::Exec(error),
            ChannelError::Lost(why) => Self::Lost(why),
            ChannelError::Refused { class, message } => Self::Refused { class, message },
            ChannelError::Said(words) => Self::Remote(words),
        }
    }
}

/// Copies `size` bytes of `source` to the host. True if the host changed by it.
pub async fn upload(
    session: &Session,
    escalate: Option<&Become>,
    mut source: impl AsyncRead + Unpin,
    size: u64,
    destination: &Destination,
) -> Result<bool, TransferError> {
    let word = |option: &Option<String>| option.clone().unwrap_or_else(|| "-".to_owned());
    let orders = format!(
        "{size} {} {} {}\n{}\n{}\n",
        word(&destination.mode),
        word(&destination.owner),
        word(&destination.group),
        destination.path,
        destination.name
    );
    let mut channel = open(session, escalate, UPLOAD, &orders).await?;
    let mut left = size;
    while left > 0 {
        let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        let read = source.read(&mut chunk).await?;
        if read == 0 {
            return Err(TransferError::Remote(format!(
                "the local file became shorter while it was sent ({left} bytes)"
            )));
        }
        chunk.truncate(read);
        left -= read as u64;
        if channel.exec.input().send(Bytes::from(chunk)).await.is_err() {
            break;
        }
    }
    // A host that has given up already says why below.
    let _ = channel.exec.input().end().await;
    match channel.words(session).await? {
        words if words == "end 0" => Ok(false),
        words if words == "end 1" => Ok(true),
        words => Err(TransferError::Remote(
            words.strip_prefix("error ").unwrap_or(&words).to_owned(),
        )),
    }
}

/// Copies the host's file `path` into `sink`; the number of bytes is returned. More than `limit` bytes are refused.
pub async fn download(
    session: &Session,
    escalate: Option<&Become>,
    path: &str,
    limit: u64,
    mut sink: impl AsyncWrite + Unpin,
) -> Result<u64, TransferError> {
    let mut channel = open(session, escalate, DOWNLOAD, &format!("\n{path}\n")).await?;
    let words = channel.words(session).await?;
    let Some(size) = words
        .strip_prefix("size ")
        .and_then(|size| size.parse::<u64>().ok())
    else {
        return Err(TransferError::Remote(
            words.strip_prefix("error ").unwrap_or(&words).to_owned(),
        ));
    };
    if size > limit {
        return Err(TransferError::Remote(format!(
            "{path} has {size} bytes, more than the {limit} allowed"
        )));
    }
    let mut left = size;
    while let Some(bytes) = channel.data().await {
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            TransferError::Remote(format!(
                "{path} grew over the {size} bytes announced while it was read"
            ))
        })?;
        sink.write_all(&bytes).await?;
    }
    if left > 0 {
        return Err(TransferError::Lost(format!(
            "{left} of {size} bytes of {path} did not arrive"
        )));
    }
    sink.flush().await?;
    Ok(size)
}

/// The last component of a remote path, if it is fit to be a local file name.
pub fn safe_name(path: &str) -> Option<&str> {
    let name = Path::new(path).components().next_back()?;
    match name {
        Component::Normal(name) => name.to_str().filter(|name| !name.chars().any(char::is_control)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_local_files() {
        assert_eq!(safe_name("/etc/passwd"), Some("passwd"));
        assert_eq!(safe_name("../../x"), Some("x"));
        for bad in ["", "/", "..", "a/..", "x/\u{1b}[2J"] {
            assert_eq!(safe_name(bad), None, "{bad}");
        }
    }
}
