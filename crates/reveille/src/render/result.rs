//! The screen at the end of a run: what failed and why, the account, the steps, and the next command.

use std::fmt::Write as _;
use std::path::Path;

use reveille_account::{Account, RunState, Status};
use reveille_fleet::Typed;
use reveille_ledger::export::{Spread, Summary};
use reveille_ledger::{Ledger, RunKind};
use reveille_text::harmless::{self, shortened};
use reveille_text::{Bytes, counted, duration, grouped};
use reveille_view::{Clock, Role, RunView, cells, cut, names, wrap_up_to};

use crate::again;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::groups::{Group, groups};
use crate::render::{fold, github, terminal};
use crate::usage::Usage;

/// Groups shown without `-v`.
const GROUPS: usize = 20;
/// Lines of a group's story.
const STORY: usize = 6;
/// Cells of a label.
const LABEL: usize = 12;
/// Cells used at most.
const WIDEST: usize = 160;

/// The end of a run for people.
pub(crate) struct Screen<'a> {
    pub(crate) summary: &'a Summary,
    /// The newest round.
    pub(crate) view: &'a RunView,
    /// What this process used, if it ran the run.
    pub(crate) usage: Option<Usage>,
    /// A controller works on the run.
    pub(crate) held: bool,
    /// The option with which commands find the run.
    pub(crate) state: String,
    pub(crate) allowed: Option<String>,
    /// The directory to which artifacts were written.
    pub(crate) artifacts: Option<&'a Path>,
    pub(crate) printer: Printer,
    pub(crate) on_stdout: bool,
    /// How the run was typed.
    pub(crate) typed: Option<Typed>,
    /// The details of groups are folded, as GitHub's CI does it.
    pub(crate) folds: bool,
}

