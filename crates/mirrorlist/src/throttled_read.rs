//! Reading new data without delaying the threads that answer requests.
//!
//! A thread that reads for a second keeps a processor as long as the scheduler allows, some milliseconds at a time,
//! while an answer takes a hundredth of that. So the reader works in short bursts. If requests came during a burst, it
//! then pauses for as long as it worked. A lower priority would not be enough: on a machine that is busy with answers,
//! a reload would take minutes, when new data are needed most.
//!
//! The reader pauses while it reads the snapshot and the prefixes, which is nearly all of its work. It sorts the
//! prefixes and reads small files without pauses.

use std::cell::Cell;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Length of a burst while the scheduler gives the processor back at once.
const SHORT: Duration = Duration::from_micros(150);

/// Length of a burst when each pause takes long, because many threads wait for the processor.
const LONG: Duration = Duration::from_millis(2);

/// All pauses of one reload together. After that, the reader works without pauses, so that a reload ends even if the
/// scheduler takes long to give the processor back.
const MOST: Duration = Duration::from_secs(10);

/// Requests answered so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<AtomicU64>);

/// The pauses of the reading thread.
#[derive(Debug)]
pub(crate) struct Throttle {
    answers: Answers,
    seen: Cell<u64>,
    began: Cell<Duration>,
    burst: Cell<Duration>,
    paused: Cell<Duration>,
    most: Duration,
}

/// A file that is read with pauses.
pub(crate) struct ThrottledRead<'a, R> {
    input: R,
    throttle: &'a Throttle,
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

// === impl Throttle ===

impl Throttle {
    /// For the calling thread, beside threads that count `answers`.
    pub(crate) fn beside(answers: Answers) -> Self {
        Self {
            seen: Cell::new(answers.number()),
            answers,
            began: Cell::new(processor_time()),
            burst: Cell::new(SHORT),
            paused: Cell::new(Duration::ZERO),
            most: MOST,
        }
    }

    /// Without pauses, while no thread answers.
    pub(crate) fn unthrottled() -> Self {
        Self::beside(Answers::default())
    }

    /// Pauses if the burst is over and requests came during it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread leaves its processor to others"
    )]
    pub(crate) fn pause(&self) {
        let worked = processor_time().saturating_sub(self.began.get());
        if worked < self.burst.get() || self.paused.get() >= self.most {
            return;
        }
        let answered = self.answers.number();
        if self.seen.replace(answered) != answered {
            let before = Instant::now();
            std::thread::sleep(worked.min(LONG));
            let paused = before.elapsed();
            self.burst.set((paused / 2).clamp(SHORT, LONG));
            self.paused.set(self.paused.get() + paused);
        }
        self.began.set(processor_time());
    }
}

// === impl ThrottledRead ===

impl<'a, R> ThrottledRead<'a, R> {
    pub(crate) fn new(input: R, throttle: &'a Throttle) -> Self {
        Self { input, throttle }
    }
}

impl<R: Read> Read for ThrottledRead<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.throttle.pause();
        self.input.read(buffer)
    }
}

/// Processor time of this thread.
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

    /// Works for `work`, with requests all the while or without, or until the pauses are used up.
    fn work(throttle: &Throttle, requests: bool, work: Duration) {
        let until = processor_time() + work;
        while processor_time() < until && throttle.paused.get() < throttle.most {
            if requests {
                throttle.answers.add();
            }
            throttle.pause();
        }
    }

    #[test]
    fn without_requests_there_are_no_pauses() {
        let throttle = Throttle::unthrottled();
        work(&throttle, false, SHORT * 20);
        assert_eq!(throttle.paused.get(), Duration::ZERO);
    }

    #[test]
    fn beside_requests_there_are_pauses_up_to_a_limit() {
        let throttle = Throttle {
            most: LONG,
            ..Throttle::beside(Answers::default())
        };
        work(&throttle, true, LONG * 500);
        let paused = throttle.paused.get();
        assert!(paused >= throttle.most, "{paused:?}");
        let until = processor_time() + LONG * 2;
        while processor_time() < until {}
        throttle.answers.add();
        throttle.pause();
        assert_eq!(throttle.paused.get(), paused, "no more pauses than the limit");
    }
}
