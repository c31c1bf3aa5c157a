//! `reveille runs`: lists runs.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use reveille_account::{Account, Exit};
use reveille_job::JobSource;
use reveille_ledger::export::account_json;
use reveille_ledger::{Ledger, RunKind, RunRecord, RunSpec};
use reveille_text::harmless;
use reveille_text::{duration, grouped};
use reveille_view::{Clock, Role, cells, cut};
use serde_json::{Value, json};

use crate::cli::{Format, Globals, RunsArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::terminal;
use crate::state;

/// Cells of a job's name or a command, without a terminal.
const WHAT: usize = 40;

pub(crate) fn run(args: &RunsArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let since = args.since.as_deref().map(|text| since(text, now)).transpose()?;
    let mut rows = Vec::new();
    // The newest runs come first.
    for record in ledger.runs()? {
        if args.number.is_some_and(|most| rows.len() >= most as usize) {
            break;
        }
        if since.is_some_and(|since| record.spec.started_ms < since) {
            continue;
        }
        if !args.kind.is_empty() && !args.kind.iter().any(|kind| kind == record.spec.kind.as_str()) {
            continue;
        }
        let row = Row::of(&ledger, record)?;
        let is_bad = row.failed() > 0;
        if (args.failed && !is_bad) || (args.interrupted && row.state != "interrupted") {
            continue;
        }
        rows.push(row);
    }
    match args.format {
        Format::Json => {
            let runs: Vec<Value> = rows.iter().map(Row::json).collect();
            printer.data(&json!({ "schema": 1, "runs": runs }).to_string())?;
        }
        Format::Human if rows.is_empty() => printer.say("no runs"),
        Format::Human => table(&rows, printer)?,
    }
    Ok(Exit::Success)
}

/// A run of the list.
struct Row {
    record: RunRecord,
    account: Account,
    state: &'static str,
    what: String,
}

impl Row {
    fn of(ledger: &Ledger, record: RunRecord) -> Result<Self, Failure> {
        Ok(Self {
            account: ledger.account(record.run)?,
            state: state::of_run(record.state, ledger.holder(record.run)?.is_some()),
            what: what(&record.spec),
            record,
        })
    }

    /// Hosts that ended without success.
    fn failed(&self) -> u64 {
        let account = &self.account;
        account.failed + account.quarantined + account.cancelled + account.ghost
    }

    fn took_ms(&self) -> Option<u64> {
        self.record.ended_ms?.checked_sub(self.record.spec.started_ms)
    }

    /// `495 ok, 17 failed`
    fn result(&self) -> String {
        let account = &self.account;
        let mut words = Vec::new();
        for (count, word) in [
            (account.success, "ok"),
            (account.failed, "failed"),
            (account.quarantined, "quarantined"),
            (account.cancelled, "cancelled"),
            (account.running, "running"),
            (account.pending, "pending"),
            (account.ghost, "unaccounted for"),
        ] {
            if count > 0 {
                words.push(format!("{} {word}", grouped(count)));
            }
        }
        words.join(", ")
    }

    fn json(&self) -> Value {
        let spec = &self.record.spec;
        let time = |ms: u64| {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), |time| time.to_string())
        };
        json!({
            "run_id": self.record.run.to_string(),
            "uuid": self.record.run,
            "kind": spec.kind.as_str(),
            "what": self.what,
            "state": self.state,
            "started": time(spec.started_ms),
            "ended": self.record.ended_ms.map(time),
            "round": self.record.round,
            "user": spec.user,
            "node": spec.node,
            "comment": spec.comment,
            "account": account_json(&self.account),
        })
    }
}

fn table(rows: &[Row], printer: &Printer) -> Result<(), Failure> {
    let clock = Clock::here();
    let texts: Vec<[String; 6]> = rows
        .iter()
        .map(|row| {
            let started = clock.date_time(row.record.spec.started_ms);
            [
                row.record.run.to_string(),
                started[..started.len() - ":00".len()].to_owned(),
                row.record.spec.kind.as_str().to_owned(),
                row.state.to_owned(),
                row.took_ms().map_or_else(String::new, duration::shown_millis),
                row.result(),
            ]
        })
        .collect();
    let heads = ["RUN", "STARTED", "KIND", "STATE", "TOOK", "HOSTS"];
    let width = |column: usize| {
        let texts = texts.iter().map(|row| cells(&row[column]));
        texts.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let used: usize = widths.iter().map(|width| width + 2).sum();
    let room = if printer.on_terminal(true) {
        terminal::size_of_output()
            .columns
            .saturating_sub(1 + used)
            .max(12)
    } else {
        WHAT
    };
    let line = |row: &[String; 6], what: &str| {
        let columns = row.iter().zip(&widths).map(|(text, width)| {
            let blanks = " ".repeat(width.saturating_sub(cells(text)) + 2);
            format!("{text}{blanks}")
        });
        format!("{}{what}", columns.collect::<String>())
            .trim_end()
            .to_owned()
    };
    let head = line(&heads.map(str::to_owned), "WHAT");
    printer.text(&printer.tone_out(&head, Role::Faint))?;
    for (row, texts) in rows.iter().zip(&texts) {
        let mut what = cut(&harmless::line(&row.what), room);
        if let Some(comment) = &row.record.spec.comment {
            let comment = format!("# {}", harmless::line(comment));
            let left = room.saturating_sub(cells(&what) + 2);
            if !printer.on_terminal(true) || left > 6 {
                what = format!(
                    "{what}  {}",
                    if printer.on_terminal(true) {
                        cut(&comment, left)
                    } else {
                        comment
                    }
                );
            }
        }
        let text = line(texts, what.trim());
        let role = match row.state {
            "interrupted" => Role::Odd,
            "running" => Role::Live,
            _ if row.failed() > 0 => Role::Bad,
            _ => Role::Plain,
        };
        printer.text(&printer.tone_out(&text, role))?;
    }
    Ok(())
}

/// The time that `--since` names, in Unix milliseconds: a duration before now, or a date with or without a time, here.
fn since(text: &str, now_ms: u64) -> Result<u64, Failure> {
    if let Ok(before) = duration::parse(text) {
        return Ok(now_ms.saturating_sub(u64::try_from(before.as_millis()).unwrap_or(u64::MAX)));
    }
    let time = text
        .parse::<Date>()
        .map(|date| date.to_datetime(jiff::civil::Time::midnight()))
        .or_else(|_| text.parse::<DateTime>());
    let zoned = time.ok().and_then(|time| time.to_zoned(TimeZone::system()).ok());
    let zoned = zoned.ok_or_else(|| {
        Failure::usage(format!(
            "--since {text}: neither a duration, such as `2h` or `7d`, nor a date, such as `2026-11-21` or \
             `2026-11-21T10:15`"
        ))
    })?;
    Ok(u64::try_from(zoned.timestamp().as_millisecond()).unwrap_or(0))
}

/// What a run ran: the job file, the command, or the copied files.
fn what(spec: &RunSpec) -> String {
    match (spec.kind, serde_json::from_str(&spec.text)) {
        (RunKind::Ping, _) => String::new(),
        (_, Ok(JobSource::Command { command, .. })) => command,
        (_, Ok(JobSource::Written { by, text })) => {
            let job: Value = serde_json::from_str(&text).unwrap_or_default();
            let steps = job["steps"].as_array().into_iter().flatten();
            let names = steps.filter_map(|step| step["name"].as_str()?.strip_prefix(&by));
            names.collect::<String>().trim_start().to_owned()
        }
        _ => spec.file.clone().unwrap_or_default(),
    }
}
