//! How `top` looks: the whole screen, laid out in lines.

use reveille_account::{Class, HostName, RunState, Status};
use reveille_text::duration::shown_millis;
use reveille_text::grouped;

use super::{Sort, Tab, Top, Wanted};
use crate::block::{Size, bar, counts, elapsed, title};
use crate::clock::Clock;
use crate::paint::{Line, Role, cells, cut, cut_middle};
use crate::run::RunView;

/// Cells of a host's name and of a step's name.
const NAME: usize = 24;
const STEP: usize = 16;
/// From this width on, addresses and tries are shown.
const WIDE: usize = 120;

/// A row of the list of hosts.
struct Row {
    host: HostName,
    address: String,
    state: String,
    role: Role,
    step: String,
    attempt: u32,
    for_ms: u64,
    words: String,
}

// === impl Top ===

impl Top {
    /// Lays out the whole screen.
    pub fn screen(&mut self, view: &RunView, now_ms: u64, size: Size, clock: &Clock) -> Vec<Line> {
        let width = size.columns.saturating_sub(1).max(20);
        let mut lines = vec![self.title(view, now_ms, size, clock)];
        lines.push(bar(view, width));
        lines.push(counts(view, now_ms, size.columns, width));
        lines.push(Line::new());
        if self.help {
            lines.extend(HELP.iter().map(|line| Line::from(*line)));
        } else if let Some(class) = self.class().filter(|_| self.explained) {
            lines.extend(explained(class, width));
        } else if let Some(wanted) = self.open.clone() {
            self.add_host(&mut lines, &wanted, view, now_ms, size);
        } else {
            self.add_tabs(&mut lines, width);
            match self.tab {
                Tab::Hosts | Tab::Failures => self.add_hosts(&mut lines, view, now_ms, size),
                Tab::Steps => self.add_steps(&mut lines, view, size),
                Tab::Events => {
                    let events: Vec<Line> = self
                        .events
                        .iter()
                        .filter(|line| self.is_shown(&line.text(false)))
                        .cloned()
                        .collect();
                    self.add_scrolled(&mut lines, &events, size, true);
                }
            }
        }
        lines.truncate(size.rows.saturating_sub(1));
        while lines.len() + 1 < size.rows {
            lines.push(Line::new());
        }
        lines.push(self.foot());
        lines.into_iter().map(|line| line.cut(width)).collect()
    }

    /// The title of the block, with the state of the run.
    fn title(&self, view: &RunView, now_ms: u64, size: Size, clock: &Clock) -> Line {
        let width = size.columns.saturating_sub(1).max(20);
        let state = match self.state {
            (RunState::Closed, _) => "closed",
            (RunState::Open, true) => "open",
            _ => "interrupted",
        };
        let room = width.saturating_sub(state.len() + 2);
        let wide = title(view, now_ms, size.columns.max(WIDE), room, clock);
        let mut line = Line::new().with(state, Role::Plain).with("  ", Role::Plain);
        line.0.extend(wide.0);
        if size.columns < WIDE {
            let mut right = Line::new().with(format!("{}  ", elapsed_of(view, now_ms)), Role::Faint);
            right.push(format!("{:>2} %", crate::block::percent(view)), Role::Plain);
            line = Line::new().with(cut(&view.head.name, 24), Role::Strong);
            line.push(format!("  {}  {state}", view.head.run), Role::Plain);
            if let Some(batch) = view.batch {
                right.0.insert(
                    0,
                    crate::paint::Span {
                        text: format!("batch {}/{}  ", batch.number, batch.of),
                        role: Role::Plain,
                    },
                );
            }
            line = line.cut(width.saturating_sub(right.width() + 2));
            line.push_right(right, width);
        }
        line
    }

    fn foot(&self) -> Line {
        if self.filtering {
            return Line::new()
                .with(format!("/{}", self.filter), Role::Strong)
                .with("_", Role::Live);
        }
        if !self.said.is_empty() {
            return Line::new().with(self.said.clone(), Role::Odd);
        }
        let keys = if self.open.is_some() {
            "Esc back  l output  e explain  y copy command  n p next, previous  q quit"
        } else {
            "/ filter  s sort  f failed  Enter host  l logs  Space pause  ? keys  q quit"
        };
        let paused = if self.paused { "PAUSED  " } else { "" };
        Line::new().with(paused, Role::Odd).with(keys, Role::Faint)
    }

