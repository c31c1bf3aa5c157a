//! The command line: one definition for parsing, help, man pages and completions.

mod examples;
mod reach;
mod rollout;
mod screen;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use reveille_text::duration;

pub(crate) use self::reach::{Choice, Link, Origins, PasswordArgs, Reach};

pub(crate) use self::rollout::{Format, Pacing, Report};
pub(crate) use self::screen::{Shown, When};

/// Run commands and jobs over SSH on many hosts, and account for every one of them
#[derive(Debug, Parser)]
#[command(
    name = "reveille",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = examples::PROGRAM
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// Directory of the ledger, outputs and known hosts [default: ~/.local/state/reveille]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "REVEILLE_STATE_DIR",
        hide_env = true,
        help_heading = "General"
    )]
    pub(crate) state_dir: Option<PathBuf>,
    /// More detail (repeatable)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "General")]
    pub(crate) verbose: u8,
    /// Report outputs and failures only
    #[arg(short, long, global = true, help_heading = "General")]
    pub(crate) quiet: bool,
    /// When to use colour [also: NO_COLOR, CLICOLOR_FORCE]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        help_heading = "General"
    )]
    pub(crate) color: When,
    /// The same as --color never
    #[arg(long, global = true, hide = true, overrides_with = "color")]
    pub(crate) no_color: bool,
    /// What to show while a run goes on
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        value_enum,
        default_value_t,
        help_heading = "General",
        hide_short_help = true
    )]
    pub(crate) progress: Shown,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a one-off command on the selected hosts
    #[command(visible_alias = "x", after_help = examples::EXEC)]
    Exec(ExecArgs),
    /// Run a job, step by step, on the selected hosts
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Resume an interrupted run
    #[command(after_help = examples::RESUME)]
    Resume(ResumeArgs),
    /// Run the failed hosts of a run again, from their first step, as a new round
    #[command(after_help = examples::RETRY)]
    Retry(RetryArgs),
    /// Rehearse a job against a built-in fleet of SSH servers with injected faults
    #[command(after_help = examples::DRILL)]
    Drill(DrillArgs),
    /// List the hosts of an inventory, their variables, or how they are reached
    #[command(after_help = examples::HOSTS)]
    Hosts(HostsArgs),
    /// Check a job file or an inventory
    #[command(after_help = examples::LINT)]
    Lint(LintArgs),
    /// List runs
    #[command(after_help = examples::RUNS)]
    Runs(RunsArgs),
    /// Show a run's result
    #[command(after_help = examples::SHOW)]
    Show(ShowArgs),
    /// Watch a run in the terminal: hosts, failures, steps, events, output
    #[command(after_help = examples::TOP)]
    Top(TopArgs),
    /// Check that every host of a run is accounted for; exit 4 if not
    Audit(RunArg),
    /// Show what happened on hosts, and their output
    #[command(override_usage = "reveille logs [OPTIONS] [RUN] HOST...\n       reveille logs [OPTIONS] [RUN] --failed", after_help = examples::LOGS)]
    Logs(LogsArgs),
    /// Write a run's artifacts: summary, events, tables, JUnit, address lists
    #[command(after_help = examples::EXPORT)]
    Export(ExportArgs),
    /// Explain a failure class
    Explain {
        /// The class; without it, list all classes
        class: Option<String>,
    },
    /// Print the JSON Schema of job files
    Schema,
    /// Copy files and directories to the selected hosts
    #[command(after_help = examples::COPY)]
    Copy(CopyArgs),
    /// Fetch files and directories from the selected hosts
    #[command(after_help = examples::FETCH)]
    Fetch(FetchArgs),
    /// Check which hosts can be reached and run commands
    #[command(after_help = examples::PING)]
    Ping(OnHosts),
    /// Remove a run's files from its hosts
    Clean(CleanArgs),
    /// Delete old runs with their events and outputs
    #[command(after_help = examples::PRUNE)]
    Prune(PruneArgs),
    /// Load-test HTTP services (runs reveille-load)
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Load(ProgramArgs),
    /// Serve mirror lists to package managers (runs reveille-mirrorlist)
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Mirrorlist(ProgramArgs),
    /// Write the first files of a project: an inventory, a job, options
    #[command(after_help = examples::INIT)]
    Init {
        /// The directory; no file in it is overwritten
        #[arg(value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
        directory: PathBuf,
    },
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Write man pages to a directory
    Man {
        /// The directory
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ProgramArgs {
    /// Arguments of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<std::ffi::OsString>,
}

/// Options of the commands that start a run on the selected hosts.
#[derive(Debug, Args)]
pub(crate) struct OnHosts {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct ExecArgs {
    /// Command and its arguments, joined by blanks and given to the remote sh; put -- before it if it begins with -
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Fill in {{ names }} in the command with the values of each host, as in jobs
    #[arg(long, help_heading = "Command")]
    pub(crate) template: bool,
    /// Keep the command running when the connection is lost, and re-attach to it
    #[arg(long, conflicts_with = "stdin", help_heading = "Command")]
    pub(crate) durable: bool,
    /// Give each host FILE (- for standard input) as the command's standard input
    #[arg(long, value_name = "FILE", help_heading = "Command")]
    pub(crate) stdin: Option<PathBuf>,
    /// Attempts the command may take; more than 1 states that it is safe to run twice
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100),
        help_heading = "Command",
        hide_short_help = true
    )]
    pub(crate) attempts: u32,
    /// Run the command on a terminal, for programs that refuse to run without one
    #[arg(long, conflicts_with_all = ["stdin", "durable"], help_heading = "Command", hide_short_help = true)]
    pub(crate) pty: bool,
    /// Kill the command after TIME without output, if its processes do not progress
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Watchdog")]
    pub(crate) idle: Option<Duration>,
    /// Kill the command after TIME
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Watchdog")]
    pub(crate) total: Option<Duration>,
    /// Print hosts' output line by line as it comes, instead of grouping alike output at the end
    #[arg(long, visible_alias = "no-fold", help_heading = "Output")]
    pub(crate) stream: bool,
    #[command(flatten)]
    pub(crate) on: OnHosts,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct RunArgs {
    /// Job file
    pub(crate) job: PathBuf,
    /// Set variables, or read them from a JSON or YAML file; they win over all others
    #[arg(
        short = 'e',
        long = "var",
        value_name = "NAME=VALUE|@FILE",
        help_heading = "Job"
    )]
    pub(crate) vars: Vec<String>,
    /// Print what the job would do on each host; connect to none
    #[arg(long, help_heading = "Job")]
    pub(crate) plan: bool,
    /// Ask the hosts what the job would change; change nothing
    #[arg(long, help_heading = "Job", conflicts_with = "plan")]
    pub(crate) check: bool,
    /// Show and record how the text files that the job sends differ from those on the hosts
    #[arg(long, help_heading = "Job", conflicts_with = "plan")]
    pub(crate) diff: bool,
    /// Run only steps with one of these tags, and those tagged `always`
    #[arg(long, value_name = "TAG", value_delimiter = ',', help_heading = "Job")]
    pub(crate) tags: Vec<String>,
    /// Skip steps with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',', help_heading = "Job")]
    pub(crate) skip_tags: Vec<String>,
    /// Print the output of the steps line by line as it comes
    #[arg(long, visible_alias = "no-fold", help_heading = "Output")]
    pub(crate) stream: bool,
    /// Start with the step of this name
    #[arg(long, value_name = "STEP", help_heading = "Job")]
    pub(crate) start_at: Option<String>,
    #[command(flatten)]
    pub(crate) on: OnHosts,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every option with its value and its source
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Local files and directories, then their destination on the hosts
    ///
    /// A destination that ends in / is a directory. A directory is copied with its name; with a / at its end only its
    /// contents are.
    #[arg(required = true, num_args = 2.., value_names = ["SRC", "DEST"])]
    pub(crate) files: Vec<PathBuf>,
    /// Permissions, octal [default: those of the replaced file, or 0644; in directories those of the source]
    #[arg(long, value_name = "MODE", help_heading = "Files")]
    pub(crate) mode: Option<String>,
    /// Owner
    #[arg(long, value_name = "USER", help_heading = "Files")]
    pub(crate) owner: Option<String>,
    /// Group
    #[arg(long, value_name = "GROUP", help_heading = "Files")]
    pub(crate) group: Option<String>,
    /// Ask the hosts what would change; change nothing
    #[arg(long, help_heading = "Files")]
    pub(crate) check: bool,
    /// Show and record how text files differ from those on the hosts
    #[arg(long, help_heading = "Files")]
    pub(crate) diff: bool,
    #[command(flatten)]
    pub(crate) on: OnHosts,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// Files and directories on the hosts
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// Local directory; each host gets a directory of its own in it
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) on: OnHosts,
}

