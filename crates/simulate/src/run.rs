//! Plays a scenario with the engine.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{EventKind, RunId, RunState, Status, Stream};
use reveille_fleet::{Failure, RunEnd, Stop, stopper};
use reveille_job::Job;
use reveille_ledger::{Ledger, RunHandle, RunKind, RunSpec};
use reveille_transport::{Client, Deadlines};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::chance::chance;
use crate::check::{Rule, Violation};
use crate::folded::Met;
use crate::life::{Commits, Life};
use crate::network::Net;
use crate::plan;
use crate::scenario::{Happening, Happens, LifeSpec, Scenario};
use crate::world::World;

/// The longest time that a controller may take.
const LONGEST: Duration = Duration::from_hours(36);
/// The number of resumes permitted once faults have ended.
const RESUMES: usize = 4;
/// Every scenario of this many is also written to SQLite.
const TABLES_EVERY: u64 = 16;
/// The start of every scenario, Unix milliseconds.
const BEGIN: u64 = 1_750_000_000_000;

/// The result of a scenario.
#[derive(Debug, Clone)]
pub struct Report {
    /// Broken rules, in order of time.
    pub violations: Vec<Violation>,
    /// A hash of the trace; equal runs have the same.
    pub trace: u64,
    /// The trace, if requested.
    pub lines: Vec<String>,
    /// Faults, and the state of the last attempt of their host.
    pub met: BTreeSet<(&'static str, &'static str)>,
    /// Attempt states, and the events that occurred in them.
    pub events_met: BTreeSet<Met>,
    /// The faults that occurred, by position in the scenario.
    pub fired: BTreeSet<usize>,
    /// The number of crossings of each life.
    pub crossings: Vec<u64>,
    /// How long it took in simulated time.
    pub took: Duration,
}

/// How a life ended.
#[derive(Debug)]
enum Ended {
    By(Result<RunEnd, Failure>),
    Died,
    Froze(Frozen),
    Hung,
}

/// A frozen controller.
#[derive(Debug)]
struct Frozen {
    life: Arc<Life>,
    task: JoinHandle<Result<RunEnd, Failure>>,
}

/// A scenario in progress.
struct Play {
    scenario: Scenario,
    job: Arc<Job>,
    world: Arc<World>,
    run: RunId,
    ledger: Option<Ledger>,
    directory: std::path::PathBuf,
    frozen: Option<Frozen>,
    lives: usize,
    crossings: Vec<u64>,
}

/// Plays a scenario to its end. Output goes to files in `directory`, which may be deleted afterwards.
pub fn play(scenario: &Scenario, directory: &Path, traced: bool) -> Result<Report, String> {
    let job = Job::parse(&scenario.job, "scenario.yaml").map_err(|mistakes| {
        let words: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        words.join("\n")
    })?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    // Otherwise tokio wakes the waiters of a `watch` in an order that differs in each process.
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&scenario.seed.to_le_bytes()));
    let runtime = builder.build().map_err(|error| error.to_string())?;
    let controllers = LocalSet::new();
    let report = controllers.block_on(&runtime, async {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&chance(scenario.seed, "", "run", 0).to_be_bytes());
        let run = RunId::new(BEGIN, random);
        let world = World::new(scenario, &job, run, traced);
        let mut play = Play {
            scenario: scenario.clone(),
            job: Arc::new(job),
            world,
            run,
            ledger: None,
            directory: directory.to_owned(),
            frozen: None,
            lives: 0,
            crossings: Vec::new(),
        };
        play.all().await;
        let (trace, lines) = play.world.trace();
        Report {
            violations: play.world.violations(),
            trace,
            lines,
            met: play.world.met(),
            events_met: play.world.events_met(),
            fired: play.world.fired(),
            crossings: play.crossings,
            took: play.world.elapsed(),
        }
    });
    // Nobody needs its output, and a second play must not find it.
    let _ = std::fs::remove_dir_all(directory.join("runs"));
    // This drops controllers that are frozen forever.
    drop(controllers);
    drop(runtime);
    Ok(report)
}

