//! `cargo xtask bench load`: Reveille's load tester beside wrk, oha, Goose and Locust, against one nginx.

mod install;
pub(crate) mod numbers;
mod server;
mod tools;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tempfile::TempDir;
use xtask::failure::{Failure, Result};
use xtask::packages::Package;
use xtask::tell;

use self::numbers::Numbers;
use self::server::Server;
use self::tools::{Job, Tool};
use crate::bench::{Bench, package, wanted};
use crate::measure::{self, Measured};
use crate::proc::megabytes;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Make these tables only [default: all but the soak]
    #[arg(long, value_enum, value_name = "TABLE", value_delimiter = ',')]
    table: Vec<Measurement>,
    /// How long each tool runs, in seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..=240))]
    seconds: u64,
    /// Users who mostly wait
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=25_000))]
    users: u64,
    /// How long the soak takes, in minutes
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=240))]
    minutes: u64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// As many requests as a core can make
    Rates,
    /// Thousands of users who mostly wait
    Crowd,
    /// A server that stops for a second
    Stall,
    /// Memory over a long time
    Soak,
}

const PACKAGES: &[Package] = &[
    package("nginx-light", &["nginx"], "the server that answers all tools"),
    package("util-linux", &["taskset"], "a core each for server and tool"),
    package("wrk", &["wrk"], "a peer"),
];

/// Connections of the tables without waits.
const CONNECTIONS: u64 = 64;
/// The wait of the users who mostly wait.
const WAIT: Duration = Duration::from_secs(5);
/// How long the users who mostly wait take to start.
const RAMP: Duration = Duration::from_secs(5);

/// What all tables of this folder use.
struct Lab<'a> {
    bench: &'a Bench,
    tools: Vec<Tool>,
    server: Server,
    files: TempDir,
    reveille: PathBuf,
}

/// A tool's numbers, or why there are none.
type Row = std::result::Result<(Measured, Numbers), String>;

pub(crate) fn run(arguments: &Arguments, bench: &Bench) -> Result {
    bench.provide(PACKAGES)?;
    if bench.install {
        install::all(&bench.workspace)?;
    }
    let files = bench.scratch()?;
    let lab = Lab {
        bench,
        tools: Tool::available(&bench.workspace),
        server: Server::start(files.path())?,
        files,
        reveille: bench.workspace.build("reveille-load", "dist")?,
    };
    let time = Duration::from_secs(arguments.seconds);
    let usual = [Measurement::Rates, Measurement::Crowd, Measurement::Stall];
    for table in wanted(&arguments.table, &usual) {
        let (name, title, body) = match table {
            Measurement::Rates => ("load-rates", "requests from one core", lab.rates(time)?),
            Measurement::Crowd => {
                let body = lab.crowd(arguments.users, time.max(Duration::from_secs(20)))?;
                ("load-crowd", "users who mostly wait", body)
            }
            Measurement::Stall => ("load-stall", "a server that stops for a second", lab.stall(time)?),
            Measurement::Soak => {
                let body = lab.soak(Duration::from_mins(arguments.minutes))?;
                ("load-soak", "memory over a long time", body)
            }
        };
        let tools = match table {
            Measurement::Soak => &[Tool::Reveille][..],
            _ => &lab.tools,
        };
        let versions = tools::versions(tools, &lab);
        bench.publish(name, &format!("HTTP load: {title}"), &versions, &body)?;
    }
    Ok(())
}

// === impl Lab ===