    fn add_tabs(&self, lines: &mut Vec<Line>, width: usize) {
        let failures = self
            .ended
            .values()
            .filter(|ended| ended.class.status() != Status::Success)
            .count();
        let names = [
            (Tab::Hosts, "1 Hosts".to_owned()),
            (Tab::Failures, format!("2 Failures {}", grouped(failures as u64))),
            (Tab::Steps, "3 Steps".to_owned()),
            (Tab::Events, "4 Events".to_owned()),
        ];
        let mut line = Line::new();
        for (tab, name) in names {
            if !line.0.is_empty() {
                line.push("  ", Role::Plain);
            }
            if tab == self.tab {
                line.push(format!("[{name}]"), Role::Strong);
            } else {
                line.push(name, Role::Plain);
            }
        }
        let mut right = Vec::new();
        if !self.filter.is_empty() {
            right.push(format!("filter: {}", self.filter));
        }
        if self.failed_only {
            right.push("failed only".to_owned());
        }
        if matches!(self.tab, Tab::Hosts | Tab::Failures) {
            let sort = match self.sort {
                Sort::Attention => "attention",
                Sort::Name => "name",
                Sort::Time => "time",
            };
            let reverse = if self.reverse { ", reversed" } else { "" };
            right.push(format!("sort: {sort}{reverse}"));
        }
        line.push_right(Line::new().with(right.join("  "), Role::Faint), width);
        lines.push(line);
    }

    /// Whether the filter lets a text through.
    fn is_shown(&self, text: &str) -> bool {
        match self.filter.strip_prefix('!') {
            Some("") => true,
            Some(inverted) => !contains(text, inverted),
            None => contains(text, &self.filter),
        }
    }

    fn rows(&self, view: &RunView, now_ms: u64) -> Vec<Row> {
        let running = view.rows(now_ms).map(|row| Row {
            role: if row.words.is_empty() {
                Role::Plain
            } else {
                Role::Odd
            },
            host: row.host,
            address: row.address,
            state: row.state.to_owned(),
            step: row.step,
            attempt: row.attempt,
            for_ms: row.for_ms,
            words: row.words,
        });
        let ended = self.ended.iter().map(|(host, ended)| {
            let failed = ended.class.status() != Status::Success;
            Row {
                host: host.clone(),
                address: String::new(),
                state: ended.class.as_str().to_owned(),
                role: if failed { Role::Bad } else { Role::Good },
                step: ended.step.clone(),
                attempt: ended.attempts,
                for_ms: ended.took_ms,
                words: ended.words.clone(),
            }
        });
        let failed = |row: &Row| row.role == Role::Bad;
        let mut rows: Vec<Row> = match self.tab {
            Tab::Failures => ended.filter(failed).collect(),
            _ if self.failed_only => ended.filter(failed).collect(),
            // Failed ones come after the running ones, then all others.
            _ => {
                let (bad, good): (Vec<Row>, Vec<Row>) = ended.partition(failed);
                running.chain(bad).chain(good).collect()
            }
        };
        rows.retain(|row| self.is_shown(&format!("{} {} {} {}", row.host, row.state, row.step, row.words)));
        match self.sort {
            Sort::Attention => {}
            Sort::Name => rows.sort_by(|one, other| one.host.cmp(&other.host)),
            Sort::Time => rows.sort_by_key(|row| std::cmp::Reverse(row.for_ms)),
        }
        if self.reverse {
            rows.reverse();
        }
        rows
    }

