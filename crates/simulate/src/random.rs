//! Makes scenarios from seeds. Each first draws its kinds: what it is about.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fastrand::Rng;

use crate::scenario::{
    Effect, Fault, Freeze, Happening, Happens, HostSpec, LifeSpec, Pacing, Point, Scenario, Seconds, What,
};

/// What a scenario can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Steps that are not durable.
    Plain,
    /// Steps that may run twice.
    Idempotent,
    /// Steps with several attempts whose first ones fail.
    Attempts,
    /// Commands that vanish without a status.
    Vanish,
    /// Commands that hang until their deadline.
    Hang,
    /// Steps whose errors are ignored.
    IgnoreErrors,
    /// `once` steps.
    Once,
    /// Steps on a delegate.
    Delegate,
    /// Steps that reboot.
    RebootStep,
    /// Steps of `on_failed`.
    OnFailed,
    /// Repairs.
    Repair,
    /// A recovery reboot.
    RebootToHeal,
    /// A replacement of a host's machine.
    Replace,
    /// A second address.
    Routes,
    /// Hosts that are not ready.
    NotReady,
    /// Hosts that require a password.
    Password,
    /// A limit on failed hosts.
    MaxFail,
    /// Batches.
    Batches,
    /// Few sessions for many hosts.
    FewSessions,
    /// Controllers that die.
    Die,
    /// A controller that freezes while another takes over.
    Freeze,
    /// Controllers that are asked to stop or told to leave.
    Stop,
    /// Further rounds.
    Retry,
    /// A controller with the wrong password.
    WrongPassword,
    /// Connections that break.
    Break,
    /// Connections that stall for a while.
    Stall,
    /// Half-open connections, which stall until they are given up.
    HalfOpen,
    /// Addresses that refuse or do not answer.
    Unreachable,
    /// Requests that arrive late.
    LateExec,
    /// Slow commits, for other timing.
    SlowCommits,
    /// A full disk at the controller.
    DiskFull,
    /// Machines that reboot.
    Reboot,
    /// Wiped directories.
    Wipe,
    /// Directories of attempts that are removed, while those of their runs stay.
    Sweep,
    /// Steps whose output is judged.
    Judged,
    /// A canary batch.
    Canary,
    /// Controllers whose machines lose power when they die.
    PowerCut,
    /// Controllers that start a while after the previous one.
    Rest,
    /// Addresses that do not answer for a while.
    Block,
}

// === impl Kind ===

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 39] = [
        Kind::Plain,
        Kind::Idempotent,
        Kind::Attempts,
        Kind::Vanish,
        Kind::Hang,
        Kind::IgnoreErrors,
        Kind::Once,
        Kind::Delegate,
        Kind::RebootStep,
        Kind::OnFailed,
        Kind::Repair,
        Kind::RebootToHeal,
        Kind::Replace,
        Kind::Routes,
        Kind::NotReady,
        Kind::Password,
        Kind::MaxFail,
        Kind::Batches,
        Kind::FewSessions,
        Kind::Die,
        Kind::Freeze,
        Kind::Stop,
        Kind::Retry,
        Kind::WrongPassword,
        Kind::Break,
        Kind::Stall,
        Kind::HalfOpen,
        Kind::Unreachable,
        Kind::LateExec,
        Kind::SlowCommits,
        Kind::DiskFull,
        Kind::Reboot,
        Kind::Wipe,
        Kind::Sweep,
        Kind::Judged,
        Kind::Canary,
        Kind::PowerCut,
        Kind::Rest,
        Kind::Block,
    ];
}

/// A scenario being drawn.
struct Draw {
    random: Rng,
    kinds: BTreeSet<Kind>,
    hosts: Vec<String>,
    delegates: Vec<String>,
}

/// Kinds that break a rule together: one of the first list with one of the second.
pub type Broken = (&'static [Kind], &'static [Kind]);

/// The kinds that a seed draws, without the second ones of `broken` combinations.
pub fn kinds(seed: u64, broken: &[Broken]) -> BTreeSet<Kind> {
    let mut random = Rng::with_seed(seed ^ 0x5eed);
    let share = [0.1, 0.2, 0.35][random.usize(..3)];
    let mut kinds: BTreeSet<Kind> = Kind::ALL.into_iter().filter(|_| random.f64() < share).collect();
    for (first, second) in broken {
        if first.iter().any(|kind| kinds.contains(kind)) {
            kinds.retain(|kind| !second.contains(kind));
        }
    }
    kinds
}

