//! The bootstrap. The conductor runs it once for the whole test and refreshes it in the background; users never run it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_pace::Backoff;
use reveille_text::duration;
use tokio::task::JoinHandle;

use super::client::Client;
use super::cookies::Cookies;
use super::exchange::Sender;
use super::message::{Captured, Command, Shared};
use super::net::Net;
use super::values::{Scope, Values};
use crate::scenario::{Bootstrap, Scenario};

/// Waits between refreshes that fail.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The bootstrap and its refreshes.
pub(super) struct Renewal {
    scenario: Arc<Scenario>,
    net: Rc<Net>,
    /// Raised with each refresh.
    generation: u64,
    pub(super) failures: u64,
    backoff: Backoff,
    next: Option<Instant>,
    running: Option<JoinHandle<Result<Captured, String>>>,
}

// === impl Renewal ===

impl Renewal {
    pub(super) fn new(scenario: &Arc<Scenario>, net: Net) -> Self {
        Self {
            scenario: Arc::clone(scenario),
            net: Rc::new(net),
            generation: 0,
            failures: 0,
            backoff: Backoff::new(WAITS.0, WAITS.1, 1),
            next: None,
            running: None,
        }
    }

    /// How often the bootstrap succeeded.
    pub(super) fn made(&self) -> u64 {
        self.generation
    }

    /// Runs the bootstrap for the first time, if there is one.
    pub(super) async fn first(&mut self) -> Result<Option<Command>, String> {
        if self.scenario.bootstrap.is_none() {
            return Ok(None);
        }
        let captured = run(&self.scenario, &self.net, 1).await?;
        self.take(captured).map(Some)
    }

    /// Completes when there are new values. Messages about failed refreshes are added to `notes`.
    pub(super) async fn renewed(&mut self, notes: &mut Vec<String>) -> Command {
        loop {
            if self.running.is_none() {
                match self.next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
                self.next = None;
                let (scenario, net) = (Arc::clone(&self.scenario), Rc::clone(&self.net));
                let generation = self.generation + 1;
                let run = async move { run(&scenario, &net, generation).await };
                self.running = Some(tokio::task::spawn_local(run));
            }
            let Some(running) = &mut self.running else {
                continue;
            };
            let ended = running.await.unwrap_or_else(|error| Err(error.to_string()));
            self.running = None;
            match ended.and_then(|captured| self.take(captured)) {
                Ok(command) => return command,
                Err(error) => {
                    // The old values stay; they may be valid for a while.
                    self.failures += 1;
                    let wait = self.backoff.wait();
                    self.next = Some(Instant::now() + wait);
                    let wait = duration::shown(wait);
                    notes.push(format!(
                        "can't refresh the bootstrap: {error}; retrying in {wait}"
                    ));
                }
            }
        }
    }

    /// Plans the next refresh, and makes the command that gives the values to all users.
    fn take(&mut self, values: Captured) -> Result<Command, String> {
        if let Some(bootstrap) = &self.scenario.bootstrap {
            let lifetime = lifetime(bootstrap, &values)
                .map_err(|error| format!("`refresh: every` is not a duration: {error}"))?;
            self.next = lifetime.map(|lifetime| Instant::now() + lifetime);
        }
        self.generation += 1;
        self.backoff = Backoff::new(WAITS.0, WAITS.1, 1);
        let generation = self.generation;
        Ok(Command::Share { generation, values })
    }
}

/// Runs all steps in order.
async fn run(scenario: &Scenario, net: &Net, generation: u64) -> Result<Captured, String> {
    let mut captured = Captured::new();
    let (mut client, mut cookies) = (Client::default(), Cookies::default());
    let values = Values::default();
    for step in scenario.bootstrap.iter().flat_map(|bootstrap| &bootstrap.steps) {
        let shared = Shared::new(generation, &captured);
        let scope = Scope {
            scenario,
            class: None,
            values: &values,
            shared: &shared,
            user: 0,
            iteration: 0,
        };
        let mut sender = Sender {
            net,
            client: &mut client,
            cookies: &mut cookies,
        };
        let exchange = sender.prepare_and_send(step, &scope).await;
        if let Some(failure) = exchange.failure {
            return Err(format!(
                "{}: {} ({})",
                step.name,
                failure.text,
                failure.kind.name()
            ));
        }
        for (name, value) in exchange.captured {
            let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
            captured.insert(name, value);
        }
    }
    Ok(captured)
}

/// How long the values are used before a refresh; none if they are used for ever.
fn lifetime(bootstrap: &Bootstrap, captured: &Captured) -> Result<Option<Duration>, String> {
    let Some(refresh) = &bootstrap.refresh else {
        return Ok(None);
    };
    let names = Shared::new(0, captured).values;
    let every = duration::parse(&refresh.every.render(&names)?)?;
    // At least half of the time is used, whatever `early` says, and a service is asked at most once a second.
    let lifetime = every.saturating_sub(refresh.early).max(every / 2);
    Ok(Some(lifetime.max(Duration::from_secs(1))))
}
