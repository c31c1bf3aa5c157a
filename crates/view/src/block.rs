//! The block at the bottom of the terminal while a run goes on.

use reveille_text::duration::shown;
use reveille_text::grouped;
use std::time::Duration;

use crate::clock::Clock;
use crate::paint::{Line, Role, cells, cut, cut_middle};
use crate::run::{Row, RunView};

/// Cells that are used at most.
const WIDEST: usize = 160;
/// From this width on, there is a bar.
const BAR: usize = 80;
/// Below this width, there is one line.
const NARROW: usize = 60;
/// From this width on, there are more facts.
const WIDE: usize = 120;
/// Below this height, there is one line.
const LOW: usize = 12;
/// Cells of a host's name and of a step's name.
const NAME: usize = 24;
const STEP: usize = 20;
/// A cut name of a step in the row of steps has at least this many cells.
const LEAST_STEP: usize = 9;
/// Ended hosts and time before an estimate says something.
const ESTIMATE: (u64, u64) = (20, 10_000);

/// The size of a terminal, in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Cells of a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Lays out the block of a run, below an empty line. No line is wider than `size.columns - 1`. With `short`, only title
/// and counts are shown.
pub fn block(view: &RunView, now_ms: u64, size: Size, clock: &Clock, short: bool) -> Vec<Line> {
    let width = size.columns.saturating_sub(1).min(WIDEST);
    if size.columns < NARROW || size.rows < LOW {
        return vec![one_line(view, now_ms).cut(width)];
    }
    let mut lines = vec![Line::new(), title(view, now_ms, size.columns, width, clock)];
    if size.columns >= BAR && !short {
        lines.push(bar(view, width));
    }
    lines.push(counts(view, now_ms, size.columns, width));
    if !short {
        if size.columns >= BAR && view.head.steps.len() > 1 {
            lines.push(steps(view, width));
        }
        let hosts = if size.columns >= BAR { 3 } else { 1 };
        lines.extend(hosts_of(view, now_ms, size.columns, width, hosts));
    }
    lines.into_iter().map(|line| line.cut(width)).collect()
}

/// The share of hosts that have an outcome, in percent.
pub fn percent(view: &RunView) -> u64 {
    match view.head.planned {
        0 => 100,
        planned => view.ended.ended() * 100 / planned,
    }
}