#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    #[command(flatten)]
    pub(crate) which: RunArg,
    /// Work on at most N hosts at once
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Delete runs that ended longer ago than TIME, such as 90d
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub(crate) older_than: Duration,
    /// Also delete runs that were interrupted and could be resumed
    #[arg(long)]
    pub(crate) interrupted: bool,
    /// List the runs; delete nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) which: RunArg,
    /// Work on at most N hosts at once [default: as the run was started]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    #[command(flatten)]
    pub(crate) passwords: PasswordArgs,
    /// Vault password: a file, or a program that prints it [default: as the run was started]
    #[arg(long, value_name = "[ID@]FILE", hide_short_help = true)]
    pub(crate) vault_password_file: Vec<String>,
    /// Standard input of the command, if the run had one
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) report: Report,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// Only hosts with this status or class
    #[arg(long, value_name = "STATUS|CLASS")]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) resume: ResumeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// Job to rehearse [default: an install-like job]
    pub(crate) job: Option<PathBuf>,
    /// Number of hosts in the fleet
    #[arg(
        long,
        value_name = "N",
        default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=60_000),
        help_heading = "Drill"
    )]
    pub(crate) hosts: u32,
    /// Inventory whose groups and variables the practice hosts get; nothing in it is connected to
    ///
    /// The practice hosts take the parts of its hosts in turn, of those that the job's `hosts` matches.
    #[arg(short, long, value_name = "INV", requires = "job", help_heading = "Drill")]
    pub(crate) inventory: Vec<String>,
    /// Inject a fault: KIND=SHARE, KIND=COUNT or KIND=HOST,… [default: a dozen kinds]
    ///
    /// `all=COUNT` injects every kind, `none` injects nothing. Repeat the option for several kinds.
    #[arg(long = "fault", value_name = "KIND=SHARE", help_heading = "Drill")]
    pub(crate) faults: Vec<String>,
    /// List the kinds of fault, and the classes with which their hosts should end
    #[arg(long, help_heading = "Drill")]
    pub(crate) list_faults: bool,
    /// Run the job's commands for real, on this machine
    ///
    /// Each host has a home directory of its own and no other protection. Only faults of the connection can be injected.
    #[arg(long, help_heading = "Drill")]
    pub(crate) real_shell: bool,
    /// Let --real-shell run commands as root
    #[arg(long, requires = "real_shell", help_heading = "Drill", hide_short_help = true)]
    pub(crate) allow_root: bool,
    /// Random seed
    #[arg(long, default_value_t = 1, help_heading = "Drill")]
    pub(crate) seed: u64,
    /// Only serve the fleet, and write its inventory, keys and known hosts to DIR
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) serve: Option<PathBuf>,
    /// Commands of a host that succeed before its fault shows in one
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) good_commands: u32,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
}