/// The scenario of a seed.
pub fn random(seed: u64, kinds: &BTreeSet<Kind>) -> Scenario {
    let mut random = Rng::with_seed(seed);
    let many = if kinds.contains(&Kind::MaxFail) || kinds.contains(&Kind::Batches) {
        5
    } else {
        3
    };
    let count = 1 + random.usize(..many);
    let mut draw = Draw {
        hosts: (1..=count).map(|number| format!("h{number}")).collect(),
        delegates: if kinds.contains(&Kind::Delegate) {
            vec!["balancer".to_owned()]
        } else {
            Vec::new()
        },
        kinds: kinds.clone(),
        random,
    };
    let job = draw.job();
    let hosts = draw.host_specs();
    let pacing = draw.pacing();
    let lives = draw.lives();
    let faults = draw.faults();
    let happenings = draw.happenings();
    Scenario {
        story: String::new(),
        known: Vec::new(),
        seed,
        job,
        hosts,
        delegates: draw.delegates,
        pacing,
        lives,
        faults,
        happenings,
    }
}

/// Whether two plays of a scenario are equal, event by event. tokio wakes the waiters of a `watch` in an order that
/// differs in each process; its seed can be set only in builds with `--cfg tokio_unstable`, such as those of `cargo
/// xtask simulate`.
pub const REPEATABLE: bool = cfg!(tokio_unstable);

// === impl Draw ===

impl Draw {
    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Draws whether something of a kind occurs this time.
    fn now(&mut self, kind: Kind) -> bool {
        self.has(kind) && self.random.bool()
    }

    fn choose<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn host(&mut self) -> String {
        let all = self.hosts.len() + self.delegates.len();
        let at = self.random.usize(..all);
        self.hosts
            .iter()
            .chain(&self.delegates)
            .nth(at)
            .cloned()
            .unwrap_or_default()
    }

    fn job(&mut self) -> String {
        let mut text = String::from("steps:\n");
        let steps = 1 + self.random.usize(..3);
        let rebooting = self.has(Kind::RebootStep).then(|| self.random.usize(..steps));
        for number in 1..=steps {
            if rebooting == Some(number - 1) {
                text.push_str("  - {name: reboot, reboot: {within: 5m}}\n");
            }
            let line = self.step(&format!("s{number}"), true);
            let _ = writeln!(text, "  - {line}");
        }
        if self.has(Kind::OnFailed) {
            text.push_str("on_failed:\n");
            for name in ["note", "tell"] {
                let line = self.step(name, false);
                let _ = writeln!(text, "  - {line}");
            }
        }
        let healing = [Kind::Repair, Kind::RebootToHeal, Kind::Replace].map(|kind| self.has(kind));
        if healing != [false; 3] {
            text.push_str("heal:\n");
            if healing[0] {
                text.push_str("  repair:\n");
                let many = self.choose(&[1, 1, 2]);
                for name in ["repair", "mend"].into_iter().take(many) {
                    let lasts = self.choose(&["0.5", "20"]);
                    let _ = writeln!(
                        text,
                        "    - {{name: {name}, on: [command_failed, early_exit], run: \"perform {name}@{{{{ inventory_hostname }}}} \
                         for={lasts}\"}}"
                    );
                }
            }
            if healing[1] {
                text.push_str("  reboot: true\n");
            }
            if healing[2] {
                text.push_str("  replace: new-machine\n");
            }
        }
        text
    }

