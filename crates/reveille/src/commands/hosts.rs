//! `reveille hosts`: lists hosts, their variables, and how they are reached.

use reveille_account::Exit;
use reveille_way::{Finder, Reasons};

use crate::choose::choose;
use crate::cli::{Globals, HostsArgs};
use crate::failure::Failure;
use crate::options::asked;
use crate::printer::Printer;

/// Options that change only what `--why` prints.
const LINK_OPTIONS: &[&str] = &[
    "user",
    "key",
    "port",
    "ssh-config",
    "transport",
    "connect-timeout",
    "host-key",
    "become",
    "become-user",
    "become-method",
];

pub(crate) fn run(args: &HostsArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    if let Some(option) = args.origins.on_the_command_line(LINK_OPTIONS)
        && args.why.is_none()
    {
        return Err(Failure::usage(format!(
            "--{option} does not select hosts; use it with --why PATTERN"
        )));
    }
    let why = args.why.as_deref().map(|pattern| ("--why", pattern));
    let (inventory, hosts) = choose(&args.choice, why, globals, printer)?;
    if args.why.is_some() {
        let asked = asked(&args.link, &args.origins)?;
        let mut finder = Finder::new(&asked, printer)?;
        let mut exit = Exit::Success;
        for host in hosts {
            let mut reasons = Reasons::kept();
            match finder.find(&inventory, host.as_str(), &mut reasons) {
                Ok(_) => printer.data(&format!("{host}\n{}", reasons.to_string().trim_end()))?,
                Err(error) => {
                    let failure = Failure::from(error);
                    printer.failure(&failure);
                    exit = failure.exit();
                }
            }
        }
        return Ok(exit);
    }
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