/// `04:00`, `1:04:00`.
pub fn elapsed(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

fn elapsed_of(view: &RunView, now_ms: u64) -> String {
    elapsed(now_ms.saturating_sub(view.opened_ms.unwrap_or(now_ms)))
}

fn one_line(view: &RunView, now_ms: u64) -> Line {
    let mut line = Line::new().with(format!("{} %", percent(view)), Role::Plain);
    let (ended, planned) = (view.ended.ended(), view.head.planned);
    line.push(format!("  {}/{}", grouped(ended), grouped(planned)), Role::Plain);
    let failed = view.ended.failed + view.ended.quarantined;
    if failed > 0 {
        line.push("  ", Role::Plain);
        line.push(format!("failed {}", grouped(failed)), Role::Bad);
    }
    line.with(format!("  {}", elapsed_of(view, now_ms)), Role::Faint)
}

pub(crate) fn title(view: &RunView, now_ms: u64, columns: usize, width: usize, clock: &Clock) -> Line {
    let mut right = Line::new();
    if columns >= WIDE {
        right.push(format!("{}  ", clock.time(now_ms)), Role::Faint);
    }
    right.push(elapsed_of(view, now_ms), Role::Faint);
    right.push(format!("  {:>2} %", percent(view)), Role::Plain);
    let mut left = String::new();
    if columns >= WIDE {
        left = format!("{left}  {}", view.head.run);
    }
    if let Some(end) = view.stopping_ms {
        let seconds = end.saturating_sub(now_ms).div_ceil(1000);
        left = if seconds > 0 {
            format!("{left}  stopping, {seconds} s left")
        } else {
            format!("{left}  stopping")
        };
    } else if let Some(batch) = view.batch {
        left = format!("{left}  batch {}/{}", batch.number, batch.of);
        if columns >= WIDE {
            left = format!("{left}: {}", reveille_text::counted(batch.hosts, "host"));
        }
    }
    let room = width.saturating_sub(right.width() + 2 + cells(&left));
    let mut line = Line::new().with(cut(&view.head.name, room.max(8)), Role::Strong);
    line.push(left, Role::Plain);
    let mut line = line.cut(width.saturating_sub(right.width() + 2));
    line.push_right(right, width);
    line
}

pub(crate) fn bar(view: &RunView, width: usize) -> Line {
    let numbers = format!("  {}/{}", grouped(view.ended.ended()), grouped(view.head.planned));
    let room = width.saturating_sub(cells(&numbers));
    let planned = view.head.planned.max(1);
    let full = usize::try_from(view.ended.ended().saturating_mul(room as u64) / planned).unwrap_or(room);
    let full = full.min(room);
    Line::new()
        .with("█".repeat(full), Role::Live)
        .with("░".repeat(room - full), Role::Faint)
        .with(numbers, Role::Plain)
}

pub(crate) fn counts(view: &RunView, now_ms: u64, columns: usize, width: usize) -> Line {
    let ended = &view.ended;
    let shade = |number: u64, role: Role| if number > 0 { role } else { Role::Plain };
    let mut parts = vec![
        (
            format!("ok {}", grouped(ended.success)),
            shade(ended.success, Role::Good),
        ),
        (
            format!("failed {}", grouped(ended.failed)),
            shade(ended.failed, Role::Bad),
        ),
    ];
    for (word, number, role) in [
        ("quarantined", ended.quarantined, Role::Bad),
        ("cancelled", ended.cancelled, Role::Odd),
    ] {
        if number > 0 {
            parts.push((format!("{word} {}", grouped(number)), role));
        }
    }
    parts.push((format!("running {}", grouped(view.running())), Role::Live));
    let recovering = view.recovering();
    parts.push((
        format!("recovering {}", grouped(recovering)),
        shade(recovering, Role::Odd),
    ));
    parts.push((format!("waiting {}", grouped(view.waiting())), Role::Plain));
    if let Some(sessions) = view.sessions.filter(|_| columns >= WIDE) {
        let used = view.running() + view.recovering();
        parts.push((
            format!("sessions {}/{}", grouped(used), grouped(sessions)),
            Role::Plain,
        ));
    }
    let least: usize = parts.iter().map(|(text, _)| cells(text) + 2).sum();
    let wide = least + parts.len() <= width + 3 && columns >= BAR;
    let gap = if wide { "   " } else { "  " };
    let mut line = Line::new();
    for (text, role) in parts {
        if !line.0.is_empty() {
            line.push(gap, Role::Plain);
        }
        line.push(text, role);
    }
    if let Some(left) = estimate(view, now_ms) {
        line.push_right(Line::new().with(format!("ETA {left}"), Role::Faint), width);
    }
    line
}

/// How long the rest takes if it goes on like this, rounded up to ten seconds; `None` before that says something.
fn estimate(view: &RunView, now_ms: u64) -> Option<String> {
    let ms = now_ms.saturating_sub(view.opened_ms?);
    let left = view.head.planned.saturating_sub(view.ended.ended());
    if view.ended_here < ESTIMATE.0 || ms < ESTIMATE.1 || left == 0 || view.stopping_ms.is_some() {
        return None;
    }
    let seconds = (ms / 1000).saturating_mul(left) / view.ended_here;
    Some(shown(Duration::from_secs(seconds.max(1).next_multiple_of(10))))
}

fn steps(view: &RunView, width: usize) -> Line {
    let mut parts: Vec<(String, u64)> = Vec::new();
    if view.connecting() > 0 {
        parts.push(("connecting".to_owned(), view.connecting()));
    }
    for (step, index) in view.steps.iter().zip(0u32..) {
        if step.running > 0 {
            parts.push((view.step_name(index), step.running));
        }
    }
    let long = parts.iter().map(|(name, _)| cells(name)).max().unwrap_or(0);
    let laid_out = |most: usize, gap: &str| -> String {
        let texts = parts
            .iter()
            .map(|(name, count)| format!("{} {}", cut(name, most), grouped(*count)));
        texts.collect::<Vec<_>>().join(gap)
    };
    let fits = |text: &String| cells(text) <= width;
    let whole = Some(laid_out(long, "   ")).filter(fits);
    let mut tries = (LEAST_STEP..=long.max(LEAST_STEP))
        .rev()
        .map(|most| laid_out(most, "  "));
    let text = whole.or_else(|| tries.find(fits));
    // Too many steps at once: the row is cut.
    Line::new().with(text.unwrap_or_else(|| laid_out(LEAST_STEP, "  ")), Role::Plain)
}

fn hosts_of(view: &RunView, now_ms: u64, columns: usize, width: usize, most: usize) -> Vec<Line> {
    let mut rows = view.three(now_ms);
    rows.truncate(most);
    let widest = |text: fn(&Row) -> String, most: usize| {
        rows.iter()
            .map(|row| cells(&text(row)).min(most))
            .max()
            .unwrap_or(0)
    };
    let name = widest(|row| row.host.to_string(), NAME);
    let address = if columns >= WIDE {
        widest(|row| row.address.clone(), 40)
    } else {
        0
    };
    let step = widest(activity, STEP);
    let lines = rows.iter().map(|row| {
        let mut line = Line::new().with(cut_middle(row.host.as_str(), name), Role::Strong);
        line.pad(name);
        if address > 0 {
            line.push(format!("  {}", cut_middle(&row.address, address)), Role::Faint);
            line.pad(name + 2 + address);
        }
        let at = line.width() + 2;
        line.push(format!("  {}", cut(&activity(row), step)), Role::Plain);
        line.pad(at + step);
        let time = shown(Duration::from_secs(row.for_ms / 1000));
        line.push(format!("  {time:>8}"), Role::Faint);
        if !row.words.is_empty() {
            line.push("  ", Role::Plain);
            let room = width.saturating_sub(line.width());
            line.push(cut(&row.words, room), Role::Odd);
        }
        line
    });
    lines.collect()
}

/// The step of a row, or what it does instead.
fn activity(row: &Row) -> String {
    if row.step.is_empty() {
        row.state.to_owned()
    } else {
        row.step.clone()
    }
}
