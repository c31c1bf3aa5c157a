//! `reveille completions`: prints completions for a shell.

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
