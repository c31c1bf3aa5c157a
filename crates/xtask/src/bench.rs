//! `cargo xtask bench`: tables for BENCHMARKS.md, Reveille beside its peers in one run.

mod cgroup;
mod chart;
mod confined;
mod contestant;
mod copy;
mod drill;
mod fleet;
mod held;
mod lab;
mod load;
mod measure;
mod mirrorlist;
mod peers;
mod proc;
mod report;
mod sweep;
mod watchdog;

use clap::{Args, Subcommand, ValueEnum};

use self::contestant::Contestant;
use self::lab::Lab;
use self::report::Section;
use crate::failure::Result;
use crate::tell;
use crate::workspace::Workspace;

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// One echo on every host, sessions held open, and 10,000 hosts of the drill
    Fleet(FleetArguments),
    /// A large file and many small ones to 8 hosts
    Copy(CopyArguments),
    /// The same work at 16, 32 … sessions at once
    Sweep(Common),
    /// Chatty hosts with the controller confined to little memory, as a picture
    Confined(ConfinedArguments),
    /// HTTP requests against one local server, beside wrk, oha, Goose and Locust
    Load(load::Arguments),
    /// Recorded durations of commands, replayed against the watchdog's rule and others
    Watchdog(watchdog::Arguments),
    /// The mirrorlist server under load, beside MirrorManager's own
    Mirrorlist(mirrorlist::Arguments),
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Hosts: real servers on loopback addresses
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(16..=2048))]
    hosts: u16,
    /// Install missing Debian packages, and Python packages below the target directory
    #[arg(long)]
    install: bool,
    /// Print the tables, and leave BENCHMARKS.md alone
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FleetArguments {
    #[command(flatten)]
    common: Common,
    /// Measure these only
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Contestant>,
    /// Make these tables only
    #[arg(long, value_enum, value_name = "TABLE", value_delimiter = ',')]
    table: Vec<Table>,
    /// How often each is measured, in turn [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: Option<u32>,
    /// One round, without the slow peers (pssh, clush, ansible, paramiko) and the drill
    #[arg(long)]
    quick: bool,
    /// Sessions held at once against the drill
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    drill_hosts: u32,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArguments {
    /// Size of the large file, in MB
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    megabytes: u32,
    /// Number of small files
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    files: u32,
    /// Number of small files when Ansible takes part
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ansible_files: u32,
    /// Install missing Debian packages, and Python packages below the target directory
    #[arg(long)]
    install: bool,
    /// Print the tables, and leave BENCHMARKS.md alone
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfinedArguments {
    /// Hosts of the drill
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hosts: u32,
    /// Memory that the controller may use, MiB
    #[arg(long, value_name = "N", default_value_t = 143, value_parser = clap::value_parser!(u64).range(32..=100_000))]
    memory: u64,
    /// Print the table, and leave BENCHMARKS.md and its picture alone
    #[arg(long)]
    print: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    /// One echo on every host.
    Echo,
    /// Sessions held open.
    Held,
    /// Thousands of hosts of the drill.
    Drill,
}

pub(crate) fn run(bench: &Bench) -> Result {
    let workspace = Workspace::find()?;
    match bench {
        Bench::Fleet(arguments) => arguments.run(&workspace),
        Bench::Copy(arguments) => arguments.run(&workspace),
        Bench::Sweep(common) => common.sweep(&workspace),
        Bench::Confined(arguments) => arguments.run(&workspace),
        Bench::Load(arguments) => load::run(arguments, &workspace),
        Bench::Watchdog(arguments) => watchdog::run(arguments, &workspace),
        Bench::Mirrorlist(arguments) => mirrorlist::run(arguments, &workspace),
    }
}

// === impl Common ===

impl Common {
    fn sweep(&self, workspace: &Workspace) -> Result {
        peers::prepare(workspace, &[], self.install)?;
        let lab = Lab::open(workspace, self.hosts.into())?;
        let section = Section {
            name: "sweep",
            title: format!("{} hosts at 16 and more sessions at once", lab.hosts),
            command: command_line(),
            versions: peers::versions(workspace, &lab.reveille, &[]),
            load: lab.load.clone(),
            body: sweep::run(&lab)?,
        };
        publish(workspace, &section, self.print)
    }
}

// === impl CopyArguments ===

impl CopyArguments {
    /// Hosts that are copied to.
    const HOSTS: usize = 8;

    fn run(&self, workspace: &Workspace) -> Result {
        peers::prepare(workspace, &[Contestant::Ansible], self.install)?;
        peers::prepare_rsync(self.install)?;
        let lab = Lab::open(workspace, Self::HOSTS)?;
        let load = copy::Load {
            megabytes: self.megabytes,
            files: self.files,
            ansible_files: self.ansible_files,
        };
        let section = Section {
            name: "copy",
            title: format!("Copies to {} hosts", Self::HOSTS),
            command: command_line(),
            versions: peers::versions(workspace, &lab.reveille, &[Contestant::Ansible]),
            load: lab.load.clone(),
            body: copy::run(&lab, load)?,
        };
        publish(workspace, &section, self.print)
    }
}

// === impl ConfinedArguments ===

impl ConfinedArguments {
    /// Where the picture is, for readers of BENCHMARKS.md.
    const PICTURE: &str = "docs/pictures/confined.svg";

    fn run(&self, workspace: &Workspace) -> Result {
        let lab = Lab::open(workspace, 1)?;
        let case = confined::Case {
            hosts: self.hosts,
            megabytes: self.memory,
        };
        let (body, picture) = confined::run(&lab, case, Self::PICTURE.as_ref())?;
        if !self.print {
            std::fs::write(workspace.root.join(Self::PICTURE), picture)?;
        }
        let section = Section {
            name: "confined",
            title: format!(
                "{} chatty hosts, {} MiB for the controller",
                self.hosts, self.memory
            ),
            command: command_line(),
            versions: peers::versions(workspace, &lab.reveille, &[]),
            load: lab.load.clone(),
            body,
        };
        publish(workspace, &section, self.print)
    }
}

/// Prints a section, and puts it into BENCHMARKS.md unless it is only to be printed.
fn publish(workspace: &Workspace, section: &Section, print: bool) -> Result {
    println!("{}", section.body);
    if print {
        return Ok(());
    }
    let path = workspace.root.join("BENCHMARKS.md");
    section.write(&path)?;
    tell::line(&format!("wrote {}", path.display()));
    Ok(())
}

// === impl FleetArguments ===

impl FleetArguments {
    fn run(&self, workspace: &Workspace) -> Result {
        let contestants: Vec<Contestant> = Contestant::value_variants()
            .iter()
            .copied()
            .filter(|contestant| self.only.is_empty() || self.only.contains(contestant))
            .filter(|contestant| !(self.quick && contestant.is_slow()))
            .collect();
        peers::prepare(workspace, &contestants, self.common.install)?;
        if contestants.contains(&Contestant::Bare) {
            workspace.build_bare()?;
        }
        let lab = Lab::open(workspace, self.common.hosts.into())?;
        let versions = peers::versions(workspace, &lab.reveille, &contestants);
        let publish_table = |name, title, body| {
            let section = Section {
                name,
                title,
                command: command_line(),
                versions: versions.clone(),
                load: lab.load.clone(),
                body,
            };
            publish(workspace, &section, self.common.print)
        };
        if self.wants(Table::Echo) {
            let rounds = self.rounds.unwrap_or(if self.quick { 1 } else { 3 });
            let times = if rounds == 1 {
                "once".to_owned()
            } else {
                format!("{rounds} rounds in turn")
            };
            let body = fleet::run(&lab, &contestants, rounds)?;
            publish_table(
                "fleet",
                format!("One `echo` on {} hosts, {times}", lab.hosts),
                body,
            )?;
        }
        if self.wants(Table::Held) {
            let one_program: Vec<Contestant> = contestants
                .iter()
                .copied()
                .filter(|contestant| !contestant.runs_ssh())
                .collect();
            let body = held::run(&lab, &one_program)?;
            let title = format!("{} sessions held open for {} s", lab.hosts, held::HOLD.as_secs());
            publish_table("held", title, body)?;
        }
        if self.wants(Table::Drill) {
            let body = drill::run(&lab, self.drill_hosts)?;
            publish_table(
                "drill",
                format!("{} sessions held at once against the drill", self.drill_hosts),
                body,
            )?;
        }
        Ok(())
    }

    fn wants(&self, table: Table) -> bool {
        if self.table.is_empty() {
            !(self.quick && table == Table::Drill)
        } else {
            self.table.contains(&table)
        }
    }
}

/// How this was called, for those who want to repeat it.
fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}
