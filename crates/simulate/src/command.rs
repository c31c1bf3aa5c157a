//! Commands in scenarios.
//!
//! `perform NAME@HOST for=3 out=200 exit=1,0 vanish=2 hang=3 reboot=1 fatal=1` means: the step `NAME` for `HOST` takes
//! 3 s and writes 200 bytes. On each machine, its first run exits with 1 and later ones with 0; the second run vanishes
//! without a status, the third hangs, the first reboots the machine, and the first one's first line is `FATAL`. Only
//! the name is required.

use std::time::Duration;

/// What a command does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Command {
    /// The step.
    pub(crate) step: String,
    /// The host that it runs for.
    pub(crate) host: String,
    pub(crate) lasts: Duration,
    /// The number of bytes on standard output; `err` is that of standard error.
    pub(crate) out: usize,
    pub(crate) err: usize,
    exits: Vec<u32>,
    vanishes: Option<u32>,
    hangs: Option<u32>,
    reboots: Option<u32>,
    fatal: Option<u32>,
    /// The round and attempt that requested it, if the request was late.
    pub(crate) late: Option<(u32, u32)>,
}

/// How a run of the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Exit(u32),
    Vanish,
    Hang,
    Reboot,
}

// === impl Command ===

impl Command {
    /// Finds the command in a text sent to a host.
    pub(crate) fn find(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let from = text.find("perform ")? + "perform ".len();
        let rest = &text[from..];
        let end = rest.find(['\'', '\n', '\\', '"', ';']).unwrap_or(rest.len());
        let mut words = rest[..end].split_whitespace();
        let (step, host) = words.next()?.split_once('@')?;
        let mut command = Self {
            step: step.to_owned(),
            host: host.to_owned(),
            lasts: Duration::ZERO,
            out: 0,
            err: 0,
            exits: Vec::new(),
            vanishes: None,
            hangs: None,
            reboots: None,
            fatal: None,
            late: None,
        };
        for word in words {
            let (key, value) = word.split_once('=')?;
            let number = || value.parse::<u32>().ok();
            match key {
                "for" => command.lasts = Duration::try_from_secs_f64(value.parse().ok()?).ok()?,
                "out" => command.out = value.parse().ok()?,
                "err" => command.err = value.parse().ok()?,
                "exit" => {
                    command.exits = value
                        .split(',')
                        .map(|word| word.parse().ok())
                        .collect::<Option<_>>()?;
                }
                "vanish" => command.vanishes = number(),
                "hang" => command.hangs = number(),
                "late" => {
                    let (round, attempt) = value.split_once('.')?;
                    command.late = Some((round.parse().ok()?, attempt.parse().ok()?));
                }
                "reboot" => command.reboots = number(),
                "fatal" => command.fatal = number(),
                _ => return None,
            }
        }
        Some(command)
    }

    /// The same text, with the round and attempt that request it.
    pub(crate) fn noted(&self, text: &[u8], (round, attempt): (u32, u32)) -> Vec<u8> {
        let name = format!("perform {}@{}", self.step, self.host);
        let text = String::from_utf8_lossy(text);
        text.replacen(&name, &format!("{name} late={round}.{attempt}"), 1)
            .into_bytes()
    }

    /// How its run number `run` on a machine ends, from 1.
    pub(crate) fn ends(&self, run: u32) -> Ends {
        if self.vanishes == Some(run) {
            return Ends::Vanish;
        }
        if self.hangs == Some(run) {
            return Ends::Hang;
        }
        if self.reboots == Some(run) {
            return Ends::Reboot;
        }
        let at = usize::try_from(run).unwrap_or(usize::MAX).saturating_sub(1);
        Ends::Exit(self.exits.get(at).or(self.exits.last()).copied().unwrap_or(0))
    }

    /// What a run writes to standard output.
    pub(crate) fn says(&self, run: u32) -> Vec<u8> {
        let line = format!("{}@{} run {run}\n", self.step, self.host);
        let first = if self.is_fatal(run) { "FATAL\n" } else { "" };
        first.bytes().chain(line.bytes().cycle().take(self.out)).collect()
    }

    /// Whether a run writes a fatal first line.
    pub(crate) fn is_fatal(&self, run: u32) -> bool {
        self.fatal == Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_and_read() {
        let sent = br"exec sh -c 'perform a@h1 for=1.5 out=30 exit=1,0 vanish=3'";
        let command = Command::find(sent).unwrap();
        assert_eq!((command.step.as_str(), command.host.as_str()), ("a", "h1"));
        assert_eq!(command.lasts, Duration::from_millis(1500));
        let ends = [1, 2, 3, 4].map(|run| command.ends(run));
        assert_eq!(ends, [Ends::Exit(1), Ends::Exit(0), Ends::Vanish, Ends::Exit(0)]);
        assert_eq!(command.says(1).len(), 30);
        assert_eq!(Command::find(b"echo x"), None);
    }
}
