//! Tests decisions under random faults: whatever a host answers and wherever the controller dies, the work ends,
//! nothing starts beside what may still run, and folding the events again yields the same state.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reveille_account::{
    Class, EventKind, HostName, Loss, MachineRef, Outcome, Phase, PhaseTimings, Rung, Site, Status, StepRef,
    Token,
};
use reveille_history::{
    End, Failure, For, Held, HostHistory, JobOutline, Kind, Next, OnceState, Outline, Permit, Role, RunView,
    StepOutline, decide,
};

/// A host, and a controller that decides for it.
struct World {
    job: JobOutline,
    routes: u32,
    history: HostHistory,
    held: Held,
    committed: Vec<(u32, EventKind)>,
    /// Events that are not on disk yet.
    notes: Vec<(u32, EventKind)>,
    round: u32,
    /// Random bytes, consumed one at a time.
    chance: Vec<u8>,
    /// The machine on which each attempt (step, number) may currently run.
    running: BTreeMap<(u32, u32), MachineRef>,
    tokens: u8,
    crashes: u32,
}

fn step_ref(index: u32) -> StepRef {
    StepRef {
        index,
        name: String::new(),
    }
}

impl World {
    fn draw(&mut self) -> u8 {
        self.chance.pop().unwrap_or(0)
    }

    fn note(&mut self, kind: EventKind) {
        self.history.apply(self.round, &kind).unwrap();
        self.notes.push((self.round, kind));
    }

    /// Commits the events. The controller may die before or after it; another one then folds what is on record.
    fn commit(&mut self) -> bool {
        let draw = self.draw();
        let dies = self.crashes > 0 && draw.is_multiple_of(11);
        if dies && draw.is_multiple_of(2) {
            self.notes.clear();
        }
        self.committed.append(&mut self.notes);
        if dies {
            self.crashes -= 1;
            self.history = fold(&self.committed, self.round);
            self.held = Held::default();
            return false;
        }
        assert_eq!(
            fold(&self.committed, self.round),
            self.history,
            "{:#?}",
            self.committed
        );
        true
    }

    fn outcome(&self, class: Class, step: Option<u32>) -> Box<Outcome> {
        let mut outcome = Outcome::new(class, "");
        outcome.step = step.map(step_ref);
        Box::new(outcome)
    }

    fn fail(&mut self, class: Class, step: Option<u32>) {
        self.held.prepared = None;
        let trouble = self.history.trouble();
        match trouble {
            reveille_history::Trouble::Healing(_, _, rung) => self.note(EventKind::RungFailed {
                rung,
                message: String::new(),
            }),
            reveille_history::Trouble::GivenUp(_) => {
                let open = (0u32..).zip(&self.job.steps).find(|(index, step)| {
                    let last = self.history.last(*index);
                    step.role == Role::OnFailed && last.is_none_or(|class| class.status() != Status::Success)
                });
                let (index, _) = open.unwrap();
                self.note(EventKind::StepSkipped {
                    step: step_ref(index),
                    reason: String::new(),
                });
            }
            _ => {
                let outcome = self.outcome(class, step);
                self.note(EventKind::HostFailed { outcome });
            }
        }
    }

    fn pause(&mut self, class: Class) {
        self.note(EventKind::Recovering {
            class,
            reason: String::new(),
            in_ms: 1,
            rung: None,
        });
    }

