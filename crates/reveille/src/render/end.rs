//! The end of a run: what failed and why, the account, and the next command.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use reveille_account::{Class, Exit, HostName, RunId, RunState, Status};
use reveille_fleet::{Judged, RunRecipe};
use reveille_ledger::export::{HostSummary, Spread, Summary, SummaryOptions, write_junit};
use reveille_ledger::{Ledger, RunKind};
use reveille_text::harmless::{self, shortened};
use reveille_text::{Bytes, counted, duration};
use serde_json::{Map, json};

use crate::cli::{Format, Report};
use crate::failure::Failure;
use crate::printer::{Printer, Tone};
use crate::render::{artifacts, fold, names, notify};
use crate::state;
use crate::usage::{self, Usage};

/// Host names shown for a group.
const NAMES: usize = 5;
/// Groups shown.
const GROUPS: usize = 20;

/// The beginning of a key's fingerprint, before the base 64.
const FINGERPRINT: &str = "SHA256:";

/// Hosts that failed alike.
struct Group {
    class: Class,
    step: Option<String>,
    /// The story of the first host.
    story: String,
    /// Some host's story has other numbers or addresses.
    varies: bool,
    hosts: Vec<HostName>,
}

/// What a command adds to the end of its run.
pub(crate) struct Extra {
    /// The exit status, which the account does not decide.
    pub(crate) exit: Exit,
    /// Printed after the end.
    pub(crate) words: String,
    /// A field of the JSON object, with its name.
    pub(crate) json: (&'static str, serde_json::Value),
}

/// Writes all reports of a run that the options ask for, after this process worked on `worked_on` hosts. Returns the exit
/// status.
#[expect(clippy::too_many_arguments, reason = "the reports depend on all of them")]
pub(crate) fn report(
    ledger: &Ledger,
    run: RunId,
    kind: RunKind,
    folded: bool,
    worked_on: usize,
    extra: Option<&Extra>,
    report: &Report,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let usage = usage::usage(worked_on);
    let options = options(usage, extra.map(|extra| extra.exit));
    let mut summary = ledger.summary(run, options.clone())?;
    let allowed = allowance(&mut summary, extra.is_some())?;
    let options = SummaryOptions {
        exit: Some(summary.exit),
        ..options
    };
    let exit = summary.exit;
    let written = write_files(ledger, &summary, options, report);
    // If the reader of standard output is gone, the other reports are written nevertheless.
    let say = || -> Result<(), Failure> {
        if report.format == Format::Json {
            printer.data(&json(&summary, extra)?)?;
        } else {
            if matches!(kind, RunKind::Exec | RunKind::Copy | RunKind::Fetch) && folded {
                let hosts: Vec<(HostName, u32)> = summary
                    .hosts_without_steps()
                    .filter_map(|host| {
                        host.map(|host| (host.class.is_some()).then_some((host.host, host.round)))
                            .transpose()
                    })
                    .collect::<Result<_, _>>()?;
                fold::print(ledger, run, &hosts, printer)?;
            }
            let state = state::option(ledger.state_directory());
            let all_well = summary.account.success == summary.account.planned;
            if !(all_well && printer.quiet) {
                let colour = |text: &str, tone| printer.tone_err(text, tone);
                printer.note(&words(
                    &summary,
                    Some(usage),
                    false,
                    &state,
                    allowed.as_deref(),
                    report.export_to.as_deref().filter(|_| written.is_ok()),
                    colour,
                )?);
            }
            if let Some(extra) = extra.filter(|extra| !extra.words.is_empty()) {
                printer.note(&format!("\n{}", extra.words));
            }
        }
        Ok(())
    };
    let said = say();
    if let Some(command) = &report.notify {
        notify::tell(command, &json(&summary, extra)?, printer);
    }
    written?;
    said?;
    Ok(exit)
}

/// Writes the files that the options ask for.
fn write_files(
    ledger: &Ledger,
    summary: &Summary,
    options: SummaryOptions,
    report: &Report,
) -> Result<(), Failure> {
    let junit = match &report.junit {
        Some(path) => write_junit(summary, path).map_err(Failure::from),
        None => Ok(()),
    };
    if let Some(directory) = &report.export_to {
        artifacts::write(ledger, summary.record.run, directory, options)?;
    }
    junit
}

/// Compares the failures with the allowance, unless the exit status is `settled`. Returns what to print about it.
pub(crate) fn allowance(summary: &mut Summary, settled: bool) -> Result<Option<String>, Failure> {
    if settled {
        return Ok(None);
    }
    let allowance = RunRecipe::allowance(&summary.record)?;
    if allowance.is_none() {
        return Ok(None);
    }
    let Judged { exit, failed, within } = allowance.judge(summary)?;
    summary.exit = exit;
    let hosts = counted(failed, "host");
    let within = if within { "within" } else { "more than" };
    Ok((failed > 0).then(|| format!("{hosts} did not succeed, {within} {allowance}")))
}

/// The summary as one line of JSON.
fn json(summary: &Summary, extra: Option<&Extra>) -> Result<String, Failure> {
    let json = match extra {
        None => serde_json::to_string(summary),
        Some(Extra {
            json: (name, value), ..
        }) => serde_json::to_value(summary).and_then(|mut json| {
            json[*name] = value.clone();
            serde_json::to_string(&json)
        }),
    };
    json.map_err(|error| Failure::System(format!("the summary can't be written as JSON: {error}")))
}

fn options(usage: Usage, exit: Option<Exit>) -> SummaryOptions {
    let mut controller = Map::new();
    controller.insert("cpu_s".to_owned(), json!(usage.cpu_s));
    controller.insert("peak_bytes".to_owned(), json!(usage.peak_bytes));
    SummaryOptions { exit, controller }
}

/// The report for people. `held` means that a controller works on the run, `state` is the option with which commands find
/// it, and `artifacts` is the directory to which they were written.
pub(crate) fn words(
    summary: &Summary,
    usage: Option<Usage>,
    held: bool,
    state: &str,
    allowed: Option<&str>,
    artifacts: Option<&Path>,
    tone: impl Fn(&str, Tone) -> String,
) -> Result<String, Failure> {
    let run = summary.record.run;
    let mut words = String::new();
    let (groups, recovered) = groups(summary)?;
    for group in groups.iter().take(GROUPS) {
        write_group(&mut words, group, &tone);
    }
    if groups.len() > GROUPS {
        let rest: usize = groups[GROUPS..].iter().map(|group| group.hosts.len()).sum();
        let _ = writeln!(
            words,
            "… and {} in {} more groups",
            counted(rest, "host"),
            groups.len() - GROUPS
        );
    }
    if !groups.is_empty() {
        words.push('\n');
    }
    let account = summary.account;
    let (verdict, shade) = if !account.balanced() {
        ("not all accounted for", Tone::Bad)
    } else if account.ghost > 0 {
        ("hosts are unaccounted for", Tone::Bad)
    } else {
        ("all accounted for", Tone::Good)
    };
    let mut rows = vec![("account", format!("{account}; {}", tone(verdict, shade)))];
    rows.extend(
        summary
            .interruption
            .iter()
            .map(|reason| ("stopped", reason.clone())),
    );
    rows.extend(allowed.map(|allowed| ("allowed", allowed.to_owned())));
    if recovered > 0 {
        let hosts = counted(recovered, "host");
        rows.push((
            "recovered",
            format!("{hosts} succeeded after at least one failure"),
        ));
    }
    add_timing(&mut rows, summary);
    if let Some(usage) = usage {
        let shown = duration::shown_seconds;
        let hosts = match usage.hosts {
            0 => String::new(),
            hosts => format!(" ({} a host)", shown(usage.cpu_s / hosts as f64)),
        };
        let (cpu, peak) = (shown(usage.cpu_s), Bytes(usage.peak_bytes));
        rows.push(("controller", format!("{cpu} CPU{hosts}, peak {peak}")));
    }
    rows.push(("logs", format!("reveille logs{state} {run} HOST")));
    rows.extend(artifacts.map(|directory| ("artifacts", directory.display().to_string())));
    let next = if held {
        Some(format!("reveille show --follow{state} {run}"))
    } else {
        next_command(summary, state)
    };
    rows.extend(next.map(|command| ("next", tone(&command, Tone::Strong))));
    let rows: Vec<String> = rows
        .into_iter()
        .map(|(label, text)| format!("{label:<12}{text}"))
        .collect();
    Ok(words + &rows.join("\n"))
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

/// Groups failed hosts by class, step and story, the largest group first. Also counts the hosts that recovered.
fn groups(summary: &Summary) -> Result<(Vec<Group>, usize), Failure> {
    let mut groups: BTreeMap<(Class, Option<String>, String), Group> = BTreeMap::new();
    let mut recovered = 0;
    for host in summary.hosts_without_steps() {
        let host = host?;
        recovered += usize::from(host.class == Some(Class::OkAfterRecovery));
        let Some(class) = host.class.filter(|_| host.status != "success") else {
            continue;
        };
        let story = story(&host);
        let key = (class, host.step.clone(), masked(&story));
        let group = groups.entry(key).or_insert_with(|| Group {
            class,
            step: host.step.clone(),
            story: story.clone(),
            varies: false,
            hosts: Vec::new(),
        });
        group.varies |= group.story != story;
        group.hosts.push(host.host);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.hosts.len()));
    Ok((groups, recovered))
}

/// What happened to a host: its message, and the last line of the command's output.
fn story(host: &HostSummary) -> String {
    let said = match host.class {
        Some(Class::CommandFailed | Class::KilledBySignal | Class::EarlyExit) => {
            let last = |text: &str| {
                harmless::block(text)
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .map(str::to_owned)
            };
            last(&host.stderr).or_else(|| last(&host.stdout))
        }
        _ => None,
    };
    let message = harmless::block(&host.message).into_owned();
    match said {
        Some(said) if message.is_empty() => said,
        Some(said) => format!("{message}: {said}"),
        None => message,
    }
}

/// A story without the words that differ from host to host: numbers, addresses, hexadecimal words, fingerprints.
fn masked(story: &str) -> String {
    let mut masked = String::with_capacity(story.len());
    let mut story = story;
    while let Some(at) = story.find(FINGERPRINT) {
        let (before, rest) = story.split_at(at);
        mask_words(before, &mut masked);
        masked.push_str("# ");
        let rest = &rest[FINGERPRINT.len()..];
        story = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+/=".contains(c));
    }
    mask_words(story, &mut masked);
    masked
}

fn mask_words(story: &str, masked: &mut String) {
    for word in story.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == ':')) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let varies = bare.bytes().any(|byte| byte.is_ascii_digit());
        masked.push_str(if varies { "# " } else { word });
    }
}

