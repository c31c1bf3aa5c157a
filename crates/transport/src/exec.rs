//! A running command, as its channel.

use std::collections::VecDeque;

use bytes::Bytes;
use reveille_account::Class;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, Sig};

use crate::error::ExecError;

/// A command that the host accepted. Read it to its end: a channel that nobody reads stops its whole connection.
#[derive(Debug)]
pub struct Exec {
    channel: Channel<Msg>,
    early: VecDeque<ChannelMsg>,
}

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
                Some(ChannelMsg::Success) => return Ok(Self { channel, early }),
                Some(ChannelMsg::Failure) => {
                    let message = "the host refused to run a command".to_owned();
                    return Err(ExecError::Refused { class: Class::ExecRefused, message });
                }
                Some(ChannelMsg::WindowAdjusted { .. }) => {}
                Some(ChannelMsg::Close) if early.is_empty() => {
                    let message = "the host closed the session instead of running the command".to_owned();
                    return Err(ExecError::Refused { class: Class::ExecRefused, message });
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
                None => self.channel.wait().await,
            };
            match message {
                Some(ChannelMsg::Data { data }) => return Heard::Stdout(data),
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => return Heard::Stderr(data),
                Some(ChannelMsg::ExitStatus { exit_status }) => return Heard::ExitStatus(exit_status),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => return Heard::ExitSignal(signal(signal_name)),
                Some(ChannelMsg::Eof) => return Heard::Eof,
                Some(ChannelMsg::Close) => return Heard::Closed,
                Some(_) => {}
                None => return Heard::Lost,
            }
        }
    }

    /// Sends bytes to the command's standard input; waits while the host's window is full.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), ExecError> {
        let lost = |_| ExecError::Unanswered("the connection was lost while sending".to_owned());
        self.channel.data_bytes(bytes).await.map_err(lost)
    }

    /// Ends the command's standard input.
    pub async fn end_input(&self) -> Result<(), ExecError> {
        self.channel.eof().await.map_err(|_| ExecError::Unanswered("the connection was lost while sending".to_owned()))
    }

    /// Asks the host to signal the command. Many servers ignore this.
    pub async fn signal_kill(&self) {
        // Best effort: a command whose connection is gone can't be reached anyway.
        let _ = self.channel.signal(Sig::KILL).await;
    }

    /// Closes the channel.
    pub async fn close(self) {
        let _ = self.channel.close().await;
    }
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
        Sig::Custom(name) => name.chars().filter(char::is_ascii_alphanumeric).take(16).collect(),
    }
}