    fn connect(&mut self, machine: &MachineRef) {
        self.note(EventKind::Connecting {
            tries: 1,
            address: String::new(),
            machine: machine.clone(),
        });
        if !self.commit() {
            return;
        }
        if !self.draw().is_multiple_of(5) {
            self.note(EventKind::Connected {
                tries: 1,
                phases: PhaseTimings::default(),
            });
            self.held.session = Some(machine.clone());
            return;
        }
        let again = self.history.spent() < self.job.budget && self.draw().is_multiple_of(2);
        self.note(EventKind::ConnectFailed {
            tries: 1,
            machine: machine.clone(),
            phase: Phase::Tcp,
            class: Class::ConnectRefused,
            message: String::new(),
            throttled: false,
            retry_in_ms: again.then_some(1),
            away: false,
        });
        if again {
            return;
        }
        let open: Vec<(u32, u32)> = self
            .history
            .attempts()
            .iter()
            .filter(|attempt| attempt.machine == *machine && attempt.is_open())
            .map(|attempt| (attempt.step, attempt.number))
            .collect();
        for (step, attempt) in &open {
            self.note(EventKind::StepLeft {
                step: step_ref(*step),
                attempt: *attempt,
                message: String::new(),
            });
        }
        let class = if open.is_empty() {
            Class::ConnectRefused
        } else {
            Class::ConnectionLost
        };
        self.fail(class, open.first().map(|(step, _)| *step));
    }

    fn start(&mut self, permit: &Permit) {
        let (step, number, machine) = (permit.step(), permit.number(), permit.machine().clone());
        let idempotent = self
            .job
            .steps
            .get(step as usize)
            .is_some_and(|step| step.idempotent);
        for ((other, other_number), place) in &self.running {
            assert!(
                *place != machine,
                "step {step}.{number} starts beside {other}.{other_number}, idempotent: {idempotent}"
            );
        }
        let durable = !self.draw().is_multiple_of(3);
        self.tokens += 1;
        self.note(EventKind::StepStarted {
            step: step_ref(step),
            attempt: number,
            token: durable.then(|| Token::new([self.tokens; 16])),
            place: durable.then(|| "/p/reveille".to_owned()),
            boot: None,
            machine: machine.clone(),
            user: None,
            site: durable.then(|| {
                Box::new(Site {
                    boot: "b".into(),
                    machine: "m".into(),
                    node: "n".into(),
                    mark: "k".into(),
                })
            }),
            chosen: None,
        });
        if !self.commit() {
            return;
        }
        if durable {
            self.running.insert((step, number), machine);
            self.answer(step, number);
        } else if self.draw().is_multiple_of(4) {
            self.lose(step, number, Loss::Plain);
        } else {
            self.finish(step, number);
        }
    }

    /// A random result of durable work that the controller follows.
    fn answer(&mut self, step: u32, number: u32) {
        match self.draw() % 8 {
            0 => {
                self.note(EventKind::ConnectionLost {
                    step: step_ref(step),
                    message: String::new(),
                });
                self.held.session = None;
                if self.history.spent() < self.job.budget {
                    self.pause(Class::ConnectionLost);
                } else {
                    self.note(EventKind::StepLeft {
                        step: step_ref(step),
                        attempt: number,
                        message: String::new(),
                    });
                    self.fail(Class::ConnectionLost, Some(step));
                }
            }
            1 => self.lose(step, number, Loss::Gone),
            2 => self.lose(step, number, Loss::Rebooted),
            _ => self.finish(step, number),
        }
    }

    fn lose(&mut self, step: u32, attempt: u32, loss: Loss) {
        self.running.remove(&(step, attempt));
        self.note(EventKind::StepLost {
            step: step_ref(step),
            attempt,
            loss,
            message: String::new(),
        });
    }

    fn finish(&mut self, step: u32, attempt: u32) {
        self.running.remove(&(step, attempt));
        let class = match self.draw() % 4 {
            0 => Class::CommandFailed,
            _ => Class::Ok,
        };
        self.note(EventKind::StepFinished {
            step: step_ref(step),
            attempt,
            class,
            exit_status: None,
            signal: None,
            duration_ms: 1,
            stdout_bytes: 0,
            stderr_bytes: 0,
            dropped_bytes: 0,
            changed: true,
            empty_output: false,
            registered: None,
            message: String::new(),
            learned: None,
        });
    }

    fn attach(&mut self, step: u32, number: u32) {
        let attempt = self.history.attempt(step, number).unwrap().clone();
        assert!(attempt.is_open());
        match attempt.kind {
            Kind::Plain => self.lose(step, number, Loss::Plain),
            Kind::Reboot(_) => self.finish(step, number),
            Kind::Durable(_) if !self.running.contains_key(&(step, number)) => {
                // The controller died before it started the attempt.
                self.lose(step, number, Loss::Buried);
            }
            Kind::Durable(_) => self.answer(step, number),
        }
    }