#[derive(Debug, Args)]
pub(crate) struct HostsArgs {
    /// Show each host's variables; mask secret ones
    #[arg(long, conflicts_with = "why")]
    pub(crate) vars: bool,
    /// Explain how the hosts that match are reached: each setting, its value and its source
    #[arg(long, value_name = "PATTERN")]
    pub(crate) why: Option<String>,
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) link: Link,
    /// The sources of the options.
    #[arg(skip)]
    pub(crate) origins: Origins,
}

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Job file (.yaml, .yml) or inventory
    pub(crate) file: PathBuf,
    /// Inventory with which to check the hosts of the job
    #[arg(short, long, value_name = "INV")]
    pub(crate) inventory: Vec<String>,
    /// Vault password: a file, or a program that prints it [default: $ANSIBLE_VAULT_PASSWORD_FILE]
    #[arg(long, value_name = "[ID@]FILE")]
    pub(crate) vault_password_file: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArg {
    /// Run: its id, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) which: RunArg,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Print the run's events as they happen, until it ends
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Only runs with hosts that failed
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only interrupted runs
    #[arg(long)]
    pub(crate) interrupted: bool,
    /// Only runs that started since then: 2h, 7d, 2026-11-21
    #[arg(long, value_name = "TIME|DATE")]
    pub(crate) since: Option<String>,
    /// Only runs that this command started
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = ["exec", "run", "check", "copy", "fetch", "ping", "drill"])]
    pub(crate) kind: Vec<String>,
    /// At most the N newest
    #[arg(short, long, value_name = "N")]
    pub(crate) number: Option<u32>,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Run: its id, a unique beginning of it, or `last` [default: the newest in progress, or else the newest]
    pub(crate) run: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The hosts, also as globs (web*); before them, the run, if it is not the last one
    #[arg(value_name = "HOST")]
    pub(crate) what: Vec<String>,
    /// All hosts that failed
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only this step: its name or its number
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Print what comes, until the run ends
    #[arg(short, long, conflicts_with_all = ["format", "raw"])]
    pub(crate) follow: bool,
    /// Print the output alone and unchanged, escape sequences included
    #[arg(long, conflicts_with = "format")]
    pub(crate) raw: bool,
    /// Format of the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) which: RunArg,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
}

