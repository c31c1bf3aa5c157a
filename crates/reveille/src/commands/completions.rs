//! `reveille completions`: prints completions for a shell.

use clap::CommandFactory as _;
use reveille_account::Exit;

use crate::cli::Cli;
use crate::complete;
use crate::failure::Failure;
use crate::printer::Printer;

/// Prints the completions of a shell: a script that asks this program, or for other shells one that knows the options.
pub(crate) fn completions(shell: clap_complete::Shell, printer: &Printer) -> Result<Exit, Failure> {
    if let Some(script) = complete::script(shell) {
        printer.data(script.trim_end())?;
        return Ok(Exit::Success);
    }
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "reveille", &mut bytes);
    printer.data_bytes(&bytes)?;
    Ok(Exit::Success)
}
