//! From readings to how many sessions may be open.

use std::fmt;
use std::time::Duration;

use reveille_text::Bytes;
use tokio::time::Instant;

use super::sources::Readings;

/// When to slow down and by how much. All are options of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Memory pressure, `some`, in percent, above which the limit shrinks.
    pub slow_some: f64,
    /// The part of memory, from 0 to 1, below which the limit shrinks.
    pub slow_left: f64,
    /// Memory pressure, `full`, in percent, above which nothing more is opened.
    pub pause_full: f64,
    /// The part of memory below which nothing more is opened.
    pub pause_left: f64,
    /// Pages swapped in a second above which the limit shrinks where the kernel tells no pressure.
    pub slow_swap: f64,
    /// CPU pressure, `some`, in percent, above which handshakes are slowed.
    pub slow_cpu: f64,
    /// Factor of the limit for each second of pressure.
    pub factor: f64,
    /// How long it is calm before the limit grows again.
    pub calm: Duration,
    /// The part of what was wanted that the limit grows by each second then.
    pub back: f64,
    /// Sessions that are never taken away: the pressure may be made by others.
    pub least: usize,
    /// Handshakes that are never taken away.
    pub least_handshakes: usize,
    /// The part of the memory left that sessions may use.
    pub margin: f64,
    /// Bytes of a session until it was measured.
    pub session_bytes: u64,
}

/// How many sessions may be open, from what the machine says. Pure: the caller reads and tells the time.
#[derive(Debug, Clone)]
pub struct Admission {
    thresholds: Thresholds,
    wanted: usize,
    wanted_handshakes: usize,
    /// What pressure leaves.
    slowed: f64,
    handshakes: f64,
    /// What both leave.
    limit: usize,
    /// The limit when a change was last told, and what was said.
    told: usize,
    told_kind: Option<std::mem::Discriminant<Cause>>,
    stepped: Option<Instant>,
    pressed: Option<Instant>,
    cpu_pressed: Option<Instant>,
    swapped_in: Option<(u64, Instant)>,
    swap_rate: f64,
    cost: Cost,
}

/// What one session costs.
#[derive(Debug, Clone)]
struct Cost {
    each: f64,
    /// Resident memory without sessions.
    base: Option<u64>,
    /// The most resident memory so far.
    peak: u64,
    /// The most sessions that were open at once.
    most: usize,
}

/// What follows from one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Sessions that may be open: for [`Gate::set_limit`](crate::Gate::set_limit). Open ones stay.
    pub sessions: usize,
    /// Handshakes that may be in progress at most: for [`Governor::set_most`](crate::Governor::set_most).
    pub handshakes: usize,
    /// A change that is worth an event and a line.
    pub change: Option<Change>,
}

/// A changed limit. Its text is a line for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The limit when a change was told last.
    pub from: usize,
    /// The limit now.
    pub to: usize,
    /// Why.
    pub cause: Cause,
}

/// Why a limit changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cause {
    /// More sessions would not fit.
    Budget {
        /// Bytes that are left.
        left: u64,
        /// Bytes of a session.
        each: u64,
    },
    /// Memory pressure, in percent.
    Pressure(f64),
    /// Everything waits for memory, so many percent of the time.
    Stall(f64),
    /// The part of memory that is left, from 0 to 1.
    Left(f64),
    /// Pages swapped in a second.
    Swap(f64),
    /// The pressure is over.
    Calm,
}

/// How hard the machine is pressed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Press {
    None,
    Slow(Cause),
    Pause(Cause),
}

/// Steps under pressure are this far apart at least.
const STEP: Duration = Duration::from_secs(1);
/// A session is measured while at least so many are open.
const MEASURED_FROM: usize = 16;
/// A measured session costs between a quarter and sixteen times what was assumed.
const COST_RANGE: (f64, f64) = (0.25, 16.0);
/// A change by this part, or one that is complete, is told.
const TELL: f64 = 0.25;

// === impl Admission ===

impl Admission {
    /// How often [`observe`](Self::observe) is meant to be called.
    ///
    /// Hundreds of sessions open in a second, and each may grow as fast.
    pub const TICK: Duration = Duration::from_millis(200);

