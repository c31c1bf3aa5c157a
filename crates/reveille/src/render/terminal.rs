//! The block at the bottom of a terminal, and what scrolls above it.
//!
//! The block is redrawn in place: the cursor goes up to its first line and every line is written again, all in one write.
//! The cursor rests on the empty line below it, where the terminal echoes what is typed. Nothing else of the terminal is
//! changed, so that a killed program leaves nothing to repair.

use std::fmt::Write as _;
use std::io;

use reveille_view::{Line, Size};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::printer::Printer;

/// Begin and end of what a terminal that can do so (DEC mode 2026) shows at once.
const TOGETHER: (&str, &str) = ("\u{1b}[?2026h", "\u{1b}[?2026l");

/// A terminal with a block.
#[derive(Debug)]
pub(crate) struct Terminal {
    printer: Printer,
    /// The block on the screen.
    shown: Vec<Line>,
    /// Most lines that the block had; it grows, but does not shrink.
    tallest: usize,
    /// Lines that the cursor has moved down since, because the operator pressed Enter.
    typed: usize,
    /// The state that the terminal shows in its title or task bar.
    progress: Option<Progress>,
}

/// The progress that a terminal shows outside of its text (OSC 9;4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// 1 normal, 2 failed, 4 paused.
    pub(crate) state: u8,
    /// Percent.
    pub(crate) percent: u64,
}

// === impl Terminal ===

impl Terminal {
    pub(crate) fn new(printer: Printer) -> Self {
        Self {
            printer,
            shown: Vec::new(),
            tallest: 0,
            typed: 0,
            progress: None,
        }
    }

    /// The operator has pressed Enter.
    pub(crate) fn typed(&mut self) {
        self.typed += 1;
    }

    /// The program goes on after it was stopped: the shell has written below the block, which stays where it is.
    pub(crate) fn resumed(&mut self) {
        self.shown.clear();
        self.typed = 0;
    }

    /// Replaces the block, after lines that stay above it.
    pub(crate) fn draw(&mut self, above: &[String], mut block: Vec<Line>, progress: Option<Progress>) {
        if !in_foreground() {
            // The terminal belongs to another program, such as the shell.
            self.resumed();
            if !above.is_empty() {
                self.printer.note(&above.join("\n"));
            }
            return;
        }
        // It grows and never shrinks, so that nothing jumps.
        self.tallest = self.tallest.max(block.len());
        block.resize(self.tallest, Line::new());
        if above.is_empty() && block == self.shown && self.typed == 0 && progress == self.progress {
            return;
        }
        let mut text = String::new();
        text.push_str(TOGETHER.0);
        self.go_to_the_first_line(&mut text);
        for line in above {
            let _ = writeln!(text, "{line}\u{1b}[K");
        }
        for line in &block {
            let _ = writeln!(text, "{}\u{1b}[K", self.printer.painted(line));
        }
        text.push_str("\u{1b}[J");
        self.add_progress(&mut text, progress);
        text.push_str(TOGETHER.1);
        self.shown = block;
        self.printer.raw(&text);
    }

    /// Writes lines above the block, which stays as it is.
    pub(crate) fn above(&mut self, lines: &[String]) {
        let (block, progress) = (self.shown.clone(), self.progress);
        self.draw(lines, block, progress);
    }

    /// Removes the block, so that something else can be written.
    pub(crate) fn clear(&mut self) {
        if !in_foreground() {
            return;
        }
        if self.shown.is_empty() && self.typed == 0 && self.progress.is_none() {
            return;
        }
        let mut text = String::new();
        self.go_to_the_first_line(&mut text);
        text.push_str("\u{1b}[J");
        self.add_progress(&mut text, None);
        self.shown.clear();
        self.printer.raw(&text);
    }

    /// Moves the cursor to where the block begins. A terminal that has become narrower has broken its lines.
    fn go_to_the_first_line(&mut self, text: &mut String) {
        let columns = size().columns.max(1);
        let rows = self
            .shown
            .iter()
            .map(|line| line.width().div_ceil(columns).max(1));
        let up = rows.sum::<usize>() + std::mem::take(&mut self.typed);
        text.push('\r');
        if up > 0 {
            let _ = write!(text, "\u{1b}[{up}A");
        }
    }

    fn add_progress(&mut self, text: &mut String, progress: Option<Progress>) {
        if !self.printer.osc || progress == self.progress {
            return;
        }
        self.progress = progress;
        let _ = match progress {
            Some(Progress { state, percent }) => write!(text, "\u{1b}]9;4;{state};{percent}\u{7}"),
            None => write!(text, "\u{1b}]9;4;0;\u{7}"),
        };
    }
}

/// Whether the terminal on standard error listens to this program; also if it has no foreground.
fn in_foreground() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |group| group == getpgrp())
}

/// The size of the terminal on standard error; 80 × 24 if it is unknown.
pub(crate) fn size() -> Size {
    size_of(io::stderr())
}

/// The size of the terminal on standard output; 80 × 24 if it is unknown.
pub(crate) fn size_of_output() -> Size {
    size_of(io::stdout())
}

fn size_of(terminal: impl std::os::fd::AsFd) -> Size {
    let known = tcgetwinsize(terminal).ok();
    let known = known.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or(
        Size {
            columns: 80,
            rows: 24,
        },
        |size| Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
        },
    )
}
