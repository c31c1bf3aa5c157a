//! Derives the session limit from the readings.

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
    /// The share of memory left, from 0 to 1, below which the limit shrinks.
    pub slow_left: f64,
    /// Memory pressure, `full`, in percent, above which no more sessions are opened.
    pub pause_full: f64,
    /// The share of memory left below which no more sessions are opened.
    pub pause_left: f64,
    /// Pages swapped in per second above which the limit shrinks, if the kernel reports no pressure.
    pub slow_swap: f64,
    /// CPU pressure, `some`, in percent, above which handshakes are slowed.
    pub slow_cpu: f64,
    /// The factor on the limit for each second of pressure.
    pub factor: f64,
    /// How long it must be calm before the limit grows again.
    pub calm: Duration,
    /// The part of the wanted number by which the limit then grows each second.
    pub back: f64,
    /// Sessions that are always permitted: others may cause the pressure.
    pub least: usize,
    /// Handshakes that are always permitted.
    pub least_handshakes: usize,
    /// The part of the remaining memory that sessions may use.
    pub margin: f64,
    /// Bytes per session, until measured.
    pub session_bytes: u64,
}

/// Computes how many sessions may be open. Pure: the caller supplies readings and time.
#[derive(Debug, Clone)]
pub struct Admission {
    thresholds: Thresholds,
    wanted: usize,
    wanted_handshakes: usize,
    /// The limit after pressure.
    slowed: f64,
    handshakes: f64,
    /// The limit after pressure and budget.
    limit: usize,
    /// The limit at the last reported change, and its cause.
    told: usize,
    told_kind: Option<std::mem::Discriminant<Cause>>,
    stepped: Option<Instant>,
    pressed: Option<Instant>,
    cpu_pressed: Option<Instant>,
    swapped_in: Option<(u64, Instant)>,
    swap_rate: f64,
    cost: Cost,
}

/// The cost of a session.
#[derive(Debug, Clone)]
struct Cost {
    each: f64,
    /// Resident memory without sessions.
    base: Option<u64>,
    /// The highest resident memory so far.
    peak: u64,
    /// The highest number of open sessions so far.
    most: usize,
}

/// The result of one observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The limit on open sessions, for [`Gate::set_limit`](crate::Gate::set_limit). Open ones stay.
    pub sessions: usize,
    /// The limit on handshakes, for [`Governor::set_most`](crate::Governor::set_most).
    pub handshakes: usize,
    /// A change worth an event and a log line.
    pub change: Option<Change>,
}

/// A changed limit; its text is shown to people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The limit at the last reported change.
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
        /// Bytes left.
        left: u64,
        /// Bytes per session.
        each: u64,
    },
    /// Memory pressure, in percent.
    Pressure(f64),
    /// All tasks wait for memory, in percent of the time.
    Stall(f64),
    /// The share of memory left, from 0 to 1.
    Left(f64),
    /// Pages swapped in per second.
    Swap(f64),
    /// The pressure is over.
    Calm,
}

/// How much pressure the machine is under.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Press {
    None,
    Slow(Cause),
    Pause(Cause),
}

/// The shortest time between steps under pressure.
const STEP: Duration = Duration::from_secs(1);
/// A session's cost is measured while at least this many are open.
const MEASURED_FROM: usize = 16;
/// A measured cost is between a quarter and sixteen times the assumed one.
const COST_RANGE: (f64, f64) = (0.25, 16.0);
/// A change of at least this part of the limit is reported.
const TELL: f64 = 0.25;

// === impl Admission ===

impl Admission {
    /// The interval at which to call [`observe`](Self::observe).
    ///
    /// Hundreds of sessions open in a second, and each may grow as fast.
    pub const TICK: Duration = Duration::from_millis(200);

    /// Permits `wanted` sessions and `handshakes` while there is no pressure.
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

    /// The limit on open sessions.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes per session, as measured so far.
    pub fn session_bytes(&self) -> u64 {
        whole(self.cost.each)
    }

    /// Evaluates readings taken while `open` sessions are open. Pressure counts once a second, however often this is
    /// called.
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

    /// Of the memory in use, `spare` bytes belong to this process and are reusable.
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
        // Sessions that are not open yet are given up first.
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

    /// Returns the change if it is large, reaches a bound, or has another cause than the last.
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
    /// Measures only when resident memory reaches a new maximum, and divides by the maximum of open sessions: later
    /// sessions reuse the memory of those that ended, which must not count as the cost of the open ones.
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

    /// Memory left behind by sessions that ended; the allocator keeps it for the next ones.
    fn spare(&self, readings: &Readings, open: usize) -> u64 {
        let paid = readings
            .resident
            .zip(self.base)
            .map_or(0, |(resident, base)| resident.saturating_sub(base));
        paid.saturating_sub(whole(open as f64 * self.each))
    }

    /// The number of sessions that fit into the memory that they have and what is left. The margin applies to both:
    /// applied to the rest alone, it would be used up bit by bit.
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
            // 4 MiB per second, with pages of 4 KiB.
            slow_swap: 1000.0,
            // Our own handshakes keep the CPU busy; only pressure far beyond that is a problem.
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
    reason = "an `as` cast saturates, and the counts are far below 2^53"
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
            Self::Stall(percent) => write!(formatter, "all tasks wait for memory {percent:.0} % of the time"),
            Self::Left(share) => write!(formatter, "{:.0} % of memory left", share * 100.0),
            Self::Swap(pages) => write!(formatter, "{pages:.0} pages per second swapped in"),
            Self::Calm => formatter.write_str("memory pressure is over"),
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
