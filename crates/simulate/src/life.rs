//! A controller's life: it crosses seams, and may die or freeze at any of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reveille_account::Event;
use reveille_ledger::Entry;
use reveille_ledger::memory::{Disk, Gate, Wait};
use tokio::time::sleep;

use crate::check::Rule;
use crate::scenario::{Effect, LifeSpec, Seconds, What};
use crate::signal::Signal;
use crate::world::World;

/// More crossings than this mean an endless loop.
const MOST_CROSSINGS: u64 = 50_000;

/// A controller.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) world: Arc<World>,
    /// Its number, from 1.
    pub(crate) number: usize,
    spec: LifeSpec,
    crossings: AtomicU64,
    state: Signal<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    /// It does nothing until it thaws.
    Frozen,
    Dead,
}

/// A crossing of a seam.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crossing {
    number: u64,
    /// How often this effect occurred for this host.
    pub(crate) nth: u32,
    pub(crate) what: Option<What>,
}

/// The commits of a life.
#[derive(Debug)]
pub(crate) struct Commits {
    pub(crate) life: Arc<Life>,
    crossing: Mutex<Option<Crossing>>,
}

// === impl Life ===

impl Life {
    pub(crate) fn new(world: &Arc<World>, number: usize, spec: LifeSpec) -> Arc<Self> {
        world.begins(number);
        Arc::new(Self {
            world: Arc::clone(world),
            number,
            spec,
            crossings: AtomicU64::new(0),
            state: Signal::new(State::Alive),
        })
    }

    /// Arrives at a seam. A controller that dies there never returns from this.
    pub(crate) async fn cross(&self, effect: Effect, host: &str) -> Crossing {
        self.go_on().await;
        let number = self.crossings.fetch_add(1, Ordering::Relaxed) + 1;
        if self
            .spec
            .dies
            .is_some_and(|point| point.crossing == number && !point.after)
        {
            self.die("dies before");
            self.go_on().await;
        }
        if self.spec.freezes.is_some_and(|freeze| freeze.crossing == number) {
            self.world
                .note(format_args!("controller {} freezes at {number}", self.number));
            self.world.meet_everywhere("frozen");
            self.world.shares_files();
            self.state.change(|state| *state = State::Frozen);
            self.go_on().await;
        }
        if number == MOST_CROSSINGS {
            let words = format!("controller {} has crossed {number} seams", self.number);
            self.world.violate(Rule::NoHang, words);
            self.die("is stopped");
            self.go_on().await;
        }
        let (nth, what) = self.world.meets(host, effect);
        self.world.note(format_args!(
            "{}:{number} {} {host} {nth} {what:?}",
            self.number,
            effect.as_str()
        ));
        Crossing { number, nth, what }
    }

    /// Leaves the seam on the other side.
    pub(crate) async fn crossed(&self, crossing: &Crossing) {
        let dies = |crossing: &Crossing| {
            self.spec
                .dies
                .is_some_and(|point| point.crossing == crossing.number && point.after)
        };
        if dies(crossing) {
            self.die("dies after");
        }
        self.go_on().await;
    }

    async fn go_on(&self) {
        self.state.wait_for(|state| *state == State::Alive).await;
    }

    pub(crate) fn die(&self, how: &str) {
        if self.is_dead() {
            return;
        }
        let crossings = self.crossings();
        self.world.note(format_args!(
            "controller {} {how} crossing {crossings}",
            self.number
        ));
        self.world.meet_everywhere("controller dies");
        self.state.change(|state| *state = State::Dead);
    }

    pub(crate) fn thaw(&self) {
        self.state.change(|state| {
            if *state == State::Frozen {
                *state = State::Alive;
            }
        });
    }

    /// Whether a later controller has started.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.world.newest() > self.number
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state.get() == State::Dead
    }

    /// Returns when it is dead.
    pub(crate) async fn died(&self) {
        self.state.wait_for(|state| *state == State::Dead).await;
    }

    /// Returns when it is frozen.
    pub(crate) async fn froze(&self) {
        self.state.wait_for(|state| *state == State::Frozen).await;
    }

    pub(crate) fn crossings(&self) -> u64 {
        self.crossings.load(Ordering::Relaxed)
    }

    pub(crate) fn wrong_password(&self) -> bool {
        self.spec.wrong_password
    }

    /// How long the next controller has been running when this one thaws.
    pub(crate) fn thaws_at(&self) -> Option<Seconds> {
        self.spec.freezes.map(|freeze| freeze.thaws_at)
    }
}

// === impl Commits ===

impl Commits {
    pub(crate) fn of(life: &Arc<Life>) -> Arc<Self> {
        Arc::new(Self {
            life: Arc::clone(life),
            crossing: Mutex::new(None),
        })
    }
}

impl Gate for Commits {
    fn before<'a>(&'a self, _first: &'a [Entry]) -> Wait<'a, Disk> {
        Box::pin(async move {
            let crossing = self.life.cross(Effect::Commit, "").await;
            let world = &self.life.world;
            match crossing.what {
                Some(What::Full) => return Disk::Full,
                Some(What::Late(late)) => sleep(late.duration()).await,
                _ => {
                    sleep(world.delay(
                        "",
                        "commit",
                        u64::from(crossing.nth),
                        world.scenario.pacing.commit_ms,
                    ))
                    .await;
                }
            }
            self.life.go_on().await;
            *self.crossing.lock().unwrap_or_else(PoisonError::into_inner) = Some(crossing);
            Disk::Writes
        })
    }

    fn fences(&self) -> bool {
        !reveille_history::Rule::EpochAtLedger.is_off()
    }

    fn committed<'a>(&'a self, events: &'a [Arc<Event>]) -> Wait<'a, ()> {
        Box::pin(async move {
            self.life.world.committed(events);
            let crossing = self
                .crossing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(crossing) = crossing {
                self.life.crossed(&crossing).await;
            }
        })
    }
}
