//! Keys on a terminal during a test: `r` resets the numbers.

use std::io::{IsTerminal as _, Stdin};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::sync::mpsc;

use crate::engine::Ask;

/// Interval between two checks for a key.
const LOOK: Duration = Duration::from_millis(100);

/// Modes of a terminal for typing lines.
const LINES: LocalModes = LocalModes::ICANON.union(LocalModes::ECHO);

/// Until this is dropped, the terminal delivers single keys and does not echo them.
pub(crate) struct Keys {
    terminal: Stdin,
    before: Termios,
    reader: tokio::task::JoinHandle<()>,
}

// === impl Keys ===

impl Keys {
    /// Returns none if there is no terminal, or if another job is in its foreground.
    pub(crate) fn listen(asks: &mpsc::UnboundedSender<Ask>) -> Option<Self> {
        let terminal = std::io::stdin();
        if !terminal.is_terminal() || !std::io::stderr().is_terminal() || !is_ours(&terminal) {
            return None;
        }
        let before = tcgetattr(&terminal).ok()?;
        let mut single = before.clone();
        // Ctrl-C still sends a signal.
        single.local_modes.remove(LINES);
        tcsetattr(&terminal, OptionalActions::Now, &single).ok()?;
        Some(Self {
            terminal,
            before,
            reader: tokio::task::spawn_local(read(asks.clone(), single)),
        })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.reader.abort();
        // In the background this would stop the program; the shell has restored its own modes by then.
        if is_ours(&self.terminal) {
            let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        }
    }
}

async fn read(asks: mpsc::UnboundedSender<Ask>, single: Termios) {
    let terminal = std::io::stdin();
    let mut keys = [0; 64];
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Reading in the background would stop the program.
        if !is_ours(&terminal) {
            continue;
        }
        // After Ctrl-Z and `fg`, the terminal has the shell's modes.
        if tcgetattr(&terminal).is_ok_and(|now| now.local_modes.intersects(LINES)) {
            let _ = tcsetattr(&terminal, OptionalActions::Now, &single);
        }
        if !is_typed(&terminal) {
            continue;
        }
        match rustix::io::read(&terminal, &mut keys) {
            Ok(0) | Err(_) => return,
            Ok(count) if keys[..count].contains(&b'r') => {
                let _ = asks.send(Ask::Reset);
            }
            Ok(_) => {}
        }
    }
}

/// Whether there is something to read.
fn is_typed(terminal: &Stdin) -> bool {
    let mut waited = [PollFd::new(terminal, PollFlags::IN)];
    poll(&mut waited, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}

/// Whether this job is in the foreground.
fn is_ours(terminal: &Stdin) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}
