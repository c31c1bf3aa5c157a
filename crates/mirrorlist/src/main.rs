//! `reveille-mirrorlist`: the mirrorlist and metalink server. Each sub-command has a file in `commands`; the
//! documentation of the library has the guide.

mod commands;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use commands::{build, check, examples, explain, man, printer, serve};

/// Answer package clients with the mirrors that are best for them
///
/// Answer package clients (dnf, yum, apt) with the mirrors that are best for them, from the snapshot that MirrorManager
/// writes or from a list of mirrors in YAML. New data replace old data while requests are in progress.
#[derive(Debug, Parser)]
#[command(
    name = "reveille-mirrorlist",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = examples::PROGRAM
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer /mirrorlist and /metalink
    ///
    /// Answer the requests of package clients, from MirrorManager's snapshot or from a list of mirrors in YAML. The server
    /// checks its files for changes and replaces the data in one step. If a file can't be used, it keeps the old data and
    /// logs the reason.
    #[command(after_help = examples::SERVE)]
    Serve(serve::Arguments),
    /// Compile a list of mirrors in YAML into MirrorManager's format
    ///
    /// Compile a list of mirrors in YAML, with the results of `check` beside it, into a snapshot for `serve --cache` or for
    /// MirrorManager's own server.
    #[command(after_help = examples::BUILD)]
    Build(build::Arguments),
    /// Check data, and the mirrors of a list in YAML
    ///
    /// Check data and print what they contain and what is wrong with them. With a list in YAML, fetch one file of each
    /// repository from its origin and from every mirror, compare them, and write the results beside the list. `serve`
    /// and `build` leave out mirrors that are behind or can't be reached, by these results.
    #[command(after_help = examples::CHECK)]
    Check(check::Arguments),
    /// Explain which mirrors a client gets, and why
    ///
    /// Explain step by step which mirrors a client gets and in which order, and why other mirrors with the content are left
    /// out. The order within a group is random, as in the server's answers.
    #[command(after_help = examples::EXPLAIN)]
    Explain(explain::Arguments),
    /// Write man pages to a directory
    #[command(after_help = examples::MAN)]
    Man(man::Arguments),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Man(arguments) => man::run(&arguments, Cli::command()),
    };
    let Err(failure) = done else {
        return ExitCode::SUCCESS;
    };
    let (message, code) = failure.message();
    if let Some(message) = message {
        printer::say(&format!("error: {message}"));
    }
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> clap::Command {
        let mut program = Cli::command().disable_help_subcommand(true).term_width(80);
        program.build();
        program
    }

    /// Each option is described by a phrase that begins with a capital letter and has no full stop.
    #[test]
    fn every_option_is_described() {
        let program = program();
        let mut described = 0;
        for command in program.get_subcommands() {
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(
                    help.starts_with(|first: char| !first.is_lowercase())
                        && help.contains(' ')
                        && !help.ends_with('.'),
                    "{} {}: {help:?}",
                    command.get_name(),
                    argument.get_id()
                );
                described += 1;
            }
        }
        assert!(described > 35, "{described} options");
    }

    /// Short and long help of every command at the width of a usual terminal.
    #[test]
    fn help_reads_well() {
        let mut program = program();
        let mut text = program.render_help().to_string();
        for command in program.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            for (option, help) in [
                ("-h", command.render_help()),
                ("--help", command.render_long_help()),
            ] {
                text += &format!("\n$ reveille-mirrorlist {name} {option}\n{help}");
            }
        }
        let wide = |line: &&str| line.chars().count() > 80 && !line.starts_with("Usage: ");
        let wide: Vec<&str> = text.lines().filter(wide).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        insta::assert_snapshot!(text);
    }
}
