//! A model of the protocol of `start`, `attach`, marks and epochs: every step of the supervisor that touches the host's
//! files is one move, and any move of any process may come next, including a reboot and a wiped place. The steps follow
//! the order in `supervisor.sh`.

use proptest::prelude::*;

/// The state of the host.
#[derive(Debug, Default)]
struct Host {
    boot: u32,
    /// The run's directory.
    run: Option<Run>,
    /// The number of marks created.
    marks: u32,
    /// How often the command ran.
    ran: u32,
    /// The process that supervises the command while it runs.
    running: Option<usize>,
}

#[derive(Debug, Default)]
struct Run {
    epochs: Vec<u64>,
    mark: Option<u32>,
    token: Option<Token>,
}

#[derive(Debug, Default)]
struct Token {
    pid: Option<Pid>,
    go: bool,
    exit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pid {
    supervisor: usize,
    boot: u32,
}

/// The relevant parts of hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hello {
    boot: u32,
    mark: u32,
}

/// The next step of a remote process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// `settle_in`: create the run's directory, check for a higher epoch.
    Fence,
    /// `settle_in`: record our own epoch.
    Leave,
    /// `settle_in`: read or create the mark; then hello.
    Mark,
    /// After the controller's word: check for a higher epoch again.
    FenceAgain,
    /// `start`: does hello still match?
    Agree,
    /// `mkdir TOKEN`.
    Make,
    /// `start`, after `mkdir`: is this the agreed place?
    AgreeAgain,
    /// `attach`, after `mkdir`: claim `go`.
    Bury,
    /// `start`: run the supervisor.
    Launch,
    /// `forbidden`: wait for `go`, for this many more looks.
    Wait(u8),
    /// `follow`: `go` exists; whose is it?
    Recall,
    /// `stream`: is the supervisor with this pid alive?
    Stream(Pid),
    /// `stream`: it is not; is there a status?
    Exit(Pid),
    /// `nothing`: is this still the place of hello?
    Nothing(Told),
    /// Supervisor: write the pid.
    WritePid,
    /// Supervisor: claim `go`.
    Claim,
    /// Supervisor: is our pid there? Then report it, and start the command.
    Run,
    /// Supervisor: remove the pid.
    TakeBack,
    /// Supervisor: the command ends, and its status is renamed into place.
    Finish,
    /// Gone.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Start,
    Attach { begun: Option<Pid> },
    Supervisor,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    role: Role,
    epoch: u64,
    at: At,
    /// Its hello.
    hello: Option<Hello>,
}

/// What a controller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Fenced,
    Error,
    Started,
    Exit,
    Never,
    Absent,
    Elsewhere,
    Gone,
    Rebooted,
}

#[derive(Debug, Clone, Copy)]
struct Word {
    epoch: u64,
    told: Told,
    hello: Option<Hello>,
    /// How often the command had run by then, whether it ran, and whether its start was known.
    ran: u32,
    begun: bool,
}

#[derive(Default)]
struct World {
    host: Host,
    processes: Vec<Process>,
    words: Vec<Word>,
    /// The hello that was committed with the intent: the first one that a start received.
    agreed: Option<Hello>,
    /// The supervisor that was reported.
    begun: Option<Pid>,
}

impl World {
    fn arrive(&mut self, role: Role, epoch: u64) {
        self.processes.push(Process {
            role,
            epoch,
            at: At::Fence,
            hello: None,
        });
    }

    fn alive(&self, pid: Pid) -> bool {
        pid.boot == self.host.boot && self.processes[pid.supervisor].at != At::Over
    }

    fn token(&mut self) -> Option<&mut Token> {
        self.host.run.as_mut()?.token.as_mut()
    }

    fn tell(&mut self, process: usize, told: Told) {
        let Process { epoch, hello, .. } = self.processes[process];
        let (ran, begun) = (self.host.ran, self.begun.is_some());
        self.words.push(Word {
            epoch,
            told,
            hello,
            ran,
            begun,
        });
        if told != Told::Started {
            self.processes[process].at = At::Over;
        }
    }