impl Cli {
    /// Gives the command the sources of its options, if it needs them.
    pub(crate) fn take_origins(&mut self, found: Origins, files: &[PathBuf]) {
        let (choice, origins) = match &mut self.command {
            Command::Exec(ExecArgs { on, .. })
            | Command::Run(RunArgs { on, .. })
            | Command::Copy(CopyArgs { on, .. })
            | Command::Fetch(FetchArgs { on, .. })
            | Command::Ping(on) => (&mut on.reach.choice, &mut on.reach.origins),
            Command::Hosts(args) => (&mut args.choice, &mut args.origins),
            _ => return,
        };
        choice.settle(&found, files);
        *origins = found;
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Short and long help of every command, 80 columns wide.
    #[test]
    fn help_reads_well() {
        let mut cli = with_width(80);
        let mut text = cli.render_help().to_string();
        for command in cli.get_subcommands_mut() {
            let is_theirs = ["load", "mirrorlist", "help"].contains(&command.get_name());
            if is_theirs || command.is_hide_set() {
                continue;
            }
            let name = command.get_name().to_owned();
            for (option, help) in [
                ("-h", command.render_help()),
                ("--help", command.render_long_help()),
            ] {
                text += &format!("\n$ reveille {name} {option}\n{help}");
            }
        }
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn help_reads_well_on_narrow_and_wide_terminals() {
        let mut text = String::new();
        for width in [60, 120] {
            let mut cli = with_width(width);
            let program = cli.render_help();
            let retry = cli.find_subcommand_mut("retry").unwrap().render_help();
            text += &format!("{width} columns\n\n{program}\n$ reveille retry -h\n{retry}\n");
        }
        insta::assert_snapshot!(text);
    }

    fn with_width(columns: usize) -> clap::Command {
        let mut cli = Cli::command().term_width(columns);
        cli.build();
        cli
    }
}
