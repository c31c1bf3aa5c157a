//! A channel whose bytes stay in this process, for simulating the network between a controller and a [`Host`](crate::Host).
//!
//! Scripts can't distinguish it from a channel of SSH.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

/// Input from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes of standard input.
    Data(Bytes),
    /// Their end.
    Eof,
}

/// Output of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// No more output will come.
    Eof,
    /// The exit status.
    ExitStatus(u32),
    /// The signal that killed it, without `SIG`.
    ExitSignal(String),
    /// The channel is closed.
    Closed,
}

/// The host's end of a channel.
pub(crate) struct Near {
    input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Said>,
    cut: Arc<dyn Fn() + Send + Sync>,
}

/// The network's end of a channel. If the input is dropped without [`Input::Eof`], the client is gone.
#[derive(Debug)]
pub struct Far {
    /// Bytes for the host.
    pub input: mpsc::Sender<Input>,
    /// Bytes from the host.
    pub output: mpsc::Receiver<Said>,
}

/// The connection or the channel is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is gone")]
pub struct Gone;

/// Both ends of a channel with room for `messages` each way; a script that breaks its connection calls `cut`.
pub(crate) fn channel(messages: usize, cut: Arc<dyn Fn() + Send + Sync>) -> (Near, Far) {
    let (to_host, input) = mpsc::channel(messages);
    let (output, from_host) = mpsc::channel(messages);
    let far = Far {
        input: to_host,
        output: from_host,
    };
    (Near { input, output, cut }, far)
}

// === impl Near ===

impl Near {
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, Gone> {
        match self.input.recv().await {
            Some(Input::Data(bytes)) => Ok(Some(bytes)),
            Some(Input::Eof) => Ok(None),
            None => Err(Gone),
        }
    }

    pub(crate) async fn say(&self, said: Said) -> Result<(), Gone> {
        self.output.send(said).await.map_err(|_| Gone)
    }

    pub(crate) fn cut(&self) {
        (self.cut)();
    }

    /// Sends output while discarding input.
    pub(crate) async fn write_out(&mut self, said: Said) -> Result<(), Gone> {
        let output = self.output.clone();
        tokio::select! {
            biased;
            sent = output.send(said) => sent.map_err(|_| Gone),
            gone = self.drain() => gone,
        }
    }

    /// Discards input until the client is gone.
    pub(crate) async fn drain(&mut self) -> Result<(), Gone> {
        while self.input.recv().await.is_some() {}
        Err(Gone)
    }
}