// === impl Play ===

impl Play {
    async fn all(&mut self) {
        let lives = if self.scenario.lives.is_empty() {
            vec![LifeSpec::default()]
        } else {
            self.scenario.lives.clone()
        };
        for spec in lives {
            self.life(spec).await;
        }
        self.world.calm();
        let last = self
            .scenario
            .happenings
            .iter()
            .map(|happening| happening.at.duration())
            .max();
        if let Some(last) = last {
            sleep_until(self.world.began + last + Duration::from_millis(1)).await;
        }
        if let Some(frozen) = self.frozen.take() {
            frozen.life.thaw();
            let ended = timeout(LONGEST, frozen.task).await;
            if ended.is_err() {
                self.world
                    .violate(Rule::NoHang, "a controller that thawed does not end".to_owned());
            }
        }
        for machine in self.world.overruled() {
            let words = format!("{machine} obeyed a controller that another had taken over from");
            self.world.violate(Rule::Fenced, words);
        }
        for _ in 0..RESUMES {
            if self.is_closed() || !self.world.violations().is_empty() {
                break;
            }
            self.life(LifeSpec::default()).await;
        }
        if self.world.violations().is_empty() {
            self.check_end();
        }
    }

    /// Runs one controller from start to end.
    async fn life(&mut self, spec: LifeSpec) {
        if self.is_closed() && !spec.retry {
            return;
        }
        if let Some(after) = spec.begins_after {
            sleep(after.duration()).await;
        }
        self.lives += 1;
        let life = Life::new(&self.world, self.lives, spec.clone());
        self.world.note(format_args!("controller {} begins", self.lives));
        let handle = match self.own(&life) {
            Ok(handle) => handle,
            Err(error) => {
                self.world.violate(Rule::EngineGoesOn, error.to_string());
                return;
            }
        };
        let frozen = self.frozen.take();
        if let Some(frozen) = &frozen {
            let other = Arc::clone(&frozen.life);
            let at = frozen.life.thaws_at().unwrap_or_default().duration();
            let world = Arc::clone(&self.world);
            tokio::spawn(async move {
                sleep(at).await;
                world.note(format_args!("controller {} thaws", other.number));
                other.thaw();
            });
        }
        let ended = self.live(&life, handle, &spec).await;
        self.crossings.push(life.crossings());
        if let Some(frozen) = frozen {
            frozen.life.thaw();
            match timeout(LONGEST, frozen.task).await {
                Ok(Ok(Err(failure))) => self.judge_failure(&failure, frozen.life.number),
                Ok(_) => {}
                Err(_) => {
                    let words = format!("controller {}, which thawed, does not end", frozen.life.number);
                    self.world.violate(Rule::NoHang, words);
                }
            }
        }
        match ended {
            Ended::By(Ok(end)) => self
                .world
                .note(format_args!("controller {} ends: {end:?}", life.number)),
            Ended::By(Err(failure)) => self.judge_failure(&failure, life.number),
            Ended::Died => {
                if let (true, Some(ledger)) = (spec.loses_power, &self.ledger)
                    && let Err(error) = ledger.lose_power_in_memory(self.run)
                {
                    self.world.violate(Rule::EngineGoesOn, error.to_string());
                }
            }
            Ended::Froze(frozen) => self.frozen = Some(frozen),
            Ended::Hung => {
                let words = format!(
                    "controller {} does not end within {} h",
                    life.number,
                    LONGEST.as_secs() / 3600
                );
                self.world.violate(Rule::NoHang, words);
            }
        }
    }