    fn step(&mut self, name: &str, main: bool) -> String {
        let mut command = format!("perform {name}@{{{{ inventory_hostname }}}}");
        let lasts = self.choose(&["0", "0.3", "3", "20", "90"]);
        let _ = write!(command, " for={lasts}");
        let out = self.choose(&[0, 0, 30, 4000]);
        if out > 0 {
            let _ = write!(command, " out={out}");
        }
        let mut options = String::new();
        let healed = self.has(Kind::Repair) || self.has(Kind::RebootToHeal) || self.has(Kind::Replace);
        let fails = self.has(Kind::OnFailed) || self.has(Kind::MaxFail) || self.has(Kind::Retry) || healed;
        if self.now(Kind::Attempts) {
            let exits = self.choose(&["1,0", "1,1,0", "1"]);
            // 12 is more than a host's retries.
            let attempts = self.choose(&[2, 3, 12]);
            let _ = write!(command, " exit={exits}");
            let _ = write!(options, ", attempts: {attempts}");
        } else if fails && main && self.random.u8(..3) == 0 {
            let exits = self.choose(&["1", "1,0"]);
            let _ = write!(command, " exit={exits}");
        }
        if self.now(Kind::Vanish) {
            let run = self.choose(&[1, 2]);
            let _ = write!(command, " vanish={run}");
        }
        if self.now(Kind::Hang) {
            command.push_str(" hang=1");
            options.push_str(", watchdog: {total: 100s}");
        }
        if main && self.now(Kind::Judged) {
            let run = self.choose(&[1, 2]);
            let _ = write!(command, " fatal={run}");
            options.push_str(", fatal: \"^FATAL\"");
        }
        let elsewhere = self.now(Kind::Delegate);
        if elsewhere {
            options.push_str(", run_on: balancer");
        }
        if self.now(Kind::Plain) {
            options.push_str(", durable: false");
        }
        if self.now(Kind::Idempotent) {
            options.push_str(", idempotent: true");
        }
        if main && self.now(Kind::IgnoreErrors) {
            options.push_str(", ignore_errors: true");
        }
        if main && self.now(Kind::Once) {
            options.push_str(", once: true");
        }
        format!("{{name: {name}, run: \"{command}\"{options}}}")
    }

    fn host_specs(&mut self) -> Vec<HostSpec> {
        let names = self.hosts.clone();
        names
            .into_iter()
            .map(|name| HostSpec {
                routes: if self.now(Kind::Routes) {
                    vec![format!("{name}-inside")]
                } else {
                    Vec::new()
                },
                not_ready: self.has(Kind::NotReady) && self.random.u8(..3) == 0,
                password: self.has(Kind::Password) || self.has(Kind::WrongPassword),
                name,
            })
            .collect()
    }

    fn pacing(&mut self) -> Pacing {
        Pacing {
            sessions: if self.has(Kind::FewSessions) {
                1 + self.random.usize(..2)
            } else {
                8
            },
            serial: if self.has(Kind::Batches) {
                vec![self.choose(&["1", "2", "50%"]).to_owned()]
            } else {
                Vec::new()
            },
            max_fail: self
                .has(Kind::MaxFail)
                .then(|| self.choose(&["0", "1", "30%"]).to_owned()),
            canary: self.has(Kind::Canary) && self.has(Kind::Batches),
            latency_ms: self.choose(&[0, 5, 20, 200]),
            commit_ms: if self.has(Kind::SlowCommits) {
                self.choose(&[60, 500, 3000])
            } else {
                self.choose(&[0, 5])
            },
        }
    }

    fn lives(&mut self) -> Vec<LifeSpec> {
        let mut lives = Vec::new();
        let many = 1 + self.random.usize(..3);
        for _ in 0..many {
            let mut life = LifeSpec {
                begins_after: self
                    .now(Kind::Rest)
                    .then(|| Seconds(self.choose(&[1.0, 30.0, 200.0]))),
                loses_power: self.now(Kind::PowerCut),
                ..LifeSpec::default()
            };
            if self.has(Kind::Die) && self.random.u8(..4) > 0 {
                if self.random.u8(..4) == 0 {
                    life.dies_at = Some(self.time());
                } else {
                    life.dies = Some(self.point());
                }
            } else if self.now(Kind::Stop) {
                let at = self.time();
                life.stop_at = Some(at);
                if self.random.bool() {
                    life.leave_at = Some(Seconds(at.0 + self.choose(&[0.0, 1.0, 5.0])));
                }
            } else if self.now(Kind::Freeze) {
                life.freezes = Some(Freeze {
                    crossing: self.point().crossing,
                    thaws_at: self.time(),
                });
            }
            life.wrong_password = !lives.is_empty() && self.now(Kind::WrongPassword);
            lives.push(life);
        }
        if self.has(Kind::Retry) {
            lives.push(LifeSpec::default());
            for _ in 0..=self.random.u8(..2) {
                let dies = (self.has(Kind::Die) && self.random.bool()).then(|| self.point());
                lives.push(LifeSpec {
                    retry: true,
                    dies,
                    ..LifeSpec::default()
                });
            }
        }
        lives
    }

