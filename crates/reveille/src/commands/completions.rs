//! `reveille completions` and `reveille man`: from the one definition of the command line.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use reveille_account::Exit;

use crate::cli::Cli;
use crate::failure::Failure;
use crate::printer::Printer;

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell, printer: &Printer) -> Result<Exit, Failure> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "reveille", &mut bytes);
    printer.data_bytes(&bytes)?;
    Ok(Exit::Success)
}

/// Writes a man page of every command into a directory.
pub(crate) fn man(directory: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let refused = |error: std::io::Error| {
        Failure::usage(format!(
            "can't write man pages to {}: {error}",
            directory.display()
        ))
    };
    std::fs::create_dir_all(directory).map_err(refused)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(refused)?;
    printer.say(&format!("man pages are in {}", directory.display()));
    Ok(Exit::Success)
}
