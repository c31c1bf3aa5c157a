//! `reveille man`: writes man pages, made from the definition of the command line.

use std::path::Path;

use clap::CommandFactory as _;
use reveille_account::Exit;
use reveille_manual::Manual;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::printer::Printer;

/// What the pages contain besides the definition of the command line.
const MANUAL: Manual = Manual {
    files: &[
        (
            "~/.local/state/reveille",
            "State directory: the ledger, outputs, and the keys of hosts that were seen for the first time",
        ),
        ("/etc/reveille/config.toml", "Configuration for all users"),
        ("~/.config/reveille/config.toml", "Configuration of the user"),
        (
            "./reveille.toml",
            "Configuration of the current directory; wins over the others",
        ),
        (
            "~/.ssh/config, /etc/ssh/ssh_config",
            "How hosts are reached, as for ssh(1)",
        ),
    ],
    environment: &[
        (
            "REVEILLE_NAME",
            "Value of the option --name. Write the name in capitals, and _ for -: REVEILLE_MAX_FAIL=2% is --max-fail 2%. The \
         command line wins over the variable, and the variable over configuration files",
        ),
        (
            "REVEILLE_LOG",
            "Filter of the log on standard error, such as info or debug",
        ),
        (
            "ANSIBLE_INVENTORY",
            "Inventory, or several separated by commas, if neither -i nor -w is given",
        ),
        (
            "ANSIBLE_VAULT_PASSWORD_FILE",
            "Vault password, if --vault-password-file is not given",
        ),
        ("SSH_AUTH_SOCK", "Socket of the agent that is asked for keys"),
        ("NO_COLOR", "If set and not empty, output has no colour"),
    ],
    // Those of the program.
    statuses: &[],
    see_also: &["reveille-load(1)", "reveille-mirrorlist(1)", "ssh_config(5)"],
};

/// Writes a page for each command to a directory.
pub(crate) fn man(directory: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let shown = directory.display();
    // Programs of their own write these pages.
    let program = ["load", "mirrorlist"]
        .iter()
        .fold(Cli::command(), |program, name| {
            program.mut_subcommand(*name, |command| command.hide(true))
        });
    MANUAL
        .write(program, directory)
        .map_err(|error| Failure::usage(format!("can't write man pages to {shown}: {error}")))?;
    printer.say(&format!("wrote man pages to {shown}"));
    Ok(Exit::Success)
}
