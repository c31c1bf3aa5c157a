//! A running command: on a channel, or as a local process.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use reveille_account::Class;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};

use crate::child::{ChildInput, Running};
use crate::error::ExecError;
use crate::heard::Heard;

/// How many messages a host may send before it answers the request.
const EARLY_LIMIT: usize = 64;
/// The size of a piece of input through a terminal, in bytes.
const TERMINAL_PIECE: usize = 32 * 1024;

/// A command that the host accepted. Read it to its end: an unread channel blocks its whole connection.
#[derive(Debug)]
pub struct Exec {
    output: Output,
    input: Input,
    early: VecDeque<Heard>,
    terminal: bool,
}

#[derive(Debug)]
enum Output {
    Channel(ChannelReadHalf),
    Child(Box<Running>),
    #[cfg(feature = "memory")]
    Memory(Box<dyn crate::memory::Output>),
}

/// A command's standard input; clones share it.
#[derive(Debug, Clone)]
pub struct Input(Arc<Pipe>);

#[derive(Debug)]
struct Pipe {
    sink: Sink,
    /// Whether input is sent in pieces with their length, because a raw terminal has no end of input.
    in_pieces: AtomicBool,
    /// The session's counter of moved bytes.
    moved: OnceLock<Arc<AtomicU64>>,
}

#[derive(Debug)]
enum Sink {
    Channel(ChannelWriteHalf<Msg>),
    Child(ChildInput),
    #[cfg(feature = "memory")]
    Memory(Box<dyn crate::memory::Sink>),
}

// === impl Exec ===

impl Exec {
    pub(crate) async fn on_channel(
        mut channel: Channel<Msg>,
        command: Vec<u8>,
        terminal: bool,
    ) -> Result<Self, ExecError> {
        let unanswered = || ExecError::Unanswered(String::new());
        let refused = |message| Err(ExecError::refused(Class::ExecRefused, message));
        channel.exec(true, command).await.map_err(|_| unanswered())?;
        let mut early = VecDeque::new();
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => {
                    let (output, input) = channel.split();
                    return Ok(Self {
                        output: Output::Channel(output),
                        input: Input::new(Sink::Channel(input)),
                        early,
                        terminal,
                    });
                }
                Some(ChannelMsg::Failure) => return refused("the host refused to run a command"),
                Some(ChannelMsg::Close) if early.is_empty() => {
                    return refused("the host closed the session instead of running the command");
                }
                Some(message) if early.len() < EARLY_LIMIT => early.extend(heard(message)),
                Some(_) | None => return Err(unanswered()),
            }
        }
    }

    pub(crate) fn on_child(running: Running, input: ChildInput, terminal: bool) -> Self {
        Self {
            output: Output::Child(Box::new(running)),
            input: Input::new(Sink::Child(input)),
            early: VecDeque::new(),
            terminal,
        }
    }

    /// A command on a connection in memory, with the same deadline as over SSH.
    #[cfg(feature = "memory")]
    pub(crate) async fn in_memory(
        connection: &dyn crate::memory::Connection,
        line: Vec<u8>,
        terminal: bool,
        deadline: std::time::Duration,
    ) -> Result<Self, ExecError> {
        let started = tokio::time::timeout(deadline, connection.exec(line, terminal)).await;
        let command = started.unwrap_or_else(|_| {
            Err(ExecError::Unanswered(format!(
                "no reply within {}",
                reveille_text::duration::shown(deadline)
            )))
        })?;
        Ok(Self {
            output: Output::Memory(command.output),
            input: Input::new(Sink::Memory(command.input)),
            early: VecDeque::new(),
            terminal,
        })
    }

    /// Counts moved bytes in `moved` from now on.
    pub(crate) fn count_in(&self, moved: &Arc<AtomicU64>) {
        // A command belongs to one session, so a second counter would be the same one.
        let _ = self.input.0.moved.set(Arc::clone(moved));
    }

    /// The next event of the command. Nothing follows [`Heard::Closed`] or [`Heard::Lost`].
    pub async fn next(&mut self) -> Heard {
        let heard = self.hear().await;
        if let Heard::Stdout(bytes) | Heard::Stderr(bytes) = &heard {
            self.input.0.moved(bytes.len());
        }
        heard
    }

    async fn hear(&mut self) -> Heard {
        if let Some(heard) = self.early.pop_front() {
            return heard;
        }
        match &mut self.output {
            Output::Child(running) => running.next().await,
            #[cfg(feature = "memory")]
            Output::Memory(output) => output.next().await,
            Output::Channel(channel) => loop {
                match channel.wait().await {
                    Some(message) => {
                        if let Some(heard) = heard(message) {
                            return heard;
                        }
                    }
                    None => return Heard::Lost,
                }
            },
        }
    }

    /// The command's standard input.
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// Whether it runs on a terminal, which merges its two outputs.
    pub fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// Puts events back, to be returned again in the same order.
    pub(crate) fn unhear(&mut self, early: impl IntoIterator<Item = Heard>) {
        let after = std::mem::take(&mut self.early);
        self.early = early.into_iter().chain(after).collect();
    }

    /// Sends input in pieces from now on.
    pub(crate) fn send_in_pieces(&self) {
        self.input.0.in_pieces.store(true, Ordering::Relaxed);
    }

    /// Waits until the command has begun. If it exited first, returns its output, which `next` will return again.
    pub(crate) async fn begin(&mut self) -> Option<String> {
        match &mut self.output {
            Output::Child(running) => running.begin().await,
            // The host has already confirmed it.
            Output::Channel(_) => None,
            #[cfg(feature = "memory")]
            Output::Memory(_) => None,
        }
    }

    /// Lets the command continue when this is dropped, as it would on a host.
    pub(crate) fn leave_running(&mut self) {
        if let Output::Child(running) = &mut self.output {
            running.leave();
        }
    }

    /// Asks the host to kill the command. Many servers ignore this.
    pub async fn signal_kill(&self) {
        if let Sink::Channel(channel) = &self.input.0.sink {
            // Best effort: if the connection is gone, the command can't be reached anyway.
            let _ = channel.signal(Sig::KILL).await;
        }
        self.abandon().await;
    }

    /// Closes the channel, or kills the process behind it.
    pub(crate) async fn abandon(&self) {
        if let Output::Child(running) = &self.output {
            running.kill();
        }
        match &self.input.0.sink {
            Sink::Channel(channel) => drop(channel.close().await),
            Sink::Child(_) => {}
            #[cfg(feature = "memory")]
            Sink::Memory(sink) => sink.close(),
        }
    }
}

