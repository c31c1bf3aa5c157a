//! Drives a shard on a thread of its own: keeps as many users as the schedule says, starts arrivals, and reports numbers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::message::{Command, Event, Shared, Tell};
use super::shard::{Part, Shard};
use super::signal::Signal;
use super::user::User;
use crate::scenario::Schedule;
use crate::stats::Health;

/// Interval at which a shard adjusts its number of users.
const TICK: Duration = Duration::from_millis(20);
/// Interval at which shards report their numbers.
const REPORT: Duration = Duration::from_secs(1);

/// Shards on threads of this process.
pub(crate) struct Threads {
    senders: Vec<UnboundedSender<Command>>,
    handles: Vec<std::thread::JoinHandle<()>>,
}

/// A shard and what drives it.
struct Driver<'a> {
    shard: Rc<Shard>,
    schedule: Schedule,
    part: &'a Part,
    tell: &'a dyn Fn(Event),
    /// Users of the closed model, in the order in which they started.
    users: Vec<Rc<Signal>>,
    open_users: Vec<Rc<Signal>>,
    tasks: JoinSet<()>,
    /// The number of users that were started.
    given: u64,
    reported: Instant,
    /// When the next report is due: at full seconds of the test, so that all shards report on the same second.
    due: Instant,
    looked: Instant,
    processor: Duration,
    lag: Duration,
}

// === impl Threads ===

impl Threads {
    /// Starts `count` shards, the first of which is `first`.
    pub(crate) fn start(first: &Part, count: usize, tell: &Tell) -> Result<Self, String> {
        let (mut senders, mut handles) = (Vec::new(), Vec::new());
        for shard in first.shard..first.shard + count {
            let (sender, commands) = unbounded_channel();
            let part = Part {
                shard,
                ..first.clone()
            };
            let tell = Arc::clone(tell);
            let thread = std::thread::Builder::new().name(format!("shard-{shard}"));
            let handle = thread.spawn(move || {
                let run = AssertUnwindSafe(|| run(&part, commands, &|event| tell(shard, event)));
                if catch_unwind(run).is_err() {
                    let text = "a thread of the tester failed (this is a bug); its users are gone";
                    tell(shard, Event::Broken(text.to_owned()));
                }
            });
            handles.push(handle.map_err(|error| format!("can't start a thread: {error}"))?);
            senders.push(sender);
        }
        Ok(Self { senders, handles })
    }

    pub(crate) fn send(&self, command: &Command) {
        for sender in &self.senders {
            // A shard that has ended needs no commands.
            let _ = sender.send(command.clone());
        }
    }

    /// Waits for all threads except those that were given up.
    pub(crate) fn join(self, is_given_up: impl Fn(usize) -> bool) {
        drop(self.senders);
        for (index, handle) in self.handles.into_iter().enumerate() {
            if !is_given_up(index) {
                let _ = handle.join();
            }
        }
    }
}

/// Runs a shard to its end on this thread.
fn run(part: &Part, commands: UnboundedReceiver<Command>, tell: &dyn Fn(Event)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(61)
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            runtime.block_on(Driver::run(part, commands, tell));
            // A name lookup by the system may still run and can't be cancelled.
            runtime.shutdown_background();
        }
        Err(error) => tell(Event::Broken(format!("can't start a runtime: {error}"))),
    }
}

// === impl Driver ===

