//! `cargo xtask machines`: real Debian machines that stay up until they are taken down.

use reveille_testbed::machines::{LIMIT, Machines};

use xtask::failure::{Failure, Result};
use xtask::packages::{self, Package};
use xtask::tell;
use xtask::workspace::Workspace;

/// What to do with machines.
#[derive(Debug)]
pub(crate) enum Order {
    /// Bring up so many fresh machines, in place of those that are up.
    Up(u8),
    /// End all machines and remove what they wrote; the base they share is kept.
    Down,
    /// List the machines that are up.
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
        Order::Up(count) => {
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
