//! Replaces `~` and `~USER` at the beginning of a remote path by the home directory, as the host's shell knows it.

use std::borrow::Cow;

use super::script::Verb;
use super::{Destination, TransferError};
use crate::escalate::Become;
use crate::quote::home;
use crate::session::Session;
use crate::supervisor::channel::open;

/// The path, absolute if it begins with a home directory: that of the user who runs the copy, or of `~USER`.
pub(super) async fn whole_path<'p>(
    session: &Session,
    escalate: Option<&Become>,
    path: &'p str,
) -> Result<Cow<'p, str>, TransferError> {
    let Some(home) = home(path) else {
        return Ok(Cow::Borrowed(path));
    };
    let orders = format!("\n{home}\n");
    let mut channel = open(session, escalate, Verb::Home.script(), &orders).await?;
    let words = channel.words(session).await?;
    let found = words
        .strip_prefix("home ")
        .ok_or_else(|| TransferError::said(&words))?;
    let rest = &path[home.len()..];
    Ok(Cow::Owned(format!("{}{rest}", found.trim_end_matches('/'))))
}

/// The destination with a whole path.
pub(super) async fn whole<'d>(
    session: &Session,
    escalate: Option<&Become>,
    destination: &'d Destination,
) -> Result<Cow<'d, Destination>, TransferError> {
    Ok(match whole_path(session, escalate, &destination.path).await? {
        Cow::Borrowed(_) => Cow::Borrowed(destination),
        Cow::Owned(path) => Cow::Owned(Destination {
            path,
            ..destination.clone()
        }),
    })
}
