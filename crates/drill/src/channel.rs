//! A command's channel, and the scripts that answer on it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russh::server::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};

use crate::cut::Cut;
use crate::host::Host;
use crate::memory::{self, Far, Gone, Near, Said};
use crate::performance::{Act, Ending, Performance};

/// Answers command requests: [`Supervisor`](crate::Supervisor), or [`Shell`] without durable work.
pub trait Script: Send + Sync + 'static {
    /// Answers a command on its channel until the command ends.
    fn run(&self, call: Call) -> ScriptFuture<'_>;

    /// Whether it creates terminals on request.
    fn makes_terminals(&self) -> bool {
        true
    }
}

/// What [`Script::run`] returns.
pub type ScriptFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A command request.
#[derive(Debug)]
pub struct Call {
    /// The host.
    pub host: Arc<Host>,
    /// The command as it was sent.
    pub command: Vec<u8>,
    /// The channel.
    pub io: ChannelIo,
}

/// The channel of a command: its standard input and outputs, and how it ends.
///
/// Input that nobody reads blocks the connection after a while, so a script reads while it waits.
pub struct ChannelIo {
    way: Way,
    /// The end of the outputs was already sent.
    ended: bool,
}

/// The transport of a channel.
enum Way {
    Ssh {
        read: ChannelReadHalf,
        write: ChannelWriteHalf<Msg>,
        handle: Handle,
        cut: Cut,
    },
    Memory(Near),
}

/// The plain script: performs the command and plays the performance on the channel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shell;

// === impl Shell ===

impl Script for Shell {
    fn run(&self, call: Call) -> ScriptFuture<'_> {
        Box::pin(async move {
            let performance = call.host.perform(&call.command);
            // If the client has gone, there is nobody to answer.
            let _ = call.io.play(performance, &call.host).await;
        })
    }
}

// === impl ChannelIo ===

impl ChannelIo {
    pub(crate) fn new(read: ChannelReadHalf, write: ChannelWriteHalf<Msg>, handle: Handle, cut: Cut) -> Self {
        Self {
            way: Way::Ssh {
                read,
                write,
                handle,
                cut,
            },
            ended: false,
        }
    }

    /// A channel in this process with room for `messages` each way, and the network's end of it. A script that breaks its
    /// connection calls `cut`.
    pub fn in_memory(messages: usize, cut: Arc<dyn Fn() + Send + Sync>) -> (Self, Far) {
        let (near, far) = memory::channel(messages, cut);
        let io = Self {
            way: Way::Memory(near),
            ended: false,
        };
        (io, far)
    }

    /// The reading and the writing half, for use at the same time; only for a channel of SSH.
    pub(crate) fn halves(&mut self) -> Option<(&mut ChannelReadHalf, &ChannelWriteHalf<Msg>)> {
        match &mut self.way {
            Way::Ssh { read, write, .. } => Some((read, write)),
            Way::Memory(_) => None,
        }
    }

    /// Records that the writing half has sent the end of the outputs.
    pub(crate) fn output_ended(&mut self) {
        self.ended = true;
    }

