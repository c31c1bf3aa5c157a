//! A job of ten steps beside the same as a playbook of Ansible: once, when all is to be done, and again, when nothing is.
//!
//! `job/job.yaml` and `job/playbook.yaml` do the same with the same files beside them; afterwards the files of the
//! hosts are compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use xtask::failure::Result;
use xtask::tell;

use super::contestant::Contestant;
use super::lab::Lab;
use super::peers;
use crate::bench::Bench;
use crate::measure::Measured;
use crate::table::{Spread, Table};

const JOB: &str = include_str!("job/job.yaml");
const PLAYBOOK: &str = include_str!("job/playbook.yaml");
/// The files that both send.
const FILES: [(&str, &str); 3] = [
    ("program", include_str!("job/program")),
    ("settings.j2", include_str!("job/settings.j2")),
    ("limits.j2", include_str!("job/limits.j2")),
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Hosts: real servers on loopback addresses
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=512))]
    hosts: u16,
    /// How often each is measured, in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
}

/// Who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Reveille,
    Ansible,
    /// With pipelining, which its documentation recommends for speed.
    Pipelining,
}

/// What one of them took, for each round.
#[derive(Debug, Default)]
struct Taken {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    /// The fewest hosts on which all is as it should be.
    right: Option<usize>,
}

pub(crate) fn run(arguments: &Arguments, bench: &Bench) -> Result {
    peers::prepare(bench, &[Contestant::Ansible])?;
    let lab = Lab::open(bench, arguments.hosts.into())?;
    let versions = lab.versions(&[Contestant::Ansible]);
    let title = format!(
        "A job of ten steps on {} hosts, {} rounds in turn",
        lab.hosts, arguments.rounds
    );
    bench.publish("job", &title, &versions, &measure(&lab, arguments.rounds)?)
}

fn measure(lab: &Lab, rounds: u32) -> Result<String> {
    let ways = [Way::Reveille, Way::Ansible, Way::Pipelining];
    // For each way, the first run and the one after it.
    let mut taken: [[Taken; 2]; 3] = Default::default();
    for _ in 0..rounds {
        for (way, taken) in ways.into_iter().zip(&mut taken) {
            let files = lab.fresh("job")?;
            let there = lab.fresh("there")?;
            for (name, text) in FILES
                .into_iter()
                .chain([("job.yaml", JOB), ("playbook.yaml", PLAYBOOK)])
            {
                fs::write(files.join(name), text)?;
            }
            let state = lab.fresh("state")?;
            for taken in taken {
                let measured = lab.measure(&way.command(lab, &files, &there, &state)?)?;
                taken.add(&measured, right(lab, &files, &there));
            }
        }
    }
    let mut table = Table::new(
        " |  | lines | wall, s (best, median) | ÷ Reveille's | CPU of the controller, s (best, median) | ÷ Reveille's | right on",
    );
    for (time, run) in ["all to be done", "again, nothing to be done"].iter().enumerate() {
        let ours = &taken[0][time];
        for (way, taken) in ways.into_iter().zip(&taken) {
            let taken = &taken[time];
            let (wall, cpu) = (
                Spread::of(taken.wall.iter().copied()),
                Spread::of(taken.cpu.iter().copied()),
            );
            table.row(format_args!(
                "{} | {run} | {} | {:.2}, {:.2} | {:.1} | {:.2}, {:.2} | {:.1} | {} of {}",
                way.title(),
                way.lines(),
                wall.least,
                wall.median,
                ratio(&taken.wall, &ours.wall),
                cpu.least,
                cpu.median,
                ratio(&taken.cpu, &ours.cpu),
                taken.right.unwrap_or_default(),
                lab.hosts,
            ));
        }
    }
    let hosts = lab.hosts;
    Ok(format!(
        "{table}\nDirectories (a loop), a program, two templates, a command that runs once, one with a condition, a restart \
         if a template changed, a wait for a port, a check of a version, and a file to fetch. Ratios are medians over the \
         rounds, each to Reveille's run of the same round. Lines are those of the job or playbook that are not blank. The \
         servers share the processors with the controller.\n\n\
         - **Reveille**: `reveille run job.yaml -i INV`; `run` steps are durable\n\
         - ansible: `ansible-playbook playbook.yaml -i INV -f {hosts}`, no facts, no discovery of Python, no host key check\n\
         - with pipelining: the same with `ANSIBLE_PIPELINING=True`\n\n\
         Both files are in `crates/bench-peers/src/fleet/job`.\n"
    ))
}

/// The median of the ratios of each round.
fn ratio(theirs: &[f64], ours: &[f64]) -> f64 {
    Spread::of(theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours)).median
}

/// The hosts whose files are all there, and whose program was restarted once.
fn right(lab: &Lab, files: &Path, there: &Path) -> usize {
    let names: Vec<String> = (1..=lab.hosts)
        .map(|number| format!("host-{number:03}"))
        .collect();
    let is_right = |(index, name): (usize, &String)| {
        let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let home = there.join(name);
        let settings = format!(
            "name = {name}\npeers = {}\nworker.0 = on\nworker.1 = on\nworker.2 = on\nworker.3 = on\n",
            names.join(",")
        );
        text(home.join("conf/settings")) == settings
            && text(home.join("conf/limits")) == format!("open_files = 4096\nhosts = {}\n", lab.hosts)
            && text(home.join("log/restarts")) == "restart\n"
            && text(files.join("fetched").join(name).join("init")) == "init\n"
            && home.join("conf/leader").exists() == (index == 0)
    };
    names.iter().enumerate().filter(|host| is_right(*host)).count()
}

// === impl Taken ===

impl Taken {
    fn add(&mut self, measured: &Measured, right: usize) {
        if measured.exit_status != Some(0) {
            tell::line(measured.errors().lines().next_back().unwrap_or_default());
        }
        self.wall.push(measured.wall.as_secs_f64());
        self.cpu.push(measured.cpu.as_secs_f64());
        self.right = Some(self.right.map_or(right, |fewest| fewest.min(right)));
    }
}

// === impl Way ===

impl Way {
    fn title(self) -> &'static str {
        match self {
            Way::Reveille => "**Reveille**",
            Way::Ansible => "ansible",
            Way::Pipelining => "ansible with pipelining",
        }
    }

    fn lines(self) -> usize {
        let text = match self {
            Way::Reveille => JOB,
            Way::Ansible | Way::Pipelining => PLAYBOOK,
        };
        text.lines().filter(|line| !line.trim().is_empty()).count()
    }

    fn command(self, lab: &Lab, files: &Path, there: &Path, state: &Path) -> Result<Command> {
        let inventory = lab.inventory(lab.hosts)?;
        let variable = format!("there={}", there.display());
        if self == Way::Reveille {
            let mut command = lab.reveille(state);
            command.arg("run").arg(files.join("job.yaml"));
            command.arg("-i").arg(inventory).args(["-e", &variable]);
            return Ok(command);
        }
        let mut command = lab.playbook(&files.join("playbook.yaml"))?;
        command.args(["-e", &variable]);
        if self == Way::Pipelining {
            command.env("ANSIBLE_PIPELINING", "True");
        }
        Ok(command)
    }
}
