//! Output of hosts as it comes: on a terminal with marks and colours, elsewhere as `host: line`.

use std::io::{self, IsTerminal as _};
use std::time::{SystemTime, UNIX_EPOCH};

use reveille_account::{HostName, Stream};
use reveille_view::{Lines, Mark, Role, Said, cells, cut_middle, wrap};

use crate::printer::Printer;
use crate::render::terminal;

/// Cells of a host's name, at most.
const NAME: usize = 24;
/// Cells used at most.
const WIDEST: usize = 160;

/// Lays out lines of hosts.
#[derive(Debug)]
pub(crate) struct StreamOut {
    lines: Lines,
    printer: Printer,
    /// A person watches the output.
    on_terminal: bool,
    /// Cells of the longest name.
    name: usize,
}

// === impl StreamOut ===

impl StreamOut {
    /// For hosts with these names.
    pub(crate) fn new<'a>(printer: Printer, hosts: impl Iterator<Item = &'a HostName>) -> Self {
        let on_terminal = printer.data_on_terminal();
        Self {
            lines: Lines::new(on_terminal),
            on_terminal,
            name: hosts
                .map(|host| cells(host.as_str()).min(NAME))
                .max()
                .unwrap_or(0),
            printer,
        }
    }

    /// Whether output goes to the terminal that the block is on.
    pub(crate) fn shares_the_terminal(&self) -> bool {
        self.on_terminal && io::stderr().is_terminal()
    }

    pub(crate) fn take(
        &mut self,
        host: &HostName,
        stream: Stream,
        bytes: &[u8],
        gap: bool,
        said: &mut Vec<Said>,
    ) {
        if gap {
            self.lines.forget(host);
        }
        self.lines.take(host, stream, bytes, now_ms(), said);
    }

    /// A step starts or has ended: what is held of the host comes first.
    pub(crate) fn step(&mut self, host: &HostName, mark: Mark, words: &str, said: &mut Vec<Said>) {
        self.lines.end(host, said);
        if self.on_terminal && !words.is_empty() {
            said.push(Said {
                host: host.clone(),
                mark,
                stream: Stream::Stdout,
                text: words.to_owned(),
            });
        }
    }

    pub(crate) fn due(&mut self, said: &mut Vec<Said>) {
        self.lines.due(now_ms(), said);
    }

    /// The lines for standard output, and those for standard error.
    pub(crate) fn laid_out(&self, said: Vec<Said>) -> (Vec<String>, Vec<String>) {
        let (mut data, mut errors) = (Vec::new(), Vec::new());
        let width = terminal::size().columns.saturating_sub(1).clamp(20, WIDEST);
        for mut said in said {
            said.text = self.printer.harmless_in_ci(&said.text).into_owned();
            if self.on_terminal {
                self.on_terminal(&said, width, &mut data);
            } else {
                let line = format!("{}: {}", said.host, said.text);
                match said.stream {
                    Stream::Stdout => data.push(line),
                    Stream::Stderr => errors.push(line),
                }
            }
        }
        (data, errors)
    }

    fn on_terminal(&self, said: &Said, width: usize, lines: &mut Vec<String>) {
        let name = cut_middle(said.host.as_str(), self.name);
        let blanks = " ".repeat(self.name.saturating_sub(cells(&name)));
        let name = self.printer.tone_out(&name, Role::of_host(&said.host));
        let indent = self.name + 3;
        let room = width.saturating_sub(indent).max(10);
        let text = said.text.replace('\t', " ");
        for (index, piece) in wrap(&text, room).into_iter().enumerate() {
            lines.push(if index == 0 {
                format!("{name}{blanks} {} {piece}", said.mark.as_str())
                    .trim_end()
                    .to_owned()
            } else {
                format!("{}{piece}", " ".repeat(indent))
            });
        }
    }
}

/// Unix milliseconds.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
