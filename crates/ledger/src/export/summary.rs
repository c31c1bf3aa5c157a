//! The summary of a run: the object printed by `--format json`, and the rows of other artifacts.

use std::cell::RefCell;
use std::collections::HashMap;

use reveille_account::{Account, Class, EventKind, Exit, HostName, Outcome, RunId, RunState, Status};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::ser::{Error as _, SerializeSeq as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use crate::audit;
use crate::read::{read_kind, read_outcome};
use crate::sql::{host, key, rows, text};
use crate::{Error, Ledger, Result, RunRecord};

/// The number of slowest hosts to list.
const SLOWEST: usize = 5;

/// The parts of a summary that only the caller knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SummaryOptions {
    /// The exit status; by default the account's, with no failure allowed.
    pub exit: Option<Exit>,
    /// More about the controller: peaks of memory and CPU time.
    pub controller: serde_json::Map<String, serde_json::Value>,
}

/// A run and its hosts in one snapshot of the ledger. Serialising it reads the hosts one by one.
#[derive(Debug)]
pub struct Summary {
    /// The run.
    pub record: RunRecord,
    /// The account.
    pub account: Account,
    /// The exit status.
    pub exit: Exit,
    /// Why the run was interrupted, if there is more to say than that somebody did it.
    pub interruption: Option<String>,
    /// Durations.
    pub timing: Timing,
    controller: serde_json::Map<String, serde_json::Value>,
    hosts: Vec<HostRow>,
    key: i64,
    connection: RefCell<Connection>,
}

/// Durations of a run and its hosts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// When the run started, RFC 3339.
    pub started: String,
    /// When it was closed or interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Seconds from the start of the newest round to the end, including pauses between controllers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_s: Option<f64>,
    /// Durations, from dispatch to outcome, of the hosts dispatched in the newest round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Spread>,
    /// The phases of the successful connections.
    pub phases: Phases,
    /// The slowest hosts, the slowest first.
    pub slowest: Vec<Slow>,
    /// Attempts that the watchdog ended, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_attempts: Option<EndedAttempts>,
}

/// Attempts ended because they were silent, late or asked a question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EndedAttempts {
    /// Their number.
    pub count: u64,
    /// From the last progress seen to the end of each.
    pub lag: Spread,
}

/// Durations of the connection phases.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Name resolution and TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Spread>,
    /// The identification line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<Spread>,
    /// Key exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_exchange: Option<Spread>,
    /// Authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Spread>,
}

/// Percentiles (nearest rank) of durations, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The maximum.
    pub max: f64,
}

/// A slow host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slow {
    /// The host.
    pub host: HostName,
    /// From dispatch to outcome, seconds.
    pub duration_s: f64,
}

/// A host of a summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostSummary {
    /// The host.
    pub host: HostName,
    /// Its address; its name if the roll has no address.
    pub address: String,
    /// The SSH port.
    pub port: u16,
    /// Its status, or `pending` or `running`.
    pub status: &'static str,
    /// Its class, if it has an outcome or is a ghost.
    pub class: Option<Class>,
    /// The newest round that it is on the roll of.
    pub round: u32,
    /// Attempts of the deciding step.
    pub attempts: u32,
    /// From dispatch to outcome, seconds.
    pub duration_s: Option<f64>,
    /// Exit status of the deciding step's command.
    pub exit_status: Option<i32>,
    /// The signal that killed it, without `SIG`.
    pub signal: Option<String>,
    /// What happened, in a sentence.
    pub message: String,
    /// The last lines of the deciding step's standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// The last lines of its standard error.
    pub stderr: String,
    /// Whether the tails omit earlier output.
    pub truncated: bool,
    /// Its finished attempts and skipped steps.
    pub steps: Vec<StepSummary>,
    /// Whether it was dispatched in any round.
    #[serde(skip)]
    pub dispatched: bool,
    /// The name of the deciding step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// An attempt of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSummary {
    /// Position in the job, from 0.
    pub index: u32,
    /// The step's name.
    pub name: String,
    /// Which attempt, from 1; 0 if it was skipped.
    pub attempt: u32,
    /// The class of its result.
    pub class: Class,
    /// Exit status, if the command reported one.
    pub exit_status: Option<i32>,
    /// The signal that killed it, without `SIG`.
    pub signal: Option<String>,
    /// Duration, seconds.
    pub duration_s: f64,
    /// Whether it changed the host.
    pub changed: bool,
}

/// A host with the newest round whose roll it is on.
#[derive(Debug)]
struct HostRow {
    host: HostName,
    round: u32,
    address: Option<String>,
    port: u16,
    dispatched: bool,
    dispatched_ever: bool,
}

// === impl Ledger ===

