//! A user: runs tasks and waits, one after another.
//!
//! ```text
//!  on_start ──► task ──► wait ──► task ──► wait ──► … ──► on_stop
//!                 ▲         │                  stop ──┘
//!                 └─────────┘
//! ```

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::cookies::Cookies;
use super::exchange::{Exchange, Sender};
use super::request::Prepared;
use super::shard::Shard;
use super::signal::{ON_TIME, Signal};
use super::values::{Scope, Values};
use crate::scenario::{Class, Holds, Step, Task, Wait};

/// An answer that takes this many times a user's usual interval is a stall.
const STALL: u32 = 10;

/// The number of starts after which a user's usual interval is known.
const KNOWN: u32 = 8;

/// A user that runs.
pub(crate) struct User {
    shard: Rc<Shard>,
    class: usize,
    number: u64,
    iteration: u64,
    values: Values,
    cookies: Cookies,
    client: Client,
    random: fastrand::Rng,
    signal: Rc<Signal>,
    pace: Pace,
    /// The sum of the weights of all tasks.
    weights: u32,
}

/// How often a user usually starts a request.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    interval: Duration,
    seen: u32,
}

// === impl Pace ===

impl Pace {
    /// Records a start.
    fn start(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let gap = now - last;
            if self.seen == 0 {
                self.interval = gap;
            } else {
                // A stall changes the interval by at most an eighth; a service that slows down is followed.
                let gap = gap.min(self.interval * 2);
                self.interval = (self.interval * 7 + gap) / 8;
            }
            self.seen = self.seen.saturating_add(1);
        }
    }

    /// The usual interval, if `latency` is a stall.
    fn stalled(&self, latency: Duration) -> Option<Duration> {
        (self.seen >= KNOWN && latency >= self.interval * STALL && !self.interval.is_zero())
            .then_some(self.interval)
    }
}

// === impl User ===