    /// Performs one move of one process.
    fn step(&mut self, index: usize) {
        let Process { role, epoch, at, .. } = self.processes[index];
        let next = match at {
            At::Fence | At::FenceAgain => {
                if at == At::Fence {
                    self.host.run.get_or_insert_default();
                }
                let epochs = self.host.run.iter().flat_map(|run| &run.epochs);
                if epochs.into_iter().any(|seen| *seen > epoch) {
                    return self.tell(index, Told::Fenced);
                }
                match role {
                    _ if at == At::Fence => At::Leave,
                    Role::Start => At::Agree,
                    _ => At::Make,
                }
            }
            At::Leave | At::Mark => match self.settle(index, at) {
                Some(next) => next,
                None => return self.tell(index, Told::Error),
            },
            At::Agree | At::AgreeAgain => {
                let now = self.host.run.as_ref().and_then(|run| run.mark);
                let now = now.map(|mark| Hello {
                    boot: self.host.boot,
                    mark,
                });
                if now.is_none() || now != self.agreed {
                    if at == At::AgreeAgain
                        && let Some(token) = self.token()
                    {
                        token.go = true;
                    }
                    return self.tell(index, Told::Elsewhere);
                }
                if at == At::Agree { At::Make } else { At::Launch }
            }
            At::Make => match &mut self.host.run {
                None => return self.tell(index, Told::Error),
                Some(run) if run.token.is_some() => At::Wait(2),
                Some(run) => {
                    run.token = Some(Token::default());
                    if role == Role::Start {
                        At::AgreeAgain
                    } else {
                        At::Bury
                    }
                }
            },
            At::Bury => match self.token() {
                None => return self.tell(index, Told::Error),
                Some(token) if token.go => At::Wait(2),
                Some(token) => {
                    token.go = true;
                    match role {
                        Role::Attach { begun: Some(pid) } if self.alive(pid) => At::Stream(pid),
                        _ => At::Nothing(Told::Absent),
                    }
                }
            },
            At::Launch => {
                self.processes.push(Process {
                    role: Role::Supervisor,
                    at: At::WritePid,
                    ..self.processes[index]
                });
                At::Wait(2)
            }
            At::Wait(looks) => match self.wait(index, role, looks) {
                Some(next) => next,
                None => return,
            },
            At::Recall => match self.recall(index, role) {
                Some(next) => next,
                None => return,
            },
            At::Stream(pid) => {
                if self.token().is_some_and(|token| token.exit) {
                    return self.tell(index, Told::Exit);
                } else if pid.boot != self.host.boot {
                    return self.tell(index, Told::Rebooted);
                } else if self.alive(pid) {
                    return;
                }
                At::Exit(pid)
            }
            At::Exit(_) => {
                let exit = self.token().is_some_and(|token| token.exit);
                let told = if exit { Told::Exit } else { Told::Gone };
                return self.tell(index, told);
            }
            At::Nothing(told) => {
                let now = self.host.run.as_ref().and_then(|run| run.mark);
                let was = self.processes[index].hello.map(|hello| hello.mark);
                return self.tell(index, if now == was { told } else { Told::Elsewhere });
            }
            At::WritePid | At::Claim | At::Run | At::TakeBack | At::Finish => self.supervise(index, at),
            At::Over => At::Over,
        };
        self.processes[index].at = next;
    }

    /// Records the epoch, and finds the mark; none if the directory is gone.
    fn settle(&mut self, index: usize, at: At) -> Option<At> {
        let Process { role, epoch, .. } = self.processes[index];
        let run = self.host.run.as_mut()?;
        if at == At::Leave {
            run.epochs.push(epoch);
            return Some(At::Mark);
        }
        if run.mark.is_none() {
            self.host.marks += 1;
            run.mark = Some(self.host.marks);
        }
        let hello = run.mark.map(|mark| Hello {
            boot: self.host.boot,
            mark,
        });
        self.processes[index].hello = hello;
        if role == Role::Start {
            self.agreed = self.agreed.or(hello);
        }
        Some(At::FenceAgain)
    }

    fn wait(&mut self, index: usize, role: Role, looks: u8) -> Option<At> {
        let knows = matches!(role, Role::Attach { begun: Some(_) });
        let Some(token) = self.token() else {
            self.tell(index, Told::Error);
            return None;
        };
        if knows || token.go || token.exit {
            Some(At::Recall)
        } else if looks > 0 {
            Some(At::Wait(looks - 1))
        } else {
            token.go = true;
            token.pid = None;
            Some(At::Nothing(Told::Never))
        }
    }

    fn recall(&mut self, index: usize, role: Role) -> Option<At> {
        let begun = match role {
            Role::Attach { begun } => begun,
            _ => None,
        };
        let (pid, exit) = self
            .token()
            .map_or((None, false), |token| (token.pid, token.exit));
        match (pid, begun) {
            (Some(pid), _) => return Some(At::Stream(pid)),
            (None, Some(pid)) if exit || self.alive(pid) => return Some(At::Stream(pid)),
            (None, Some(_)) => self.tell(index, Told::Gone),
            (None, None) if exit => self.tell(index, Told::Exit),
            (None, None) => return Some(At::Nothing(Told::Never)),
        }
        None
    }