impl Ledger {
    /// Summarises a run in its current state.
    pub fn summary(&self, run: RunId, options: SummaryOptions) -> Result<Summary> {
        let record = self.run(run)?;
        let connection = self.connect()?;
        // The transaction ends with the connection.
        connection.execute_batch("BEGIN")?;
        let key = key(&connection, run)?;
        let state = audit::state(&connection, key)?;
        let record = RunRecord { state, ..record };
        let account = audit::account(&connection, key, state)?;
        let hosts = host_rows(&connection, key)?;
        let timing = timing(&connection, key, &record, &hosts)?;
        let interruption = match state {
            RunState::Interrupted => interruption(&connection, key)?,
            _ => None,
        };
        let unallowed = account.failed + account.quarantined + account.cancelled;
        Ok(Summary {
            exit: options.exit.unwrap_or_else(|| account.exit(unallowed)),
            controller: options.controller,
            connection: RefCell::new(connection),
            interruption,
            record,
            account,
            timing,
            hosts,
            key,
        })
    }
}

// === impl Summary ===

impl Summary {
    /// What the run is called; the command that started it for runs of earlier versions.
    pub fn name(&self) -> &str {
        let spec = &self.record.spec;
        spec.name.as_deref().unwrap_or(spec.kind.as_str())
    }

    /// The hosts in the roll's order, read one by one.
    pub fn hosts(&self) -> impl Iterator<Item = Result<HostSummary>> {
        self.hosts.iter().map(|row| {
            Ok(HostSummary {
                steps: steps(&self.connection.borrow(), self.key, row)?,
                ..self.host(row)?
            })
        })
    }

    /// Like [`hosts`](Self::hosts), but without steps, which is faster.
    pub fn hosts_without_steps(&self) -> impl Iterator<Item = Result<HostSummary>> {
        self.hosts.iter().map(|row| self.host(row))
    }

    fn host(&self, row: &HostRow) -> Result<HostSummary> {
        let outcome = outcome(&self.connection.borrow(), self.key, row)?;
        let closed = self.record.state == RunState::Closed;
        let (status, class) = match &outcome {
            Some(outcome) => (outcome.status().as_str(), Some(outcome.class)),
            None if closed && row.dispatched => (Status::Ghost.as_str(), Some(Class::Ghost)),
            None if row.dispatched => ("running", None),
            None => ("pending", None),
        };
        let duration_s = outcome.as_ref().map(|outcome| seconds(outcome.duration_ms));
        let decided = outcome.unwrap_or_else(|| Outcome::new(Class::Ghost, ""));
        Ok(HostSummary {
            host: row.host.clone(),
            address: row
                .address
                .clone()
                .unwrap_or_else(|| row.host.as_str().to_owned()),
            port: row.port,
            status,
            class,
            round: row.round,
            attempts: decided.attempts,
            duration_s,
            exit_status: decided.exit_status,
            signal: decided.signal,
            message: decided.message,
            stdout: decided.stdout_tail,
            stderr: decided.stderr_tail,
            truncated: decided.truncated,
            steps: Vec::new(),
            dispatched: row.dispatched_ever,
            step: decided.step.map(|step| step.name),
        })
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Controller<'a> {
            worker: &'a str,
            user: &'a str,
            node: &'a str,
            epoch: u64,
            #[serde(flatten)]
            more: &'a serde_json::Map<String, serde_json::Value>,
        }

        let Summary { record, account, .. } = self;
        let sum = account_json(account);
        let controller = Controller {
            worker: record.worker.as_str(),
            user: &record.spec.user,
            node: &record.spec.node,
            epoch: record.epoch,
            more: &self.controller,
        };
        let spec = &record.spec;
        let optional = [
            self.interruption.is_some(),
            spec.name.is_some(),
            spec.comment.is_some(),
        ];
        let fields = 10 + optional.into_iter().filter(|is_some| *is_some).count();
        let mut object = serializer.serialize_struct("Summary", fields)?;
        object.serialize_field("schema", &1)?;
        object.serialize_field("run_id", &record.run.to_string())?;
        object.serialize_field("uuid", &record.run)?;
        object.serialize_field("kind", spec.kind.as_str())?;
        if let Some(name) = &spec.name {
            object.serialize_field("name", name)?;
        }
        if let Some(comment) = &spec.comment {
            object.serialize_field("comment", comment)?;
        }
        object.serialize_field("state", &record.state)?;
        if let Some(reason) = &self.interruption {
            object.serialize_field("interruption", reason)?;
        }
        object.serialize_field("exit_code", &self.exit.code())?;
        object.serialize_field("account", &sum)?;
        object.serialize_field("hosts", &Hosts(self))?;
        object.serialize_field("timing", &self.timing)?;
        object.serialize_field("controller", &controller)?;
        object.end()
    }
}

