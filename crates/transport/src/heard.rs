//! What a running command does.

use bytes::Bytes;

/// An event from a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Bytes of standard output; of both outputs, if the command runs on a [terminal](crate::Exec::has_terminal).
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The exit status.
    ExitStatus(u32),
    /// The signal that killed the command, without `SIG`.
    ExitSignal(String),
    /// No more output will come.
    Eof,
    /// The host closed the channel: nothing follows.
    Closed,
    /// The connection is lost, so the fate of the command is unknown.
    Lost,
}
