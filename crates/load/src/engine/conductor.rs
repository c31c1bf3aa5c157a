//! The conductor: runs the bootstrap once, starts all users' parts at the same time, adds up, watches the thresholds, and
//! ends the test in order.
//!
//! ```text
//!  preparing ──all ready──► running ──end of the schedule, stop, threshold missed──► ending ──all ended, or cut──► outcome
//!      └──bootstrap failed──► error (no user has sent anything)
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_text::duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::ask::{Ask, Asks};
use super::bootstrap::Renewal;
use super::driver::Threads;
use super::memory::Memory;
use super::message::{Command, Event, Tell};
use super::net::{Net, tls_for};
use super::options::Options;
use super::shard::Part;
use super::worker::Processes;
use crate::scenario::Scenario;
use crate::stats::{Health, Second, Totals};

/// Interval of the conductor's samples.
const SAMPLE: Duration = Duration::from_secs(1);

/// Shards report at full seconds; after this time all reports have arrived.
const SETTLED: Duration = Duration::from_millis(100);

/// A shard whose thread uses more than this share of a processor is saturated.
const BUSY: f64 = 0.95;
/// A shard whose timers are late by more than this many seconds is saturated.
const LAGS: f64 = 0.1;
/// The number of consecutive seconds after which a busy or late shard is reported as saturated.
const IN_A_ROW: u32 = 3;

/// How long threads and workers may take to read the scenario and its data.
const PREPARES: Duration = Duration::from_mins(2);

/// How long threads and workers may take to report their last numbers after users were cut off.
const ENDS: Duration = Duration::from_secs(5);

/// Time from which a threshold can abort the test.
const MEASURED: Duration = Duration::from_secs(5);

/// Why a test has no outcome.
#[derive(Debug)]
pub enum Halt {
    /// Bad input; nothing was sent.
    Input(String),
    /// The bootstrap failed; no user has started.
    Bootstrap(String),
    /// The user stopped the test before the first user started.
    Interrupted(String),
    /// The tester failed.
    Defect(String),
}

/// How a test ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ended {
    /// The stages are over.
    #[default]
    Finished,
    /// The user stopped the test.
    Interrupted,
    /// A threshold that aborts was missed.
    Aborted(String),
    /// All threads or workers were lost.
    Lost,
}

/// The result of a test.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All numbers.
    pub totals: Totals,
    /// How the test ended.
    pub ended: Ended,
    /// From the beginning, or the last reset, until users were told to stop.
    pub load: Duration,
    /// From the same moment until the last request ended.
    pub total: Duration,
    /// From the beginning to the end, whether or not numbers were reset.
    pub whole: Duration,
    /// How often the bootstrap ran, refreshes included.
    pub bootstraps: u64,
    /// Refreshes that failed.
    pub refresh_failures: u64,
    /// From when on the tester limited the numbers, and why.
    pub saturated: Option<(Duration, String)>,
    /// Threads and workers that were lost.
    pub lost: Vec<String>,
    /// How often numbers were reset.
    pub resets: u64,
    /// The most users at once.
    pub peak_users: u64,
    /// A point for each second, for charts.
    pub series: Vec<Point>,
}

/// One second in a chart.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// Seconds since the beginning.
    pub at: f64,
    /// Running users.
    pub users: u64,
    /// Offered requests per second.
    pub offered: f64,
    /// Completed requests per second.
    pub completed: f64,
    /// Failed requests per second.
    pub failed: f64,
    /// The median latency from the intended start, in milliseconds.
    pub p50_ms: f64,
    /// The 95th percentile of it.
    pub p95_ms: f64,
    /// The 99th percentile of it.
    pub p99_ms: f64,
}

/// The most points that are kept. Beyond that, every second one is dropped, again and again.
const POINTS: usize = 3600;

/// Receives what happens during a test.
pub trait Observer {
    /// A second of the test; `at` is the time since the beginning.
    fn second(&mut self, at: Duration, second: &Second, totals: &Totals);
    /// A message.
    fn note(&mut self, at: Duration, text: &str);
}

