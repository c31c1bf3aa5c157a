//! The protocol of `ensure`, tombstones and epochs, as a model: every step of the supervisor that touches the host's
//! files is one move, and any move of anybody may come next. The steps are those of `supervisor.sh`, in its order.

use proptest::prelude::*;

/// What is on the host.
#[derive(Debug, Default)]
struct Host {
    epochs: Vec<u64>,
    token: Option<Token>,
    boot: u32,
    ran: u32,
    /// The boot in which the command ran, as long as it has not ended.
    running: Option<u32>,
}

#[derive(Debug, Default)]
struct Token {
    pid: Option<Pid>,
    go: bool,
    exit: bool,
}

#[derive(Debug, Clone, Copy)]
struct Pid {
    supervisor: usize,
    boot: u32,
}

/// A remote process, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// `fence`: look for a higher epoch.
    Fence,
    /// `fence`: leave our own.
    Leave,
    /// `mkdir TOKEN`.
    Make,
    /// After `mkdir`: start the supervisor.
    Start,
    /// `stream`: wait for `go`; this many looks are left.
    Wait(u8),
    /// `stream`: `go` is there; is there a pid?
    Stream,
    /// Supervisor: write the pid.
    WritePid,
    /// Supervisor: claim `go`.
    Claim,
    /// Supervisor: the command runs.
    Run,
    /// Supervisor: the command ends, its status is renamed into place.
    Finish,
    /// Gone.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ensure,
    Tomb,
    Supervisor,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    role: Role,
    epoch: u64,
    at: At,
}

/// What a controller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Fenced,
    Exit,
    Never,
    Gone,
    Rebooted,
    Running,
}

struct World {
    host: Host,
    processes: Vec<Process>,
    told: Vec<(u64, Told)>,
}

impl World {
    fn new() -> Self {
        Self {
            host: Host::default(),
            processes: Vec::new(),
            told: Vec::new(),
        }
    }

    fn arrive(&mut self, role: Role, epoch: u64) {
        self.processes.push(Process {
            role,
            epoch,
            at: At::Fence,
        });
    }

    fn alive(&self, pid: Pid) -> bool {
        pid.boot == self.host.boot && self.processes[pid.supervisor].at != At::Over
    }

    fn tell(&mut self, process: usize, told: Told) {
        self.told.push((self.processes[process].epoch, told));
        self.processes[process].at = At::Over;
    }

    /// One move of one process.
    fn step(&mut self, index: usize) {
        let Process { role, epoch, at } = self.processes[index];
        let next = match at {
            At::Fence => {
                if self.host.epochs.iter().any(|seen| *seen > epoch) {
                    return self.tell(index, Told::Fenced);
                }
                At::Leave
            }
            At::Leave => {
                self.host.epochs.push(epoch);
                At::Make
            }
            At::Make if self.host.token.is_none() => {
                self.host.token = Some(Token::default());
                At::Start
            }
            At::Make => match role {
                Role::Tomb => return self.tomb_existing(index),
                _ => At::Wait(2),
            },
            At::Start if role == Role::Tomb => {
                self.host.token.as_mut().unwrap().go = true;
                return self.tell(index, Told::Never);
            }
            At::Start => {
                self.processes.push(Process {
                    role: Role::Supervisor,
                    epoch,
                    at: At::WritePid,
                });
                At::Wait(2)
            }
            At::Wait(looks) => {
                let token = self.host.token.as_mut().unwrap();
                if token.go {
                    At::Stream
                } else if looks > 0 {
                    At::Wait(looks - 1)
                } else {
                    token.go = true;
                    return self.tell(index, Told::Never);
                }
            }
            At::Stream => {
                let token = self.host.token.as_ref().unwrap();
                let told = match token.pid {
                    None => Told::Never,
                    Some(_) if token.exit => Told::Exit,
                    Some(pid) if pid.boot != self.host.boot => Told::Rebooted,
                    Some(pid) if !self.alive(pid) => Told::Gone,
                    Some(_) => return,
                };
                return self.tell(index, told);
            }
            At::WritePid => {
                let boot = self.host.boot;
                self.host.token.as_mut().unwrap().pid = Some(Pid {
                    supervisor: index,
                    boot,
                });
                At::Claim
            }
            At::Claim => {
                let token = self.host.token.as_mut().unwrap();
                if token.go {
                    At::Over
                } else {
                    token.go = true;
                    At::Run
                }
            }
            At::Run => {
                self.host.ran += 1;
                self.host.running = Some(self.host.boot);
                At::Finish
            }
            At::Finish => {
                self.host.token.as_mut().unwrap().exit = true;
                self.host.running = None;
                At::Over
            }
            At::Over => At::Over,
        };
        self.processes[index].at = next;
    }