    fn supervise(&mut self, index: usize, at: At) -> At {
        let ours = Pid {
            supervisor: index,
            boot: self.host.boot,
        };
        let Some(token) = self.token() else {
            // Nothing can be written any more; a running command continues to its end.
            return if at == At::Finish {
                self.host.running = None;
                At::Over
            } else if at == At::Run {
                At::Over
            } else {
                At::TakeBack
            };
        };
        match at {
            At::WritePid => {
                token.pid = Some(ours);
                At::Claim
            }
            At::Claim if token.go => At::TakeBack,
            At::Claim => {
                token.go = true;
                At::Run
            }
            At::Run if token.pid.is_some() => {
                self.host.ran += 1;
                self.host.running = Some(index);
                self.begun = Some(ours);
                self.tell(index, Told::Started);
                At::Finish
            }
            At::Run => At::Over,
            At::TakeBack => {
                token.pid = None;
                At::Over
            }
            _ => {
                token.exit = true;
                self.host.running = None;
                At::Over
            }
        }
    }

    fn reboot(&mut self) {
        for process in &mut self.processes {
            process.at = At::Over;
        }
        self.host.boot += 1;
        self.host.running = None;
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.host.ran <= 1, "the command ran twice");
        for word in &self.words {
            let intended = word.hello.is_some() && word.hello == self.agreed;
            match word.told {
                Told::Never | Told::Absent => {
                    prop_assert_eq!(word.ran, self.host.ran, "it ran after {:?}", word);
                    // From this, a controller concludes that the work never ran, and may start it under another token.
                    let same_mark = word.hello.map(|hello| hello.mark) == self.agreed.map(|hello| hello.mark);
                    let buried = match word.told {
                        Told::Never => same_mark && self.agreed.is_some(),
                        _ => intended && !word.begun,
                    };
                    prop_assert!(
                        !buried || self.host.ran == 0,
                        "it ran, and was buried: {:?}",
                        word
                    );
                }
                Told::Exit => prop_assert_eq!(self.host.ran, 1, "a status without a run"),
                Told::Started => prop_assert_eq!(word.ran, 1),
                Told::Elsewhere | Told::Fenced | Told::Error | Told::Gone | Told::Rebooted => {}
            }
        }
        Ok(())
    }
}

/// The possible next moves.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// A `start` or an `attach` arrives, possibly long after it was sent.
    Start(u64),
    /// The attach knows the reported supervisor, or does not.
    Attach(u64, bool),
    /// A process takes a step.
    Step(prop::sample::Index),
    /// A process is killed: its connection was lost, or the host ran out of memory.
    Kill(prop::sample::Index),
    Reboot,
    /// The run's directory is gone.
    Wipe,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        2 => (1u64..4).prop_map(Move::Start),
        2 => (1u64..4, any::<bool>()).prop_map(|(epoch, knows)| Move::Attach(epoch, knows)),
        30 => any::<prop::sample::Index>().prop_map(Move::Step),
        2 => any::<prop::sample::Index>().prop_map(Move::Kill),
        1 => Just(Move::Reboot),
        1 => Just(Move::Wipe),
    ];
    prop::collection::vec(one, 1..160)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6000))]
    #[test]
    fn at_most_one_run_and_no_false_word(moves in moves()) {
        let mut world = World::default();
        world.arrive(Role::Start, 1);
        for next in moves {
            match next {
                Move::Start(epoch) => world.arrive(Role::Start, epoch),
                // Nobody attaches to work that was never intended.
                Move::Attach(..) if world.agreed.is_none() => {}
                Move::Attach(epoch, knows) => {
                    let begun = world.begun.filter(|_| knows);
                    world.arrive(Role::Attach { begun }, epoch);
                }
                Move::Step(index) => world.step(index.index(world.processes.len())),
                Move::Kill(index) => {
                    let index = index.index(world.processes.len());
                    world.processes[index].at = At::Over;
                }
                Move::Reboot => world.reboot(),
                Move::Wipe => world.host.run = None,
            }
            world.check()?;
        }
        // Without further events every process ends, and the last one to ask learns the end.
        world.arrive(Role::Attach { begun: world.begun }, 9);
        for _ in 0..60 {
            for index in 0..world.processes.len() {
                world.step(index);
            }
            world.check()?;
        }
        prop_assert!(world.processes.iter().all(|process| process.at == At::Over));
        let last = world.words.iter().find(|word| word.epoch == 9);
        prop_assert!(last.is_some_and(|word| word.told != Told::Fenced && word.told != Told::Error));
    }
}