    /// Plays to the round's outcome, in a bounded number of decisions.
    fn play(&mut self) -> Class {
        for _ in 0..2000 {
            let view = RunView {
                once: [(9, OnceState::Done)].into(),
                ..RunView::default()
            };
            let outline = Outline {
                job: &self.job,
                routes: self.routes,
                leads: false,
                absent: &[],
            };
            match decide(&self.history, &self.held, &view, &outline) {
                Next::Connect(machine) => self.connect(&machine),
                Next::Attach(step, number) => self.attach(step, number),
                Next::Prepare(step) => {
                    let elsewhere = self.job.steps[step as usize].elsewhere;
                    let machine = if elsewhere {
                        MachineRef::Delegate(HostName::from("lb"))
                    } else {
                        self.history.own()
                    };
                    self.held.prepared = Some((step, machine));
                }
                Next::Start(permit) => self.start(&permit),
                Next::Skip(step, _) => self.note(EventKind::StepSkipped {
                    step: step_ref(step),
                    reason: String::new(),
                }),
                Next::Heal(rung) => {
                    self.held = Held::default();
                    let class = Class::CommandFailed;
                    self.note(EventKind::Recovering {
                        class,
                        reason: String::new(),
                        in_ms: 0,
                        rung: Some(rung),
                    });
                }
                Next::Reboot(permit) => {
                    self.note(EventKind::StepStarted {
                        step: step_ref(permit.step()),
                        attempt: permit.number(),
                        token: None,
                        place: None,
                        boot: Some("b".into()),
                        machine: permit.machine().clone(),
                        user: None,
                        site: None,
                        chosen: None,
                    });
                    if self.commit() {
                        self.finish(permit.step(), permit.number());
                    }
                }
                Next::Replace => {
                    if self.draw().is_multiple_of(2) {
                        self.held = Held::default();
                        self.running.retain(|_, place| place.delegate().is_some());
                        self.note(EventKind::Replaced {
                            address: "other".into(),
                            port: 22,
                        });
                    } else {
                        self.note(EventKind::RungFailed {
                            rung: Rung::Replace,
                            message: String::new(),
                        });
                    }
                }
                Next::Healed(rung) => self.note(EventKind::Healed { rung }),
                Next::RungFailed(rung) => self.note(EventKind::RungFailed {
                    rung,
                    message: String::new(),
                }),
                Next::Wait(For::Again(_, class)) => self.pause(class),
                Next::SettleOnce(step) | Next::Wait(For::Once(step)) => panic!("step {step} is settled"),
                Next::Fail(failure) => {
                    let (step, class) = match failure {
                        Failure::Attempts(step, class) => (step, class),
                        Failure::Unknown(step, _) => (step, Class::ResultUnknown),
                        Failure::Open(step) => (step, Class::ConnectionLost),
                        Failure::Once(step) => (step, Class::Stopped),
                    };
                    self.fail(class, Some(step));
                }
                Next::GiveUp(class, gatekeeper) => self.note(EventKind::GaveUp { class, gatekeeper }),
                Next::Conclude(end) => {
                    let class = match end {
                        End::Success(class) => {
                            for (index, step) in (0u32..).zip(&self.job.steps) {
                                let last = self.history.last(index);
                                let well = last.is_some_and(|class| class.status() == Status::Success);
                                assert!(step.role != Role::Main || well || step.ignore_errors);
                            }
                            class
                        }
                        End::Failure(class, _) => class,
                    };
                    let outcome = self.outcome(class, None);
                    self.note(EventKind::OutcomeReached { outcome });
                    if self.commit() {
                        return class;
                    }
                }
                Next::Leave => {
                    return self.history.outcome().expect("nobody asked to stop");
                }
            }
        }
        panic!("no end: {:#?}", self.history);
    }
}

