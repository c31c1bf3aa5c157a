//! The commands, one file each.

mod audit;
mod clean;
mod completions;
mod config;
mod copy;
mod drill;
mod exec;
mod explain;
mod export;
mod hosts;
mod init;
mod lint;
mod logs;
mod man;
mod ping;
pub(crate) mod program;
mod prune;
mod resume;
mod retry;
pub(crate) mod run;
mod runs;
mod show;
mod top;

use reveille_account::Exit;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::failure::Failure;
use crate::printer::Printer;

/// Runs a command.
pub(crate) fn run(cli: Cli, printer: &Printer) -> Result<Exit, Failure> {
    let globals = cli.globals;
    match cli.command {
        Command::Init { directory } => init::run(&directory, printer),
        Command::Exec(args) => exec::run(&args, &globals, printer),
        Command::Run(args) => run::run(&args, &globals, printer),
        Command::Resume(args) => resume::run(&args, &globals, printer),
        Command::Retry(args) => retry::run(&args, &globals, printer),
        Command::Drill(args) => drill::run(&args, &globals, printer),
        Command::Hosts(args) => hosts::run(&args, &globals, printer),
        Command::Lint(args) => lint::run(&args, printer),
        Command::Runs(args) => runs::run(&args, &globals, printer),
        Command::Show(args) => show::run(&args, &globals, printer),
        Command::Top(args) => top::run(&args, &globals, printer),
        Command::Audit(args) => audit::run(&args, &globals, printer),
        Command::Logs(args) => logs::run(&args, &globals, printer),
        Command::Export(args) => export::run(&args, &globals, printer),
        Command::Explain { class } => explain::run(class.as_deref(), printer),
        Command::Schema => explain::schema(printer),
        Command::Copy(args) => copy::copy(&args, &globals, printer),
        Command::Fetch(args) => copy::fetch(&args, &globals, printer),
        Command::Ping(args) => ping::run(&args, &globals, printer),
        Command::Clean(args) => clean::run(&args, &globals, printer),
        Command::Prune(args) => prune::run(&args, &globals, printer),
        Command::Completions { shell } => completions::completions(shell, printer),
        Command::Config {
            command: ConfigCommand::Show,
        } => config::show(printer),
        Command::Load(args) => program::run("load", &args.arguments),
        Command::Mirrorlist(args) => program::run("mirrorlist", &args.arguments),
        Command::Man { to } => man::man(&to, printer),
    }
}