    /// The next bytes of standard input; none at its end.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Gone> {
        self.way.read().await
    }

    /// Writes to standard output; waits while the client's window is full.
    pub async fn stdout(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.way.say(Said::Stdout(bytes.into())).await
    }

    /// Writes to standard error.
    pub async fn stderr(&self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.way.say(Said::Stderr(bytes.into())).await
    }

    /// Ends the outputs and leaves the channel open.
    pub async fn eof(&self) -> Result<(), Gone> {
        if self.ended {
            return Ok(());
        }
        self.way.say(Said::Eof).await
    }

    /// Waits while discarding input; fails as soon as the client is gone.
    pub async fn wait(&mut self, duration: Duration) -> Result<(), Gone> {
        tokio::select! {
            biased;
            gone = self.drain() => gone,
            () = tokio::time::sleep(duration) => Ok(()),
        }
    }

    /// Ends the command with an exit status.
    pub async fn exit(self, status: u32) -> Result<(), Gone> {
        self.end(Some(Said::ExitStatus(status))).await
    }

    /// Ends the command by a signal, without `SIG`.
    pub async fn signal(self, signal: &str) -> Result<(), Gone> {
        self.end(Some(Said::ExitSignal(signal.to_owned()))).await
    }

    /// Closes the channel without reporting how the command ended.
    pub async fn vanish(self) -> Result<(), Gone> {
        self.end(None).await
    }

    async fn end(self, report: Option<Said>) -> Result<(), Gone> {
        self.eof().await?;
        if let Some(report) = report {
            self.way.say(report).await?;
        }
        self.way.say(Said::Closed).await
    }

    /// Cuts the whole connection.
    pub fn cut(&self) {
        match &self.way {
            Way::Ssh { cut, .. } => cut.cut(),
            Way::Memory(near) => near.cut(),
        }
    }

    /// Plays a performance to its end, or until the connection breaks.
    pub async fn play(mut self, performance: Performance, host: &Host) -> Result<(), Gone> {
        for act in performance {
            match act {
                Act::Stdout(bytes) => self.write_out(Said::Stdout(bytes)).await?,
                Act::Stderr(bytes) => self.write_out(Said::Stderr(bytes)).await?,
                Act::Wait(duration) => self.wait(duration).await?,
                Act::CopyInput => {
                    while let Some(bytes) = self.read().await? {
                        self.stdout(bytes).await?;
                    }
                }
                Act::Cut => {
                    self.cut();
                    return Err(Gone);
                }
                Act::Reboot => {
                    host.reboot();
                    return Err(Gone);
                }
                Act::End(Ending::Exit(status)) => return self.exit(status).await,
                Act::End(Ending::Signal(signal)) => return self.signal(signal).await,
                Act::End(Ending::Vanish) => return self.vanish().await,
                Act::End(Ending::EofOnly) => {
                    self.eof().await?;
                    return self.drain().await;
                }
                Act::End(Ending::Hang) => return self.drain().await,
            }
        }
        Ok(())
    }

    /// Writes while discarding input.
    async fn write_out(&mut self, output: Said) -> Result<(), Gone> {
        match &mut self.way {
            Way::Ssh {
                read, write, handle, ..
            } => tokio::select! {
                biased;
                written = send(write, handle, output) => written,
                gone = drain(read) => gone,
            },
            Way::Memory(near) => near.write_out(output).await,
        }
    }

    async fn drain(&mut self) -> Result<(), Gone> {
        match &mut self.way {
            Way::Ssh { read, .. } => drain(read).await,
            Way::Memory(near) => near.drain().await,
        }
    }
}

// === impl Way ===

impl Way {
    async fn read(&mut self) -> Result<Option<Bytes>, Gone> {
        let read = match self {
            Way::Ssh { read, .. } => read,
            Way::Memory(near) => return near.read().await,
        };
        loop {
            match read.wait().await {
                Some(ChannelMsg::Data { data }) => return Ok(Some(data)),
                Some(ChannelMsg::Eof) => return Ok(None),
                None | Some(ChannelMsg::Close) => return Err(Gone),
                Some(_) => {}
            }
        }
    }

    async fn say(&self, said: Said) -> Result<(), Gone> {
        match self {
            Way::Ssh { write, handle, .. } => send(write, handle, said).await,
            Way::Memory(near) => near.say(said).await,
        }
    }
}

async fn send(write: &ChannelWriteHalf<Msg>, handle: &Handle, said: Said) -> Result<(), Gone> {
    let sent = match said {
        Said::Stdout(bytes) => write.data_bytes(bytes).await,
        Said::Stderr(bytes) => write.extended_data_bytes(1, bytes).await,
        Said::Eof => write.eof().await,
        Said::ExitStatus(status) => write.exit_status(status).await,
        Said::ExitSignal(name) => {
            let request = handle.exit_signal_request(
                write.id(),
                Sig::Custom(name),
                false,
                String::new(),
                String::new(),
            );
            return request.await.map_err(|()| Gone);
        }
        Said::Closed => write.close().await,
    };
    sent.map_err(|_| Gone)
}

impl std::fmt::Debug for ChannelIo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ChannelIo")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Discards input until the client is gone.
async fn drain(read: &mut ChannelReadHalf) -> Result<(), Gone> {
    loop {
        match read.wait().await {
            None | Some(ChannelMsg::Close) => return Err(Gone),
            Some(_) => {}
        }
    }
}
