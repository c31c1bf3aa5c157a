//! The conductor: bootstrap once, begin everywhere at the same time, add up, watch the marks, end in order.
//!
//! ```text
//!  preparing ──all ready──► running ──schedule over, stop, or a mark missed──► ending ──all ended, or cut──► outcome
//!      └──bootstrap failed──► error (no user has sent anything)
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_pace::Backoff;
use reveille_text::duration;
use tokio::sync::mpsc;

use super::bootstrap::{self, Captured};
use super::memory::Memory;
use super::message::{Command, Event};
use super::net::{Net, tls_config};
use super::shard::Threads;
use super::worker::{Processes, Start};
use crate::scenario::{Bootstrap, Scenario};
use crate::stats::{Second, Totals};

/// Between two samples.
const SAMPLE: Duration = Duration::from_secs(1);

/// Shards tell at full seconds; so much later all of them have been heard.
const SETTLED: Duration = Duration::from_millis(100);

/// A shard whose thread uses more than this share of a processor has no room left.
const BUSY: f64 = 0.95;
/// A shard whose timers fire this late sends late.
const LAGS: f64 = 0.1;
/// So many seconds in a row make it saturated.
const IN_A_ROW: u32 = 3;

/// How long it may take until all threads and workers have read the scenario and its data.
const PREPARES: Duration = Duration::from_mins(2);

/// How long what was cut off may take to tell its last numbers.
const ENDS: Duration = Duration::from_secs(5);

/// Why a test has no outcome.
#[derive(Debug)]
pub enum Halt {
    /// Something that it was given can't be used; nothing was sent.
    Input(String),
    /// The bootstrap failed; no user has started.
    Bootstrap(String),
    /// Somebody stopped it before the first user.
    Interrupted(String),
    /// The tester failed, not what it was given.
    Defect(String),
}

/// How a test is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads with users in this process, or in each worker.
    pub threads: usize,
    /// Worker processes; without any, users are in this process.
    pub workers: usize,
    /// How long users may take to end.
    pub grace: Duration,
    /// Numbers are zeroed after the ramp.
    pub reset_after_ramp: bool,
    /// Numbers are zeroed at these moments.
    pub reset_at: Vec<Duration>,
    /// Of all that is random.
    pub seed: u64,
    /// What workers read the scenario from.
    pub source: Source,
}

/// The scenario as it travels to workers.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file's name.
    pub file: String,
    /// Its text.
    pub text: String,
    /// What it was read with.
    pub given: crate::scenario::Given,
}

/// What comes from outside while a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// End the test; asked again, at once.
    Stop,
    /// Zero the numbers.
    Reset,
}

/// How a test came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The stages are over.
    Finished,
    /// Somebody stopped it.
    Interrupted,
    /// A mark that aborts was missed.
    Aborted(String),
    /// Nobody was left to carry users.
    Lost,
}

/// What a test came to.
#[derive(Debug)]
pub struct Outcome {
    /// All numbers.
    pub totals: Totals,
    /// How it ended.
    pub ended: Ended,
    /// From the beginning, or the last reset, until users were told to stop.
    pub load: Duration,
    /// The same until the last of them was gone.
    pub total: Duration,
    /// From the beginning to the end, whatever was zeroed.
    pub whole: Duration,
    /// How often the bootstrap was made, refreshes included.
    pub bootstraps: u64,
    /// Refreshes that failed.
    pub refresh_failures: u64,
    /// Since when, and why, the tester itself limits the numbers.
    pub saturated: Option<(Duration, String)>,
    /// Shards and workers that were lost.
    pub lost: Vec<String>,
    /// How often numbers were zeroed.
    pub resets: u64,
    /// The most users at once.
    pub peak_users: u64,
    /// One entry a second: what the report's charts show.
    pub series: Vec<Point>,
}

