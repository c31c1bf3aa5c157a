//! The signals that end a run: SIGINT, SIGTERM and SIGHUP, unless the program was started with it ignored.

use reveille_fleet::{Stop, Stopper};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Sender;

use crate::render::outlet::Display;

/// Whether the program was started with SIGHUP ignored, as by `nohup`.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// The signals that ask the program to end.
struct Signals([Option<Signal>; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let hangup = (!ignores_hangups()).then(|| signal(SignalKind::hangup()));
        Ok(Self([
            Some(signal(SignalKind::interrupt())?),
            Some(signal(SignalKind::terminate())?),
            hangup.transpose()?,
        ]))
    }

    async fn next(&mut self) {
        async fn received(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
            () = received(hangup) => {}
        }
    }
}

/// Waits for a signal that asks the program to end.
pub(crate) async fn any_signal() {
    match Signals::new() {
        Ok(mut signals) => signals.next().await,
        Err(_) => std::future::pending().await,
    }
}

/// Handles signals: the first one that ends the run stops it, the second detaches from it; SIGUSR1 asks who runs what.
pub(crate) async fn listen(stopper: Stopper, display: Display, ask: Sender<usize>) {
    let continues = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
    let (Ok(mut signals), Ok(mut questions), Ok(mut continues)) = (
        Signals::new(),
        signal(SignalKind::user_defined1()),
        signal(continues),
    ) else {
        display.lines(vec![
            "warning: can't listen for signals: Ctrl-C ends the program at once".to_owned(),
        ]);
        return;
    };
    loop {
        tokio::select! {
            () = signals.next() => {
                if stopper.asked() == Stop::No {
                    stopper.ask(Stop::Soon);
                } else {
                    display.lines(vec!["Detached.".to_owned()]);
                    stopper.ask(Stop::Now);
                }
            }
            _ = continues.recv() => display.resumed(),
            _ = questions.recv() => {
                // If a question waits already, one answer is enough.
                let _ = ask.try_send(0);
            }
        }
    }
}