fn write_group(words: &mut String, group: &Group, tone: &impl Fn(&str, Tone) -> String) {
    let step = group
        .step
        .as_ref()
        .map(|step| format!(" in `{}`", shortened(step, 40)))
        .unwrap_or_default();
    let shade = match group.class.status() {
        Status::Cancelled => Tone::Odd,
        _ => Tone::Bad,
    };
    let class = tone(group.class.as_str(), shade);
    let _ = writeln!(words, "{}: {class}{step}", counted(group.hosts.len(), "host"));
    for (index, line) in group.story.lines().take(6).enumerate() {
        let example = match group.hosts.first() {
            Some(host) if index == 0 && group.varies => format!("{host}: "),
            _ => String::new(),
        };
        let _ = writeln!(words, "  {example}{}", shortened(line, 200));
    }
    let mut hosts: Vec<&str> = group.hosts.iter().map(HostName::as_str).collect();
    hosts.sort_unstable();
    let more = names::and_more(hosts.len().saturating_sub(NAMES));
    let names = names::fold_names(hosts.into_iter().take(NAMES));
    let _ = writeln!(words, "  {}", tone(&format!("{names}{more}"), Tone::Faint));
}

fn add_timing(rows: &mut Vec<(&str, String)>, summary: &Summary) {
    let timing = &summary.timing;
    let shown = duration::shown_seconds;
    let mut time = match timing.wall_s {
        Some(wall) => shown(wall),
        None if timing.ended.is_some() => "unknown, as the clock was set back".to_owned(),
        None => return,
    };
    if summary.record.round > 1 {
        let _ = write!(time, " in round {}", summary.record.round);
    }
    if let Some(Spread { p50, p99, max, .. }) = timing.hosts {
        let [p50, p99, max] = [p50, p99, max].map(shown);
        let _ = write!(time, "; a host p50 {p50}, p99 {p99}, max {max}");
    }
    let phases = [
        ("tcp", timing.phases.tcp),
        ("banner", timing.phases.banner),
        ("key exchange", timing.phases.key_exchange),
        ("authentication", timing.phases.authentication),
    ];
    let phases = phases
        .into_iter()
        .filter_map(|(name, spread)| Some((name, spread?)));
    // All of them are zero if no host was reached over a network.
    if phases.clone().any(|(_, spread)| spread.max > 0.0) {
        let phases: Vec<String> = phases
            .map(|(name, spread)| format!("{name} {}", shown(spread.p50)))
            .collect();
        let _ = write!(time, "; p50 of {}", phases.join(", "));
    }
    rows.push(("time", time));
    if let Some(ended) = &timing.ended_attempts {
        let attempts = counted(ended.count, "attempt");
        let [p50, max] = [ended.lag.p50, ended.lag.max].map(shown);
        rows.push((
            "watchdog",
            format!("killed {attempts}; the last progress was {p50} before the kill (median), at most {max}"),
        ));
    }
    if timing.slowest.len() > 1 && summary.account.planned > 5 {
        let slowest = timing.slowest.iter().take(3);
        let slowest: Vec<String> = slowest
            .map(|slow| format!("{} {}", slow.host, shown(slow.duration_s)))
            .collect();
        rows.push(("slowest", slowest.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_that_differ_in_numbers_are_one() {
        assert_eq!(
            masked("127.0.0.1:22 refused the connection"),
            masked("127.0.9.7:2222 refused the connection")
        );
        assert_eq!(
            masked("the key SHA256:Vo6d/9eekd+YmQ= is another"),
            masked("the key SHA256:g5GtknSGmXMSTeqVEFa is another")
        );
        assert_ne!(masked("no space left"), masked("no such file"));
    }
}