/// A second of the test, as charts show it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Point {
    /// Seconds since the beginning.
    pub at: f64,
    /// Running users.
    pub users: u64,
    /// Requests a second: what the scenario wanted, what began, was completed and failed.
    pub offered: f64,
    /// Requests that began.
    pub started: f64,
    /// Requests that were answered as expected.
    pub completed: f64,
    /// Requests that were not.
    pub failed: f64,
    /// Quantiles from the intended start, milliseconds.
    pub p50_ms: f64,
    /// The same.
    pub p95_ms: f64,
    /// The same.
    pub p99_ms: f64,
}

/// Seconds that are kept for charts; beyond that every second one is dropped, again and again.
const POINTS: usize = 3600;

/// Who looks on while a test runs.
pub trait Observer {
    /// One second of it. `at` is the time since the beginning.
    fn second(&mut self, at: Duration, second: &Second, totals: &Totals);
    /// Something that is not a number.
    fn note(&mut self, at: Duration, text: &str);
}

/// The events of all shards.
pub(crate) type Events = mpsc::UnboundedReceiver<(usize, Event)>;

/// Where users are.
enum Carriers {
    Here(Threads),
    There(Processes),
}

impl Carriers {
    fn send(&mut self, command: &Command) {
        match self {
            Carriers::Here(threads) => threads.send(command),
            Carriers::There(processes) => processes.send(command),
        }
    }

    /// Ends what carries this shard, as far as that can be done; says what that was.
    fn give_up(&mut self, shard: usize) -> String {
        match self {
            // A thread can't be ended; it is left behind.
            Carriers::Here(_) => format!("thread {}", shard + 1),
            Carriers::There(processes) => format!("worker {}", processes.kill(shard)),
        }
    }
}

/// Runs a test to its end.
pub async fn conduct(
    scenario: &Arc<Scenario>,
    options: &Options,
    observer: &mut dyn Observer,
    asks: &mut mpsc::UnboundedReceiver<Ask>,
) -> Result<Outcome, Halt> {
    let tls = tls_for(scenario).map_err(Halt::Input)?;
    let shards = options.threads.max(1) * options.workers.max(1);
    // Shards tell once a second each, so that this can't grow.
    let (sender, events) = mpsc::unbounded_channel();
    let tell: Arc<dyn Fn(usize, Event) + Send + Sync> = Arc::new(move |shard, event| {
        // The conductor is gone only once it needs no events.
        let _ = sender.send((shard, event));
    });
    let net = Net::new(&scenario.http, tls.clone());
    let mut renewal = Renewal::new(scenario, net);
    // Before any user exists: if it fails, nothing else is sent.
    let mut reset = false;
    let first = renewal.first(asks, &mut reset).await?;
    let mut carriers = if options.workers == 0 {
        let threads = Threads::start(scenario, tls.as_ref(), 0..shards, shards, options.seed, &tell);
        let failed = |error| Halt::Defect(format!("can't start a thread: {error}"));
        Carriers::Here(threads.map_err(failed)?)
    } else {
        let start = Start::new(options, shards);
        let processes = Processes::start(&start, options.workers, options.threads.max(1), &tell);
        Carriers::There(processes.map_err(Halt::Defect)?)
    };
    drop(tell);
    let mut test = Test::new(scenario, options, shards, events);
    tokio::select! {
        prepared = tokio::time::timeout(PREPARES, test.prepare()) => match prepared {
            Ok(prepared) => prepared?,
            Err(_) => return Err(Halt::Defect(format!(
                "the threads and workers that carry users were not ready within {}; nobody has started", duration::shown(PREPARES)
            ))),
        },
        () = stopped(asks, &mut reset) => {
            return Err(Halt::Interrupted("interrupted before the first user started".into()));
        }
    }
    if let Some(values) = first {
        carriers.send(&share(renewal.generation, values));
    }
    carriers.send(&Command::Begin);
    if reset {
        test.reset(&mut carriers, observer);
    }
    test.run(&mut carriers, &mut renewal, observer, asks).await;
    match carriers {
        Carriers::Here(threads) => threads.join(&test.given_up),
        Carriers::There(processes) => processes.wait(ENDS).await,
    }
    Ok(test.outcome(&renewal))
}