impl Lab<'_> {
    /// A file for a measurement.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.files.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn run(&self, tool: Tool, job: &Job) -> Result<Measured> {
        let time = job.time + job.ramp;
        tell::line(&format!(
            "{}: {} users for {} s",
            tool.name(),
            job.users,
            time.as_secs()
        ));
        let command = tool.command(job, self)?;
        measure::measure_within(&command, self.files.path(), time + Duration::from_mins(1))
    }

    /// Runs a tool for a row of a table. A peer that failed has a row that says why; Reveille must not fail.
    fn measure(&self, tool: Tool, job: &Job) -> Result<Row> {
        let measured = self.run(tool, job)?;
        match self.numbers(tool, &measured) {
            Err(why) if tool == Tool::Reveille => Err(Failure::failed(format!("Reveille failed: {why}"))),
            row => Ok(row.map(|numbers| (measured, numbers))),
        }
    }

    fn numbers(&self, tool: Tool, measured: &Measured) -> std::result::Result<Numbers, String> {
        let numbers = match measured.exit_status {
            _ if measured.ended => Err("it did not end in time".to_owned()),
            None => Err("ended by a signal".to_owned()),
            Some(0) => {
                let numbers = tool.read(&measured.text(), self);
                numbers.ok_or_else(|| "it reported nothing".to_owned())
            }
            Some(status) => Err(format!("exit status {status}")),
        };
        let checked = numbers.and_then(|numbers| numbers.problem().map_or(Ok(numbers), Err));
        checked.map_err(|why| {
            let errors = measured.errors();
            match errors.lines().map(str::trim).rfind(|line| !line.is_empty()) {
                Some(last) => format!("{why} ({last})"),
                None => why,
            }
        })
    }

    fn rates(&self, time: Duration) -> Result<String> {
        let columns = "requests/s | p50 | p99 | CPU of the tool | requests/CPU second | memory";
        let mut table = Table::new(&format!("tool | {columns}"));
        for tool in &self.tools {
            let row = self.measure(*tool, &Job::without_waits(CONNECTIONS, time))?;
            add(&mut table, *tool, columns, row, |measured, numbers| {
                format!(
                    "{:.0} | {} | {} | {} | {:.0} | {}",
                    numbers.rate,
                    ms(numbers.latencies[0]),
                    ms(numbers.latencies[1]),
                    cores(measured),
                    numbers.rate * time.as_secs_f64() / measured.cpu.as_secs_f64().max(1e-3),
                    mb(measured.peak.resident)
                )
            });
        }
        Ok(format!(
            "nginx has one worker on one core and answers with 100 bytes; the tool has the other core. {CONNECTIONS} \
             connections, {} s, no waits. Reveille checks each answer and keeps both histograms. If other work uses a part \
             of the cores, compare requests for a second of the tool's CPU time instead of requests/s.\n\n{table}",
            time.as_secs()
        ))
    }

    fn crowd(&self, users: u64, time: Duration) -> Result<String> {
        let columns = "requests/s | CPU of the tool | memory";
        let mut table = Table::new(&format!("tool | {columns}"));
        let job = Job {
            wait: WAIT,
            ramp: RAMP,
            ..Job::without_waits(users, time)
        };
        for tool in self.tools.iter().filter(|tool| tool.has_waits()) {
            let row = self.measure(*tool, &job)?;
            add(&mut table, *tool, columns, row, |measured, numbers| {
                let memory = mb(measured.peak.resident);
                format!("{:.0} | {} | {memory}", numbers.rate, cores(measured))
            });
        }
        let (many, one) = (self.idle(users)?, self.idle(1)?);
        Ok(format!(
            "{users} users, each with a connection of its own and {} s between two requests, which offers {:.0} \
             requests/s. They start within {} s, then {} s are measured.\n\n{table}\n\
             {users} users of Reveille who wait for a minute, their connections closed: {}; a single user: {}. That is \
             {:.1} KB a user.\n",
            WAIT.as_secs(),
            users as f64 / WAIT.as_secs_f64(),
            RAMP.as_secs(),
            time.as_secs(),
            mb(many),
            mb(one),
            many.saturating_sub(one) as f64 * 1.024 / users as f64
        ))
    }

    /// Memory, in KiB, of users who have made one request each and wait without a connection.
    fn idle(&self, users: u64) -> Result<u64> {
        let job = Job {
            wait: Duration::from_mins(1),
            keep: false,
            ramp: RAMP,
            ..Job::without_waits(users, Duration::from_secs(10))
        };
        // No request ends within the measured time: only memory counts.
        let measured = self.run(Tool::Reveille, &job)?;
        if measured.exit_status != Some(0) {
            return Err(Failure::failed(format!("Reveille failed: {}", measured.errors())));
        }
        let end = job.ramp + job.time;
        let looks = measured.between(end.saturating_sub(Duration::from_secs(5)), end);
        Ok(looks.map_or(0, |memory| memory.resident))
    }

    fn stall(&self, time: Duration) -> Result<String> {
        let columns = "p50 | p99 | p99.9 | max";
        let mut table = Table::new(&format!("tool | {columns}"));
        let cells = |numbers: &Numbers| numbers.latencies.map(ms).join(" | ");
        for tool in &self.tools {
            let stop = self.server.stop_in(time / 2, Duration::from_secs(1));
            let row = self.measure(*tool, &Job::without_waits(CONNECTIONS, time));
            let _ = stop.join();
            add(&mut table, *tool, columns, row?, |measured, numbers| {
                let reported = cells(numbers);
                if *tool != Tool::Reveille {
                    return reported;
                }
                let corrected = Numbers::of_reveille(&measured.text(), "intended").unwrap_or_default();
                format!(
                    "{reported} |\n| Reveille, from the intended start | {}",
                    cells(&corrected)
                )
            });
        }
        Ok(format!(
            "The server stops for 1 s in the middle of {} s; {CONNECTIONS} connections. The tools report:\n\n{table}",
            time.as_secs()
        ))
    }

    fn soak(&self, time: Duration) -> Result<String> {
        let job = Job {
            wait: Duration::from_millis(100),
            ..Job::without_waits(50, time)
        };
        let (measured, numbers) = self.measure(Tool::Reveille, &job)?.map_err(Failure::failed)?;
        // In the first minute the program allocates what it needs in any case.
        let minute = Duration::from_mins(1);
        let end = time.saturating_sub(minute / 6);
        let at = |moment: Duration| {
            let looks = measured.between(moment.saturating_sub(minute / 6), moment + minute / 6);
            looks.map_or(0, |memory| memory.resident)
        };
        let mut table = Table::new("after | memory");
        for moment in [minute, time / 4, time / 2, time * 3 / 4, end] {
            table.row(format_args!("{} s | {}", moment.as_secs(), mb(at(moment))));
        }
        let hours = time.saturating_sub(minute).as_secs_f64() / 3600.0;
        Ok(format!(
            "50 users who wait 100 ms between two requests, {} minutes, {:.0} requests/s, {} of a core.\n\n{table}\n\
             After the first minute, memory grew by {:.2} MB an hour.\n",
            time.as_secs() / 60,
            numbers.rate,
            cores(&measured),
            (megabytes(at(end)) - megabytes(at(minute))) / hours
        ))
    }
}

/// Adds a tool's row, or why it has none.
fn add(
    table: &mut Table,
    tool: Tool,
    columns: &str,
    row: Row,
    cells: impl FnOnce(&Measured, &Numbers) -> String,
) {
    let cells = match row {
        Ok((measured, numbers)) => cells(&measured, &numbers),
        // A bar would end the cell.
        Err(why) => format!(
            "failed: {}{}",
            why.replace('|', "/"),
            " |".repeat(columns.matches('|').count())
        ),
    };
    table.row(format_args!("{} | {cells}", tool.name()));
}

fn cores(measured: &Measured) -> String {
    let share = measured.cpu.as_secs_f64() / measured.wall.as_secs_f64().max(1e-3);
    format!("{:.0} %", 100.0 * share)
}

fn mb(kib: u64) -> String {
    format!("{:.1} MB", megabytes(kib))
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2} ms"))
}
