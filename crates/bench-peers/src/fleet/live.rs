//! Hosts that print lines all the time: what showing a run costs the controller.

use std::ffi::OsString;
use std::process::Command;

use xtask::failure::{Failure, Result};
use xtask::tell;

use super::lab::Lab;
use crate::measure::Measured;
use crate::proc::megabytes;
use crate::table::{Spread, Table};

/// How long each host prints, in seconds.
pub(super) const SECONDS: u32 = 30;
/// Lines of each host in a second.
pub(super) const LINES: u32 = 10;

/// How the run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screen {
    /// Not at all.
    Off,
    /// As lines in a file.
    Lines,
    /// As a block on a terminal.
    Block,
    /// With every line of every host on a terminal.
    Stream,
}

// === impl Screen ===

impl Screen {
    const ALL: [Self; 4] = [Self::Off, Self::Lines, Self::Block, Self::Stream];

    fn title(self) -> &'static str {
        match self {
            Self::Off => "not shown (`--progress off`)",
            Self::Lines => "lines in a file",
            Self::Block => "a block on a terminal",
            Self::Stream => "`--stream` on a terminal",
        }
    }

    /// Shows `command` this way.
    fn on(self, mut command: Command) -> Result<Command> {
        let words: &[&str] = match self {
            Self::Off => &["--progress", "off"],
            Self::Lines => &["--progress", "lines"],
            Self::Block => &["--progress", "live"],
            Self::Stream => &["--progress", "live", "--stream"],
        };
        command.args(words);
        command.args(["--", &hosts_command()]);
        if matches!(self, Self::Off | Self::Lines) {
            return Ok(command);
        }
        // `script` gives it a terminal, and counts with it.
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let mut line = "stty cols 120 rows 40; exec".to_owned();
        for word in words {
            let word = OsString::from(word);
            let word = word
                .into_string()
                .map_err(|word| Failure::failed(format!("{} is not text", word.display())))?;
            line += &format!(" '{}'", word.replace('\'', r"'\''"));
        }
        let mut terminal = Command::new("script");
        terminal.args(["-qfec", &line, "/dev/null"]);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                terminal.env(name, value);
            }
        }
        terminal.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8");
        for name in ["CI", "NO_COLOR", "ACCESSIBLE"] {
            terminal.env_remove(name);
        }
        Ok(terminal)
    }
}

/// Prints lines of 60 characters at an even rate. Perl is in every Debian.
fn hosts_command() -> String {
    let (lines, pause) = (SECONDS * LINES, 1.0 / f64::from(LINES));
    format!(
        "perl -e '$|=1; for (1..{lines}) {{ printf \"line %5d of what this host has to say while it works\\n\", $_; select \
         undef, undef, undef, {pause} }}'"
    )
}

pub(super) fn table(lab: &Lab, rounds: u32) -> Result<String> {
    let mut scores: Vec<(Screen, Measured)> = Vec::new();
    for round in 1..=rounds {
        for screen in Screen::ALL {
            let state = lab.fresh("state")?;
            let mut command = lab.reveille(&state);
            command.args(["exec", "-i"]).arg(lab.inventory(lab.hosts)?);
            let measured = lab.measure(&screen.on(command)?)?;
            let successes = lab.summary(&state)?.count("success");
            tell::line(&format!(
                "round {round}: {}: {successes} of {} hosts, {:.2} s CPU, wall {:.1} s",
                screen.title(),
                lab.hosts,
                measured.cpu.as_secs_f64(),
                measured.wall.as_secs_f64()
            ));
            if successes != lab.hosts {
                return Err(Failure::failed(format!("{}: hosts failed", screen.title())));
            }
            scores.push((screen, measured));
        }
    }
    let cpu = |measured: &Measured| measured.cpu.as_secs_f64();
    let of = |screen: Screen, value: fn(&Measured) -> f64| {
        let mine = scores.iter().filter(move |(shown, _)| *shown == screen);
        Spread::of(mine.map(move |(_, measured)| value(measured)))
    };
    let off = of(Screen::Off, cpu);
    let mut table = Table::new(
        " | CPU, s (best, median) | CPU of showing it, share of a core (median − median of the first row) | peak memory, MB \
         (median)",
    );
    for screen in Screen::ALL {
        let used = of(screen, cpu);
        let share = (used.median - off.median) / f64::from(SECONDS) * 100.0;
        let share = match screen {
            Screen::Off => String::new(),
            _ => format!("{share:.1} %"),
        };
        table.row(format_args!(
            "{} | {:.2}, {:.2} | {share} | {:.1}",
            screen.title(),
            used.least,
            used.median,
            of(screen, |measured| megabytes(measured.peak.resident)).median,
        ));
    }
    Ok(format!(
        "{table}\n{} hosts print {LINES} lines of 60 characters a second, for {SECONDS} s: {} lines a second in all. The CPU \
         is that of the whole run: connecting, decrypting, recording and showing it.\n",
        lab.hosts,
        lab.hosts * LINES as usize,
    ))
}
