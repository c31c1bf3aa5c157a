//! A shard: one thread, one runtime, its part of the users and arrivals, and its own numbers.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::exchange::Exchange;
use super::message::{Command, Event, Shared};
use super::net::Net;
use super::open::Open;
use super::request::Cache;
use super::script::Scripts;
use super::user::{Signal, User};
use super::values::Feeds;
use crate::scenario::{Scenario, Schedule};
use crate::stats::{End, Health, Tally};

/// Between two looks at how many users there should be.
const TICK: Duration = Duration::from_millis(20);
/// Between two deltas.
const TELL: Duration = Duration::from_secs(1);

/// Which part of the test this is, and what it is done with.
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
    tally: RefCell<Tally>,
    in_flight: RefCell<Vec<u64>>,
    cache: RefCell<Cache>,
    shared: RefCell<Rc<Shared>>,
    scripts: Scripts,
    feeds: RefCell<Feeds>,
    open: RefCell<Open>,
    closed: RefCell<Vec<u64>>,
    /// Users now, and the most at once since this was last told.
    users: Cell<(u64, u64)>,
    begun: Cell<Instant>,
}

/// A request that was counted as started; it ends once.
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

/// Takes events from a shard.
pub(crate) type Tell = Arc<dyn Fn(Event) + Send + Sync>;

// === impl Shard ===

impl Shard {
    fn new(part: &Part, schedule: &Schedule) -> Self {
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

    pub(crate) fn cache(&self) -> RefMut<'_, Cache> {
        self.cache.borrow_mut()
    }

    pub(crate) fn feeds(&self) -> RefMut<'_, Feeds> {
        self.feeds.borrow_mut()
    }

    pub(crate) fn shared(&self) -> Rc<Shared> {
        Rc::clone(&self.shared.borrow())
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.scripts
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
        self.tally().classes[class].users += 1;
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
        let late = self.open.borrow_mut().take(self.begun.get().elapsed(), signal)?;
        let mut tally = self.tally();
        tally.counters.arrivals_started += 1;
        tally.counters.arrivals_late += u64::from(!late.is_zero());
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
        tally.counters.resent += exchange.resent;
        tally.counters.redirects += exchange.redirects;
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
        self.shard.tally().classes[self.class].users -= 1;
        self.shard.closed.borrow_mut()[self.class] -= u64::from(self.closed);
        let (users, most) = self.shard.users.get();
        self.shard.users.set((users - 1, most));
    }
}

/// Runs a shard to its end on this thread.
pub(crate) fn run(part: &Part, commands: mpsc::UnboundedReceiver<Command>, tell: &Tell) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(61)
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            runtime.block_on(Conductor::run(part, commands, tell));
            // The system may still look for a name, for as long as it likes.
            runtime.shutdown_background();
        }
        Err(error) => tell(Event::Broken(format!("can't start a runtime: {error}"))),
    }
}

/// What moves a shard's users along.
struct Conductor<'a> {
    shard: Rc<Shard>,
    schedule: Schedule,
    part: &'a Part,
    tell: &'a Tell,
    /// Users of the closed model in the order they came.
    users: Vec<Rc<Signal>>,
    open_users: Vec<Rc<Signal>>,
    tasks: JoinSet<()>,
    /// Numbers of users that were given out.
    given: u64,
    told: Instant,
    /// When it tells next: at full seconds of the test, so that what all shards tell is of the same second.
    tells: Instant,
    looked: Instant,
    processor: Duration,
    lag: Duration,
}

impl<'a> Conductor<'a> {
    async fn run(part: &'a Part, mut commands: mpsc::UnboundedReceiver<Command>, tell: &'a Tell) {
        let schedule = part.scenario.schedule();
        let shard = Rc::new(Shard::new(part, &schedule));
        let now = Instant::now();
        let mut this = Self {
            shard,
            schedule,
            part,
            tell,
            users: Vec::new(),
            open_users: Vec::new(),
            tasks: JoinSet::new(),
            given: 0,
            told: now,
            tells: now,
            looked: now,
            processor: processor_time(),
            lag: Duration::ZERO,
        };
        tell(Event::Ready);
        loop {
            match commands.recv().await {
                Some(Command::Begin) => break,
                Some(Command::Stop | Command::Cut) | None => {
                    tell(Event::Ended);
                    return;
                }
                Some(command) => this.obey(&command),
            }
        }
        this.carry(&mut commands).await;
        this.finish(&mut commands).await;
        tell(Event::Ended);
    }