    fn tomb_existing(&mut self, index: usize) {
        let token = self.host.token.as_mut().unwrap();
        let (claimed, exit, pid) = (!token.go, token.exit, token.pid);
        token.go = true;
        let told = match pid {
            _ if claimed => Told::Never,
            _ if exit => Told::Exit,
            None => Told::Never,
            Some(pid) if pid.boot != self.host.boot => Told::Rebooted,
            Some(pid) if self.alive(pid) => Told::Running,
            Some(_) => Told::Gone,
        };
        self.tell(index, told);
    }

    fn reboot(&mut self) {
        for process in &mut self.processes {
            process.at = At::Over;
        }
        self.host.boot += 1;
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.host.ran <= 1, "the command ran twice");
        let never = self.told.iter().any(|(_, told)| *told == Told::Never);
        prop_assert!(
            !(never && self.host.ran > 0),
            "it ran, and somebody was told that it never would: {:?}",
            self.told
        );
        for (epoch, told) in &self.told {
            match told {
                Told::Exit => prop_assert_eq!(self.host.ran, 1, "a status without a run"),
                Told::Fenced => prop_assert!(self.host.epochs.iter().any(|seen| seen > epoch)),
                Told::Never | Told::Gone | Told::Rebooted | Told::Running => {}
            }
        }
        Ok(())
    }
}

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// An `ensure` or a `tomb` arrives, perhaps long after it was sent.
    Arrive(bool, u64),
    /// A process takes a step.
    Step(prop::sample::Index),
    /// A process is killed: its connection was lost, or the host's memory ran out.
    Kill(prop::sample::Index),
    Reboot,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (prop::bool::weighted(0.3), 1u64..4).prop_map(|(tomb, epoch)| Move::Arrive(tomb, epoch)),
        24 => any::<prop::sample::Index>().prop_map(Move::Step),
        2 => any::<prop::sample::Index>().prop_map(Move::Kill),
        1 => Just(Move::Reboot),
    ];
    prop::collection::vec(one, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn at_most_one_run_and_no_false_never(moves in moves()) {
        let mut world = World::new();
        world.arrive(Role::Ensure, 1);
        for next in moves {
            match next {
                Move::Arrive(tomb, epoch) => world.arrive(if tomb { Role::Tomb } else { Role::Ensure }, epoch),
                Move::Step(index) => world.step(index.index(world.processes.len())),
                Move::Kill(index) => {
                    let index = index.index(world.processes.len());
                    world.processes[index].at = At::Over;
                }
                Move::Reboot => world.reboot(),
            }
            world.check()?;
        }
        // Left alone, everybody comes to an end, and whoever asks last is told it.
        world.arrive(Role::Ensure, 9);
        for _ in 0..40 {
            for index in 0..world.processes.len() {
                world.step(index);
            }
            world.check()?;
        }
        prop_assert!(world.processes.iter().all(|process| process.at == At::Over));
        prop_assert!(world.told.iter().any(|(epoch, told)| *epoch == 9 && *told != Told::Fenced));
    }
}
