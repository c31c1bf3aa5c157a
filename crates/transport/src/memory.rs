//! An in-memory network: sessions whose bytes stay in this process.
//!
//! A simulator implements [`Network`]; everything above a session, above all the supervisor's client, runs as it does
//! over SSH. It needs the feature `memory`; products are built without it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use reveille_account::{Class, Phase};

use crate::error::{ConnectError, ExecError};
use crate::heard::Heard;
use crate::target::Target;

/// A boxed future.
pub type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The network beyond a client.
pub trait Network: fmt::Debug + Send + Sync {
    /// Connects to a target, through its jump hosts if it has some.
    fn dial<'a>(&'a self, target: &'a Target) -> Wait<'a, Result<Arc<dyn Connection>, ConnectError>>;

    /// Logs in.
    fn handshake<'a>(
        &'a self,
        target: &'a Target,
        connection: &'a Arc<dyn Connection>,
    ) -> Wait<'a, Result<(), ConnectError>>;
}

/// A connection to one host.
pub trait Connection: fmt::Debug + Send + Sync {
    /// Whether it is known to be gone.
    fn is_closed(&self) -> bool;

    /// Why it ended, as a sentence.
    fn why_closed(&self) -> String;

    /// Whether a password was needed to log in.
    fn took_password(&self) -> bool {
        false
    }

    /// Opens a session channel and passes `line` to the login shell.
    fn exec(&self, line: Vec<u8>, terminal: bool) -> Wait<'_, Result<Command, ExecError>>;

    /// Ends the connection, which nobody here needs any more.
    fn cut(&self);
}

/// A command that the host accepted.
#[derive(Debug)]
pub struct Command {
    /// Its output.
    pub output: Box<dyn Output>,
    /// Its input.
    pub input: Box<dyn Sink>,
}

/// The output of a command.
pub trait Output: fmt::Debug + Send + Sync {
    /// The next event; after [`Heard::Closed`] or [`Heard::Lost`], always the same one.
    fn next(&mut self) -> Wait<'_, Heard>;
}

/// The input of a command.
pub trait Sink: fmt::Debug + Send + Sync {
    /// Sends bytes; false if the connection is known to be gone.
    fn send(&self, bytes: Bytes) -> Wait<'_, bool>;

    /// Ends the input; false if the connection is known to be gone.
    fn end(&self) -> Wait<'_, bool>;

    /// Closes the channel.
    fn close(&self);
}

/// A connection that is cut when it is dropped.
pub(crate) struct Held(pub(crate) Arc<dyn Connection>);

// === impl ConnectError ===

impl ConnectError {
    /// A failed connection, for use by a [`Network`].
    pub fn told(phase: Phase, class: Class, message: impl Into<String>) -> Self {
        Self::new(phase, class, message)
    }
}

// === impl Held ===

impl Drop for Held {
    fn drop(&mut self) {
        self.0.cut();
    }
}