    fn obey(&mut self, command: &Command) {
        match command {
            Command::Share { generation, values } => {
                *self.shard.shared.borrow_mut() = Rc::new(Shared::new(*generation, values));
            }
            Command::Reset { epoch } => {
                self.count_time();
                let in_flight = self.shard.in_flight.borrow().clone();
                let waiting = self.shard.open.borrow().waiting();
                self.shard.tally().reset(*epoch, &in_flight, waiting);
            }
            Command::Begin | Command::Stop | Command::Cut => {}
        }
    }

    /// Keeps as many users as the schedule says, until its end or until it is stopped.
    async fn carry(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) {
        let begun = Instant::now();
        self.shard.begun.set(begun);
        (self.told, self.looked) = (begun, begun);
        self.tells = begun + TELL;
        let length = self.schedule.length();
        loop {
            let now = begun.elapsed();
            if now >= length {
                break;
            }
            self.look(now);
            let tells = self.tells.duration_since(begun);
            let mut next = (now + TICK).min(length).min(tells.max(now));
            if let Some(arrival) = self.shard.open.borrow_mut().next() {
                next = next.min(arrival);
            }
            let until = begun + next;
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Stop | Command::Cut) | None => break,
                    Some(command) => self.obey(&command),
                },
                () = tokio::time::sleep_until(until.into()) => {
                    self.lag = self.lag.max(until.elapsed());
                }
            }
            while self.tasks.try_join_next().is_some() {}
            // All users have left by themselves, for want of data: nobody is going to send anything any more.
            if self.tasks.is_empty()
                && !self.users.is_empty()
                && self.shard.open.borrow_mut().next().is_none()
            {
                break;
            }
        }
    }

    fn look(&mut self, now: Duration) {
        self.count_time();
        let moment = self.looked;
        self.closed_users(self.schedule.users_at(now));
        self.arrivals(now);
        if moment >= self.tells {
            self.tell_delta();
            while self.tells <= moment {
                self.tells += TELL;
            }
        }
    }

    /// Adds the time since the last look to what users of the closed model have had.
    fn count_time(&mut self) {
        let moment = Instant::now();
        let passed = (moment - self.looked).as_secs_f64();
        self.looked = moment;
        let closed = self.shard.closed.borrow();
        let mut tally = self.shard.tally();
        for (class, users) in tally.classes.iter_mut().zip(&*closed) {
            class.user_seconds += *users as f64 * passed;
        }
    }

    /// This shard's part of `all`.
    fn share_of(&self, all: u64) -> usize {
        let (shard, shards) = (self.part.shard as u64, self.part.shards as u64);
        usize::try_from((all + shards - 1 - shard) / shards).unwrap_or(usize::MAX)
    }

    fn closed_users(&mut self, all: u64) {
        let wanted = self.share_of(all);
        while self.users.len() > wanted {
            if let Some(user) = self.users.pop() {
                user.stop();
            }
        }
        while self.users.len() < wanted {
            let signal = Rc::new(Signal::default());
            let user = self.user(&signal);
            self.users.push(signal);
            self.tasks.spawn_local(user.live());
        }
    }

    fn user(&mut self, signal: &Rc<Signal>) -> User {
        let number = self.given * self.part.shards as u64 + self.part.shard as u64;
        self.given += 1;
        User::new(&self.shard, number, signal)
    }

    fn arrivals(&mut self, now: Duration) {
        let due = self.shard.open.borrow_mut().advance(now);
        self.shard.tally().counters.arrivals_due += due.arrived;
        let most = self.share_of(self.schedule.open_users_at(now));
        if most == 0 {
            if !self.open_users.is_empty() || due.wanted > 0 {
                self.dismiss();
            }
            return;
        }
        for _ in 0..due.wanted {
            if self.open_users.len() >= most {
                break;
            }
            let signal = Rc::new(Signal::default());
            let user = self.user(&signal);
            self.open_users.push(signal);
            self.tasks.spawn_local(user.serve());
        }
    }

    /// The open part is over: users finish what they do, and what waits never starts.
    fn dismiss(&mut self) {
        let never = self.shard.open.borrow_mut().abandon();
        self.shard.tally().counters.arrivals_never += never;
        self.shard.open.borrow_mut().dismiss();
        for signal in self.open_users.drain(..) {
            signal.stop();
        }
    }

    /// Users stop; what still runs when the conductor has waited long enough is cut off.
    async fn finish(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) {
        // The last full second is told before its users go.
        self.count_time();
        self.tell_delta();
        let now = self.shard.begun.get().elapsed().min(self.schedule.length());
        let due = self.shard.open.borrow_mut().advance(now);
        self.shard.tally().counters.arrivals_due += due.arrived;
        self.dismiss();
        for signal in self.users.drain(..) {
            signal.stop();
        }
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Cut) | None => break,
                    Some(command) => self.obey(&command),
                },
                joined = self.tasks.join_next() => if joined.is_none() {
                    break;
                },
                () = tokio::time::sleep(TELL) => self.tell_delta(),
            }
        }
        self.tasks.shutdown().await;
        self.tell_delta();
    }

    fn tell_delta(&mut self) {
        let passed = self.told.elapsed().as_secs_f64();
        self.told = Instant::now();
        let processor = processor_time();
        let (users, most_users) = self.shard.users.get();
        self.shard.users.set((users, users));
        let health = Health {
            most_users,
            cpu: (processor.saturating_sub(self.processor)).as_secs_f64() / passed.max(1e-3),
            lag: self.lag.as_secs_f64(),
            in_flight: self.shard.in_flight.borrow().iter().sum(),
            quiet: self
                .shard
                .tally()
                .last_ended
                .map_or(0.0, |at| at.elapsed().as_secs_f64()),
        };
        self.processor = processor;
        self.lag = Duration::ZERO;
        let delta = self.shard.tally().take(health);
        (self.tell)(Event::Counted(Box::new(delta)));
    }
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Shards on threads of this process, and how they are spoken to.
pub(crate) struct Threads {
    senders: Vec<mpsc::UnboundedSender<Command>>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

impl Threads {
    /// Starts the shards `first ..` of `shards`; each tells its events with its number.
    pub(crate) fn start(
        scenario: &Arc<Scenario>,
        tls: Option<&Arc<rustls::ClientConfig>>,
        numbers: std::ops::Range<usize>,
        shards: usize,
        seed: u64,
        tell: &Arc<dyn Fn(usize, Event) + Send + Sync>,
    ) -> std::io::Result<Self> {
        let mut this = Self {
            senders: Vec::new(),
            handles: Vec::new(),
        };
        for shard in numbers {
            let (sender, receiver) = mpsc::unbounded_channel();
            let part = Part {
                scenario: Arc::clone(scenario),
                tls: tls.map(Arc::clone),
                shard,
                shards,
                seed,
            };
            let tell = Arc::clone(tell);
            let handle = std::thread::Builder::new()
                .name(format!("shard-{shard}"))
                .spawn(move || {
                    let of_this: Tell = {
                        let tell = Arc::clone(&tell);
                        Arc::new(move |event| tell(shard, event))
                    };
                    let receiver = Mutex::new(Some(receiver));
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
                        if let Some(receiver) = receiver {
                            run(&part, receiver, &of_this);
                        }
                    }));
                    if ran.is_err() {
                        tell(
                            shard,
                            Event::Broken("a defect in the tester ended this shard".into()),
                        );
                    }
                })?;
            this.senders.push(sender);
            this.handles.push(handle);
        }
        Ok(this)
    }

    pub(crate) fn send(&self, command: &Command) {
        for sender in &self.senders {
            // A shard that has ended needs no commands.
            let _ = sender.send(command.clone());
        }
    }

    /// Waits for all of them but those that were given up.
    pub(crate) fn join(self, given_up: &[usize]) {
        drop(self.senders);
        for (index, handle) in self.handles.into_iter().enumerate() {
            if !given_up.contains(&index) {
                let _ = handle.join();
            }
        }
    }
}