fn fold(events: &[(u32, EventKind)], round: u32) -> HostHistory {
    let mut history = HostHistory::new(1);
    for (of, kind) in events {
        history.apply(*of, kind).unwrap();
    }
    history.begin(round);
    history
}

/// A controller that dies between an intent and the start of its step leaves nothing to recover from.
#[test]
fn a_controller_death_before_a_start_does_not_count_as_a_recovery() {
    let started = |attempt| EventKind::StepStarted {
        step: step_ref(0),
        attempt,
        token: Some(Token::new([1; 16])),
        place: Some("/p/reveille".to_owned()),
        boot: None,
        machine: MachineRef::default(),
        user: None,
        site: None,
        chosen: None,
    };
    let buried = EventKind::StepLost {
        step: step_ref(0),
        attempt: 1,
        loss: Loss::Buried,
        message: String::new(),
    };
    let lost = EventKind::ConnectionLost {
        step: step_ref(0),
        message: String::new(),
    };
    for (broken, recovered) in [(false, false), (true, true)] {
        let mut history = HostHistory::new(1);
        history.apply(1, &EventKind::Dispatched).unwrap();
        history.apply(1, &started(1)).unwrap();
        if broken {
            history.apply(1, &lost).unwrap();
        }
        history.apply(1, &buried).unwrap();
        assert_eq!(history.is_recovered(), recovered);
        assert_eq!(history.last(0).is_none(), !broken);
    }
}

/// When a run stops, a host that has finished gets its outcome; others leave.
#[test]
fn a_finished_host_gets_its_outcome_while_the_run_stops() {
    let job = JobOutline::of(vec![StepOutline::default()]);
    let outline = Outline::new(&job);
    let stopping = RunView {
        stop: true,
        ..RunView::default()
    };
    let mut history = HostHistory::new(1);
    history.apply(1, &EventKind::Dispatched).unwrap();
    let held = Held::default();
    assert_eq!(decide(&history, &held, &stopping, &outline), Next::Leave);
    let skipped = EventKind::StepSkipped {
        step: step_ref(0),
        reason: String::new(),
    };
    history.apply(1, &skipped).unwrap();
    let end = Next::Conclude(End::Success(Class::NothingToDo));
    assert_eq!(decide(&history, &held, &stopping, &outline), end);
}

fn step() -> impl Strategy<Value = StepOutline> {
    (0..5u8, 1..4u32, any::<[bool; 3]>()).prop_map(
        |(role, attempts, [idempotent, ignore_errors, elsewhere])| StepOutline {
            role: match role {
                0 => Role::OnFailed,
                1 => Role::Repair(vec![Class::CommandFailed]),
                _ => Role::Main,
            },
            attempts,
            idempotent,
            ignore_errors,
            once: false,
            elsewhere,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_host_gets_an_outcome_and_no_step_runs_beside_another(
        steps in prop::collection::vec(step(), 1..5),
        reboot: bool,
        replace: bool,
        routes in 0..3u32,
        chance in prop::collection::vec(any::<u8>(), 0..400),
        crashes in 0..6u32,
    ) {
        let mut world = World {
            job: JobOutline { reboot, replace, ..JobOutline::of(steps) },
            routes,
            history: HostHistory::new(1),
            held: Held::default(),
            committed: Vec::new(),
            notes: Vec::new(),
            round: 1,
            chance,
            running: BTreeMap::new(),
            tokens: 0,
            crashes,
        };
        for round in 1..=3 {
            world.round = round;
            world.history.begin(round);
            world.held = Held::default();
            world.note(EventKind::Dispatched);
            world.commit();
            world.play();
            // Numbers are never used twice.
            let mut numbers = std::collections::BTreeSet::new();
            for (_, kind) in &world.committed {
                if let EventKind::StepStarted { step, attempt, .. } = kind {
                    prop_assert!(numbers.insert((step.index, *attempt)));
                }
            }
        }
        prop_assert!(std::mem::size_of::<HostHistory>() <= 512);
    }
}