    /// `wanted` sessions and `handshakes` when nothing presses.
    pub fn new(thresholds: Thresholds, wanted: usize, handshakes: usize) -> Self {
        let wanted = wanted.max(1);
        Self {
            cost: Cost {
                each: thresholds.session_bytes.max(1) as f64,
                base: None,
                peak: 0,
                most: 0,
            },
            thresholds,
            wanted,
            wanted_handshakes: handshakes.max(1),
            slowed: wanted as f64,
            handshakes: handshakes.max(1) as f64,
            limit: wanted,
            told: wanted,
            told_kind: None,
            stepped: None,
            pressed: None,
            cpu_pressed: None,
            swapped_in: None,
            swap_rate: 0.0,
        }
    }

    /// Sessions that may be open.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of a session, as measured so far.
    pub fn session_bytes(&self) -> u64 {
        whole(self.cost.each)
    }

    /// Takes in a look at the machine while `open` sessions are open. Pressure counts once a second, however often this
    /// is called.
    pub fn observe(&mut self, readings: &Readings, open: usize, now: Instant) -> Step {
        self.cost.measure(readings, open, self.thresholds.session_bytes);
        self.swap(readings, now);
        let press = self.press(readings, self.cost.spare(readings, open));
        let due = self
            .stepped
            .is_none_or(|last| now.saturating_duration_since(last) >= STEP);
        if due {
            self.stepped = Some(now);
            self.slow_sessions(press, open, now);
            self.slow_handshakes(readings, now);
        }
        let least = self.thresholds.least.min(self.wanted);
        let slowed = bounded(self.slowed, least, self.wanted);
        let fitting = self
            .cost
            .fitting(readings, self.thresholds.margin)
            .map(|fit| fit.max(least));
        let limit = fitting.map_or(slowed, |fit| fit.min(slowed));
        let cause = match press {
            Press::Slow(cause) | Press::Pause(cause) if limit == slowed => cause,
            _ if limit < slowed => Cause::Budget {
                left: readings.left().unwrap_or(0),
                each: self.session_bytes(),
            },
            _ => Cause::Calm,
        };
        self.limit = limit;
        Step {
            sessions: limit,
            handshakes: bounded(
                self.handshakes,
                self.thresholds.least_handshakes.min(self.wanted_handshakes),
                self.wanted_handshakes,
            ),
            change: self.tell(cause),
        }
    }

    /// `spare` bytes are this process's, and free to it.
    fn press(&self, readings: &Readings, spare: u64) -> Press {
        let thresholds = &self.thresholds;
        let left = readings.share_left_with(spare);
        if let Some(memory) = readings
            .memory
            .filter(|memory| memory.full > thresholds.pause_full)
        {
            return Press::Pause(Cause::Stall(memory.full));
        }
        if let Some(left) = left.filter(|left| *left < thresholds.pause_left) {
            return Press::Pause(Cause::Left(left));
        }
        if let Some(memory) = readings
            .memory
            .filter(|memory| memory.some > thresholds.slow_some)
        {
            return Press::Slow(Cause::Pressure(memory.some));
        }
        if let Some(left) = left.filter(|left| *left < thresholds.slow_left) {
            return Press::Slow(Cause::Left(left));
        }
        if readings.memory.is_none() && self.swap_rate > thresholds.slow_swap {
            return Press::Slow(Cause::Swap(self.swap_rate));
        }
        Press::None
    }

    fn slow_sessions(&mut self, press: Press, open: usize, now: Instant) {
        let least = self.thresholds.least.min(self.wanted) as f64;
        // What is not open yet is the first to go.
        let held = self.slowed.min(open as f64).max(least);
        match press {
            Press::Slow(_) => {
                self.slowed = (held * self.thresholds.factor).max(least);
                self.pressed = Some(now);
            }
            Press::Pause(_) => {
                self.slowed = held;
                self.pressed = Some(now);
            }
            Press::None if self.is_calm(self.pressed, now) => {
                let step = (self.wanted as f64 * self.thresholds.back).max(1.0);
                self.slowed = (self.slowed + step).min(self.wanted as f64);
            }
            Press::None => {}
        }
    }

    fn slow_handshakes(&mut self, readings: &Readings, now: Instant) {
        let most = self.wanted_handshakes as f64;
        let least = (self.thresholds.least_handshakes as f64).min(most);
        if readings
            .cpu
            .is_some_and(|cpu| cpu.some > self.thresholds.slow_cpu)
        {
            self.handshakes = (self.handshakes * self.thresholds.factor).max(least);
            self.cpu_pressed = Some(now);
        } else if self.is_calm(self.cpu_pressed, now) {
            self.handshakes = (self.handshakes + (most * self.thresholds.back).max(1.0)).min(most);
        }
    }