    async fn live(&self, life: &Arc<Life>, handle: RunHandle, spec: &LifeSpec) -> Ended {
        let (operator, stopped) = stopper();
        let client = Client::in_memory(
            Deadlines::default(),
            Arc::new(Net {
                life: Arc::clone(life),
            }),
        );
        let working = work(
            Arc::clone(&self.job),
            handle,
            Arc::new(client),
            Arc::clone(life),
            self.next_roll(spec),
            stopped,
        );
        let mut task = spawn_local(working);
        let began = Instant::now();
        let at = |seconds: Option<crate::Seconds>| {
            sleep_until(seconds.map_or_else(crate::world::far_away, |at| began + at.duration()))
        };
        let (death, stop, leave) = (at(spec.dies_at), at(spec.stop_at), at(spec.leave_at));
        let end = sleep(LONGEST);
        tokio::pin!(death, stop, leave, end);
        let (mut asked, mut told) = (false, false);
        let ended = loop {
            tokio::select! {
                biased;
                () = life.died() => break Ended::Died,
                () = &mut death => {
                    life.die("dies at");
                    break Ended::Died;
                }
                () = life.froze() => return Ended::Froze(Frozen { life: Arc::clone(life), task }),
                () = &mut stop, if !asked => {
                    asked = true;
                    self.world.note(format_args!("controller {} is asked to stop", life.number));
                    self.world.meet_everywhere("asked to stop");
                    operator.ask(Stop::Soon);
                }
                () = &mut leave, if !told => {
                    told = true;
                    self.world.note(format_args!("controller {} is told to leave", life.number));
                    self.world.meet_everywhere("told to leave");
                    operator.ask(Stop::Now);
                }
                ended = &mut task => {
                    break match ended {
                        Ok(ended) => Ended::By(ended),
                        Err(error) => {
                            self.world.violate(Rule::EngineGoesOn, format!("the engine panicked: {error}"));
                            Ended::Died
                        }
                    };
                }
                () = &mut end => {
                    life.die("is given up at");
                    break Ended::Hung;
                }
            }
        };
        task.abort();
        // The runtime drops its tasks a little later.
        for _ in 0..4 {
            yield_now().await;
        }
        ended
    }

    fn own(&mut self, life: &Arc<Life>) -> Result<RunHandle, reveille_ledger::Error> {
        let gate = Commits::of(life);
        if let Some(ledger) = &self.ledger {
            return ledger.take_over_in_memory(self.run, gate);
        }
        let mut spec = RunSpec::new(RunKind::Run, self.scenario.job.clone());
        spec.seed = self.scenario.seed;
        spec.started_ms = BEGIN;
        let handle = Ledger::in_memory(
            &self.directory,
            self.run,
            &spec,
            &plan::roll(&self.scenario),
            gate,
        )?;
        self.ledger = Some(handle.ledger().clone());
        Ok(handle)
    }