impl User {
    pub(crate) fn new(shard: &Rc<Shard>, number: u64, signal: &Rc<Signal>) -> Self {
        let class = shard.scenario.class_of(number);
        let definition = &shard.scenario.classes[class];
        Self {
            shard: Rc::clone(shard),
            class,
            number,
            iteration: 0,
            values: Values::new(definition, shard.scenario.data.len()),
            cookies: Cookies::default(),
            client: Client::default(),
            random: fastrand::Rng::with_seed(shard.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            signal: Rc::clone(signal),
            pace: Pace::default(),
            weights: definition.tasks.iter().map(|task| task.weight).sum(),
        }
    }

    /// Runs a user of the closed model: tasks and waits, until it is stopped.
    pub(crate) async fn live(mut self) {
        let scenario = Arc::clone(&self.shard.scenario);
        let class = &scenario.classes[self.class];
        let _running = self.shard.running(self.class, true);
        self.on_start(class).await;
        let mut planned = Instant::now();
        while !self.signal.is_stopped() {
            if !self.feed() {
                break;
            }
            let has_pace = matches!(class.wait, Wait::Pacing(_));
            let late = planned.elapsed();
            let late = late * u32::from(has_pace && late > ON_TIME);
            if !late.is_zero() && self.iteration > 0 {
                self.shard.tally().numbers.counters.behind += 1;
            }
            self.iterate(class, late, !has_pace).await;
            if let Wait::Pacing(period) = class.wait {
                planned += period;
                self.rest_until(planned).await;
            } else {
                let wait = class.wait.draw(&mut self.random);
                if wait.is_zero() {
                    // A user without waits must let others run, even if answers are there at once.
                    tokio::task::coop::consume_budget().await;
                } else {
                    self.rest_until(Instant::now() + wait).await;
                }
            }
        }
        self.on_stop(class).await;
    }

    /// Runs a user of the open model: one arrival after another, when there are any.
    pub(crate) async fn serve(mut self) {
        let scenario = Arc::clone(&self.shard.scenario);
        let class = &scenario.classes[self.class];
        let _running = self.shard.running(self.class, false);
        self.on_start(class).await;
        while !self.signal.is_stopped() {
            let Some(late) = self.shard.next_arrival(&self.signal) else {
                self.signal.called().await;
                continue;
            };
            if !self.feed() {
                break;
            }
            self.iterate(class, late, false).await;
        }
        self.on_stop(class).await;
    }

    /// Runs the steps of `on_start` until one fails. The user's tasks follow in any case.
    async fn on_start(&mut self, class: &Class) {
        for step in &class.on_start {
            if self.signal.is_stopped() || !self.step(class, step, Duration::ZERO, false).await {
                break;
            }
        }
    }

    async fn on_stop(&mut self, class: &Class) {
        for step in &class.on_stop {
            self.step(class, step, Duration::ZERO, false).await;
        }
    }

    fn feed(&mut self) -> bool {
        let shard = Rc::clone(&self.shard);
        let fed = shard
            .feeds
            .borrow_mut()
            .feed(&shard.scenario, &mut self.values, &mut self.random);
        if !fed {
            shard.tally().numbers.counters.out_of_data += 1;
        }
        fed
    }

    async fn rest_until(&mut self, until: Instant) {
        let now = Instant::now();
        if until <= now {
            return;
        }
        if !self.shard.scenario.http.keep_alive {
            self.client.close();
        }
        self.signal.sleep(until).await;
        if self.signal.is_stopped() {
            // A wait that was cut short is not measured.
            return;
        }
        let counters = &mut self.shard.tally().numbers.counters;
        counters.waited += now.elapsed().as_secs_f64();
        counters.waits += 1;
    }

    /// Runs one task. `late` is its delay after the intended start.
    async fn iterate(&mut self, class: &Class, mut late: Duration, free: bool) {
        let task = self.choose(class);
        for step in &task.steps {
            let good = self.step(class, step, late, free).await;
            late = Duration::ZERO;
            // The rest of a sequence depends on this step.
            if !good || self.signal.is_stopped() {
                break;
            }
            if let Some(pause) = step.pause {
                let until = Instant::now() + pause.draw(&mut self.random);
                self.rest_until(until).await;
            }
        }
        self.iteration += 1;
        self.shard.tally().numbers.counters.iterations += 1;
    }

    fn choose<'c>(&mut self, class: &'c Class) -> &'c Task {
        if let [only] = &class.tasks[..] {
            return only;
        }
        let mut at = self.random.u32(..self.weights.max(1));
        for task in &class.tasks {
            if at < task.weight {
                return task;
            }
            at -= task.weight;
        }
        &class.tasks[0]
    }

    /// Sends one request; returns whether it was answered as expected.
    ///
    /// The future is boxed, so that a user that waits does not keep the memory of a request.
    fn step<'u>(
        &'u mut self,
        class: &'u Class,
        step: &'u Step,
        late: Duration,
        free: bool,
    ) -> Pin<Box<dyn Future<Output = bool> + 'u>> {
        Box::pin(self.send(class, step, late, free))
    }

    async fn send(&mut self, class: &Class, step: &Step, late: Duration, free: bool) -> bool {
        let shard = Rc::clone(&self.shard);
        let started = Instant::now();
        if free {
            self.pace.start(started);
        }
        let counted = shard.start(step.row);
        let prepared = {
            let common = shard.shared();
            let ready = shard.cache.borrow().get(step, common.generation);
            if let Some(request) = ready {
                Ok(request)
            } else {
                let scope = Scope {
                    scenario: &shard.scenario,
                    class: Some(class),
                    values: &self.values,
                    shared: &common,
                    user: self.number,
                    iteration: self.iteration,
                };
                Prepared::of(step, &shard.scenario, common.generation, &scope).map(|request| {
                    let request = Rc::new(request);
                    if step.holds(&shard.scenario) < Holds::Once {
                        shard.cache.borrow_mut().put(step, &request);
                    }
                    request
                })
            }
        };
        let mut exchange = match prepared {
            Ok(prepared) => {
                let mut sender = Sender {
                    net: &shard.net,
                    client: &mut self.client,
                    cookies: &mut self.cookies,
                };
                sender.send(step, &prepared).await
            }
            Err(failure) => Exchange::new(Some(failure)),
        };
        exchange.give_values(step, class, &mut self.values, &shard.scripts);
        let interval = self.pace.stalled(exchange.latency).filter(|_| free);
        counted.end(&exchange, late, interval);
        let good = exchange.failure.is_none();
        if exchange.answer.is_none() {
            // A service that refuses at once does not get a hundred thousand requests a second.
            self.signal
                .sleep(Instant::now() + Duration::from_millis(10))
                .await;
        }
        good
    }
}
