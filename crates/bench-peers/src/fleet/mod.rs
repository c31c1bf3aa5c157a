//! The fleet: Reveille beside other programs that run commands and copy files over SSH.

mod chart;
pub(crate) mod confined;
mod contestant;
pub(crate) mod copy;
mod drill;
mod echo;
mod held;
mod lab;
mod peers;
pub(crate) mod sweep;

use clap::{Args, ValueEnum};
use xtask::failure::Result;
use xtask::workspace::Workspace;

use self::contestant::Contestant;
use self::lab::Lab;

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
pub(crate) struct Arguments {
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

pub(crate) fn run(arguments: &Arguments, workspace: &Workspace) -> Result {
    let contestants: Vec<Contestant> = Contestant::value_variants()
        .iter()
        .copied()
        .filter(|contestant| arguments.only.is_empty() || arguments.only.contains(contestant))
        .filter(|contestant| !(arguments.quick && contestant.is_slow()))
        .collect();
    peers::prepare(workspace, &contestants, arguments.common.install)?;
    if contestants.contains(&Contestant::Bare) {
        lab::build_bare(workspace)?;
    }
    let lab = Lab::open(workspace, arguments.common.hosts.into())?;
    let versions = peers::versions(workspace, &lab.reveille, &contestants);
    let publish_table = |name, title, body| {
        lab.section(name, title, versions.clone(), body)
            .publish(workspace, arguments.common.print)
    };
    if arguments.wants(Table::Echo) {
        let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 });
        let times = if rounds == 1 {
            "once".to_owned()
        } else {
            format!("{rounds} rounds in turn")
        };
        let body = echo::table(&lab, &contestants, rounds)?;
        publish_table(
            "fleet",
            format!("One `echo` on {} hosts, {times}", lab.hosts),
            body,
        )?;
    }
    if arguments.wants(Table::Held) {
        let one_program: Vec<Contestant> = contestants
            .iter()
            .copied()
            .filter(|contestant| !contestant.runs_ssh())
            .collect();
        let body = held::table(&lab, &one_program)?;
        let title = format!("{} sessions held open for {} s", lab.hosts, held::HOLD.as_secs());
        publish_table("held", title, body)?;
    }
    if arguments.wants(Table::Drill) {
        let body = drill::table(&lab, arguments.drill_hosts)?;
        publish_table(
            "drill",
            format!(
                "{} sessions held at once against the drill",
                arguments.drill_hosts
            ),
            body,
        )?;
    }
    Ok(())
}

// === impl Arguments ===

impl Arguments {
    fn wants(&self, table: Table) -> bool {
        if self.table.is_empty() {
            !(self.quick && table == Table::Drill)
        } else {
            self.table.contains(&table)
        }
    }
}
