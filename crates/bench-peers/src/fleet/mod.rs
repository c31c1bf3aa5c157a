//! The fleet: Reveille beside other programs that run commands and jobs and copy files over SSH.

mod chart;
pub(crate) mod confined;
mod contestant;
pub(crate) mod copy;
mod drill;
mod echo;
mod held;
pub(crate) mod job;
mod lab;
mod live;
mod peers;
pub(crate) mod sweep;

use clap::{Args, ValueEnum};
use xtask::failure::Result;

use self::contestant::Contestant;
use self::lab::Lab;
use crate::bench::{Bench, wanted};

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Hosts: real servers on loopback addresses
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(16..=2048))]
    hosts: u16,
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
    table: Vec<Measurement>,
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
enum Measurement {
    /// One echo on every host
    Echo,
    /// Sessions held open
    Held,
    /// Hosts that print lines all the time
    Live,
    /// Thousands of hosts of the drill
    Drill,
}

pub(crate) fn run(arguments: &Arguments, bench: &Bench) -> Result {
    let mut contestants = wanted(&arguments.only, Contestant::value_variants());
    contestants.retain(|contestant| !(arguments.quick && contestant.is_slow()));
    peers::prepare(bench, &contestants)?;
    if contestants.contains(&Contestant::Bare) {
        lab::build_bare(&bench.workspace)?;
    }
    let lab = Lab::open(bench, arguments.common.hosts.into())?;
    let versions = lab.versions(&contestants);
    let (hosts, drill_hosts) = (lab.hosts, arguments.drill_hosts);
    let usual = if arguments.quick {
        &[Measurement::Echo, Measurement::Held][..]
    } else {
        Measurement::value_variants()
    };
    for table in wanted(&arguments.table, usual) {
        let (name, title, body) = match table {
            Measurement::Echo => {
                let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 });
                let times = match rounds {
                    1 => "once".to_owned(),
                    rounds => format!("{rounds} rounds in turn"),
                };
                let title = format!("One `echo` on {hosts} hosts, {times}");
                ("fleet", title, echo::table(&lab, &contestants, rounds)?)
            }
            Measurement::Held => {
                let title = format!("{hosts} sessions held open for {} s", held::HOLD.as_secs());
                ("held", title, held::table(&lab, &contestants)?)
            }
            Measurement::Live => {
                let rounds = arguments.rounds.unwrap_or(3);
                let title = format!("{hosts} hosts that print {} lines a second", live::LINES);
                ("live", title, live::table(&lab, rounds)?)
            }
            Measurement::Drill => {
                let title = format!("{drill_hosts} sessions held at once against the drill");
                ("drill", title, drill::table(&lab, drill_hosts)?)
            }
        };
        bench.publish(name, &title, &versions, &body)?;
    }
    Ok(())
}