/// TLS for all users; that it can't be set up matters only to those who use it.
pub(super) fn tls_for(scenario: &Scenario) -> Result<Option<Arc<rustls::ClientConfig>>, String> {
    match tls_config(&scenario.http) {
        Ok(config) => Ok(Some(config)),
        Err(error) if scenario.needs_tls() => Err(error),
        Err(_) => Ok(None),
    }
}

fn share(generation: u64, values: Captured) -> Command {
    Command::Share { generation, values }
}

/// The bootstrap and its refreshes.
struct Renewal {
    scenario: Arc<Scenario>,
    net: std::rc::Rc<Net>,
    generation: u64,
    made: u64,
    failures: u64,
    backoff: Backoff,
    next: Option<Instant>,
    running: Option<tokio::task::JoinHandle<Result<Captured, String>>>,
}

impl Renewal {
    fn new(scenario: &Arc<Scenario>, net: Net) -> Self {
        Self {
            scenario: Arc::clone(scenario),
            net: std::rc::Rc::new(net),
            generation: 0,
            made: 0,
            failures: 0,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30), 1),
            next: None,
            running: None,
        }
    }

    async fn first(
        &mut self,
        asks: &mut mpsc::UnboundedReceiver<Ask>,
        reset: &mut bool,
    ) -> Result<Option<Captured>, Halt> {
        let scenario = Arc::clone(&self.scenario);
        let Some(bootstrap) = &scenario.bootstrap else {
            return Ok(None);
        };
        self.generation = 1;
        let failed = |error| Halt::Bootstrap(format!("the bootstrap failed, no user has started: {error}"));
        let captured = tokio::select! {
            captured = bootstrap::run(&scenario, bootstrap, &self.net, 1) => captured.map_err(failed)?,
            () = stopped(asks, reset) => {
                return Err(Halt::Interrupted("interrupted in the bootstrap, no user has started".into()));
            }
        };
        self.made += 1;
        self.plan(bootstrap, &captured).map_err(failed)?;
        Ok(Some(captured))
    }

    fn plan(&mut self, bootstrap: &Bootstrap, captured: &Captured) -> Result<(), String> {
        let lasts = bootstrap::lasts(bootstrap, captured)
            .map_err(|error| format!("`refresh: every` can't be worked out: {error}"))?;
        self.next = lasts.map(|lasts| Instant::now() + lasts);
        Ok(())
    }

    /// Completes when there are new values.
    async fn renewed(&mut self, observer: &mut Vec<String>) -> Captured {
        loop {
            if self.running.is_none() {
                match self.next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending::<()>().await,
                }
                let scenario = Arc::clone(&self.scenario);
                let net = std::rc::Rc::clone(&self.net);
                let generation = self.generation + 1;
                self.next = None;
                self.running = Some(tokio::task::spawn_local(async move {
                    let Some(bootstrap) = &scenario.bootstrap else {
                        return Err("there is none".to_owned());
                    };
                    bootstrap::run(&scenario, bootstrap, &net, generation).await
                }));
            }
            let Some(running) = &mut self.running else {
                continue;
            };
            let ended = running.await;
            self.running = None;
            let scenario = Arc::clone(&self.scenario);
            let planned = match (ended, &scenario.bootstrap) {
                (Ok(Ok(captured)), Some(bootstrap)) => self.plan(bootstrap, &captured).map(|()| captured),
                (Ok(Err(error)), _) => Err(error),
                (Err(error), _) => Err(error.to_string()),
                (_, None) => Err("there is none".to_owned()),
            };
            match planned {
                Ok(captured) => {
                    self.generation += 1;
                    self.made += 1;
                    self.backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), 1);
                    return captured;
                }
                Err(error) => {
                    // The old values stay; they may hold for a while.
                    self.failures += 1;
                    let wait = self.backoff.wait();
                    self.next = Some(Instant::now() + wait);
                    observer.push(format!(
                        "the bootstrap could not be refreshed ({error}); again in {}",
                        duration::shown(wait)
                    ));
                }
            }
        }
    }
}