    fn add_hosts(&mut self, lines: &mut Vec<Line>, view: &RunView, now_ms: u64, size: Size) {
        let rows = self.rows(view, now_ms);
        let room = size.rows.saturating_sub(lines.len() + 3).max(1);
        self.chosen = self.chosen.min(rows.len().saturating_sub(1));
        self.first = self
            .first
            .min(self.chosen)
            .max((self.chosen + 1).saturating_sub(room));
        let shown = &rows[self.first.min(rows.len())..rows.len().min(self.first + room)];
        let wide = size.columns >= WIDE;
        let widest = |text: fn(&Row) -> &str, least: usize, most: usize| {
            let cells = shown.iter().map(|row| cells(text(row)));
            cells.max().unwrap_or(0).clamp(least, most)
        };
        let name = widest(|row| row.host.as_str(), 8, NAME);
        let address = if wide {
            widest(|row| &row.address, 7, 30)
        } else {
            0
        };
        let state = widest(|row| &row.state, 10, 20);
        let step = widest(|row| &row.step, 8, STEP);
        let mut head = Line::new().with(format!("  {:name$}", "HOST"), Role::Faint);
        if wide {
            head.push(format!("  {:address$}", "ADDRESS"), Role::Faint);
        }
        head.push(format!("  {:state$}  {:step$}", "STATE", "STEP"), Role::Faint);
        if wide {
            head.push("  TRY", Role::Faint);
        }
        head.push(format!("  {:>8}  WHAT", "TIME"), Role::Faint);
        lines.push(head);
        for (index, row) in shown.iter().enumerate() {
            let is_chosen = self.first + index == self.chosen;
            let mut line = Line::new().with(if is_chosen { "> " } else { "  " }, Role::Live);
            let mut column = |text: String, cells: usize, role: Role| {
                let end = line.width() + cells;
                line.push(text, role);
                line.pad(end);
                line.push("  ", Role::Plain);
            };
            let strong = if is_chosen { Role::Strong } else { Role::Plain };
            column(cut_middle(row.host.as_str(), name), name, strong);
            if wide {
                column(cut_middle(&row.address, address), address, Role::Faint);
            }
            column(cut(&row.state, state), state, row.role);
            column(cut(&row.step, step), step, Role::Plain);
            if wide {
                column(format!("{:>3}", row.attempt), 3, Role::Plain);
            }
            let seconds = if row.for_ms < 10_000 {
                row.for_ms
            } else {
                row.for_ms / 1000 * 1000
            };
            column(format!("{:>8}", shown_millis(seconds)), 8, Role::Faint);
            line.push(row.words.clone(), row.role);
            lines.push(line);
        }
        if rows.is_empty() {
            let words = match self.tab {
                Tab::Failures => "  no host has failed",
                _ => "  no hosts",
            };
            lines.push(Line::new().with(words, Role::Faint));
        }
        self.rows = rows.into_iter().map(|row| row.host).collect();
    }

    fn add_steps(&mut self, lines: &mut Vec<Line>, view: &RunView, size: Size) {
        let width = size.columns.saturating_sub(1).max(20);
        let numbers = 6 + 5 + 6 + 9 + 6 + 6 + 8 + 8;
        let names: Vec<String> = (0u32..)
            .zip(&view.steps)
            .map(|(index, _)| view.step_name(index))
            .collect();
        let longest = names.iter().map(|name| cells(name)).max().unwrap_or(0);
        let name = longest.min(width.saturating_sub(numbers + 2).max(8)).max(4);
        let head = format!(
            "  {:name$}{:>6}{:>5}{:>6}{:>9}{:>6}{:>6}{:>8}{:>8}",
            "STEP", "WAIT", "RUN", "OK", "CHANGED", "SKIP", "FAIL", "P50", "P95"
        );
        let mut table = vec![Line::new().with(head, Role::Faint)];
        for ((step, index), text) in view.steps.iter().zip(0u32..).zip(&names) {
            let text = cut(text, name);
            let blanks = " ".repeat(name.saturating_sub(cells(&text)));
            let waiting = view.before_step(index);
            let times = step.times();
            let time = |ms: Option<u64>| ms.map_or_else(String::new, shown_millis);
            let mut line = Line::from(
                format!(
                    "  {text}{blanks}{:>6}{:>5}",
                    grouped(waiting),
                    grouped(step.running)
                )
                .as_str(),
            );
            line.push(
                format!(
                    "{:>6}{:>9}{:>6}",
                    grouped(step.ok + step.changed),
                    grouped(step.changed),
                    grouped(step.skipped + step.would + step.undecided)
                ),
                Role::Plain,
            );
            line.push(
                format!("{:>6}", grouped(step.failed)),
                if step.failed > 0 { Role::Bad } else { Role::Plain },
            );
            line.push(
                format!(
                    "{:>8}{:>8}",
                    time(times.map(|times| times.p50)),
                    time(times.map(|times| times.p95))
                ),
                Role::Faint,
            );
            table.push(line);
        }
        self.add_scrolled(lines, &table, size, false);
    }

