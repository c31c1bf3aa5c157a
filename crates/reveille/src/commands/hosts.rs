//! `reveille hosts`: whom a choice reaches.

use reveille_account::Exit;

use crate::choose::choose;
use crate::cli::{Globals, HostsArgs};
use crate::failure::Failure;
use crate::printer::Printer;

pub(crate) fn run(args: &HostsArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let (inventory, hosts) = choose(&args.choice, None, globals, printer)?;
    for host in hosts {
        if !args.vars {
            printer.data(host.as_str())?;
            continue;
        }
        let mut vars = inventory.vars(host.as_str());
        for (name, value) in &mut vars {
            if inventory.is_secret(host.as_str(), name) {
                *value = "********".into();
            }
        }
        printer.data(&format!("{host} {}", serde_json::Value::Object(vars)))?;
    }
    Ok(Exit::Success)
}
