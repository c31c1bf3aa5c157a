//! A user: what it does, one thing after another.
//!
//! ```text
//!  on_start ──► task ──► wait ──► task ──► wait ──► … ──► on_stop
//!                 ▲         │                  stop ──┘
//!                 └─────────┘
//! ```

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::client::Client;
use super::cookies::Cookies;
use super::exchange::{Exchange, Sender};
use super::request::Prepared;
use super::shard::Shard;
use super::values::{Scope, Values};
use crate::scenario::template::Holds;
use crate::scenario::{Class, Step, Task, Wait};

/// What begins no later than this after its time is on time: timers have a resolution of a millisecond.
pub(crate) const ON_TIME: Duration = Duration::from_millis(3);

/// An answer that takes so many times a user's usual interval is a stall, and not only slow.
const STALL: u32 = 10;

/// Starts after which a user's usual interval is known.
const KNOWN: u32 = 8;

/// How somebody else reaches a user.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    stop: Cell<bool>,
    /// There may be an arrival to take.
    pub(crate) go: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

pub(crate) struct User {
    pub(crate) shard: Rc<Shard>,
    class: usize,
    number: u64,
    iteration: u64,
    values: Values,
    cookies: Cookies,
    client: Client,
    random: fastrand::Rng,
    pub(crate) signal: Rc<Signal>,
    pace: Pace,
    /// Weights of all tasks together.
    weights: u32,
}

/// How often a user usually starts a request.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    interval: Duration,
    seen: u32,
}

// === impl Signal ===

impl Signal {
    pub(crate) fn stop(&self) {
        self.stop.set(true);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.get()
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until `until`, or until it is stopped.
    async fn sleep(&self, until: Instant) {
        let mut sleep = pin!(tokio::time::sleep_until(until.into()));
        poll_fn(|context| {
            if self.stop.get() || sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until there may be an arrival, or until it is stopped.
    pub(crate) async fn called(&self) {
        poll_fn(|context| {
            if self.stop.get() || self.go.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

// === impl Pace ===

impl Pace {
    /// Notes a start.
    fn start(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let gap = now - last;
            if self.seen == 0 {
                self.interval = gap;
            } else {
                // A stall moves it by an eighth at most, a service that slows down is followed.
                let gap = gap.min(self.interval * 2);
                self.interval = (self.interval * 7 + gap) / 8;
            }
            self.seen = self.seen.saturating_add(1);
        }
    }

    /// The usual interval, if an answer that took `latency` kept the user from starting many times.
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

    /// The closed model: tasks and waits until it is stopped.
    pub(crate) async fn live(mut self) {
        let scenario = std::sync::Arc::clone(&self.shard.scenario);
        let class = &scenario.classes[self.class];
        let _running = self.shard.running(self.class, true);
        self.on_start(class).await;
        let mut planned = Instant::now();
        while !self.signal.is_stopped() {
            if !self.feed() {
                break;
            }
            let late = planned.elapsed();
            let late = if matches!(class.wait, Wait::Pacing(_)) && late > ON_TIME {
                late
            } else {
                Duration::ZERO
            };
            if !late.is_zero() && self.iteration > 0 {
                self.shard.tally().counters.behind += 1;
            }
            self.iterate(class, late, !matches!(class.wait, Wait::Pacing(_)))
                .await;
            if let Wait::Pacing(period) = class.wait {
                planned += period;
                self.rest_until(planned).await;
            } else {
                let wait = class.wait.draw(&mut self.random);
                if wait.is_zero() {
                    // A user without waits must let others have their turn even if answers are there at once.
                    tokio::task::coop::consume_budget().await;
                } else {
                    self.rest_until(Instant::now() + wait).await;
                }
            }
        }
        self.on_stop(class).await;
    }

    /// The open model: an arrival after another, when there are any.
    pub(crate) async fn serve(mut self) {
        let scenario = std::sync::Arc::clone(&self.shard.scenario);
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

    /// The steps of `on_start`, up to one that fails; the user's tasks follow in any case.
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
            .feeds()
            .feed(&shard.scenario, &mut self.values, &mut self.random);
        if !fed {
            shard.tally().counters.out_of_data += 1;
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
            // A wait that was cut short says nothing about waits.
            return;
        }
        let mut tally = self.shard.tally();
        tally.counters.waited += now.elapsed().as_secs_f64();
        tally.counters.waits += 1;
    }

    /// One task. `late` is how long after its intended start it begins.
    async fn iterate(&mut self, class: &Class, late: Duration, free: bool) {
        let task = self.choose(class);
        let mut late = late;
        for (index, step) in task.steps.iter().enumerate() {
            let good = self.step(class, step, late, free).await;
            late = Duration::ZERO;
            let last = index + 1 == task.steps.len();
            // What follows in a sequence rests on what went before.
            if !good || self.signal.is_stopped() {
                break;
            }
            if let (Some(pause), false) = (step.pause, last && task.steps.len() == 1) {
                let until = Instant::now() + pause.draw(&mut self.random);
                self.rest_until(until).await;
            }
        }
        self.iteration += 1;
        self.shard.tally().counters.iterations += 1;
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

    /// One request; whether it was good.
    ///
    /// It is boxed, so that a user who waits does not keep the room that a request under way needs.
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
            let ready = shard.cache().get(step, common.generation);
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
                        shard.cache().put(step, &request);
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
        exchange.give_values(step, class, &mut self.values, shard.scripts());
        let interval = if free {
            self.pace.stalled(exchange.latency)
        } else {
            None
        };
        counted.end(&exchange, late, interval);
        let good = exchange.failure.is_none();
        if exchange.answer.is_none() {
            // A service that refuses at once is not asked a hundred thousand times a second.
            self.signal
                .sleep(Instant::now() + Duration::from_millis(10))
                .await;
        }
        good
    }
}
