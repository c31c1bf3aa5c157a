//! Compares the injected faults with the reported classes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use reveille_account::{Class, HostName, Status};
use reveille_drill::{FaultKind, HostReport};
use reveille_ledger::export::Summary;
use reveille_text::counted;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::failure::Failure;
use reveille_view::{Role, names::and_more};

/// Hosts that a row names.
const NAMES: usize = 3;

/// The traits of a job that decide which class a fault should cause.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
pub(crate) struct Traits {
    /// It is the user's own job. Its rules may fail the hosts' canned answers.
    pub(crate) own: bool,
    /// Its commands run for real, and may fail without a fault.
    pub(crate) real: bool,
    /// Every command survives the loss of its connection.
    pub(crate) durable: bool,
    /// Some command may run again after its end was lost.
    pub(crate) repeatable: bool,
    /// Failed hosts are repaired or rebooted, up to a limit.
    pub(crate) heals: bool,
}

/// The comparison, with a row for each kind of fault.
#[derive(Debug)]
pub(crate) struct Comparison {
    rows: Vec<Row>,
}

#[derive(Debug, Default, Serialize)]
struct Row {
    /// `None` for the healthy hosts.
    fault: Option<FaultKind>,
    hosts: usize,
    /// Hosts whose fault happened.
    met: usize,
    reported: BTreeMap<Class, usize>,
    succeeded: usize,
    /// Hosts without an outcome, or cancelled.
    #[serde(rename = "not_reached")]
    unreached: usize,
    /// Hosts that failed by the job's own rules.
    by_job: usize,
    #[serde(serialize_with = "hosts_only")]
    wrong: Vec<(HostName, Class)>,
    /// Hosts on which a durable command ran twice.
    ran_twice: Vec<HostName>,
}

// === impl Comparison ===

impl Comparison {
    /// Compares the injected faults with the outcomes of a run.
    pub(crate) fn new(injected: &[HostReport], summary: &Summary, traits: Traits) -> Result<Self, Failure> {
        let outcomes: HashMap<HostName, Option<Class>> = summary
            .hosts()
            .map(|host| host.map(|host| (host.host, host.class)))
            .collect::<Result<_, _>>()?;
        // A kind with two parameters has two rows.
        let mut rows: BTreeMap<(usize, Option<String>), Row> = BTreeMap::new();
        for host in injected {
            let fault = host.fault;
            let place = (position(fault), fault.map(|fault| fault.to_string()));
            let row = rows.entry(place).or_insert_with(|| Row {
                fault,
                ..Row::default()
            });
            row.hosts += 1;
            let met = host.exercised > 0;
            row.met += usize::from(met);
            let class = outcomes.get(&host.name).copied().flatten();
            row.take(&host.name, class, met, traits);
            if host.tokens.values().any(|times| *times > 1) {
                row.ran_twice.push(host.name.clone());
            }
        }
        Ok(Self {
            rows: rows.into_values().collect(),
        })
    }

    /// Whether every fault was reported with the right class, and no command ran twice.
    pub(crate) fn is_right(&self) -> bool {
        self.rows.iter().all(Row::is_right)
    }

    /// Hosts that failed by the rules of the user's own job.
    pub(crate) fn by_job(&self) -> usize {
        self.rows.iter().map(|row| row.by_job).sum()
    }

    fn faulty(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.fault.is_some())
    }

    /// Hosts with a fault.
    pub(crate) fn struck(&self) -> usize {
        self.faulty().map(|row| row.hosts).sum()
    }

    /// Kinds of fault.
    pub(crate) fn kinds(&self) -> usize {
        self.faulty().count()
    }

    /// Kinds of fault that happened on a host which was reached.
    pub(crate) fn seen(&self) -> usize {
        self.faulty().filter(|row| row.was_seen()).count()
    }

    /// Hosts that the run did not reach.
    pub(crate) fn unreached(&self) -> usize {
        self.rows.iter().map(|row| row.unreached).sum()
    }

    pub(crate) fn wrong_hosts(&self) -> usize {
        self.rows.iter().map(|row| row.wrong.len()).sum()
    }

    /// Hosts on which a command ran twice.
    pub(crate) fn ran_twice(&self) -> usize {
        self.rows.iter().map(|row| row.ran_twice.len()).sum()
    }

    /// The table; with `quiet`, only its wrong rows.
    pub(crate) fn table(&self, quiet: bool, tone: impl Fn(&str, Role) -> String) -> String {
        let heading = ["injected", "hosts", "met", "reported", "succeeded", "verdict"].map(str::to_owned);
        let mut lines = vec![(heading, Role::Strong)];
        for row in self.rows.iter().filter(|row| !quiet || !row.is_right()) {
            lines.push((row.cells(), Role::of(row.is_right())));
        }
        let mut widths = [0; 6];
        for (cells, _) in &lines {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut table = String::new();
        for ([fault, hosts, met, reported, succeeded, verdict], shade) in lines {
            let [first, second, third, fourth, fifth, _] = widths;
            let _ = writeln!(
                table,
                "{fault:<first$}  {hosts:>second$}  {met:>third$}  {reported:<fourth$}  {succeeded:>fifth$}  {}",
                tone(&verdict, shade)
            );
        }
        table
    }

    pub(crate) fn json(&self, seed: u64) -> Value {
        json!({ "seed": seed, "as_expected": self.is_right(), "faults": self.rows })
    }
}