impl<'a> Driver<'a> {
    async fn run(part: &'a Part, mut commands: UnboundedReceiver<Command>, tell: &'a dyn Fn(Event)) {
        let schedule = part.scenario.schedule();
        let now = Instant::now();
        let mut this = Self {
            shard: Rc::new(Shard::new(part, &schedule)),
            schedule,
            part,
            tell,
            users: Vec::new(),
            open_users: Vec::new(),
            tasks: JoinSet::new(),
            given: 0,
            reported: now,
            due: now,
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
        this.drive(&mut commands).await;
        this.finish(&mut commands).await;
        tell(Event::Ended);
    }

    fn obey(&mut self, command: &Command) {
        match command {
            Command::Share { generation, values } => {
                self.shard.share(Shared::new(*generation, values));
            }
            Command::Reset { epoch } => {
                self.count_time();
                self.shard.reset(*epoch);
            }
            Command::Begin | Command::Stop | Command::Cut => {}
        }
    }

    /// Keeps as many users as the schedule says, until its end or a command to stop.
    async fn drive(&mut self, commands: &mut UnboundedReceiver<Command>) {
        let begun = Instant::now();
        self.shard.begin(begun);
        (self.reported, self.looked) = (begun, begun);
        self.due = begun + REPORT;
        let length = self.schedule.length();
        loop {
            let now = begun.elapsed();
            if now >= length {
                break;
            }
            self.look(now);
            let due = self.due.duration_since(begun);
            let mut next = (now + TICK).min(length).min(due.max(now));
            if let Some(arrival) = self.shard.open().next() {
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
            // If all users have stopped for want of data, nothing more will be sent.
            if self.tasks.is_empty() && !self.users.is_empty() && self.shard.open().next().is_none() {
                break;
            }
        }
    }

    fn look(&mut self, now: Duration) {
        self.count_time();
        let moment = self.looked;
        self.closed_users(self.schedule.users_at(now));
        self.arrivals(now);
        if moment >= self.due {
            self.report();
            while self.due <= moment {
                self.due += REPORT;
            }
        }
    }

    /// Counts the time since the last look for the running users of the closed model.
    fn count_time(&mut self) {
        let moment = Instant::now();
        let passed = (moment - self.looked).as_secs_f64();
        self.looked = moment;
        self.shard.count_time(passed);
    }

    /// This shard's part of `all`.
    fn share_of(&self, all: u64) -> usize {
        let (shard, shards) = (self.part.shard as u64, self.part.shards as u64);
        usize::try_from((all + shards - 1 - shard) / shards).unwrap_or(usize::MAX)
    }

    fn closed_users(&mut self, all: u64) {
        let wanted = self.share_of(all);
        for user in self.users.drain(wanted.min(self.users.len())..).rev() {
            user.stop();
        }
        while self.users.len() < wanted {
            let (signal, user) = self.user();
            self.users.push(signal);
            self.tasks.spawn_local(user.live());
        }
    }

    fn user(&mut self) -> (Rc<Signal>, User) {
        let number = self.given * self.part.shards as u64 + self.part.shard as u64;
        self.given += 1;
        let signal = Rc::new(Signal::default());
        let user = User::new(&self.shard, number, &signal);
        (signal, user)
    }

    fn arrivals(&mut self, now: Duration) {
        let due = self.shard.open().advance(now);
        self.shard.tally().numbers.counters.arrivals_due += due.arrived;
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
            let (signal, user) = self.user();
            self.open_users.push(signal);
            self.tasks.spawn_local(user.serve());
        }
    }

    /// Ends the open part: users finish what they are doing, and waiting arrivals never start.
    fn dismiss(&mut self) {
        let never = self.shard.open().abandon();
        self.shard.tally().numbers.counters.arrivals_never += never;
        self.shard.open().dismiss();
        for signal in self.open_users.drain(..) {
            signal.stop();
        }
    }

    /// Stops the users, and cuts them off when the conductor says so.
    async fn finish(&mut self, commands: &mut UnboundedReceiver<Command>) {
        // The last full second is reported before its users stop.
        self.count_time();
        self.report();
        let now = self.shard.elapsed().min(self.schedule.length());
        let due = self.shard.open().advance(now);
        self.shard.tally().numbers.counters.arrivals_due += due.arrived;
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
                () = tokio::time::sleep(REPORT) => self.report(),
            }
        }
        self.tasks.shutdown().await;
        self.report();
    }

    fn report(&mut self) {
        let passed = self.reported.elapsed().as_secs_f64();
        self.reported = Instant::now();
        let processor = processor_time();
        let health = Health {
            cpu: (processor.saturating_sub(self.processor)).as_secs_f64() / passed.max(1e-3),
            lag: self.lag.as_secs_f64(),
            ..self.shard.health()
        };
        (self.processor, self.lag) = (processor, Duration::ZERO);
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
