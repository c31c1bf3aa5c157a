//! `reveille man`: writes man pages, made from the definition of the command line.

use std::io::{self, Write as _};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use reveille_account::Exit;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::printer::Printer;

/// Files that a user may look for.
const FILES: &[(&str, &str)] = &[
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
];
/// Variables that are read.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "REVEILLE_OPTION",
        "Value of the option --option; the command line wins over it, and it wins over configuration files",
    ),
    (
        "REVEILLE_LOG",
        "Filter of the log on standard error, such as info or debug",
    ),
    (
        "ANSIBLE_INVENTORY, ANSIBLE_VAULT_PASSWORD_FILE",
        "Used where -i, -w or --vault-password-file are missing",
    ),
    ("SSH_AUTH_SOCK", "Socket of the agent that is asked for keys"),
    ("NO_COLOR", "If set and not empty, output has no colour"),
];
/// Exit statuses of commands that run hosts.
const STATUSES: &[(&str, &str)] = &[
    ("0", "All hosts succeeded"),
    ("1", "Internal error"),
    ("2", "Bad usage or input; nothing was dispatched"),
    ("3", "Some hosts failed or were cancelled"),
    ("4", "Hosts are unaccounted for"),
    ("5", "Interrupted; continue with `reveille resume`"),
];

/// Writes a page for each command to a directory.
pub(crate) fn man(directory: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        pages(&program, directory)
    };
    write().map_err(|error| {
        Failure::usage(format!(
            "can't write man pages to {}: {error}",
            directory.display()
        ))
    })?;
    printer.say(&format!("wrote man pages to {}", directory.display()));
    Ok(Exit::Success)
}

/// The page of a command, and those of its subcommands.
fn pages(command: &Command, directory: &Path) -> io::Result<()> {
    page(command, directory)?;
    command
        .get_subcommands()
        .try_for_each(|subcommand| pages(subcommand, directory))
}

fn page(command: &Command, directory: &Path) -> io::Result<()> {
    let examples = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    // Other parts of the text at the end of the help have sections of their own.
    if let Some(examples) = examples
        .split("\n\n")
        .find_map(|part| part.strip_prefix("Examples:\n"))
    {
        let mut roff = Roff::new();
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        roff.text([roman(examples)]).control("fi", []);
        roff.to_writer(&mut text)?;
    }
    for (heading, rows) in [
        ("FILES", FILES),
        ("ENVIRONMENT", ENVIRONMENT),
        ("EXIT STATUS", STATUSES),
    ] {
        let mut roff = Roff::new();
        roff.control("SH", [heading]);
        for (name, meaning) in rows {
            roff.control("TP", []);
            roff.text([bold(*name)]).text([roman(*meaning)]);
        }
        roff.to_writer(&mut text)?;
    }
    man.render_version_section(&mut text)?;
    std::fs::File::create(directory.join(man.get_filename()))?.write_all(&text)
}