fn heard(message: ChannelMsg) -> Option<Heard> {
    Some(match message {
        ChannelMsg::Data { data } => Heard::Stdout(data),
        ChannelMsg::ExtendedData { data, ext: 1 } => Heard::Stderr(data),
        ChannelMsg::ExitStatus { exit_status } => Heard::ExitStatus(exit_status),
        ChannelMsg::ExitSignal { signal_name, .. } => Heard::ExitSignal(signal(signal_name)),
        ChannelMsg::Eof => Heard::Eof,
        ChannelMsg::Close => Heard::Closed,
        _ => return None,
    })
}

// === impl Input ===

impl Input {
    fn new(sink: Sink) -> Self {
        Self(Arc::new(Pipe {
            sink,
            in_pieces: AtomicBool::new(false),
            moved: OnceLock::new(),
        }))
    }

    /// Sends bytes; waits while the host's window is full.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> Result<(), ExecError> {
        let mut bytes = bytes.into();
        if !self.0.in_pieces.load(Ordering::Relaxed) {
            return self.send_raw(bytes).await;
        }
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(TERMINAL_PIECE));
            let mut framed = BytesMut::from(format!("{}\n", piece.len()).as_bytes());
            framed.extend_from_slice(&piece);
            self.send_raw(framed.freeze()).await?;
        }
        Ok(())
    }

    /// Ends the input.
    pub async fn end(&self) -> Result<(), ExecError> {
        if self.0.in_pieces.load(Ordering::Relaxed) {
            return self.send_raw(Bytes::from_static(b"0\n")).await;
        }
        match &self.0.sink {
            Sink::Channel(channel) => channel.eof().await.map_err(|_| lost()),
            Sink::Child(input) => {
                input.end().await;
                Ok(())
            }
            #[cfg(feature = "memory")]
            Sink::Memory(sink) => sink.end().await.then_some(()).ok_or_else(lost),
        }
    }

    async fn send_raw(&self, bytes: Bytes) -> Result<(), ExecError> {
        let length = bytes.len();
        match &self.0.sink {
            Sink::Channel(channel) => channel.data_bytes(bytes).await.map_err(|_| lost())?,
            Sink::Child(input) => input.send(&bytes).await.map_err(|_| lost())?,
            #[cfg(feature = "memory")]
            Sink::Memory(sink) => sink.send(bytes).await.then_some(()).ok_or_else(lost)?,
        }
        self.0.moved(length);
        Ok(())
    }
}

// === impl Pipe ===

impl Pipe {
    fn moved(&self, bytes: usize) {
        if let Some(moved) = self.moved.get() {
            moved.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

fn lost() -> ExecError {
    ExecError::Unanswered("the connection was lost while sending".to_owned())
}

fn signal(signal: Sig) -> String {
    let name = match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => {
            let letters = name.chars().filter(char::is_ascii_alphanumeric);
            return letters.take(16).collect();
        }
    };
    name.to_owned()
}
