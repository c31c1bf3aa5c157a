//! Reading new data beside threads that answer.
//!
//! A thread that reads for a second would hold a processor for as long as the scheduler lets it, some milliseconds at a
//! time, and answers take a hundredth of that. So it works in short bursts, and after each in which requests came it rests
//! for as long as it worked. A lower priority would not do: on a machine that is busy with answers a reload would then
//! take minutes, when new data are wanted most.

use std::cell::Cell;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A burst of work while the scheduler gives the processor back at once.
const SHORT: Duration = Duration::from_micros(150);

/// A burst of work where each rest takes long, because many threads wait for the processor.
const LONG: Duration = Duration::from_millis(2);

/// Requests answered so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<AtomicU64>);

/// When the thread that reads rests.
#[derive(Debug)]
pub(crate) struct Pace {
    answers: Answers,
    seen: Cell<u64>,
    began: Cell<Duration>,
    burst: Cell<Duration>,
}

/// A file that is read at a pace.
pub(crate) struct Paced<'a, R> {
    input: R,
    pace: &'a Pace,
}

// === impl Answers ===

impl Answers {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Pace ===

impl Pace {
    /// For the thread that calls it.
    pub(crate) fn beside(answers: Answers) -> Self {
        Self {
            seen: Cell::new(answers.number()),
            answers,
            began: Cell::new(processor_time()),
            burst: Cell::new(SHORT),
        }
    }

    /// Without rest: nobody is answered yet.
    pub(crate) fn alone() -> Self {
        Self::beside(Answers::default())
    }

    /// A chance to rest.
    #[expect(clippy::disallowed_methods, reason = "to do nothing is what it is for")]
    pub(crate) fn step(&self) {
        let worked = processor_time().saturating_sub(self.began.get());
        if worked < self.burst.get() {
            return;
        }
        let answered = self.answers.number();
        if self.seen.replace(answered) != answered {
            let before = Instant::now();
            std::thread::sleep(worked.min(LONG));
            self.burst.set((before.elapsed() / 2).clamp(SHORT, LONG));
        }
        self.began.set(processor_time());
    }
}

// === impl Paced ===

impl<'a, R> Paced<'a, R> {
    pub(crate) fn new(input: R, pace: &'a Pace) -> Self {
        Self { input, pace }
    }
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.pace.step();
        self.input.read(buffer)
    }
}

/// Of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
