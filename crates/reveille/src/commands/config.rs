//! `reveille config show`: prints every option with its value and its source.

use clap::CommandFactory as _;
use reveille_account::Exit;

use crate::cli::Cli;
use crate::config::{self, Config};
use crate::failure::Failure;
use crate::printer::Printer;

pub(crate) fn show(printer: &Printer) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    let config = Config::read(&command)?;
    for path in config::files() {
        let found = if path.exists() { "" } else { "  (does not exist)" };
        printer.say(&format!("# {}{found}", path.display()));
    }
    let mut before = None;
    for shown in config.show(&Cli::command()) {
        if before.as_ref() != Some(&shown.command) {
            if !shown.command.is_empty() {
                printer.data(&format!("\n[{}]", shown.command))?;
            }
            before = Some(shown.command.clone());
        }
        printer.data(&if shown.origin == "not set" {
            format!("# {} is not set", shown.option)
        } else {
            format!("{} = {:?}  # {}", shown.option, shown.value, shown.origin)
        })?;
    }
    Ok(Exit::Success)
}