    fn point(&mut self) -> Point {
        let most = self.choose(&[20, 60, 150]) * self.hosts.len().min(3) as u64;
        Point {
            crossing: 1 + self.random.u64(..most),
            after: self.random.bool(),
        }
    }

    fn time(&mut self) -> Seconds {
        let most = self.choose(&[1.0, 10.0, 60.0, 200.0]);
        Seconds((self.random.f64() * most * 1000.0).round() / 1000.0)
    }

    fn faults(&mut self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut add = |draw: &mut Self, kind: Kind, at: &[Effect], what: fn(&mut Self) -> What| {
            if !draw.has(kind) {
                return;
            }
            for _ in 0..=draw.random.u8(..3) {
                let host = draw.host();
                let at = draw.choose(at);
                let most = draw.choose(&[3, 10, 30]);
                let nth = 1 + draw.random.u32(..most);
                let what = what(draw);
                faults.push(Fault { host, at, nth, what });
            }
        };
        let messages = [Effect::Exec, Effect::Send, Effect::Heard];
        add(self, Kind::Break, &messages, |draw| {
            let bytes = draw.random.usize(..200);
            draw.choose(&[What::BreakBefore, What::BreakAfter, What::BreakAt(bytes)])
        });
        add(self, Kind::Stall, &messages[1..], |draw| {
            What::Stall(Seconds(draw.choose(&[1.0, 5.0, 20.0])))
        });
        add(self, Kind::HalfOpen, &messages[1..], |draw| {
            What::Stall(Seconds(draw.choose(&[45.0, 400.0, 4000.0])))
        });
        add(
            self,
            Kind::Unreachable,
            &[Effect::Dial, Effect::Handshake, Effect::Exec],
            |draw| draw.choose(&[What::Refused, What::Silence]),
        );
        add(self, Kind::LateExec, &messages[..1], |draw| {
            What::Late(Seconds(draw.choose(&[5.0, 20.0, 100.0])))
        });
        if self.has(Kind::SlowCommits) && self.random.bool() {
            faults.push(Fault {
                host: String::new(),
                at: Effect::Commit,
                nth: 1 + self.random.u32(..20),
                what: What::Late(self.time()),
            });
        }
        if self.has(Kind::DiskFull) {
            faults.push(Fault {
                host: String::new(),
                at: Effect::Commit,
                nth: 1 + self.random.u32(..20),
                what: What::Full,
            });
        }
        faults
    }

    fn happenings(&mut self) -> Vec<Happening> {
        let mut happenings = Vec::new();
        for kind in [Kind::Reboot, Kind::Wipe, Kind::Sweep, Kind::Block] {
            if !self.has(kind) {
                continue;
            }
            for _ in 0..=self.random.u8(..2) {
                let at = self.time();
                let machine = self.host();
                let event = match kind {
                    Kind::Reboot => Happens::Reboot {
                        machine,
                        away: Seconds(self.choose(&[1.0, 30.0, 120.0])),
                    },
                    Kind::Wipe | Kind::Sweep => {
                        // The loss is noticed only with a reason to reconnect.
                        happenings.push(Happening {
                            at: Seconds(at.0 + 1.0),
                            event: Happens::Cut {
                                machine: machine.clone(),
                            },
                        });
                        if kind == Kind::Wipe {
                            Happens::Wipe { machine }
                        } else {
                            Happens::Sweep { machine }
                        }
                    }
                    _ => {
                        if self.random.bool() {
                            happenings.push(Happening {
                                at,
                                event: Happens::Cut {
                                    machine: machine.clone(),
                                },
                            });
                        }
                        Happens::Block {
                            address: machine,
                            lasts: self.choose(&[Some(Seconds(20.0)), Some(Seconds(400.0)), None]),
                        }
                    }
                };
                happenings.push(Happening { at, event });
            }
        }
        happenings
    }
}

/// Combinations that the engine is known not to survive. New scenarios leave out the second of each. The list only
/// shrinks.
pub const BROKEN: &[Broken] = &[];
