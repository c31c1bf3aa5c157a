//! What the user asks for during a test.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a signal or a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Stop the test; a second time, cut off what still runs.
    Stop,
    /// Reset the numbers.
    Reset,
}

/// Receives what the user asks for.
#[derive(Debug)]
pub struct Asks {
    receiver: UnboundedReceiver<Ask>,
    /// Whether a reset was asked for before the first user started.
    pub(super) reset: bool,
}

// === impl Asks ===

impl Asks {
    /// Makes a channel.
    pub fn channel() -> (UnboundedSender<Ask>, Self) {
        let (sender, receiver) = unbounded_channel();
        let reset = false;
        (sender, Self { receiver, reset })
    }

    /// Waits for the next one; for ever, if there can be none.
    pub(super) async fn next(&mut self) -> Ask {
        match self.receiver.recv().await {
            Some(ask) => ask,
            None => std::future::pending().await,
        }
    }

    /// Completes when the user asks to stop.
    pub async fn stopped(&mut self) {
        while self.next().await != Ask::Stop {
            self.reset = true;
        }
    }
}
