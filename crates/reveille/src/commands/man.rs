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
/// Environment variables that are read.
const ENVIRONMENT: &[(&str, &str)] = &[
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
];

/// Writes a page for each command to a directory.
pub(crate) fn man(directory: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let write = || -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let mut program = complete(Cli::command().disable_help_subcommand(true));
        program.build();
        let statuses = part(&program, "Exit status:\n").unwrap_or_default();
        let statuses: Vec<_> = statuses
            .lines()
            .filter_map(|line| line.trim().split_once("  "))
            .collect();
        pages(&program, None, &statuses, directory)
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

/// The command with the options that its short help hides.
fn complete(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_short_help(false))
        .mut_subcommands(complete)
}

/// The part of the text at the end of the help that begins with `heading`.
fn part(command: &Command, heading: &str) -> Option<String> {
    let text = command.get_after_help()?.to_string();
    text.split("\n\n")
        .find_map(|part| part.strip_prefix(heading))
        .map(str::to_owned)
}

/// Writes the page of a command, and those of its subcommands.
fn pages(
    command: &Command,
    parent: Option<&Command>,
    statuses: &[(&str, &str)],
    directory: &Path,
) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    let usage = command.clone().render_usage().to_string();
    section("SYNOPSIS", usage.trim_start_matches("Usage: "), &mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = part(command, "Examples:\n") {
        section("EXAMPLES", &examples, &mut text)?;
    }
    for (heading, rows) in [
        ("FILES", FILES),
        ("ENVIRONMENT", ENVIRONMENT),
        ("EXIT STATUS", statuses),
    ] {
        let mut roff = Roff::new();
        roff.control("SH", [heading]);
        for (name, meaning) in rows {
            roff.control("TP", []);
            roff.text([bold(*name)]).text([roman(*meaning)]);
        }
        roff.to_writer(&mut text)?;
    }
    let page = |command: &Command| {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        format!("{name}(1)")
    };
    let related = parent.into_iter().chain(command.get_subcommands()).map(page);
    let related: Vec<String> = related.chain(["ssh_config(5)".to_owned()]).collect();
    let mut see_also = Roff::new();
    see_also.control("SH", ["SEE ALSO"]);
    see_also.text([roman(related.join(", "))]);
    see_also.to_writer(&mut text)?;
    man.render_version_section(&mut text)?;
    std::fs::File::create(directory.join(man.get_filename()))?.write_all(&text)?;
    command
        .get_subcommands()
        .try_for_each(|subcommand| pages(subcommand, Some(command), statuses, directory))
}

/// Writes a section whose lines stay as they are.
fn section(heading: &str, lines: &str, text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [heading]).control("nf", []);
    roff.text([roman(lines)]).control("fi", []);
    roff.to_writer(text)
}