/// What runs the users.
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

    /// Gives up the thread or worker of a shard, and returns its name.
    fn give_up(&mut self, shard: usize) -> String {
        match self {
            // A thread can't be killed; it is left behind.
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
    asks: &mut Asks,
) -> Result<Outcome, Halt> {
    let tls = tls_for(scenario).map_err(Halt::Input)?;
    let shards = options.threads.max(1) * options.workers.max(1);
    // The channel can't grow, because shards report only once a second.
    let (sender, events) = unbounded_channel();
    let tell: Tell = Arc::new(move |shard, event| {
        // The receiver is gone only when no more events are needed.
        let _ = sender.send((shard, event));
    });
    let mut renewal = Renewal::new(scenario, Net::new(&scenario.http, tls.clone()));
    // The bootstrap runs before any user exists: if it fails, nothing else is sent.
    let first = tokio::select! {
        first = renewal.first() => first.map_err(|error| {
            Halt::Bootstrap(format!("the bootstrap failed, no user has started: {error}"))
        })?,
        () = asks.stopped() => {
            return Err(Halt::Interrupted("interrupted in the bootstrap, no user has started".into()));
        }
    };
    let carriers = if options.workers == 0 {
        let first = Part {
            scenario: Arc::clone(scenario),
            tls,
            shard: 0,
            shards,
            seed: options.seed,
        };
        Carriers::Here(Threads::start(&first, shards, &tell).map_err(Halt::Defect)?)
    } else {
        Carriers::There(Processes::start(options, &tell).map_err(Halt::Defect)?)
    };
    drop(tell);
    let mut test = Test::new(scenario, options, shards, events, carriers, observer);
    tokio::select! {
        prepared = tokio::time::timeout(PREPARES, test.prepare()) => match prepared {
            Ok(prepared) => prepared?,
            Err(_) => return Err(Halt::Defect(format!(
                "threads and workers were not ready within {}, no user has started", duration::shown(PREPARES)
            ))),
        },
        () = asks.stopped() => {
            return Err(Halt::Interrupted("interrupted before the first user started".into()));
        }
    }
    if let Some(share) = first {
        test.carriers.send(&share);
    }
    test.carriers.send(&Command::Begin);
    if asks.reset {
        test.reset();
    }
    test.run(&mut renewal, asks).await;
    Ok(test.end(&renewal).await)
}

/// A test that runs.
struct Test<'a> {
    scenario: &'a Arc<Scenario>,
    options: &'a Options,
    events: UnboundedReceiver<(usize, Event)>,
    carriers: Carriers,
    observer: &'a mut dyn Observer,
    outcome: Outcome,
    second: Second,
    begun: Instant,
    /// When the numbers were last reset.
    since: Instant,
    /// When the last sample was taken.
    sampled: Instant,
    /// When a request last ended, as far as shards have reported.
    last: Instant,
    stopping: Option<(Instant, Ended)>,
    /// When users that still ran were cut off.
    cut: Option<Instant>,
    shards: Vec<State>,
    memory: Memory,
    /// Every how many seconds a point is kept.
    stride: usize,
    seconds: usize,
}

/// What the conductor knows of a shard.
#[derive(Debug, Clone, Default)]
struct State {
    has_ended: bool,
    /// It did not end after it was cut off.
    given_up: bool,
    /// Consecutive seconds in which its thread was busy, and in which its timers were late.
    busy: u32,
    lags: u32,
    /// Its users, requests in flight, and most users at once, as last reported.
    users: u64,
    in_flight: u64,
    most_users: u64,
}

impl<'a> Test<'a> {
    fn new(
        scenario: &'a Arc<Scenario>,
        options: &'a Options,
        shards: usize,
        events: UnboundedReceiver<(usize, Event)>,
        carriers: Carriers,
        observer: &'a mut dyn Observer,
    ) -> Self {
        let now = Instant::now();
        Self {
            scenario,
            options,
            events,
            carriers,
            observer,
            outcome: Outcome {
                totals: Totals::new(scenario.rows.len(), scenario.classes.len()),
                ..Outcome::default()
            },
            second: Second::default(),
            begun: now,
            since: now,
            sampled: now,
            last: now,
            stopping: None,
            cut: None,
            shards: vec![State::default(); shards],
            memory: Memory::new(),
            stride: 1,
            seconds: 0,
        }
    }

    async fn prepare(&mut self) -> Result<(), Halt> {
        for _ in 0..self.shards.len() {
            match self.events.recv().await {
                Some((_, Event::Ready)) => {}
                Some((_, Event::Broken(error))) => return Err(Halt::Defect(error)),
                Some(_) | None => return Err(Halt::Defect("a thread ended before it began".into())),
            }
        }
        Ok(())
    }