/// Completes when somebody wants an end before the test has begun; notes that numbers are to be zeroed once it has.
async fn stopped(asks: &mut mpsc::UnboundedReceiver<Ask>, reset: &mut bool) {
    loop {
        match asks.recv().await {
            Some(Ask::Stop) => return,
            Some(Ask::Reset) => *reset = true,
            None => std::future::pending().await,
        }
    }
}

/// A test while it runs.
struct Test<'a> {
    scenario: &'a Arc<Scenario>,
    options: &'a Options,
    events: Events,
    totals: Totals,
    second: Second,
    /// Shards that still carry users.
    alive: Vec<bool>,
    begun: Instant,
    /// When numbers were last zeroed.
    since: Instant,
    /// When the last sample was taken.
    sampled: Instant,
    stopping: Option<(Instant, Ended)>,
    /// When what still ran was cut off.
    cut: Option<Instant>,
    /// Shards that did not end even then.
    given_up: Vec<usize>,
    busy: Vec<(u32, u32)>,
    memory: Memory,
    /// Users and requests under way, as each shard last told.
    carried: Vec<(u64, u64)>,
    /// The most users at once that each shard last told of.
    most: Vec<u64>,
    /// When a request ended last, as far as shards have told.
    last: Instant,
    saturated: Option<(Duration, String)>,
    lost: Vec<String>,
    resets: u64,
    peak_users: u64,
    series: Vec<Point>,
    stride: usize,
    seconds: usize,
}

impl<'a> Test<'a> {
    fn new(scenario: &'a Arc<Scenario>, options: &'a Options, shards: usize, events: Events) -> Self {
        let now = Instant::now();
        Self {
            scenario,
            options,
            events,
            totals: Totals::new(scenario.rows.len(), scenario.classes.len()),
            second: Second::default(),
            alive: vec![true; shards],
            begun: now,
            since: now,
            sampled: now,
            stopping: None,
            cut: None,
            given_up: Vec::new(),
            busy: vec![(0, 0); shards],
            memory: Memory::new(),
            most: vec![0; shards],
            carried: vec![(0, 0); shards],
            last: now,
            saturated: None,
            lost: Vec::new(),
            resets: 0,
            peak_users: 0,
            series: Vec::new(),
            stride: 1,
            seconds: 0,
        }
    }

    async fn prepare(&mut self) -> Result<(), Halt> {
        for _ in 0..self.alive.len() {
            match self.events.recv().await {
                Some((_, Event::Ready)) => {}
                Some((_, Event::Broken(error))) => return Err(Halt::Defect(error)),
                Some(_) | None => return Err(Halt::Defect("a shard ended before it began".into())),
            }
        }
        Ok(())
    }

