//! `cargo xtask machines`: real Debian machines that stay up until they are taken down.

use clap::Subcommand;
use reveille_testbed::machines::{LIMIT, Machines};

use crate::failure::{Failure, Result};
use crate::packages::{self, Package};
use crate::tell;
use crate::workspace::Workspace;

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Bring up N fresh machines, in place of those that are up
    Up {
        /// How many
        #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
        count: u8,
    },
    /// End all machines and remove what they wrote; the base they share is kept
    Down,
    /// List the machines that are up
    List,
}

/// What machines are made with.
const PACKAGES: &[Package] = &[
    Package {
        name: "debootstrap",
        programs: &["debootstrap"],
        reason: "makes the base of all machines",
    },
    Package {
        name: "openssh-client",
        programs: &["ssh-keygen"],
        reason: "keys of the machines",
    },
    Package {
        name: "util-linux",
        programs: &["unshare"],
        reason: "namespaces of a machine",
    },
    Package {
        name: "mount",
        programs: &["mount"],
        reason: "the root of a machine",
    },
];

pub(crate) fn run(order: &Order) -> Result {
    let directory = Workspace::find()?.target.join("machines");
    let found = Machines::find(&directory)?;
    let up = found.as_ref().map_or(0, |set| set.machines().len());
    match order {
        Order::Up { count } => {
            let missing = packages::missing(PACKAGES);
            if !missing.is_empty() {
                packages::name_all(&missing);
                let how = packages::command_line(&missing);
                return Err(Failure::Missing(format!(
                    "machines need what is named above:\n    {how}"
                )));
            }
            if up > 0 {
                tell::line(&format!("{up} machines are up; replacing them by fresh ones"));
            }
            let count = usize::from(*count).min(LIMIT);
            let machines = Machines::up(&directory, &directory, count, &tell::line)?;
            list(&machines);
            println!("inventory: {}", machines.inventory().display());
            machines.keep();
        }
        Order::Down => {
            if let Some(machines) = found {
                machines.down()?;
            }
            tell::line(&format!("{up} machines ended"));
        }
        Order::List => match found {
            Some(machines) if up > 0 => {
                list(&machines);
                println!("inventory: {}", machines.inventory().display());
            }
            _ => tell::line("no machine is up"),
        },
    }
    Ok(())
}

fn list(machines: &Machines) {
    for machine in machines.machines() {
        println!("{} {}:{}", machine.name(), machine.address(), machines.port());
    }
}