impl Screen<'_> {
    /// The whole screen.
    pub(crate) fn words(&self, ledger: &Ledger) -> Result<String, Failure> {
        let summary = self.summary;
        let run = summary.record.run;
        let (groups, recovered) = groups(summary)?;
        let all = self.printer.verbose > 0;
        let shown = if all { groups.len() } else { GROUPS };
        let mut words = self.headline();
        words.push_str("\n\n");
        for group in groups.iter().take(shown) {
            let mut lines = String::new();
            self.write_group(&mut lines, group, ledger)?;
            words += &if self.folds { github::folded(&lines) } else { lines };
        }
        if groups.len() > shown {
            let rest: usize = groups[shown..].iter().map(|group| group.hosts.len()).sum();
            let (rest, more) = (counted(rest, "host"), groups.len() - shown);
            let _ = writeln!(words, "… and {rest} in {more} more groups; -v shows all");
        }
        if !groups.is_empty() {
            words.push('\n');
        }
        let mut rows = vec![("account", self.account())];
        let plain = |text: String| vec![(text, Role::Plain)];
        rows.extend(
            summary
                .interruption
                .iter()
                .map(|reason| ("stopped", plain(harmless::line(reason)))),
        );
        if summary.account.running > 0 && !self.held {
            let hosts = counted(summary.account.running, "host");
            let words = if self.view.head.durable {
                "commands continue, and resume collects their results"
            } else {
                "commands may continue, and resume records result_unknown, because they are not durable"
            };
            rows.push(("running", plain(format!("{hosts}; {words}"))));
        }
        rows.extend(self.allowed.clone().map(|allowed| ("allowed", plain(allowed))));
        if self.is_check() {
            rows.push(("check", plain(check(self.view, &summary.account))));
        } else if self.is_job()
            && let Some(changed) = changed(self.view, recovered)
        {
            rows.push(("changed", plain(changed)));
        } else if recovered > 0 {
            let hosts = counted(recovered, "host");
            rows.push((
                "recovered",
                plain(format!("{hosts} succeeded after at least one failure")),
            ));
        }
        for (label, text) in rows {
            self.write_row(&mut words, label, text);
        }
        if self.is_job() && (all || self.is_check() || !groups.is_empty()) {
            self.write_steps(&mut words);
        }
        let mut rows = self.timing();
        if let Some(usage) = self.usage {
            let shown = duration::shown_seconds;
            let hosts = match usage.hosts {
                0 => String::new(),
                hosts => format!(" ({} a host)", shown(usage.cpu_s / hosts as f64)),
            };
            let (cpu, peak) = (shown(usage.cpu_s), Bytes(usage.peak_bytes));
            rows.push(("controller", format!("{cpu} CPU{hosts}, peak {peak}")));
        }
        rows.extend(
            self.artifacts
                .map(|directory| ("artifacts", directory.display().to_string())),
        );
        rows.push(("logs", format!("reveille logs{} {run} HOST", self.state)));
        for (label, text) in rows {
            self.write_row(&mut words, label, plain(text));
        }
        for (index, command) in self.next().into_iter().enumerate() {
            let label = if index == 0 { "next" } else { "" };
            self.write_row(&mut words, label, vec![(command, Role::Strong)]);
        }
        words.truncate(words.trim_end().len());
        Ok(words)
    }

    fn tone(&self, text: &str, role: Role) -> String {
        if self.on_stdout {
            self.printer.tone_out(text, role)
        } else {
            self.printer.tone_err(text, role)
        }
    }

    /// Cells of a line.
    fn width(&self) -> usize {
        if self.printer.on_terminal(self.on_stdout) {
            let size = if self.on_stdout {
                terminal::size_of_output()
            } else {
                terminal::size()
            };
            size.columns.saturating_sub(1).clamp(20, WIDEST)
        } else {
            // Nothing is wrapped or cut for a file; lists of hosts keep to a length.
            usize::MAX
        }
    }

    /// A run of a job, not of a single command.
    fn is_job(&self) -> bool {
        matches!(
            self.summary.record.spec.kind,
            RunKind::Run | RunKind::Check | RunKind::Drill
        )
    }

    fn is_check(&self) -> bool {
        self.summary.record.spec.kind == RunKind::Check
    }

    /// `deploy-app  r-…  finished in 5 m 30 s: 17 of 512 failed`
    fn headline(&self) -> String {
        let Summary {
            record,
            account,
            timing,
            ..
        } = self.summary;
        let planned = grouped(account.planned);
        let failed = account.failed + account.quarantined + account.ghost;
        let cancelled = account.cancelled;
        let took = timing.wall_s.map(duration::shown_seconds);
        let after = |verb: &str| match &took {
            Some(took) => format!("{verb} {took}"),
            None => verb.split(' ').next().unwrap_or(verb).to_owned(),
        };
        let (what, role) = match record.state {
            RunState::Open if self.held => (
                format!("is running: {} of {planned} ended", account.ended()),
                Role::Live,
            ),
            RunState::Open | RunState::Interrupted => (after("interrupted after"), Role::Odd),
            RunState::Closed => {
                let how = match took {
                    Some(took) if record.round > 1 => format!("round {} took {took}", record.round),
                    None if record.round > 1 => format!("round {} finished", record.round),
                    _ => after("finished in"),
                };
                match (failed, cancelled) {
                    (0, 0) => (format!("{how}: {planned} succeeded"), Role::Good),
                    (0, cancelled) => {
                        let words = format!("{how}: {} of {planned} cancelled", grouped(cancelled));
                        (words, Role::Bad)
                    }
                    (failed, cancelled) => {
                        let mut words = format!("{how}: {} of {planned} failed", grouped(failed));
                        if cancelled > 0 {
                            let _ = write!(words, ", {} cancelled", grouped(cancelled));
                        }
                        (words, Role::Bad)
                    }
                }
            }
        };
        let (verb, result) = what.split_once(": ").unwrap_or((&what, ""));
        let result = if result.is_empty() {
            String::new()
        } else {
            format!(": {}", self.tone(result, role))
        };
        let run = record.run.to_string();
        let room = self.width().saturating_sub(cells(&run) + cells(&what) + 4).max(8);
        let name = cut(&self.view.head.name, room.clamp(24, 60));
        let name = self.tone(&name, Role::Strong);
        if room < 24 && cells(&self.view.head.name) > room {
            return format!("{name}  {run}\n{verb}{result}");
        }
        format!("{name}  {run}  {verb}{result}")
    }

    /// The account, with its verdict.
    fn account(&self) -> Vec<(String, Role)> {
        let account = self.summary.account;
        let (verdict, role) = if !account.balanced() {
            ("not all accounted for", Role::Bad)
        } else if account.ghost > 0 {
            ("hosts are unaccounted for", Role::Bad)
        } else {
            ("all accounted for", Role::Good)
        };
        vec![(format!("{account}; "), Role::Plain), (verdict.to_owned(), role)]
    }

    /// A row: its label, and text that is wrapped between words under itself.
    fn write_row(&self, words: &mut String, label: &str, text: Vec<(String, Role)>) {
        let width = self.width();
        let whole: usize = text.iter().map(|(text, _)| cells(text)).sum();
        let label = format!("{label:<LABEL$}");
        if LABEL + whole <= width {
            let text: String = text.iter().map(|(text, role)| self.tone(text, *role)).collect();
            let _ = writeln!(words, "{label}{text}");
            return;
        }
        // A command is one line, so that it can be copied.
        if let [(command, role @ Role::Strong)] = text.as_slice() {
            let _ = writeln!(words, "{label}{}", self.tone(command, *role));
            return;
        }
        let mut label = label;
        for (text, role) in text {
            for line in wrap_up_to(text.trim_end(), width.saturating_sub(LABEL).max(8), 8) {
                let _ = writeln!(words, "{label}{}", self.tone(&line, role));
                label = " ".repeat(LABEL);
            }
        }
    }

    fn write_group(&self, words: &mut String, group: &Group, ledger: &Ledger) -> Result<(), Failure> {
        let width = self.width();
        let step = group
            .step
            .as_ref()
            .filter(|_| self.is_job())
            .map(|step| format!(" in {}", shortened(&harmless::line(step), 40)))
            .unwrap_or_default();
        let role = match group.class.status() {
            Status::Cancelled => Role::Odd,
            _ => Role::Bad,
        };
        let class = self.tone(group.class.as_str(), role);
        let status = match group.status.as_str() {
            "" => String::new(),
            status => format!(", {status}"),
        };
        let _ = writeln!(
            words,
            "{}: {class}{step}{status}",
            counted(group.hosts.len(), "host")
        );
        let most = if self.printer.verbose > 0 {
            usize::MAX
        } else {
            STORY
        };
        // The heading has said it.
        let story = group
            .story
            .strip_prefix(&group.status)
            .map(|rest| rest.strip_prefix([':', ';']).unwrap_or(rest).trim_start());
        let story = story.unwrap_or(&group.story);
        for (index, line) in story.lines().take(most).enumerate() {
            let example = match group.hosts.first() {
                Some((host, _)) if index == 0 && group.varies => format!("{host}: "),
                _ => String::new(),
            };
            let lines = if self.printer.verbose > 0 { usize::MAX } else { 2 };
            let text = format!("{example}{line}");
            let text = if self.printer.verbose > 0 {
                text
            } else {
                shortened(&text, 400)
            };
            for piece in wrap_up_to(&text, width.saturating_sub(2).max(8), lines) {
                let _ = writeln!(words, "{}", self.printer.remote(&piece));
            }
        }
        if self.printer.verbose > 1 && !group.story.is_empty() {
            self.write_output(words, group, ledger)?;
        }
        let mut hosts: Vec<&str> = group.hosts.iter().map(|(host, _)| host.as_str()).collect();
        hosts.sort_unstable();
        let room = width.saturating_sub(2).max(8);
        let list = if self.printer.verbose > 0 {
            names::fold(hosts)
        } else {
            names::fold_up_to(hosts, room.min(200))
        };
        for line in names::wrap(&list, room) {
            let _ = writeln!(words, "  {}", self.tone(&line, Role::Faint));
        }
        Ok(())
    }

    /// The output of a group's first host (`-vv`).
    fn write_output(&self, words: &mut String, group: &Group, ledger: &Ledger) -> Result<(), Failure> {
        let Some(host) = group.hosts.first() else {
            return Ok(());
        };
        let lines = fold::last_lines(ledger, self.summary.record.run, host)?;
        if !lines.is_empty() {
            let _ = writeln!(words, "  the last lines of {}:", host.0);
            for line in lines {
                let _ = writeln!(words, "  {}", self.printer.remote(&line));
            }
        }
        Ok(())
    }

    /// What each step came to on the hosts of the newest round. Columns that do not fit are left out.
    fn write_steps(&self, words: &mut String) {
        let steps = self.view.steps.iter().zip(0u32..);
        let steps: Vec<_> = steps
            .filter(|(step, _)| step.ended() + step.running > 0)
            .collect();
        if steps.is_empty() {
            return;
        }
        let width = self.width().min(WIDEST);
        let is_check = self.is_check();
        let mut columns = if is_check {
            vec![("ran", 6), ("changes", 8), ("would run", 10), ("unknown", 8)]
        } else {
            vec![("ran", 6), ("changed", 8)]
        };
        // With names of 8 characters, all fit into 60 columns.
        columns.extend([("skipped", 8), ("failed", 7)]);
        if width >= 80 {
            columns.iter_mut().skip(1).for_each(|(_, width)| *width += 1);
        }
        if !is_check {
            columns.extend([("p50", 10), ("p95", 10)]);
            if width >= 110 {
                columns.push(("max", 11));
            }
        }
        let numbers = |columns: &[(&str, usize)]| columns.iter().map(|(_, width)| width).sum::<usize>();
        // Without room for the label's column, names begin at the left.
        let indent = if width >= LABEL + numbers(&columns) + 16 {
            LABEL
        } else {
            2
        };
        while columns.len() > 4 && width < indent + numbers(&columns) + 8 {
            columns.pop();
        }
        let names: Vec<String> = steps
            .iter()
            .map(|(_, index)| self.view.step_name(*index))
            .collect();
        let longest = names.iter().map(|name| cells(name)).max().unwrap_or(0);
        let name = longest.min(width.saturating_sub(indent + numbers(&columns)).clamp(8, 40));
        let heads = columns.iter().fold(String::new(), |mut heads, (head, width)| {
            let _ = write!(heads, "{head:>width$}");
            heads
        });
        let (label, rest) = if indent == LABEL {
            (LABEL, name)
        } else {
            (indent + name, 0)
        };
        let _ = writeln!(words, "{:<label$}{:rest$}{heads}", "steps", "");
        for ((step, _), text) in steps.iter().zip(&names) {
            let text = cut(text, name);
            let blanks = " ".repeat(name.saturating_sub(cells(&text)));
            let _ = write!(words, "{:indent$}{text}{blanks}", "");
            let times = step.times();
            for (head, width) in &columns {
                let (value, role) = match *head {
                    "ran" => (grouped(step.ran()), Role::Plain),
                    "changed" | "changes" => (grouped(step.changed), Role::Plain),
                    "would run" => (grouped(step.would), Role::Plain),
                    "unknown" => (grouped(step.undecided), Role::Plain),
                    "skipped" => (grouped(step.skipped), Role::Plain),
                    "failed" if step.failed > 0 => (grouped(step.failed), Role::Bad),
                    "failed" => ("0".to_owned(), Role::Plain),
                    "p50" => (
                        times.map_or_else(String::new, |times| short(times.p50)),
                        Role::Plain,
                    ),
                    "p95" => (
                        times.map_or_else(String::new, |times| short(times.p95)),
                        Role::Plain,
                    ),
                    _ => (
                        times.map_or_else(String::new, |times| short(times.max)),
                        Role::Plain,
                    ),
                };
                let blanks = " ".repeat(width.saturating_sub(cells(&value)));
                let _ = write!(words, "{blanks}{}", self.tone(&value, role));
            }
            words.truncate(words.trim_end_matches(' ').len());
            words.push('\n');
        }
    }

    fn timing(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let timing = &self.summary.timing;
        let shown = duration::shown_seconds;
        let mut time = match timing.wall_s {
            Some(wall) => shown(wall),
            None if timing.ended.is_some() => "unknown, as the clock was set back".to_owned(),
            None => return rows,
        };
        let clock = Clock::here();
        if let Some(opened) = self.view.opened_ms {
            let newest = self.view.newest_ms;
            let one_day = clock.date(opened) == clock.date(newest);
            let shown = |ms| {
                if one_day {
                    clock.time(ms)
                } else {
                    clock.date_time(ms)
                }
            };
            let _ = write!(time, ", {} to {}", shown(opened), shown(newest));
        }
        if let Some(Spread { p50, p99, max, .. }) = timing.hosts {
            let [p50, p99, max] = [p50, p99, max].map(shown);
            let _ = write!(time, "; a host p50 {p50}, p99 {p99}, max {max}");
        }
        rows.push(("time", time));
        let phases = [
            ("TCP", timing.phases.tcp),
            ("banner", timing.phases.banner),
            ("key exchange", timing.phases.key_exchange),
            ("authentication", timing.phases.authentication),
        ];
        let phases = phases
            .into_iter()
            .filter_map(|(name, spread)| Some((name, spread?)));
        // All of them are zero if no host was reached over a network.
        if phases.clone().any(|(_, spread)| spread.max > 0.0)
            && (self.width() >= 119 || self.printer.verbose > 0)
        {
            let phases: Vec<String> = phases
                .map(|(name, spread)| format!("{name} {}", shown(spread.p50)))
                .collect();
            rows.push(("connecting", format!("p50 of {}", phases.join(", "))));
        }
        if let Some(ended) = &timing.ended_attempts {
            let attempts = counted(ended.count, "attempt");
            let [p50, max] = [ended.lag.p50, ended.lag.max].map(shown);
            rows.push((
                "watchdog",
                format!(
                    "killed {attempts}; the last progress was {p50} before the kill (median), at most {max}"
                ),
            ));
        }
        if self.view.slowest.len() > 1 && self.summary.account.planned > 5 {
            let slowest = self.view.slowest.iter();
            let mut slowest: Vec<String> = slowest
                .map(|(ms, host)| format!("{host} {}", duration::shown_millis(*ms)))
                .collect();
            if let Some(step) = self.slowest_step() {
                slowest.insert(0, step);
            }
            rows.push(("slowest", slowest.join(", ")));
        }
        rows
    }

    /// `install p95 37 s`, for a job of several steps.
    fn slowest_step(&self) -> Option<String> {
        let ran = self
            .view
            .steps
            .iter()
            .zip(0u32..)
            .filter(|(step, _)| step.ran() > 0);
        let times = ran
            .clone()
            .filter_map(|(step, index)| Some((step.times()?.p95, index)));
        let (p95, index) = times.max_by_key(|(p95, _)| *p95)?;
        (ran.count() > 1).then(|| {
            let name = shortened(&self.view.step_name(index), 30);
            format!("step {name} (p95 {})", duration::shown_millis(p95))
        })
    }

    /// The commands that continue.
    fn next(&self) -> Vec<String> {
        let (run, state) = (self.summary.record.run, &self.state);
        if self.held {
            return vec![format!("reveille show --follow{state} {run}")];
        }
        let mut next: Vec<String> = next_command(self.summary, state).into_iter().collect();
        if self.summary.record.state == RunState::Closed
            && !next.is_empty()
            && let Some(typed) = &self.typed
        {
            let again = again::command(typed, run, &self.summary.account);
            next.push(format!("{again}  # a new run: reads the job and the inventory again, and knows no results of this one"));
        }
        next
    }
}

