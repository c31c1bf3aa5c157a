//! Reading new data beside threads that answer.
//!
//! A thread that reads for a second would hold a processor for as long as the scheduler lets it, some milliseconds at a
//! time, and answers take a hundredth of that. So it works in short bursts, and after each in which requests came it rests
//! for as long as it worked. A lower priority would not do: on a machine that is busy with answers a reload would then
//! take minutes, when new data are wanted most.
//!
//! Chances to rest are where the snapshot and the prefixes are read, which is nearly all of the work. What follows, such
//! as sorting the prefixes, is done in one go, and so is reading what is small.

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

/// All rests of one reload together. Where the processor does not come back for long, data are read without rest from then
/// on: the new ones are wanted, too.
const MOST: Duration = Duration::from_secs(10);

/// Requests answered so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<AtomicU64>);

/// When the thread that reads rests.
#[derive(Debug)]
pub(crate) struct Rests {
    answers: Answers,
    seen: Cell<u64>,
    began: Cell<Duration>,
    burst: Cell<Duration>,
    rested: Cell<Duration>,
    most: Duration,
}

/// A file that is read with rests.
pub(crate) struct WithRests<'a, R> {
    input: R,
    rests: &'a Rests,
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

// === impl Rests ===

impl Rests {
    /// For the thread that calls it.
    pub(crate) fn beside(answers: Answers) -> Self {
        Self {
            seen: Cell::new(answers.number()),
            answers,
            began: Cell::new(processor_time()),
            burst: Cell::new(SHORT),
            rested: Cell::new(Duration::ZERO),
            most: MOST,
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
        if worked < self.burst.get() || self.rested.get() >= self.most {
            return;
        }
        let answered = self.answers.number();
        if self.seen.replace(answered) != answered {
            let before = Instant::now();
            std::thread::sleep(worked.min(LONG));
            let rested = before.elapsed();
            self.burst.set((rested / 2).clamp(SHORT, LONG));
            self.rested.set(self.rested.get() + rested);
        }
        self.began.set(processor_time());
    }
}

// === impl WithRests ===

impl<'a, R> WithRests<'a, R> {
    pub(crate) fn new(input: R, rests: &'a Rests) -> Self {
        Self { input, rests }
    }
}

impl<R: Read> Read for WithRests<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.rests.step();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Works, with requests all the while or without, until there have been so many rests, or so much work.
    fn work(rests: &Rests, requests: bool, work: Duration) {
        let until = processor_time() + work;
        while processor_time() < until && rests.rested.get() < rests.most {
            if requests {
                rests.answers.add();
            }
            rests.step();
        }
    }

    #[test]
    fn who_is_alone_does_not_rest() {
        let rests = Rests::alone();
        work(&rests, false, SHORT * 20);
        assert_eq!(rests.rested.get(), Duration::ZERO);
    }

    #[test]
    fn rests_are_taken_beside_requests_and_have_an_end() {
        let rests = Rests {
            most: LONG,
            ..Rests::beside(Answers::default())
        };
        work(&rests, true, LONG * 500);
        let rested = rests.rested.get();
        assert!(rested >= rests.most, "{rested:?}");
        let until = processor_time() + LONG * 2;
        while processor_time() < until {}
        rests.answers.add();
        rests.step();
        assert_eq!(rests.rested.get(), rested, "no more than all of them");
    }
}
