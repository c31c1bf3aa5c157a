//! A running command, as its channel.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use reveille_account::Class;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};

use crate::error::ExecError;

/// A command that the host accepted. Read it to its end: a channel that nobody reads stops its whole connection.
#[derive(Debug)]
pub struct Exec {
    output: ChannelReadHalf,
    input: Input,
    early: VecDeque<ChannelMsg>,
}

/// A command's standard input; clones share it.
#[derive(Debug, Clone)]
pub struct Input(Arc<ChannelWriteHalf<Msg>>);

/// What comes from a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The exit status.
    ExitStatus(u32),
    /// The signal that ended the command, without `SIG`.
    ExitSignal(String),
    /// No more output will come.
    Eof,
    /// The host closed the channel: nothing more will come.
    Closed,
    /// The connection is gone: what the command does from here is not known.
    Lost,
}

/// Messages that a host may send before it answers the request.
const EARLY_LIMIT: usize = 64;

// === impl Exec ===

impl Exec {
    pub(crate) async fn start(mut channel: Channel<Msg>, command: Vec<u8>) -> Result<Self, ExecError> {
        let unanswered = || ExecError::Unanswered(String::new());
        channel.exec(true, command).await.map_err(|_| unanswered())?;
        let mut early = VecDeque::new();
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => {
                    let (output, input) = channel.split();
                    return Ok(Self {
                        output,
                        input: Input(Arc::new(input)),
                        early,
                    });
                }
                Some(ChannelMsg::Failure) => {
                    let message = "the host refused to run a command".to_owned();
                    return Err(ExecError::Refused {
                        class: Class::ExecRefused,
                        message,
                    });
                }
                Some(ChannelMsg::WindowAdjusted { .. }) => {}
                Some(ChannelMsg::Close) if early.is_empty() => {
                    let message = "the host closed the session instead of running the command".to_owned();
                    return Err(ExecError::Refused {
                        class: Class::ExecRefused,
                        message,
                    });
                }
                Some(message) if early.len() < EARLY_LIMIT => early.push_back(message),
                Some(_) | None => return Err(unanswered()),
            }
        }
    }

    /// The next thing from the command. After [`Heard::Closed`] or [`Heard::Lost`] nothing follows.
    pub async fn next(&mut self) -> Heard {
        loop {
            let message = match self.early.pop_front() {
                Some(message) => Some(message),
                None => self.output.wait().await,
            };
            match message {
                Some(ChannelMsg::Data { data }) => return Heard::Stdout(data),
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => return Heard::Stderr(data),
                Some(ChannelMsg::ExitStatus { exit_status }) => return Heard::ExitStatus(exit_status),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    return Heard::ExitSignal(signal(signal_name));
                }
                Some(ChannelMsg::Eof) => return Heard::Eof,
                Some(ChannelMsg::Close) => return Heard::Closed,
                Some(_) => {}
                None => return Heard::Lost,
            }
        }
    }

    /// The command's standard input.
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// Asks the host to signal the command. Many servers ignore this.
    pub async fn signal_kill(&self) {
        // Best effort: a command whose connection is gone can't be reached anyway.
        let _ = self.input.0.signal(Sig::KILL).await;
        let _ = self.input.0.close().await;
    }
}

// === impl Input ===

impl Input {
    /// Sends bytes; waits while the host's window is full.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), ExecError> {
        self.0.data_bytes(bytes).await.map_err(|_| lost())
    }

    /// Ends the input.
    pub async fn end(&self) -> Result<(), ExecError> {
        self.0.eof().await.map_err(|_| lost())
    }
}

fn lost() -> ExecError {
    ExecError::Unanswered("the connection was lost while sending".to_owned())
}

fn signal(signal: Sig) -> String {
    match signal {
        Sig::ABRT => "ABRT".to_owned(),
        Sig::ALRM => "ALRM".to_owned(),
        Sig::FPE => "FPE".to_owned(),
        Sig::HUP => "HUP".to_owned(),
        Sig::ILL => "ILL".to_owned(),
        Sig::INT => "INT".to_owned(),
        Sig::KILL => "KILL".to_owned(),
        Sig::PIPE => "PIPE".to_owned(),
        Sig::QUIT => "QUIT".to_owned(),
        Sig::SEGV => "SEGV".to_owned(),
        Sig::TERM => "TERM".to_owned(),
        Sig::USR1 => "USR1".to_owned(),
        Sig::Custom(name) => name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(16)
            .collect(),
    }
}
