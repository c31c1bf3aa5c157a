//! Waits for the next attempt, and for `once` steps.

use reveille_account::{Class, EventKind};
use reveille_history::{For, once_of};
use reveille_pace::Backoff;
use tokio::time::sleep;

use crate::event::millis;
use crate::host::{Halt, HostTask};
use crate::stop::Stop;

impl HostTask {
    pub(crate) async fn wait(&mut self, wait: For) -> Result<(), Halt> {
        match wait {
            For::Again(index, class) => self.wait_for_attempt(index, class).await,
            For::Once(index) => self.wait_for_once(index).await,
        }
    }

    async fn wait_for_attempt(&mut self, index: u32, class: Class) -> Result<(), Halt> {
        let job = self.job();
        let mut reason = "another attempt".to_owned();
        if let Some(step) = job.steps.get(index as usize) {
            let next = self.history.counted(index) + 1;
            reason = format!("attempt {next} of {}", step.attempts);
            if let Some(backoff) = step.backoff {
                let longest = self.engine.settings.backoff.1.max(backoff);
                self.backoff = Backoff::new(backoff, longest, self.seed());
            }
        }
        self.pause(class, reason).await
    }

    /// Waits for the back-off delay and records that it did.
    pub(crate) async fn pause(&mut self, class: Class, reason: String) -> Result<(), Halt> {
        let wait = self.backoff.wait();
        self.note(EventKind::Recovering {
            class,
            reason,
            in_ms: millis(wait),
            rung: None,
        });
        self.commit().await?;
        let mut stopped = self.engine.stopped.clone();
        tokio::select! {
            biased;
            () = stopped.wait(Stop::Soon) => Err(Halt::Interrupted),
            () = sleep(wait) => Ok(()),
        }
    }

    async fn wait_for_once(&mut self, index: u32) -> Result<(), Halt> {
        // The host that runs the `once` step may need them.
        self.turn = None;
        self.trial = None;
        self.commit().await?;
        let mut view = self.engine.view.subscribe();
        let mut stopped = self.engine.stopped.clone();
        tokio::select! {
            biased;
            () = stopped.wait(Stop::Soon) => Err(Halt::Interrupted),
            // The engine lives as long as this task.
            _ = view.wait_for(|view| once_of(view, index).is_some()) => Ok(()),
        }
    }
}
