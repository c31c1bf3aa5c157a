//! The lines that stay, as text: wrapped for a terminal, or one by one for a log.

use reveille_account::HostName;
use reveille_text::{grouped, harmless};

use crate::block::percent;
use crate::clock::Clock;
use crate::notes::{Note, Tag};
use crate::paint::{Line, Role, cells, wrap_up_to};
use crate::run::RunView;

/// Lines that one note takes on a terminal at most.
const MOST: usize = 2;
/// Cells used at most.
const WIDEST: usize = 160;

/// A note for a terminal of `columns` cells: two lines at most, wrapped between words with a hanging indent.
pub fn on_terminal(note: &Note, columns: usize, clock: &Clock) -> Vec<Line> {
    let width = columns.saturating_sub(1).clamp(20, WIDEST);
    let mut head = Line::new().with(clock.time(note.at_ms), Role::Faint);
    head.push("  ", Role::Plain);
    if let Some(tag) = note.tag {
        head.push(tag.as_str(), role(tag));
        head.push("  ", Role::Plain);
    }
    let indent = head.width();
    let host = note
        .host
        .as_ref()
        .map_or(String::new(), |host| format!("{host}  "));
    let text = format!("{host}{}", note.words);
    let pieces = wrap_up_to(text.trim_end(), width.saturating_sub(indent).max(8), MOST);
    let mut lines = Vec::new();
    for piece in pieces {
        let mut line = if lines.is_empty() {
            head.clone()
        } else {
            Line::new().with(" ".repeat(indent), Role::Plain)
        };
        match piece.strip_prefix(host.trim_end()) {
            Some(rest) if lines.is_empty() && !host.is_empty() => {
                line.push(host.trim_end(), Role::Strong);
                line.push(rest, Role::Plain);
            }
            _ => line.push(piece, Role::Plain),
        }
        lines.push(line);
    }
    lines
}

/// A note as one line of a log.
pub fn in_log(note: &Note, clock: &Clock) -> Line {
    let mut line = Line::new().with(clock.time(note.at_ms), Role::Faint);
    if let Some(tag) = note.tag {
        line.push(" ", Role::Plain);
        line.push(tag.as_str(), role(tag));
    }
    if let Some(host) = &note.host {
        line.push(format!(" {host}"), Role::Strong);
    }
    line.with(format!(" {}", note.words), Role::Plain)
}

/// How far a run is, as one line of a log.
pub fn progress(view: &RunView, now_ms: u64, clock: &Clock) -> Line {
    let ended = &view.ended;
    let mut parts = vec![
        format!("ok {}", grouped(ended.success)),
        format!("failed {}", grouped(ended.failed)),
    ];
    for (word, number) in [("quarantined", ended.quarantined), ("cancelled", ended.cancelled)] {
        if number > 0 {
            parts.push(format!("{word} {}", grouped(number)));
        }
    }
    parts.push(format!("running {}", grouped(view.running())));
    parts.push(format!("recovering {}", grouped(view.recovering())));
    parts.push(format!("waiting {}", grouped(view.waiting())));
    let mut text = format!(
        " {}/{} ({} %): {}",
        grouped(ended.ended()),
        grouped(view.head.planned),
        percent(view),
        parts.join(", ")
    );
    if view.head.steps.len() > 1 {
        let mut steps: Vec<(u64, String)> = view
            .steps
            .iter()
            .zip(0u32..)
            .filter(|(step, _)| step.running > 0)
            .map(|(step, index)| (step.running, view.step_name(index)))
            .collect();
        steps.sort_by_key(|(running, _)| std::cmp::Reverse(*running));
        let steps: Vec<String> = steps
            .into_iter()
            .map(|(running, name)| format!("{name} {}", grouped(running)))
            .collect();
        if !steps.is_empty() {
            text = format!("{text}; {}", steps.join(", "));
        }
    }
    Line::new()
        .with(clock.time(now_ms), Role::Faint)
        .with(text, Role::Plain)
}

/// Who runs what: `restart  web-[123,207,348]`, and the oldest.
pub fn who_runs_what(view: &RunView, now_ms: u64, columns: usize, clock: &Clock) -> Vec<Line> {
    let time = clock.time(now_ms);
    let width = columns.saturating_sub(1).clamp(20, WIDEST);
    let running = view.running() + view.recovering();
    let verb = if running == 1 { "host is" } else { "hosts are" };
    let waiting = view.waiting();
    let waits = if waiting == 1 { "waits" } else { "wait" };
    let head = format!(
        "  {} {verb} running, {} {waits}",
        grouped(running),
        grouped(waiting)
    );
    let colon = if running > 0 { ":" } else { "" };
    let mut lines = vec![
        Line::new()
            .with(time, Role::Faint)
            .with(format!("{head}{colon}"), Role::Plain),
    ];
    let mut steps: Vec<(String, Vec<HostName>)> = Vec::new();
    let mut oldest: Option<crate::run::Row> = None;
    for row in view.rows(now_ms) {
        let name = if row.step.is_empty() {
            row.state.to_owned()
        } else {
            row.step.clone()
        };
        if oldest.as_ref().is_none_or(|oldest| oldest.for_ms < row.for_ms) {
            oldest = Some(row.clone());
        }
        match steps.iter_mut().find(|(step, _)| *step == name) {
            Some((_, hosts)) => hosts.push(row.host),
            None => steps.push((name, vec![row.host])),
        }
    }
    let label = steps
        .iter()
        .map(|(name, _)| cells(name))
        .max()
        .unwrap_or(0)
        .clamp(6, 20);
    let mut add = |name: &str, text: &str| {
        let name = crate::paint::cut(name, label);
        for (index, piece) in crate::names::wrap(text, width.saturating_sub(12 + label).max(8))
            .iter()
            .enumerate()
        {
            let name = if index == 0 { name.as_str() } else { "" };
            let mut line = Line::new().with(format!("          {name}"), Role::Plain);
            line.pad(10 + label);
            lines.push(line.with(format!("  {piece}"), Role::Faint).cut(width));
        }
    };
    for (step, hosts) in &steps {
        let hosts = crate::names::fold_up_to(hosts.iter().map(HostName::as_str), width);
        add(step, &hosts);
    }
    if let Some(oldest) = oldest {
        let time = reveille_text::duration::shown_millis(oldest.for_ms / 1000 * 1000);
        let words = if oldest.words.is_empty() {
            String::new()
        } else {
            format!("; {}", harmless::line(&oldest.words))
        };
        let doing = if oldest.step.is_empty() {
            oldest.state
        } else {
            &oldest.step
        };
        add("oldest", &format!("{}  {doing} {time}{words}", oldest.host));
    }
    lines
}

fn role(tag: Tag) -> Role {
    match tag {
        Tag::Fail => Role::Bad,
        Tag::Back => Role::Good,
        Tag::Look | Tag::Lost | Tag::Wait | Tag::Stop | Tag::Note => Role::Odd,
        Tag::Step | Tag::Link => Role::Faint,
    }
}