    async fn run(
        &mut self,
        carriers: &mut Carriers,
        renewal: &mut Renewal,
        observer: &mut dyn Observer,
        asks: &mut mpsc::UnboundedReceiver<Ask>,
    ) {
        let now = Instant::now();
        (self.begun, self.since, self.sampled) = (now, now, now + SETTLED);
        let schedule = self.scenario.schedule();
        let end = self.begun + schedule.length();
        let mut resets: Vec<Instant> = self.options.reset_at.iter().map(|at| self.begun + *at).collect();
        if self.options.reset_after_ramp && !schedule.ramp_end().is_zero() {
            resets.push(self.begun + schedule.ramp_end());
        }
        resets.sort_unstable();
        resets.reverse();
        let mut ticks = tokio::time::interval_at((now + SAMPLE + SETTLED).into(), SAMPLE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asked = true;
        while self.alive.contains(&true) {
            let mut notes = Vec::new();
            let deadline = match (&self.stopping, self.cut) {
                (None, _) => end,
                (Some((at, _)), None) => *at + self.options.grace,
                (_, Some(at)) => at + ENDS,
            };
            let reset = resets.last().copied();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some((shard, event)) => self.heard(shard, event, observer),
                    None => break,
                },
                values = renewal.renewed(&mut notes) => {
                    carriers.send(&share(renewal.generation, values));
                    observer.note(self.begun.elapsed(), "the bootstrap was refreshed");
                }
                ask = asks.recv(), if asked => match ask {
                    Some(Ask::Stop) if self.cut.is_some() => self.give_up(carriers, observer),
                    Some(Ask::Stop) if self.stopping.is_some() => self.cut(carriers),
                    Some(Ask::Stop) => {
                        self.stop(carriers, Ended::Interrupted);
                        let text = "stopping: users end what they are doing; once more to cut them off";
                        observer.note(self.begun.elapsed(), text);
                    }
                    Some(Ask::Reset) => self.reset(carriers, observer),
                    // Nobody is left to ask; the test goes on.
                    None => asked = false,
                },
                _ = ticks.tick() => self.sample(carriers, observer),
                () = at(reset) => {
                    resets.pop();
                    self.reset(carriers, observer);
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    if self.cut.is_some() {
                        self.give_up(carriers, observer);
                    } else if self.stopping.is_some() {
                        self.cut(carriers);
                    } else {
                        // Shards know the schedule and stop by themselves.
                        self.stopping = Some((Instant::now(), Ended::Finished));
                    }
                }
            }
            for note in notes {
                observer.note(self.begun.elapsed(), &note);
            }
        }
        self.sample(carriers, observer);
    }

    fn heard(&mut self, shard: usize, event: Event, observer: &mut dyn Observer) {
        match event {
            Event::Counted(delta) => {
                self.watch(shard, &delta.health);
                let quiet = Duration::try_from_secs_f64(delta.health.quiet).unwrap_or_default();
                let last = Instant::now().checked_sub(quiet).unwrap_or(self.begun);
                self.last = self.last.max(last);
                let users = delta.classes.iter().map(|class| class.users).sum();
                self.carried[shard] = (users, delta.health.in_flight);
                self.most[shard] = delta.health.most_users;
                self.peak_users = self.peak_users.max(self.most.iter().sum());
                self.totals.add(&delta, &mut self.second, self.scenario);
            }
            Event::Ended => {
                self.alive[shard] = false;
                self.carried[shard] = (0, 0);
            }
            Event::Broken(error) => {
                if self.alive[shard] {
                    self.alive[shard] = false;
                    self.carried[shard] = (0, 0);
                    observer.note(self.begun.elapsed(), &error);
                    self.lost.push(error);
                }
            }
            Event::Ready => {}
        }
    }

    /// The tester watches itself.
    fn watch(&mut self, shard: usize, health: &crate::stats::Health) {
        let (busy, lags) = &mut self.busy[shard];
        *busy = if health.cpu > BUSY { *busy + 1 } else { 0 };
        *lags = if health.lag > LAGS { *lags + 1 } else { 0 };
        let why = if *busy >= IN_A_ROW {
            format!(
                "a thread of the tester used {:.0} % of its processor",
                health.cpu * 100.0
            )
        } else if *lags >= IN_A_ROW {
            format!(
                "its timers fired up to {} late",
                duration::shown_seconds(health.lag)
            )
        } else {
            return;
        };
        self.saturate(why);
    }

    /// The same for memory, which all shards share.
    fn watch_memory(&mut self, observer: &mut dyn Observer) {
        let look = self.memory.look();
        if let Some(why) = look.distorts {
            self.saturate(why);
        }
        if let Some(note) = look.note {
            observer.note(self.begun.elapsed(), &note);
        }
    }

    fn saturate(&mut self, why: String) {
        let from = self.begun.elapsed().saturating_sub(SAMPLE * IN_A_ROW);
        self.saturated.get_or_insert((from, why));
    }

    fn stop(&mut self, carriers: &mut Carriers, ended: Ended) {
        if self.stopping.is_none() {
            self.stopping = Some((Instant::now(), ended));
            carriers.send(&Command::Stop);
        }
    }

    fn cut(&mut self, carriers: &mut Carriers) {
        self.cut = Some(Instant::now());
        carriers.send(&Command::Cut);
    }

    /// Ends what did not end when it was cut off; what it has not told is missing.
    fn give_up(&mut self, carriers: &mut Carriers, observer: &mut dyn Observer) {
        let waited = self.cut.map_or(Duration::ZERO, |at| at.elapsed());
        for shard in 0..self.alive.len() {
            if !std::mem::take(&mut self.alive[shard]) {
                continue;
            }
            self.carried[shard] = (0, 0);
            self.given_up.push(shard);
            let text = format!(
                "{} did not end within {} after it was cut off and was given up; what it did since it last told is missing",
                carriers.give_up(shard),
                duration::shown(waited)
            );
            if !self.lost.contains(&text) {
                observer.note(self.begun.elapsed(), &text);
                self.lost.push(text);
            }
        }
    }

    fn reset(&mut self, carriers: &mut Carriers, observer: &mut dyn Observer) {
        self.totals.reset();
        self.second = Second::default();
        self.since = Instant::now();
        self.resets += 1;
        carriers.send(&Command::Reset {
            epoch: self.totals.epoch,
        });
        observer.note(self.begun.elapsed(), "numbers were set to zero");
    }

    fn sample(&mut self, carriers: &mut Carriers, observer: &mut dyn Observer) {
        self.watch_memory(observer);
        let mut second = std::mem::take(&mut self.second);
        second.users = self.carried.iter().map(|(users, _)| users).sum();
        second.in_flight = self.carried.iter().map(|(_, requests)| requests).sum();
        let at = self.begun.elapsed().saturating_sub(SETTLED);
        let span = self.sampled.elapsed();
        self.sampled = Instant::now();
        self.keep(at, span, &second);
        observer.second(at, &second, &self.totals);
        let measured = self.since.elapsed();
        let missed = self.scenario.thresholds.iter().find(|threshold| {
            threshold.abort
                && measured > Duration::from_secs(5)
                && self
                    .totals
                    .value(threshold, self.scenario, measured)
                    .is_some_and(|value| !threshold.holds(value))
        });
        if let Some(threshold) = missed {
            self.stop(carriers, Ended::Aborted(threshold.text.clone()));
        }
    }

    fn keep(&mut self, at: Duration, span: Duration, second: &Second) {
        self.seconds += 1;
        // What the last one has beyond full seconds is too little for a rate.
        if !self.seconds.is_multiple_of(self.stride) || (span < SAMPLE / 2 && !self.series.is_empty()) {
            return;
        }
        let span = span.as_secs_f64().max(0.1);
        let ms = |quantile| second.intended.quantile(quantile).as_secs_f64() * 1e3;
        self.series.push(Point {
            at: at.as_secs_f64(),
            users: second.users,
            offered: second.offered_requests(self.scenario) / span,
            started: second.counts.started as f64 / span,
            completed: second.counts.completed as f64 / span,
            failed: second.counts.failed as f64 / span,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        });
        if self.series.len() == POINTS {
            let mut number = 0;
            self.series.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.stride *= 2;
        }
    }

    fn outcome(self, renewal: &Renewal) -> Outcome {
        let over = self.begun + self.scenario.schedule().length();
        let (stopped, ended) = self.stopping.unwrap_or_else(|| {
            let ended = if self.lost.is_empty() {
                Ended::Finished
            } else {
                Ended::Lost
            };
            (Instant::now().min(over), ended)
        });
        Outcome {
            totals: self.totals,
            ended,
            load: stopped.saturating_duration_since(self.since),
            // Until the last request ended; that users are put away takes no part in it.
            total: self.last.max(stopped).saturating_duration_since(self.since),
            whole: self.begun.elapsed(),
            bootstraps: renewal.made,
            refresh_failures: renewal.failures,
            saturated: self.saturated,
            lost: self.lost,
            resets: self.resets,
            peak_users: self.peak_users,
            series: self.series,
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
