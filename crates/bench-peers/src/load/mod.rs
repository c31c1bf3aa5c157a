//! `cargo xtask bench load`: Reveille's load tester beside wrk, oha, Goose and Locust, against one nginx.

mod install;
mod numbers;
mod server;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use xtask::failure::{Failure, Result};
use xtask::packages::{self, Package};
use xtask::tell;
use xtask::workspace::Workspace;

use self::numbers::Numbers;
use self::server::Server;
use self::tools::{Job, Tool};
use crate::benchmarks_page::{Section, command_line};
use crate::measure::{self, Measured};
use crate::proc;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only these tables; all but the soak if left out
    #[arg(long, value_enum, value_name = "TABLE", value_delimiter = ',')]
    table: Vec<Table>,
    /// How long each tool runs, in seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..=240))]
    seconds: u64,
    /// Users of the second table
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=25_000))]
    users: u64,
    /// How long the soak takes
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=240))]
    minutes: u64,
    /// Install missing Debian packages, and below the target directory Locust, oha and Goose
    #[arg(long)]
    install: bool,
    /// Print the tables, and leave BENCHMARKS.md alone
    #[arg(long)]
    print: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    /// As many requests as a core can make
    Rates,
    /// Thousands of users who mostly wait
    Crowd,
    /// A server that stops for a second
    Stall,
    /// Memory over a long time
    Soak,
}

const SERVER: Package = Package {
    name: "nginx-light",
    programs: &["nginx"],
    reason: "the server that is measured against",
};
const PINNING: Package = Package {
    name: "util-linux",
    programs: &["taskset"],
    reason: "server and tester have a core each",
};
const WRK: Package = Package {
    name: "wrk",
    programs: &["wrk"],
    reason: "a peer",
};

/// Connections of the first and third table.
const CONNECTIONS: u64 = 64;
/// The wait of the users of the second.
const WAIT: Duration = Duration::from_secs(5);

/// Where everything is.
struct Lab<'a> {
    tools: Vec<Tool>,
    server: Server,
    files: PathBuf,
    workspace: &'a Workspace,
    reveille: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, workspace: &Workspace) -> Result {
    packages::provide(&[SERVER, PINNING, WRK], "the comparison", arguments.install)?;
    if arguments.install {
        install::all(workspace)?;
    }
    let reveille = workspace.build("reveille-load", "dist")?;
    std::fs::create_dir_all(&workspace.target)?;
    let files = tempfile::Builder::new()
        .prefix("bench-load-")
        .tempdir_in(&workspace.target)?;
    let load = proc::load();
    let lab = Lab {
        tools: Tool::available(workspace),
        server: Server::start(files.path())?,
        files: files.path().to_owned(),
        workspace,
        reveille,
    };
    let time = Duration::from_secs(arguments.seconds);
    let wanted = if arguments.table.is_empty() {
        &[Table::Rates, Table::Crowd, Table::Stall][..]
    } else {
        &arguments.table
    };
    for table in wanted {
        let (name, title, tools, body) = match table {
            Table::Rates => (
                "load-rates",
                "HTTP load: requests from one core",
                &lab.tools[..],
                lab.rates(time)?,
            ),
            Table::Crowd => (
                "load-crowd",
                "HTTP load: users who mostly wait",
                &lab.tools[..],
                lab.crowd(arguments.users, time.max(Duration::from_secs(20)))?,
            ),
            Table::Stall => (
                "load-stall",
                "HTTP load: a server that stops for a second",
                &lab.tools[..],
                lab.stall(time)?,
            ),
            Table::Soak => (
                "load-soak",
                "HTTP load: memory over a long time",
                &[Tool::Reveille][..],
                lab.soak(Duration::from_mins(arguments.minutes))?,
            ),
        };
        let section = Section {
            name,
            title: title.to_owned(),
            command: command_line(),
            versions: tools::versions(tools, workspace, &lab.reveille),
            load: load.clone(),
            body,
        };
        section.publish(workspace, arguments.print)?;
    }
    Ok(())
}

// === impl Lab ===

