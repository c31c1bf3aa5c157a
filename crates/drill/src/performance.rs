//! Performances: the actions of a command, independent of its channel.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use crate::FaultKind;

/// An action of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Writes to standard output.
    Stdout(Bytes),
    /// Writes to standard error.
    Stderr(Bytes),
    /// Waits.
    Wait(Duration),
    /// Copies its standard input to its standard output until that ends.
    CopyInput,
    /// Breaks the connection. Durable work continues.
    Cut,
    /// Reboots the host, which ends all work.
    Reboot,
    /// Ends the command and the performance.
    End(Ending),
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With an exit status.
    Exit(u32),
    /// By a signal, without `SIG`.
    Signal(&'static str),
    /// Its channel is closed without a report of how it ended.
    Vanish,
    /// Its output ends, but it does not.
    EofOnly,
    /// Never.
    Hang,
}

/// The actions of a command from start to end.
#[derive(Debug, Clone)]
pub struct Performance {
    acts: VecDeque<Act>,
    /// A repeated act: the act, how often, and the pause after each.
    repeat: Option<(Act, u32, Duration)>,
    pause: Option<Duration>,
    ending: Option<Ending>,
    /// Dropped when the performance is over, for any reason.
    guard: Guard,
}

/// A value that lives as long as a performance.
#[derive(Clone, Default)]
struct Guard(Option<Arc<dyn Any + Send + Sync>>);

/// The size of one piece of a flood, in bytes.
const FLOOD_PIECE: usize = 64 << 10;

/// The time for output to arrive before its connection breaks.
const BEFORE_CUT: Duration = Duration::from_millis(30);

// === impl Performance ===

impl Performance {
    /// Plays these acts, then ends.
    pub fn new(acts: impl IntoIterator<Item = Act>, ending: Ending) -> Self {
        Self {
            acts: acts.into_iter().collect(),
            repeat: None,
            pause: None,
            ending: Some(ending),
            guard: Guard::default(),
        }
    }

    /// Adds a value that is dropped when the performance is over, for any reason.
    #[must_use]
    pub fn guarded(mut self, guard: Arc<dyn Any + Send + Sync>) -> Self {
        self.guard = Guard(Some(guard));
        self
    }

    /// Delays the performance.
    pub(crate) fn delayed(mut self, delay: Duration) -> Self {
        if !delay.is_zero() {
            self.first(Act::Wait(delay));
        }
        self
    }