    /// Whether every host of the newest round has its outcome.
    fn is_closed(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| {
            let closing = ledger.events_after(self.run, 0, None).unwrap_or_default();
            let account = ledger.account(self.run).unwrap_or_default();
            account.pending + account.running == 0
                && closing.iter().rev().any(|event| {
                    matches!(
                        event.kind,
                        EventKind::RunStateChanged {
                            state: RunState::Closed,
                            ..
                        }
                    )
                })
        })
    }

    /// The roll of a new round, if one should be opened.
    fn next_roll(&self, spec: &LifeSpec) -> Option<Vec<reveille_ledger::RollEntry>> {
        let roll = self.failed_hosts(spec)?;
        let names = roll.iter().map(|entry| entry.host.as_str().to_owned());
        self.world.will_open(names.collect());
        Some(roll)
    }

    /// The hosts for a new round.
    fn failed_hosts(&self, spec: &LifeSpec) -> Option<Vec<reveille_ledger::RollEntry>> {
        if !spec.retry || !self.is_closed() {
            return None;
        }
        let outcomes = self.ledger.as_ref()?.outcomes(self.run).ok()?;
        let failed = outcomes
            .iter()
            .filter(|host| host.outcome.status() != Status::Success)
            .map(|host| reveille_ledger::RollEntry::new(host.host.as_str()));
        let failed: Vec<_> = failed.collect();
        (!failed.is_empty()).then_some(failed)
    }

    fn judge_failure(&self, failure: &Failure, number: usize) {
        let words = format!("controller {number}: {failure}");
        let overtaken = number < self.lives
            && matches!(
                failure,
                Failure::Fenced(_)
                    | Failure::Ledger(
                        reveille_ledger::Error::Fenced { .. } | reveille_ledger::Error::Stopped { .. }
                    )
            );
        let full = matches!(failure, Failure::Ledger(reveille_ledger::Error::DiskFull { .. }));
        if overtaken || full {
            self.world.note(format_args!("{words}"));
        } else {
            self.world.violate(Rule::EngineGoesOn, words);
        }
    }

    fn check_end(&self) {
        let Some(ledger) = &self.ledger else { return };
        if !self.is_closed() {
            self.world.violate(
                Rule::Closes,
                format!("{RESUMES} resumes without a fault did not close the run"),
            );
            return;
        }
        match ledger.account(self.run) {
            Ok(account) if account.balanced() && account.ghost == 0 => {}
            Ok(account) => self.world.violate(Rule::AccountBalances, account.to_string()),
            Err(error) => self.world.violate(Rule::AccountBalances, error.to_string()),
        }
        if self.scenario.seed.is_multiple_of(TABLES_EVERY) {
            self.check_tables(ledger);
        }
        // Two controllers at once wrote to the same files, which the lock of a real run prevents.
        if self.scenario.lives.iter().any(|life| life.freezes.is_some()) {
            return;
        }
        // The record of output wiped before it was fetched has a gap.
        let wipes =
            |happening: &Happening| matches!(happening.event, Happens::Wipe { .. } | Happens::Sweep { .. });
        if self.scenario.happenings.iter().any(wipes) {
            return;
        }
        for ((host, round, step, attempt), said) in self.world.said() {
            let mut recorded = Vec::new();
            let reader = ledger.read_output(self.run, &host.as_str().into(), round);
            let frames = reader.into_iter().flatten().filter_map(Result::ok);
            for frame in frames {
                if (frame.step, frame.attempt, frame.stream) == (step, attempt, Stream::Stdout) {
                    recorded.extend_from_slice(&frame.bytes);
                }
            }
            if recorded != said {
                let words = format!(
                    "{host}, round {round}, step {}, attempt {attempt}: {} bytes are on record, but {} were written",
                    step + 1,
                    recorded.len(),
                    said.len()
                );
                self.world.violate(Rule::OutputWhole, words);
            }
        }
    }
}

impl Play {
    /// Checks that a real ledger's tables agree: its writer's statements write the committed events to them.
    fn check_tables(&self, ledger: &Ledger) {
        let account = ledger.account(self.run).unwrap_or_default();
        match ledger.audit(self.run) {
            Ok(audit)
                if audit.account == account && audit.extras.is_empty() && audit.forgotten.is_empty() => {}
            Ok(audit) => {
                let words = format!("the tables say {audit:?}, and the vector says {account}");
                self.world.violate(Rule::AccountBalances, words);
            }
            Err(error) => self.world.violate(Rule::AccountBalances, error.to_string()),
        }
    }
}

/// A controller's work: opens a round if requested, reads the record, and runs the engine.
async fn work(
    job: Arc<Job>,
    handle: RunHandle,
    client: Arc<Client>,
    life: Arc<Life>,
    round: Option<Vec<reveille_ledger::RollEntry>>,
    stopped: reveille_fleet::Stopped,
) -> Result<RunEnd, Failure> {
    if let Some(roll) = round {
        handle.open_round(roll).await?;
    }
    let plan = plan::plan(&job, &handle, &life)?;
    reveille_fleet::run(handle, client, plan, stopped).await
}