/// The account as JSON.
pub fn account_json(account: &Account) -> serde_json::Value {
    serde_json::json!({
        "total": account.planned,
        "success": account.success,
        "failed": account.failed,
        "quarantined": account.quarantined,
        "cancelled": account.cancelled,
        "pending": account.pending,
        "running": account.running,
        "ghost": account.ghost,
        "extra": account.extra,
        "balanced": account.balanced(),
    })
}

/// Serialises the hosts of a summary without collecting them in memory.
struct Hosts<'a>(&'a Summary);

impl Serialize for Hosts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.hosts.len()))?;
        for host in self.0.hosts() {
            list.serialize_element(&host.map_err(S::Error::custom)?)?;
        }
        list.end()
    }
}

/// The finished attempts and skipped steps of a host in a round, by step and attempt.
fn steps(connection: &Connection, key: i64, row: &HostRow) -> Result<Vec<StepSummary>> {
    rows(
        connection,
        "SELECT e.body FROM results r JOIN events e USING (run, seq)
         WHERE r.run = ?1 AND r.round = ?2 AND r.host = ?3 ORDER BY r.step, r.attempt",
        params![key, row.round, row.host.as_str()],
        |found| match read_kind(found, 0)? {
            EventKind::StepFinished {
                step,
                attempt,
                class,
                exit_status,
                signal,
                duration_ms,
                changed,
                ..
            } => Ok(StepSummary {
                index: step.index,
                name: step.name,
                attempt,
                class,
                exit_status,
                signal,
                duration_s: seconds(duration_ms),
                changed,
            }),
            EventKind::StepSkipped { step, .. } => Ok(StepSummary {
                index: step.index,
                name: step.name,
                attempt: 0,
                class: Class::NothingToDo,
                exit_status: None,
                signal: None,
                duration_s: 0.0,
                changed: false,
            }),
            _ => Err(Error::damaged(
                format!("a result of {}", row.host),
                &"its event has another kind",
            )),
        },
    )
}

/// The reason that the run's last event gives for its interruption.
fn interruption(connection: &Connection, key: i64) -> Result<Option<String>> {
    let last = "SELECT body FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT 1";
    let body: Option<String> = connection.query_row(last, [key], |row| row.get(0)).optional()?;
    Ok(match body.and_then(|body| serde_json::from_str(&body).ok()) {
        Some(EventKind::RunStateChanged { reason, .. }) => reason,
        _ => None,
    })
}

fn host_rows(connection: &Connection, key: i64) -> Result<Vec<HostRow>> {
    rows(
        connection,
        "WITH latest AS (
             SELECT host, MAX(round) AS round, ordinal, address, port FROM roll WHERE run = ?1 GROUP BY host)
         SELECT host, round, address, port,
             EXISTS (SELECT 1 FROM dispatches d
                 WHERE d.run = ?1 AND d.round = latest.round AND d.host = latest.host),
             host IN (SELECT host FROM dispatches WHERE run = ?1)
         FROM latest ORDER BY ordinal, host",
        [key],
        |row| {
            Ok(HostRow {
                host: host(row, 0)?,
                round: row.get(1)?,
                address: row.get(2)?,
                port: row.get(3)?,
                dispatched: row.get(4)?,
                dispatched_ever: row.get(5)?,
            })
        },
    )
}

fn outcome(connection: &Connection, key: i64, row: &HostRow) -> Result<Option<Outcome>> {
    let found = rows(
        connection,
        "SELECT body FROM outcomes JOIN events USING (run, seq)
         WHERE outcomes.run = ?1 AND outcomes.round = ?2 AND outcomes.host = ?3",
        params![key, row.round, row.host.as_str()],
        |found| read_outcome(&row.host, found, 0),
    );
    Ok(found?.pop())
}