impl Lab<'_> {
    fn run(&self, tool: Tool, job: &Job) -> Result<Measured> {
        tell::line(&format!("{}: {job}", tool.name()));
        let command = tool.command(job, self.workspace, &self.reveille, &self.files)?;
        let limit = job.time + job.ramp + Duration::from_mins(1);
        measure::measure_within(&command, &self.files, limit)
    }

    /// Runs a tool for a row of a table. One that failed has a row that says why; ours must not fail.
    fn measure(&self, tool: Tool, job: &Job) -> Result<std::result::Result<(Measured, Numbers), String>> {
        let measured = self.run(tool, job)?;
        let row = self.numbers(tool, &measured);
        if let Err(why) = &row {
            let why = format!("{} failed: {why}", tool.name());
            if tool == Tool::Reveille {
                return Err(Failure::failed(why));
            }
            tell::line(&why);
        }
        Ok(row.map(|numbers| (measured, numbers)))
    }

    fn numbers(&self, tool: Tool, measured: &Measured) -> std::result::Result<Numbers, String> {
        let errors = measured.errors();
        let last = errors.lines().map(str::trim).rfind(|line| !line.is_empty());
        let said = last.map_or(String::new(), |line| format!(" ({line})"));
        if measured.ended {
            return Err(format!("it did not end in time{said}"));
        }
        match measured.exit_status {
            Some(0) => {}
            Some(status) => return Err(format!("exit status {status}{said}")),
            None => return Err(format!("ended by a signal{said}")),
        }
        let numbers = tool
            .read(&measured.text(), &self.files)
            .ok_or_else(|| format!("it reported nothing{said}"))?;
        match numbers.problem() {
            None => Ok(numbers),
            Some(problem) => Err(format!("{problem}{said}")),
        }
    }

    fn rates(&self, time: Duration) -> Result<String> {
        let mut body = format!(
            "nginx has one worker on one core and answers with 100 bytes, the tester has the other core; {CONNECTIONS} connections, {} s, no waits. Reveille runs a scenario \
             with a check of each answer and both histograms. Where other work takes a part of the cores, requests for a \
             second of the tester's processor time compare better than requests/s.\n\n\
             | tool | requests/s | p50 | p99 | CPU of the tester | requests/CPU second | memory |\n\
             |---|---|---|---|---|---|---|\n",
            time.as_secs()
        );
        for tool in &self.tools {
            let job = Job {
                url: self.server.url(),
                users: CONNECTIONS,
                time,
                wait: Duration::ZERO,
                keep: true,
                ramp: Duration::ZERO,
            };
            let (measured, numbers) = match self.measure(*tool, &job)? {
                Ok(row) => row,
                Err(why) => {
                    body.push_str(&failed(*tool, &why, 6));
                    continue;
                }
            };
            body.push_str(&format!(
                "| {} | {:.0} | {} | {} | {} | {:.0} | {} |\n",
                tool.name(),
                numbers.rate,
                ms(numbers.p50),
                ms(numbers.p99),
                cores(&measured),
                numbers.rate * time.as_secs_f64() / measured.cpu.as_secs_f64().max(1e-3),
                mib(measured.peak.resident)
            ));
        }
        Ok(body)
    }

    fn crowd(&self, users: u64, time: Duration) -> Result<String> {
        let ramp = Duration::from_secs(5);
        let offered = users as f64 / WAIT.as_secs_f64();
        let mut body = format!(
            "{users} users, each with a connection of its own and {} s between two requests: {offered:.0} requests/s are \
             offered; they come within {} s, then {} s.\n\n\
             | tool | requests/s | CPU of the tester | memory |\n|---|---|---|---|\n",
            WAIT.as_secs(),
            ramp.as_secs(),
            time.as_secs()
        );
        for tool in self.tools.iter().filter(|tool| tool.has_waits()) {
            let job = Job {
                url: self.server.url(),
                users,
                time,
                wait: WAIT,
                keep: true,
                ramp,
            };
            let (measured, numbers) = match self.measure(*tool, &job)? {
                Ok(row) => row,
                Err(why) => {
                    body.push_str(&failed(*tool, &why, 3));
                    continue;
                }
            };
            body.push_str(&format!(
                "| {} | {:.0} | {} | {} |\n",
                tool.name(),
                numbers.rate,
                cores(&measured),
                mib(measured.peak.resident)
            ));
        }
        let (many, one) = (self.idle(users, ramp)?, self.idle(1, ramp)?);
        body.push_str(&format!(
            "\n{users} users of Reveille who wait for a minute, their connections closed: {}; a single one: {}. That is {:.1} \
             KB a user.\n",
            mib(many),
            mib(one),
            many.saturating_sub(one) as f64 * 1.024 / users as f64
        ));
        Ok(body)
    }

    /// Memory, in KiB, of users who have made one request each and wait without a connection.
    fn idle(&self, users: u64, ramp: Duration) -> Result<u64> {
        let time = Duration::from_secs(10);
        let job = Job {
            url: self.server.url(),
            users,
            time,
            wait: Duration::from_mins(1),
            keep: false,
            ramp,
        };
        // No request ends within the time that is counted: only memory is looked at.
        let measured = self.run(Tool::Reveille, &job)?;
        if measured.exit_status != Some(0) {
            return Err(Failure::failed(format!("Reveille failed: {}", measured.errors())));
        }
        let end = ramp + time;
        let looks = measured.between(end.saturating_sub(Duration::from_secs(5)), end);
        Ok(looks.map_or(0, |memory| memory.resident))
    }

    fn stall(&self, time: Duration) -> Result<String> {
        let mut body = format!(
            "The server stops for 1 s in the middle of {} s, {CONNECTIONS} connections. What is reported:\n\n\
             | tool | p50 | p99 | p99.9 | max |\n|---|---|---|---|---|\n",
            time.as_secs()
        );
        for tool in &self.tools {
            let job = Job {
                url: self.server.url(),
                users: CONNECTIONS,
                time,
                wait: Duration::ZERO,
                keep: true,
                ramp: Duration::ZERO,
            };
            let stop = self.server.stop_in(time / 2, Duration::from_secs(1));
            let measured = self.measure(*tool, &job);
            stop.join();
            let (measured, numbers) = match measured? {
                Ok(row) => row,
                Err(why) => {
                    body.push_str(&failed(*tool, &why, 4));
                    continue;
                }
            };
            body.push_str(&format!(
                "| {} | {} | {} | {} | {} |\n",
                tool.name(),
                ms(numbers.p50),
                ms(numbers.p99),
                ms(numbers.p999),
                ms(numbers.max)
            ));
            if *tool == Tool::Reveille {
                let corrected = Numbers::of_reveille(&measured.text(), "intended").unwrap_or_default();
                body.push_str(&format!(
                    "| {}, from the intended start | {} | {} | {} | {} |\n",
                    tool.name(),
                    ms(corrected.p50),
                    ms(corrected.p99),
                    ms(corrected.p999),
                    ms(corrected.max)
                ));
            }
        }
        Ok(body)
    }

    fn soak(&self, time: Duration) -> Result<String> {
        let job = Job {
            url: self.server.url(),
            users: 50,
            time,
            wait: Duration::from_millis(100),
            keep: true,
            ramp: Duration::ZERO,
        };
        let (measured, numbers) = self.measure(Tool::Reveille, &job)?.map_err(Failure::failed)?;
        // The first minute is for what is needed at all.
        let minute = Duration::from_mins(1);
        let at = |moment: Duration| {
            let looks = measured.between(moment.saturating_sub(minute / 6), moment + minute / 6);
            looks.map_or(0, |memory| memory.resident)
        };
        let (first, last) = (at(minute), at(time.saturating_sub(minute / 6)));
        let hours = time.saturating_sub(minute).as_secs_f64() / 3600.0;
        let mut body = format!(
            "50 users who wait 100 ms between two requests, {} minutes, {:.0} requests/s, {} of a core.\n\n\
             | after | memory |\n|---|---|\n",
            time.as_secs() / 60,
            numbers.rate,
            cores(&measured)
        );
        for moment in [
            minute,
            time / 4,
            time / 2,
            time * 3 / 4,
            time.saturating_sub(minute / 6),
        ] {
            body.push_str(&format!("| {} s | {} |\n", moment.as_secs(), mib(at(moment))));
        }
        body.push_str(&format!(
            "\nAfter the first minute it grew by {:.2} MB an hour.\n",
            (last as f64 - first as f64) * 1024.0 / 1e6 / hours
        ));
        Ok(body)
    }
}

/// The row of a tool that failed; a bar would end a cell.
fn failed(tool: Tool, why: &str, cells: usize) -> String {
    let why = why.replace('|', "/");
    format!("| {} | failed: {why} |{}\n", tool.name(), " |".repeat(cells - 1))
}

fn cores(measured: &Measured) -> String {
    let share = measured.cpu.as_secs_f64() / measured.wall.as_secs_f64().max(1e-3);
    format!("{:.0} %", 100.0 * share)
}

fn mib(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2} ms"))
}

/// The path of a file for a measurement.
fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}