    fn is_calm(&self, pressed: Option<Instant>, now: Instant) -> bool {
        pressed.is_none_or(|pressed| now.saturating_duration_since(pressed) >= self.thresholds.calm)
    }

    fn swap(&mut self, readings: &Readings, now: Instant) {
        let Some(pages) = readings.swapped_in else { return };
        let Some((before, then)) = self.swapped_in else {
            self.swapped_in = Some((pages, now));
            return;
        };
        let passed = now.saturating_duration_since(then);
        if passed >= STEP {
            self.swap_rate = pages.saturating_sub(before) as f64 / passed.as_secs_f64();
            self.swapped_in = Some((pages, now));
        }
    }

    /// The change, if it is large enough, complete, or has another cause than the last.
    fn tell(&mut self, cause: Cause) -> Option<Change> {
        let (from, to) = (self.told, self.limit);
        if from == to {
            return None;
        }
        let kind = std::mem::discriminant(&cause);
        let large = to.abs_diff(from) as f64 >= TELL * from as f64;
        let complete = to == self.wanted || to <= self.thresholds.least;
        let other = self.told_kind != Some(kind);
        if !(large || complete || other) {
            return None;
        }
        self.told = to;
        self.told_kind = Some(kind);
        Some(Change { from, to, cause })
    }
}

// === impl Cost ===

impl Cost {
    /// Measured when resident memory is at a new height only, and shared among the most that were open: what sessions
    /// that ended leave behind is used again by the next ones, and must not make those that are open look dear.
    fn measure(&mut self, readings: &Readings, open: usize, assumed: u64) {
        let Some(resident) = readings.resident else { return };
        let base = *self.base.get_or_insert(resident);
        self.most = self.most.max(open);
        if resident <= self.peak {
            return;
        }
        self.peak = resident;
        if self.most >= MEASURED_FROM {
            let each = resident.saturating_sub(base) as f64 / self.most as f64;
            let assumed = assumed.max(1) as f64;
            self.each = each.clamp(assumed * COST_RANGE.0, assumed * COST_RANGE.1);
        }
    }

    /// What sessions that ended left behind: the allocator keeps it for the next ones.
    fn spare(&self, readings: &Readings, open: usize) -> u64 {
        let paid = readings
            .resident
            .zip(self.base)
            .map_or(0, |(resident, base)| resident.saturating_sub(base));
        paid.saturating_sub(whole(open as f64 * self.each))
    }

    /// Sessions that fit into what they have and what is left. The margin is of both: of what is left alone, it would
    /// be used up bit by bit.
    fn fitting(&self, readings: &Readings, margin: f64) -> Option<usize> {
        let left = readings.left()? as f64;
        let paid = readings
            .resident
            .zip(self.base)
            .map_or(0, |(resident, base)| resident.saturating_sub(base));
        usize::try_from(whole((paid as f64 + left) * margin / self.each)).ok()
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            slow_some: 10.0,
            slow_left: 0.10,
            pause_full: 5.0,
            pause_left: 0.05,
            // 4 MiB a second with pages of 4 KiB.
            slow_swap: 1000.0,
            // Our own handshakes keep the processors busy; only what is far beyond that is somebody's trouble.
            slow_cpu: 90.0,
            factor: 0.9,
            calm: Duration::from_secs(5),
            back: 0.05,
            least: 4,
            least_handshakes: 16,
            margin: 0.8,
            session_bytes: 100 * 1024,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an `as` cast saturates, and what is counted is far below 2^53"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn bounded(value: f64, least: usize, most: usize) -> usize {
    usize::try_from(whole(value)).unwrap_or(most).clamp(least, most)
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { left, each } => write!(
                formatter,
                "{} of memory left at {} a session",
                Bytes(*left),
                Bytes(*each)
            ),
            Self::Pressure(percent) => write!(formatter, "memory pressure {percent:.0} %"),
            Self::Stall(percent) => write!(formatter, "memory stalls everything {percent:.0} % of the time"),
            Self::Left(share) => write!(formatter, "{:.0} % of memory left", share * 100.0),
            Self::Swap(pages) => write!(formatter, "{pages:.0} pages a second come from swap"),
            Self::Calm => formatter.write_str("memory is calm"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} → {} sessions", self.cause, self.from, self.to)
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
