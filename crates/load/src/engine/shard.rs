//! A shard: what the users of one thread share, and their numbers.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use super::message::Shared;
use super::net::Net;
use super::open::Open;
use super::request::Cache;
use super::signal::Signal;
use super::values::Feeds;
use crate::scenario::{Scenario, Schedule};
use crate::script::Scripts;
use crate::stats::{End, Health, Tally};

/// Which part of the test a shard is, and what it needs.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) seed: u64,
}

/// What a shard's users share.
pub(crate) struct Shard {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) net: Net,
    pub(crate) seed: u64,
    pub(crate) scripts: Scripts,
    tally: RefCell<Tally>,
    /// Requests in flight, for each row.
    in_flight: RefCell<Vec<u64>>,
    pub(crate) cache: RefCell<Cache>,
    shared: RefCell<Rc<Shared>>,
    pub(crate) feeds: RefCell<Feeds>,
    open: RefCell<Open>,
    /// Running users of the closed model, for each class.
    closed: RefCell<Vec<u64>>,
    /// Users now, and the most at once since the last report.
    users: Cell<(u64, u64)>,
    begun: Cell<Instant>,
}

/// A request that is counted as started. It ends once.
pub(crate) struct Counted {
    shard: Rc<Shard>,
    row: usize,
    ended: bool,
}

/// A user that is counted as running.
pub(crate) struct Running {
    shard: Rc<Shard>,
    class: usize,
    closed: bool,
}

// === impl Shard ===

impl Shard {
    pub(crate) fn new(part: &Part, schedule: &Schedule) -> Self {
        let scenario = &part.scenario;
        Self {
            scenario: Arc::clone(scenario),
            net: Net::new(&scenario.http, part.tls.clone()),
            seed: part.seed,
            tally: RefCell::new(Tally::new(scenario.rows.len(), scenario.classes.len())),
            in_flight: RefCell::new(vec![0; scenario.rows.len()]),
            cache: RefCell::new(Cache::new(scenario.steps)),
            shared: RefCell::default(),
            scripts: Scripts::new(),
            feeds: RefCell::new(Feeds::new(scenario, part.shard, part.shards)),
            open: RefCell::new(Open::new(schedule, part.shard as u64, part.shards as u64)),
            closed: RefCell::new(vec![0; scenario.classes.len()]),
            users: Cell::new((0, 0)),
            begun: Cell::new(Instant::now()),
        }
    }

    pub(crate) fn tally(&self) -> RefMut<'_, Tally> {
        self.tally.borrow_mut()
    }

    pub(crate) fn shared(&self) -> Rc<Shared> {
        Rc::clone(&self.shared.borrow())
    }

    pub(crate) fn open(&self) -> RefMut<'_, Open> {
        self.open.borrow_mut()
    }

    /// Gives all users new values of the bootstrap.
    pub(crate) fn share(&self, shared: Shared) {
        *self.shared.borrow_mut() = Rc::new(shared);
    }

    pub(crate) fn begin(&self, now: Instant) {
        self.begun.set(now);
    }

    /// The time since the test began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.get().elapsed()
    }

    pub(crate) fn reset(&self, epoch: u32) {
        let waiting = self.open().waiting();
        self.tally().reset(epoch, &self.in_flight.borrow(), waiting);
    }

    /// Adds seconds to the time of each running user of the closed model.
    pub(crate) fn count_time(&self, seconds: f64) {
        let mut tally = self.tally();
        for (class, users) in tally.numbers.classes.iter_mut().zip(&*self.closed.borrow()) {
            class.user_seconds += *users as f64 * seconds;
        }
    }

    /// The state of the shard, without that of its thread. The next call has the most users since this one.
    pub(crate) fn health(&self) -> Health {
        let (users, most_users) = self.users.get();
        self.users.set((users, users));
        let last_ended = self.tally().last_ended;
        Health {
            most_users,
            in_flight: self.in_flight.borrow().iter().sum(),
            quiet: last_ended.map_or(0.0, |at| at.elapsed().as_secs_f64()),
            ..Health::default()
        }
    }

    pub(crate) fn start(self: &Rc<Self>, row: usize) -> Counted {
        self.tally().started(row);
        self.in_flight.borrow_mut()[row] += 1;
        Counted {
            shard: Rc::clone(self),
            row,
            ended: false,
        }
    }

    pub(crate) fn running(self: &Rc<Self>, class: usize, closed: bool) -> Running {
        self.tally().numbers.classes[class].users += 1;
        self.closed.borrow_mut()[class] += u64::from(closed);
        let (users, most) = self.users.get();
        self.users.set((users + 1, most.max(users + 1)));
        Running {
            shard: Rc::clone(self),
            class,
            closed,
        }
    }

    pub(crate) fn next_arrival(&self, signal: &Rc<Signal>) -> Option<Duration> {
        let late = self.open().take(self.elapsed(), signal)?;
        let counters = &mut self.tally().numbers.counters;
        counters.arrivals_started += 1;
        counters.arrivals_late += u64::from(!late.is_zero());
        Some(late)
    }
}

// === impl Counted ===

impl Counted {
    pub(crate) fn end(mut self, exchange: &Exchange, late: Duration, interval: Option<Duration>) {
        self.ended = true;
        let mut tally = self.shard.tally();
        for phases in &exchange.connections {
            tally.connected(phases);
        }
        tally.numbers.counters.resent += exchange.resent;
        tally.numbers.counters.redirects += exchange.redirects;
        let failure = exchange
            .failure
            .as_ref()
            .map(|failure| (failure.kind, failure.text.as_str()));
        tally.ended(
            self.row,
            &End {
                latency: exchange.latency,
                late,
                interval,
                phases: &exchange.phases,
                status: exchange.answer.as_ref().map(|answer| answer.status),
                bytes: exchange.bytes,
                failure,
            },
        );
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shard.in_flight.borrow_mut()[self.row] -= 1;
        if !self.ended {
            self.shard.tally().unfinished(self.row);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shard.tally().numbers.classes[self.class].users -= 1;
        self.shard.closed.borrow_mut()[self.class] -= u64::from(self.closed);
        let (users, most) = self.shard.users.get();
        self.shard.users.set((users - 1, most));
    }
}