    /// Adds a fault, if it is one of commands. `calls` is the number of commands that were spoiled before.
    pub(crate) fn spoil(mut self, kind: FaultKind, calls: u32, random: &mut Rng) -> (Self, bool) {
        match kind {
            FaultKind::Latency(milliseconds) => {
                self.first(Act::Wait(Duration::from_millis(milliseconds.into())));
            }
            // Once is enough to distinguish slow from dead.
            FaultKind::SlowDrip if calls == 0 => {
                self.repeat = Some((
                    Act::Stdout(Bytes::from_static(b".")),
                    50,
                    Duration::from_millis(100),
                ));
            }
            // Once is enough here, too.
            FaultKind::Flood(mebibytes) if calls == 0 => {
                let line = b"the quick brown fox jumps over the lazy dog and back again 0123\n";
                let piece: Bytes = line.repeat(FLOOD_PIECE / line.len()).into();
                let pieces = mebibytes.saturating_mul((1 << 20) / 65_536);
                self.repeat = Some((Act::Stdout(piece), pieces, Duration::ZERO));
            }
            FaultKind::BinaryOutput => {
                let mut bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(4096).collect();
                bytes.extend(b"\xff\xfe\x1b]0;title\x07\x1b[2J\x1b[31m\x00\r\n");
                self.first(Act::Stdout(bytes.into()));
            }
            FaultKind::StderrWarning => self.first(Act::Stderr(Bytes::from_static(
                b"WARNING: apt does not have a stable CLI interface. Use with caution in scripts.\n",
            ))),
            FaultKind::StderrError => {
                self = Self::new(
                    [Act::Stderr(Bytes::from_static(
                        b"E: Unable to locate package drill\n",
                    ))],
                    Ending::Exit(1),
                );
            }
            FaultKind::Exit(0) => self.ending = Some(Ending::Exit(0)),
            FaultKind::Exit(status) => {
                let words = format!("drill: ends with status {status}\n");
                self = Self::new([Act::Stderr(words.into())], Ending::Exit(status));
            }
            FaultKind::Killed => self = self.broken_off(Ending::Signal("KILL")),
            FaultKind::EarlyExit => self = self.broken_off(Ending::Vanish),
            FaultKind::PartialStall => self = self.broken_off(Ending::Hang),
            FaultKind::EofNoClose => self = self.broken_off(Ending::EofOnly),
            FaultKind::DisconnectMid => self.cut(),
            FaultKind::DropOnce(times) if calls < times => self.cut(),
            FaultKind::Reboot(_) if calls == 0 => {
                self.after_first_output([Act::Wait(BEFORE_CUT), Act::Reboot]);
            }
            // Long enough for the connection to be forgotten; later output vanishes.
            FaultKind::IdleNatDrop(seconds) if calls == 0 => {
                let silence = Duration::from_secs(u64::from(seconds) + 1);
                self.after_first_output([
                    Act::Wait(silence),
                    Act::Stdout(Bytes::from_static(b"still here\n")),
                ]);
                return (self, false);
            }
            _ => return (self, false),
        }
        (self, true)
    }

    /// Keeps only the beginning, with another end.
    fn broken_off(mut self, ending: Ending) -> Self {
        self.acts
            .retain(|act| matches!(act, Act::Stdout(_) | Act::Stderr(_)));
        self.acts.truncate(1);
        if self.acts.is_empty() {
            self.first(Act::Stdout(Bytes::from_static(b"working\n")));
        }
        self.ending = Some(ending);
        self
    }

    /// Breaks the connection in the middle if `breaks`.
    pub(crate) fn breaking(mut self, breaks: bool) -> (Self, bool) {
        if breaks {
            self.cut();
        }
        (self, breaks)
    }

    /// Adds a line with the time before and after.
    pub(crate) fn stamped(mut self, begin: u64, end: u64) -> (Self, bool) {
        let stamp =
            |time: u64| Act::Stdout(format!("[{time}.000000] drill: the clock of this host\n").into());
        self.first(stamp(begin));
        self.acts.push_back(stamp(end));
        (self, true)
    }

    /// Breaks the connection after the first output.
    fn cut(&mut self) {
        self.after_first_output([Act::Wait(BEFORE_CUT), Act::Cut]);
    }

    /// Inserts acts after the first output.
    fn after_first_output(&mut self, acts: [Act; 2]) {
        let is_output = |act: &Act| matches!(act, Act::Stdout(_) | Act::Stderr(_));
        let after = if let Some(first) = self.acts.iter().position(is_output) {
            first + 1
        } else {
            self.first(Act::Stdout(Bytes::from_static(b"working\n")));
            1
        };
        for act in acts.into_iter().rev() {
            self.acts.insert(after, act);
        }
    }

    fn first(&mut self, act: Act) {
        self.acts.push_front(act);
    }
}

// === impl Guard ===

impl std::fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Guard").field(&self.0.is_some()).finish()
    }
}

impl Iterator for Performance {
    type Item = Act;

    fn next(&mut self) -> Option<Act> {
        if let Some(pause) = self.pause.take() {
            return Some(Act::Wait(pause));
        }
        if let Some((act, times, pause)) = &mut self.repeat
            && *times > 0
        {
            *times -= 1;
            self.pause = (!pause.is_zero()).then_some(*pause);
            return Some(act.clone());
        }
        self.acts.pop_front().or_else(|| self.ending.take().map(Act::End))
    }
}