/// At most three digits and a unit: how long a step takes.
fn short(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{:.1} s", ms as f64 / 1000.0),
        10_000..59_500 => format!("{} s", (ms + 500) / 1000),
        ms => duration::shown_millis((ms + 500) / 1000 * 1000),
    }
}

/// What a check found: `files would change on 2 hosts; other steps would run on 40 hosts; nothing was changed`
fn check(view: &RunView, account: &Account) -> String {
    let unknown = account.planned - account.success.min(account.planned);
    let mut words = match view.changed {
        0 if account.success == 0 => return format!("unknown on {}", counted(unknown, "host")),
        0 => "no file would change".to_owned(),
        changed => format!("files would change on {}", counted(changed, "host")),
    };
    if view.would > 0 {
        let hosts = counted(view.would, "host");
        let _ = write!(words, "; other steps would run on {hosts}");
    }
    if view.undecided > 0 {
        let hosts = counted(view.undecided, "host");
        let _ = write!(words, "; some can't be checked on {hosts}");
    }
    words.push_str("; nothing was changed");
    if unknown > 0 {
        let _ = write!(words, "; unknown on {}", counted(unknown, "host"));
    }
    words
}

/// `461 hosts; 34 had nothing to do; 8 recovered`; `None` if there is nothing to say.
fn changed(view: &RunView, recovered: usize) -> Option<String> {
    if view.ended_here == 0 {
        return None;
    }
    let mut words = counted(view.changed, "host");
    if view.nothing_to_do > 0 {
        let _ = write!(words, "; {} had nothing to do", grouped(view.nothing_to_do));
    }
    if recovered > 0 {
        let _ = write!(words, "; {} recovered", grouped(recovered as u64));
    }
    Some(words)
}

/// The command to run next.
fn next_command(summary: &Summary, state: &str) -> Option<String> {
    let run = summary.record.run;
    let account = &summary.account;
    // The hosts of a drill end with it.
    let is_drill = summary.record.spec.kind == RunKind::Drill;
    if summary.record.state != RunState::Closed {
        return (!is_drill).then(|| format!("reveille resume{state} {run}"));
    }
    if account.ghost > 0 || !account.balanced() {
        return Some(format!("reveille audit{state} {run}"));
    }
    let failed = account.failed + account.quarantined + account.cancelled > 0;
    (failed && !is_drill).then(|| format!("reveille retry{state} {run}"))
}
