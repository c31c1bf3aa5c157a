//! Writes data to standard output and everything else to standard error.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use reveille_view::{Detail, Line, Role};
use reveille_way::Operator;

use crate::cli::{Format, Globals, Report, Shown, When};
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
    /// What is shown while a run goes on.
    pub(crate) progress: Shown,
    /// How much is told while a run goes on.
    pub(crate) detail: Detail,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    /// The log of a CI server shows what is written, and takes some texts for commands.
    pub(crate) ci: bool,
    /// The terminal shows progress outside of its text.
    pub(crate) osc: bool,
    /// The characters of the locale are those of Unicode.
    unicode: bool,
    /// Standard output is for something else, so that data goes to standard error.
    elsewhere: bool,
}

// === impl Printer ===

impl Printer {
    pub(crate) fn new(globals: &Globals) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let forced =
            std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
        let when = if globals.no_color {
            When::Never
        } else {
            globals.color
        };
        let colour = |is_terminal: bool| match when {
            When::Always => true,
            When::Never => false,
            When::Auto if set("NO_COLOR") => false,
            When::Auto => forced || (is_terminal && !dumb),
        };
        // The log would be written across the block.
        let logs = set("REVEILLE_LOG");
        let live = io::stderr().is_terminal() && !dumb && !logs && !set("CI") && !set("ACCESSIBLE");
        let quiet = globals.quiet;
        let progress = match globals.progress {
            _ if quiet => Shown::Off,
            Shown::Auto if live => Shown::Live,
            Shown::Auto => Shown::Lines,
            // Without a terminal there is nothing to redraw.
            Shown::Live if !io::stderr().is_terminal() => Shown::Lines,
            progress => progress,
        };
        let detail = match globals.verbose {
            _ if progress == Shown::Off => Detail::Quiet,
            0 => Detail::Usual,
            1 | 2 => Detail::Steps,
            _ => Detail::Connections,
        };
        Self {
            colour_err: colour(io::stderr().is_terminal()),
            colour_out: colour(io::stdout().is_terminal()),
            quiet,
            progress,
            detail,
            verbose: globals.verbose,
            ci: set("CI"),
            osc: progress == Shown::Live && shows_progress(),
            unicode: is_unicode(),
            elsewhere: false,
        }
    }

    /// A printer of data to standard error, because standard output is for something else.
    fn elsewhere(self) -> Self {
        Self {
            elsewhere: true,
            colour_out: self.colour_err,
            ..self
        }
    }

    /// The printer of hosts' outputs: to standard error if standard output is for JSON.
    pub(crate) fn of_data(&self, report: &Report) -> Self {
        let is_taken = report.format == Format::Json || report.events.as_deref() == Some(Path::new("-"));
        if is_taken { self.elsewhere() } else { *self }
    }

    /// Whether data goes to a terminal.
    pub(crate) fn data_on_terminal(&self) -> bool {
        if self.elsewhere {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        }
    }

    /// Whether standard output, or standard error, is a terminal.
    #[expect(clippy::unused_self, reason = "there is one of each for all printers")]
    pub(crate) fn on_terminal(&self, stdout: bool) -> bool {
        if stdout {
            io::stdout().is_terminal()
        } else {
            io::stderr().is_terminal()
        }
    }

    /// Prints data and a line end. If the reader has closed the pipe, this and all further data is dropped, and the
    /// command continues, because reports and the exit status do not depend on that reader.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        self.data_bytes(format!("{text}\n").as_bytes())
    }

    /// Prints text for people to standard output.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        self.data(&self.harmless_in_ci(text))
    }

    /// Prints data unchanged.
    pub(crate) fn data_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.elsewhere {
            // An error there can't be reported anywhere.
            let _ = write_all(io::stderr(), bytes);
            return Ok(());
        }
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
        self.raw(&format!("{text}\n"));
    }

    /// Prints text to standard error as it is.
    pub(crate) fn raw(&self, text: &str) {
        let text = &*self.harmless_in_ci(text);
        let _ = if self.unicode {
            write_all(io::stderr(), text.as_bytes())
        } else {
            write_all(io::stderr(), plain(text).as_bytes())
        };
    }

    /// Prints a line to standard error, unless `--quiet` is given.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.note(text);
        }
    }

    pub(crate) fn warning(&self, text: &str) {
        self.note(&format!("{} {text}", self.tone_err("warning:", Role::Odd)));
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        self.note(&format!("{} {failure}", self.tone_err("error:", Role::Bad)));
    }

    /// A line for standard error.
    pub(crate) fn painted(&self, line: &Line) -> String {
        line.text(self.colour_err)
    }

    /// A line for standard output.
    pub(crate) fn painted_out(&self, line: &Line) -> String {
        let text = line.text(self.colour_out);
        if self.unicode { text } else { plain(&text) }
    }

    pub(crate) fn tone_err(&self, text: &str, role: Role) -> String {
        role.coloured(text, self.colour_err)
    }

    pub(crate) fn tone_out(&self, text: &str, role: Role) -> String {
        role.coloured(text, self.colour_out)
    }

    /// In CI, the text without what servers read as a command anywhere in a line.
    pub(crate) fn harmless_in_ci<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.ci && text.contains("##[") {
            text.replace("##[", "# #[").into()
        } else {
            text.into()
        }
    }

    /// A line of a host's text, indented. In CI it never begins a line.
    pub(crate) fn remote(&self, line: &str) -> String {
        if self.ci {
            format!("  | {}", self.harmless_in_ci(line))
        } else {
            format!("  {line}")
        }
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

/// Whether the locale's characters are those of Unicode.
fn is_unicode() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.is_some_and(|locale| is_utf8(&locale))
}

fn is_utf8(locale: &OsStr) -> bool {
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Whether the terminal shows progress outside of its text, by the programs that are known to.
fn shows_progress() -> bool {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|found| found == value);
    std::env::var_os("WT_SESSION").is_some()
        || is("ConEmuANSI", "ON")
        || is("TERM_PROGRAM", "WezTerm")
        || is("TERM_PROGRAM", "ghostty")
        || is("TERM", "xterm-ghostty")
}

/// Text of ours in ASCII, as wide as before.
fn plain(text: &str) -> String {
    let character = |character: char| match character {
        '█' => '#',
        '░' => '.',
        '…' => '~',
        '→' => '>',
        '×' => 'x',
        'µ' => 'u',
        '─' => '-',
        other => other,
    };
    text.chars().map(character).collect()
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
