//! Stopping a run from outside, in two stages.

use tokio::sync::watch;

/// How far a run is to be stopped. It only ever gets stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Go on.
    #[default]
    No,
    /// Dispatch nothing more; what runs has a short grace.
    Soon,
    /// Leave at once. Durable work goes on where it is.
    Now,
}

/// The side that asks.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Stop>);

/// The side that listens; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stopped(watch::Receiver<Stop>);

/// A stopper and its listener.
pub fn stopper() -> (Stopper, Stopped) {
    let (sender, receiver) = watch::channel(Stop::No);
    (Stopper(sender), Stopped(receiver))
}

// === impl Stopper ===

impl Stopper {
    /// Asks for at least this much.
    pub fn ask(&self, stop: Stop) {
        self.0.send_if_modified(|now| {
            let stricter = stop > *now;
            *now = (*now).max(stop);
            stricter
        });
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Stop {
        *self.0.borrow()
    }
}

// === impl Stopped ===

impl Stopped {
    /// What was asked for so far.
    pub fn asked(&self) -> Stop {
        *self.0.borrow()
    }

    /// Ends when at least `stop` is asked for; never if that can't happen any more.
    pub async fn wait(&mut self, stop: Stop) {
        if self.0.wait_for(|now| *now >= stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
