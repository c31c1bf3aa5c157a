//! Stops a run from outside, in two stages.

use tokio::sync::watch;

/// How far a run is to be stopped. It only gets stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Keep running.
    #[default]
    No,
    /// Dispatch no more hosts; running steps get a short grace.
    Soon,
    /// Leave at once. Durable work continues on its hosts.
    Now,
}

/// The side that requests a stop.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Stop>);

/// The side that listens; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stopped(watch::Receiver<Stop>);

/// Creates a stopper and its listener.
pub fn stopper() -> (Stopper, Stopped) {
    let (sender, receiver) = watch::channel(Stop::No);
    (Stopper(sender), Stopped(receiver))
}

// === impl Stopper ===

impl Stopper {
    /// Requests at least this stop.
    pub fn ask(&self, stop: Stop) {
        self.0.send_if_modified(|now| {
            let stricter = stop > *now;
            *now = (*now).max(stop);
            stricter
        });
    }

    /// The stop requested so far.
    pub fn asked(&self) -> Stop {
        *self.0.borrow()
    }
}

// === impl Stopped ===

impl Stopped {
    /// The stop requested so far.
    pub fn asked(&self) -> Stop {
        *self.0.borrow()
    }

    /// Returns when at least `stop` is requested; never if that can no longer happen.
    pub async fn wait(&mut self, stop: Stop) {
        if self.0.wait_for(|now| *now >= stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
