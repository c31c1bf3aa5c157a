//! Enter on the terminal asks who runs what.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use tokio::sync::mpsc::Sender;

/// How often it is checked whether anybody waits for an answer.
const LOOK: Duration = Duration::from_millis(500);

/// Starts a thread that asks when lines are typed, and sends how many. It ends after the run; without a terminal it does
/// not start.
pub(crate) fn listen(ask: Sender<usize>) {
    if io::stdin().is_terminal() {
        // Without it, Enter does nothing.
        let _ = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || read(&ask));
    }
}

fn read(ask: &Sender<usize>) {
    let look = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK.subsec_nanos()),
    };
    while !ask.is_closed() {
        let stdin = io::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut ready, Some(&look)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        // A process in the background that reads from its terminal is stopped.
        if tcgetpgrp(&stdin).ok() != Some(getpgrp()) {
            // Nothing to wait for but time.
            let _ = poll(&mut [], Some(&look));
            continue;
        }
        let mut typed = [0; 1024];
        match rustix::io::read(&stdin, &mut typed) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let lines = typed[..count].split(|byte| *byte == b'\n').count() - 1;
                if lines > 0 && ask.blocking_send(lines).is_err() {
                    return;
                }
            }
        }
    }
}