fn timing(connection: &Connection, key: i64, record: &RunRecord, hosts: &[HostRow]) -> Result<Timing> {
    let mut durations = Vec::new();
    let mut phases: [Vec<u64>; 4] = Default::default();
    let mut slowest: Vec<(u64, &HostName)> = Vec::new();
    let newest: HashMap<&str, &HostRow> = hosts.iter().map(|row| (row.host.as_str(), row)).collect();
    let mut statement = connection.prepare_cached(
        "SELECT host, body FROM outcomes JOIN events USING (run, seq, host, round)
         WHERE outcomes.run = ?1 AND outcomes.round = ?2",
    )?;
    let mut found = statement.query(params![key, record.round])?;
    while let Some(found) = found.next()? {
        let host = text(found, 0)?;
        // A run without a dispatch took no time.
        let Some(row) = newest
            .get(host)
            .filter(|row| row.round == record.round && row.dispatched)
        else {
            continue;
        };
        let outcome = read_outcome(&row.host, found, 1)?;
        durations.push(outcome.duration_ms);
        slowest.push((outcome.duration_ms, &row.host));
        if slowest.len() > 2 * SLOWEST {
            keep_slowest(&mut slowest);
        }
        if let Some(took) = outcome.phases {
            let values = [
                took.tcp_ms,
                took.banner_ms,
                took.key_exchange_ms,
                took.authentication_ms,
            ];
            for (phase, value) in phases.iter_mut().zip(values) {
                phase.push(value.into());
            }
        }
    }
    keep_slowest(&mut slowest);
    let [tcp, banner, key_exchange, authentication] = phases.map(Spread::of);
    let started_ms = record.spec.started_ms;
    let round = Opened::of(connection, key, record.round)?;
    let round_ms = round.as_ref().map_or(started_ms, |round| round.wall_ms);
    // `None` if the clock was set back in between.
    let wall_ms = record.ended_ms.and_then(|ended| ended.checked_sub(round_ms));
    let alone_ms = match round {
        Some(round) if record.ended_ms.is_some() => round.alone_ms(connection, key)?,
        _ => None,
    };
    Ok(Timing {
        started: moment(started_ms),
        ended: record.ended_ms.map(moment),
        wall_s: alone_ms.or(wall_ms).map(seconds),
        hosts: Spread::of(durations),
        phases: Phases {
            tcp,
            banner,
            key_exchange,
            authentication,
        },
        slowest: slowest
            .into_iter()
            .map(|(duration_ms, host)| Slow {
                host: host.clone(),
                duration_s: seconds(duration_ms),
            })
            .collect(),
        ended_attempts: ended_attempts(connection, key)?,
    })
}

/// The start of a round.
struct Opened {
    wall_ms: u64,
    mono_ms: u64,
    epoch: i64,
}

impl Opened {
    fn of(connection: &Connection, key: i64, round: u32) -> Result<Option<Self>> {
        let mut opened = rows(
            connection,
            "SELECT wall_ms, mono_ms, epoch FROM events
             WHERE run = ?1 AND round = ?2 AND body GLOB '{\"event\":\"run_opened\"*' ORDER BY seq LIMIT 1",
            params![key, round],
            |row| {
                Ok(Self {
                    wall_ms: row.get(0).map(i64::cast_unsigned)?,
                    mono_ms: row.get(1).map(i64::cast_unsigned)?,
                    epoch: row.get(2)?,
                })
            },
        )?;
        Ok(opened.pop())
    }

    /// The round's age on the monotonic clock of its controller; `None` if there was more than one controller.
    fn alone_ms(&self, connection: &Connection, key: i64) -> Result<Option<u64>> {
        let last = connection
            .prepare_cached("SELECT mono_ms, epoch FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT 1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(last
            .filter(|(_, epoch)| *epoch == self.epoch)
            .map(|(last, _): (i64, i64)| last.cast_unsigned().saturating_sub(self.mono_ms)))
    }
}

fn ended_attempts(connection: &Connection, key: i64) -> Result<Option<EndedAttempts>> {
    let lags: Vec<Option<i64>> = rows(
        connection,
        "SELECT json_extract(body, '$.lag_ms') FROM events
         WHERE run = ?1 AND body GLOB '{\"event\":\"deadline_passed\"*'",
        [key],
        |row| Ok(row.get(0)?),
    )?;
    let lags: Vec<u64> = lags
        .into_iter()
        .filter_map(|lag| u64::try_from(lag?).ok())
        .collect();
    let count = lags.len() as u64;
    Ok(Spread::of(lags).map(|lag| EndedAttempts { count, lag }))
}

fn keep_slowest(slowest: &mut Vec<(u64, &HostName)>) {
    slowest.sort_by(|left, right| right.0.cmp(&left.0).then(left.1.cmp(right.1)));
    slowest.truncate(SLOWEST);
}

// === impl Spread ===

impl Spread {
    fn of(mut durations_ms: Vec<u64>) -> Option<Self> {
        durations_ms.sort_unstable();
        let rank = |percent: usize| {
            let rank = (durations_ms.len() * percent).div_ceil(100).max(1);
            durations_ms.get(rank - 1).copied().map(seconds)
        };
        Some(Self {
            p50: rank(50)?,
            p90: rank(90)?,
            p99: rank(99)?,
            max: rank(100)?,
        })
    }
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Formats a time as RFC 3339, UTC.
pub(super) fn moment(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|unix_ms| jiff::Timestamp::from_millisecond(unix_ms).ok())
        .map_or_else(String::new, |moment| moment.to_string())
}