    async fn run(&mut self, renewal: &mut Renewal, asks: &mut Asks) {
        let now = Instant::now();
        (self.begun, self.since, self.sampled) = (now, now, now + SETTLED);
        let end = self.begun + self.scenario.schedule().length();
        let mut resets: Vec<Instant> = self.options.reset_at.iter().map(|at| now + *at).collect();
        resets.sort_unstable_by(|a, b| b.cmp(a));
        let mut ticks = tokio::time::interval_at((now + SAMPLE + SETTLED).into(), SAMPLE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.shards.iter().any(|shard| !shard.has_ended) {
            let mut notes = Vec::new();
            let deadline = match (&self.stopping, self.cut) {
                (None, _) => end,
                (Some((at, _)), None) => *at + self.options.grace,
                (_, Some(at)) => at + ENDS,
            };
            let reset = resets.last().copied();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some((shard, event)) => self.heard(shard, event),
                    None => break,
                },
                share = renewal.renewed(&mut notes) => {
                    self.carriers.send(&share);
                    self.note("the bootstrap was refreshed");
                }
                ask = asks.next() => match ask {
                    Ask::Stop if self.cut.is_some() => self.give_up(),
                    Ask::Stop if self.stopping.is_some() => self.cut(),
                    Ask::Stop => {
                        self.stop(Ended::Interrupted);
                        self.note("stopping: users finish what they are doing; press Ctrl-C again to cut them off");
                    }
                    Ask::Reset => self.reset(),
                },
                _ = ticks.tick() => self.sample(),
                () = at(reset) => {
                    resets.pop();
                    self.reset();
                }
                () = at(Some(deadline)) => {
                    if self.cut.is_some() {
                        self.give_up();
                    } else if self.stopping.is_some() {
                        self.cut();
                    } else {
                        // Shards know the schedule and stop by themselves.
                        self.stopping = Some((Instant::now(), Ended::Finished));
                    }
                }
            }
            for note in notes {
                self.note(&note);
            }
        }
        self.sample();
    }

    fn note(&mut self, text: &str) {
        self.observer.note(self.begun.elapsed(), text);
    }

    fn heard(&mut self, shard: usize, event: Event) {
        match event {
            Event::Counted(delta) => {
                let state = &mut self.shards[shard];
                state.users = delta.numbers.classes.iter().map(|class| class.users).sum();
                state.in_flight = delta.health.in_flight;
                state.most_users = delta.health.most_users;
                let saturated = state.saturated(&delta.health);
                let quiet = Duration::try_from_secs_f64(delta.health.quiet).unwrap_or_default();
                let last = Instant::now().checked_sub(quiet).unwrap_or(self.begun);
                self.last = self.last.max(last);
                let users = self.shards.iter().map(|shard| shard.most_users).sum();
                self.outcome.peak_users = self.outcome.peak_users.max(users);
                let totals = &mut self.outcome.totals;
                totals.add(&delta, &mut self.second, self.scenario);
                if let Some(why) = saturated {
                    self.saturate(why);
                }
            }
            Event::Ended => _ = self.shards[shard].end(),
            Event::Broken(error) => {
                if self.shards[shard].end() {
                    self.lose(error);
                }
            }
            Event::Ready => {}
        }
    }

    fn lose(&mut self, text: String) {
        self.note(&text);
        self.outcome.lost.push(text);
    }

    fn saturate(&mut self, why: String) {
        let from = self.begun.elapsed().saturating_sub(SAMPLE * IN_A_ROW);
        self.outcome.saturated.get_or_insert((from, why));
    }

    fn stop(&mut self, ended: Ended) {
        if self.stopping.is_none() {
            self.stopping = Some((Instant::now(), ended));
            self.carriers.send(&Command::Stop);
        }
    }

    fn cut(&mut self) {
        self.cut = Some(Instant::now());
        self.carriers.send(&Command::Cut);
    }

    /// Gives up what did not end when it was cut off. Its numbers since the last report are missing.
    fn give_up(&mut self) {
        let waited = duration::shown(self.cut.map_or(Duration::ZERO, |at| at.elapsed()));
        for shard in 0..self.shards.len() {
            if !self.shards[shard].end() {
                continue;
            }
            self.shards[shard].given_up = true;
            let name = self.carriers.give_up(shard);
            let text = format!(
                "{name} did not end within {waited} after it was cut off; its numbers since the last report are missing"
            );
            if !self.outcome.lost.contains(&text) {
                self.lose(text);
            }
        }
    }

    fn reset(&mut self) {
        let totals = &mut self.outcome.totals;
        totals.reset();
        let epoch = totals.numbers.epoch;
        self.second = Second::default();
        self.since = Instant::now();
        self.outcome.resets += 1;
        self.carriers.send(&Command::Reset { epoch });
        self.note("the numbers were reset");
    }

    fn sample(&mut self) {
        let look = self.memory.look();
        if let Some(why) = look.distorts {
            self.saturate(why);
        }
        if let Some(note) = look.note {
            self.note(&note);
        }
        let mut second = std::mem::take(&mut self.second);
        second.users = self.shards.iter().map(|shard| shard.users).sum();
        second.in_flight = self.shards.iter().map(|shard| shard.in_flight).sum();
        let at = self.begun.elapsed().saturating_sub(SETTLED);
        let span = self.sampled.elapsed();
        self.sampled = Instant::now();
        self.keep(at, span, &second);
        let totals = &self.outcome.totals;
        self.observer.second(at, &second, totals);
        let measured = self.since.elapsed();
        let missed = self.scenario.thresholds.iter().find(|threshold| {
            let value = || totals.value(threshold, self.scenario, measured);
            threshold.abort && measured > MEASURED && value().is_some_and(|value| !threshold.holds(value))
        });
        if let Some(threshold) = missed {
            self.stop(Ended::Aborted(threshold.text.clone()));
        }
    }

    /// Keeps a point for charts.
    fn keep(&mut self, at: Duration, span: Duration, second: &Second) {
        let series = &mut self.outcome.series;
        self.seconds += 1;
        // The last sample is often a small part of a second, too short for a rate.
        if !self.seconds.is_multiple_of(self.stride) || (span < SAMPLE / 2 && !series.is_empty()) {
            return;
        }
        let span = span.as_secs_f64().max(0.1);
        let ms = |quantile| second.all.intended.quantile(quantile).as_secs_f64() * 1e3;
        series.push(Point {
            at: at.as_secs_f64(),
            users: second.users,
            offered: second.offered_requests(self.scenario) / span,
            completed: second.all.counts.completed as f64 / span,
            failed: second.all.counts.failed as f64 / span,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        });
        if series.len() == POINTS {
            let mut number = 0;
            series.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.stride *= 2;
        }
    }

    async fn end(self, renewal: &Renewal) -> Outcome {
        match self.carriers {
            Carriers::Here(threads) => threads.join(|shard| self.shards[shard].given_up),
            Carriers::There(processes) => processes.wait(ENDS).await,
        }
        let mut outcome = self.outcome;
        let over = self.begun + self.scenario.schedule().length();
        let (stopped, ended) = self.stopping.unwrap_or_else(|| {
            let ended = if outcome.lost.is_empty() {
                Ended::Finished
            } else {
                Ended::Lost
            };
            (Instant::now().min(over), ended)
        });
        outcome.ended = ended;
        outcome.load = stopped.saturating_duration_since(self.since);
        // The time until the last request ended, without the time that users take to stop.
        outcome.total = self.last.max(stopped).saturating_duration_since(self.since);
        outcome.whole = self.begun.elapsed();
        outcome.bootstraps = renewal.made();
        outcome.refresh_failures = renewal.failures;
        outcome
    }
}

// === impl State ===

impl State {
    /// Marks the shard as ended; returns whether it ran until now.
    fn end(&mut self) -> bool {
        (self.users, self.in_flight) = (0, 0);
        !std::mem::replace(&mut self.has_ended, true)
    }

    /// Why the shard is saturated, if it is.
    fn saturated(&mut self, health: &Health) -> Option<String> {
        self.busy = if health.cpu > BUSY { self.busy + 1 } else { 0 };
        self.lags = if health.lag > LAGS { self.lags + 1 } else { 0 };
        if self.busy >= IN_A_ROW {
            let percent = health.cpu * 100.0;
            Some(format!(
                "a thread of the tester used {percent:.0} % of its processor"
            ))
        } else if self.lags >= IN_A_ROW {
            let lag = duration::shown_seconds(health.lag);
            Some(format!("its timers were up to {lag} late"))
        } else {
            None
        }
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
