//! Writes data to standard output and everything else to standard error.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};

use reveille_way::Operator;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::prompt;

/// The reader of standard output has closed it.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes to standard output and standard error.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub(crate) struct Printer {
    /// Colour on standard error.
    colour_err: bool,
    /// Colour on standard output.
    colour_out: bool,
    /// Print only outputs and failures.
    pub(crate) quiet: bool,
    /// Standard error is a terminal that can redraw lines.
    pub(crate) live: bool,
}

/// The colour of a piece of text. All text is understandable without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Odd,
    Faint,
    Strong,
}

// === impl Tone ===

impl Tone {
    pub(crate) fn of(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

// === impl Printer ===

impl Printer {
    pub(crate) fn new(globals: &Globals) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colour = !globals.no_color && !set("NO_COLOR") && !dumb;
        Self {
            colour_err: colour && io::stderr().is_terminal(),
            colour_out: colour && io::stdout().is_terminal(),
            quiet: globals.quiet,
            live: io::stderr().is_terminal() && !dumb && !globals.quiet && !set("CI"),
        }
    }

    /// Prints data and a line end. If the reader has closed the pipe, this and all further data is dropped, and the
    /// command continues, because reports and the exit status do not depend on that reader.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        self.data_bytes(format!("{text}\n").as_bytes())
    }

    /// Prints data unchanged.
    pub(crate) fn data_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.is_closed() {
            return Ok(());
        }
        match write_all(io::stdout(), bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                CLOSED.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => {
                written.map_err(|error| Failure::System(format!("can't write to standard output: {error}")))
            }
        }
    }

    /// Whether the reader of standard output has closed it.
    #[expect(clippy::unused_self, reason = "there is one standard output for all printers")]
    pub(crate) fn is_closed(&self) -> bool {
        CLOSED.load(Ordering::Relaxed)
    }

    /// Prints a line to standard error. An error there can't be reported anywhere.
    pub(crate) fn note(&self, text: &str) {
        let _ = write_all(io::stderr(), format!("{text}\n").as_bytes());
    }

    /// Prints a line to standard error, unless `--quiet` is given.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.note(text);
        }
    }

    pub(crate) fn warning(&self, text: &str) {
        self.note(&format!("{} {text}", self.tone_err("warning:", Tone::Odd)));
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        self.note(&format!("{} {failure}", self.tone_err("error:", Tone::Bad)));
    }

    pub(crate) fn tone_err(&self, text: &str, tone: Tone) -> String {
        coloured(self.colour_err, text, tone)
    }

    pub(crate) fn tone_out(&self, text: &str, tone: Tone) -> String {
        coloured(self.colour_out, text, tone)
    }
}

impl Operator for Printer {
    fn warn(&self, message: &str) {
        self.warning(message);
    }

    fn secret(&self, question: &str, instead: &str) -> Result<String, reveille_way::Error> {
        prompt::hidden(question, instead).map_err(reveille_way::Error::Input)
    }
}

fn coloured(on: bool, text: &str, tone: Tone) -> String {
    if !on {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Odd => "33",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Writes everything, even if another process has made the descriptor non-blocking.
fn write_all(mut target: impl io::Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match target.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error),
        }
    }
    target.flush()
}
