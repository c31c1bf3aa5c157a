//! `reveille-mirrorlist man`

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::failure::Failure;
use super::printer::say;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory; it is made if there is none
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Files that are read or written.
const FILES: &[(&str, &str)] = &[
    ("FILE.proto", "Snapshot in MirrorManager's format"),
    (
        "FILE.yaml",
        "List of repositories and mirrors, described in docs/mirrorlist.md",
    ),
    (
        "FILE.yaml.state.json",
        "Results of `check`, beside the list: `check` writes them, `serve` and `build` read them",
    ),
];
/// Variables that are read.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "REVEILLE_LOG",
        "Filter of `serve`'s log on standard error, such as debug; info by default",
    ),
    (
        "LISTEN_FDS, LISTEN_PID, NOTIFY_SOCKET",
        "Sockets that systemd passes to `serve`, and where it waits for the message that `serve` is ready",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "Certificate authorities that `check` trusts, instead of those of the system",
    ),
];
/// Statuses of commands whose help lists none.
const STATUSES: &str = "  0  success\n  1  internal error\n  2  bad usage or bad input";
/// Pages on related programs.
const SEE_ALSO: &str =
    "reveille(1), reveille-load(1), dnf.conf(5), apt-transport-mirror(1), systemd.socket(5)";

/// Writes a page of each command into a directory.
pub(crate) fn run(arguments: &Arguments, program: Command) -> Result<(), Failure> {
    let directory = &arguments.to;
    let mut program = program.disable_help_subcommand(true);
    program.build();
    std::fs::create_dir_all(directory)
        .and_then(|()| {
            std::iter::once(&program)
                .chain(program.get_subcommands())
                .try_for_each(|command| page(command, directory))
        })
        .map_err(|error| {
            Failure::Input(format!(
                "can't write man pages to {}: {error}",
                directory.display()
            ))
        })?;
    say(&format!("man pages are in {}", directory.display()));
    Ok(())
}

fn page(command: &Command, directory: &Path) -> io::Result<()> {
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
    let after = command.get_after_help().map(ToString::to_string);
    let after = after.unwrap_or_default();
    let part = |title: &str| after.split("\n\n").find_map(|part| part.strip_prefix(title));
    let rows = |part: &'_ str| -> Vec<(String, String)> {
        let rows = part.lines().filter_map(|line| line.trim().split_once("  "));
        rows.map(|(name, meaning)| (name.to_owned(), meaning.trim().to_owned()))
            .collect()
    };
    if let Some(examples) = part("Examples:\n") {
        let mut roff = Roff::new();
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        roff.text([roman(examples)]).control("fi", []);
        roff.to_writer(&mut text)?;
    }
    if let Some(signals) = part("Signals:\n") {
        table("SIGNALS", &rows(signals), &mut text)?;
    }
    table("FILES", FILES, &mut text)?;
    table("ENVIRONMENT", ENVIRONMENT, &mut text)?;
    let statuses = part("Exit status:\n").unwrap_or(STATUSES);
    table("EXIT STATUS", &rows(statuses), &mut text)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(SEE_ALSO)]);
    roff.to_writer(&mut text)?;
    man.render_version_section(&mut text)?;
    std::fs::write(directory.join(man.get_filename()), text)
}

fn table<T: AsRef<str>>(heading: &str, rows: &[(T, T)], text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (name, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(name.as_ref())]).text([roman(meaning.as_ref())]);
    }
    roff.to_writer(text)
}