/// The order of the rows: healthy hosts first, then as `--list-faults` lists the kinds.
fn position(fault: Option<FaultKind>) -> usize {
    fault.map_or(0, |fault| {
        1 + FaultKind::all()
            .position(|kind| kind.name() == fault.name())
            .unwrap_or(usize::MAX - 1)
    })
}

// === impl Row ===

impl Row {
    fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.ran_twice.is_empty()
    }

    /// Whether the fault happened on a host that was reached. A server that refuses connections can't count them.
    fn was_seen(&self) -> bool {
        self.unreached < self.hosts && (self.met > 0 || self.fault == Some(FaultKind::Refuse))
    }

    fn take(&mut self, host: &HostName, class: Option<Class>, met: bool, traits: Traits) {
        let Some(class) = class.filter(|class| class.status() != Status::Cancelled) else {
            self.unreached += 1;
            return;
        };
        *self.reported.entry(class).or_default() += 1;
        self.succeeded += usize::from(class.status() == Status::Success);
        // A command that runs for real may end before its fault happens; then the host counts as healthy.
        let fault = self
            .fault
            .filter(|_| met || !traits.real || self.fault == Some(FaultKind::Refuse));
        if is_right(fault, class, traits) {
            return;
        }
        if traits.own && of_the_job(class, traits.real) {
            self.by_job += 1;
        } else {
            self.wrong.push((host.clone(), class));
        }
    }

    fn name(&self) -> String {
        self.fault
            .map_or_else(|| "(healthy)".to_owned(), |fault| fault.to_string())
    }

    fn cells(&self) -> [String; 6] {
        let none = || "–".to_owned();
        let reported: Vec<String> = self
            .reported
            .iter()
            .map(|(class, count)| format!("{class} {count}"))
            .collect();
        [
            self.name(),
            self.hosts.to_string(),
            // A refused connection does not reach the server that would count it.
            if matches!(self.fault, None | Some(FaultKind::Refuse)) {
                none()
            } else {
                self.met.to_string()
            },
            if reported.is_empty() {
                none()
            } else {
                reported.join(", ")
            },
            self.succeeded.to_string(),
            self.verdict(),
        ]
    }

    fn verdict(&self) -> String {
        if !self.wrong.is_empty() {
            let names: Vec<String> = self
                .wrong
                .iter()
                .take(NAMES)
                .map(|(host, class)| format!("{host} {class}"))
                .collect();
            let more = and_more(self.wrong.len().saturating_sub(NAMES));
            return format!("WRONG: {}{more}", names.join(", "));
        }
        if let Some(name) = self.ran_twice.first() {
            let more = and_more(self.ran_twice.len() - 1);
            return format!("WRONG: a command ran twice on {name}{more}");
        }
        let mut notes = Vec::new();
        if self.by_job > 0 {
            notes.push(format!(
                "{} failed by the job's rules",
                counted(self.by_job, "host")
            ));
        }
        if self.unreached > 0 {
            notes.push(format!("{} not reached", self.unreached));
        }
        if self.fault.is_some() && self.unreached < self.hosts && !self.was_seen() {
            notes.push("never met".to_owned());
        }
        if notes.is_empty() {
            "as expected".to_owned()
        } else {
            notes.join(", ")
        }
    }
}

fn hosts_only<S: Serializer>(wrong: &[(HostName, Class)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(wrong.iter().map(|(host, _)| host))
}

/// Whether a fault should cause this class.
fn is_right(fault: Option<FaultKind>, class: Class, traits: Traits) -> bool {
    let Some(fault) = fault else {
        // On a busy machine, a healthy host may need a second try.
        return class.status() == Status::Success;
    };
    let expected = fault.expected();
    if expected.classes.contains(&class) {
        return true;
    }
    // A host that fails again after its repairs is given up.
    if traits.heals && class.status() == Status::Quarantined {
        return expected
            .classes
            .iter()
            .any(|class| class.status() == Status::Failed);
    }
    let of_commands = matches!(
        fault,
        FaultKind::Exit(_)
            | FaultKind::StderrError
            | FaultKind::Killed
            | FaultKind::EarlyExit
            | FaultKind::ExecRefused
    );
    match class {
        Class::NothingToDo => expected.recoverable,
        // The end of a plain command whose connection breaks can't be found out.
        Class::ResultUnknown | Class::ConnectionLost => {
            !traits.durable
                && matches!(
                    fault,
                    FaultKind::DropOnce(_)
                        | FaultKind::DisconnectMid
                        | FaultKind::ExecStall
                        | FaultKind::EofNoClose
                        | FaultKind::IdleNatDrop(_)
                        | FaultKind::Reboot(_)
                )
        }
        Class::OkAfterRecovery if matches!(fault, FaultKind::Reboot(_)) => traits.own && traits.repeatable,
        // The user's own job may count any exit status as success, or run no command.
        Class::Ok | Class::OkAfterRecovery => traits.own && of_commands,
        _ => false,
    }
}

/// Whether the job's own rules can cause this class, or its commands if they run for real.
fn of_the_job(class: Class, real: bool) -> bool {
    let of_commands = matches!(
        class,
        Class::WatchdogIdle | Class::KilledBySignal | Class::EarlyExit | Class::AsksAQuestion
    );
    (real && of_commands)
        || matches!(
            class,
            Class::CommandFailed
                | Class::FatalPattern
                | Class::StderrRejected
                | Class::ExpectMissing
                | Class::TemplateError
                | Class::TransferFailed
                | Class::WatchdogTotal
        )
}