    fn add_host(&mut self, lines: &mut Vec<Line>, wanted: &Wanted, view: &RunView, now_ms: u64, size: Size) {
        let host = &wanted.host;
        let mut line = Line::new().with(host.as_str(), Role::Strong);
        if let Some(running) = view.host(host) {
            if let Some(address) = &running.address {
                line.push(format!("  {address}"), Role::Faint);
            }
            let row = view.rows(now_ms).find(|row| row.host == *host);
            if let Some(row) = row {
                let step = if row.step.is_empty() {
                    String::new()
                } else {
                    format!(" {}, attempt {}", row.step, row.attempt)
                };
                let time = shown_millis(row.for_ms / 1000 * 1000);
                line.push(format!("  {}{step}, for {time}", row.state), Role::Live);
            }
        } else if let Some(ended) = self.ended.get(host) {
            let role = Role::of(ended.class.status() == Status::Success);
            line.push(
                format!("  {} after {}", ended.class, shown_millis(ended.took_ms)),
                role,
            );
        } else {
            line.push("  not dispatched yet", Role::Faint);
        }
        lines.push(line);
        lines.push(Line::new());
        let details = std::mem::take(&mut self.details);
        self.add_scrolled(lines, &details, size, wanted.output);
        self.details = details;
    }

    /// Adds the part of a text that is scrolled to. With `from_end`, 0 is its end.
    fn add_scrolled(&mut self, lines: &mut Vec<Line>, text: &[Line], size: Size, from_end: bool) {
        let room = size.rows.saturating_sub(lines.len() + 2).max(1);
        let most = text.len().saturating_sub(room);
        self.first = self.first.min(most);
        let begin = if from_end { most - self.first } else { self.first };
        lines.extend(text.iter().skip(begin).take(room).cloned());
    }
}

fn elapsed_of(view: &RunView, now_ms: u64) -> String {
    elapsed(now_ms.saturating_sub(view.opened_ms.unwrap_or(now_ms)))
}

/// Whether a text contains a word, whatever its case.
fn contains(text: &str, word: &str) -> bool {
    text.to_lowercase().contains(&word.to_lowercase())
}

/// What `reveille explain` says about a class.
fn explained(class: Class, width: usize) -> Vec<Line> {
    let mut lines = vec![Line::new().with(class.as_str(), Role::Bad), Line::new()];
    for (label, text) in [
        ("meaning", class.meaning()),
        ("causes", class.causes()),
        ("next", class.next()),
    ] {
        for (index, piece) in crate::paint::wrap(text, width.saturating_sub(10).max(8))
            .into_iter()
            .enumerate()
        {
            let label = if index == 0 { label } else { "" };
            lines.push(
                Line::new()
                    .with(format!("{label:<10}"), Role::Faint)
                    .with(piece, Role::Plain),
            );
        }
    }
    lines
}

const HELP: [&str; 16] = [
    "1 2 3 4      hosts, failures, steps, events",
    "j k, arrows  down, up; PgDn PgUp by a page; g G first, last",
    "/            filter: a word of host, state, step or message; ! before it inverts",
    "Esc          back, or clear the filter",
    "s S          sort by attention, name or time; reverse",
    "f            failed hosts only",
    "Enter        what happened on the host; n p next, previous",
    "l            output of the host",
    "e            explain why it failed",
    "y            copy the command that prints its logs",
    "Space        pause",
    "q, Ctrl-C    quit; the run goes on",
    "",
    "Leaving changes nothing: top only reads.",
    "",
    "Press any key.",
];
