//! The command line: one definition for parsing, help, man pages and completions.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use reveille_account::{BecomeMethod, HostKeyPolicy, Origin, TransportKind, UnknownWord};
use reveille_text::{Bytes, duration};

/// Runs commands and jobs over SSH on many hosts, and accounts for every one of them.
#[derive(Debug, Parser)]
#[command(
    name = "reveille",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Exit status: 0 every host succeeded, 1 internal error, 2 bad usage or input (nothing was dispatched),\n\
                  3 some host failed or was cancelled, 4 the account does not balance, 5 interrupted (`reveille resume`)."
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
    #[arg(long, global = true, value_name = "DIR", env = "REVEILLE_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Say more; repeat for logs
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say only what failed
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// No colour [also: NO_COLOR]
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one command on every host, now
    #[command(visible_alias = "x")]
    Exec(ExecArgs),
    /// Run a job, step by step, on every host
    Run(RunArgs),
    /// Go on with a run that was interrupted or whose controller died
    Resume(ResumeArgs),
    /// Run again what failed, from its first step, as a new round of the same run
    Retry(RetryArgs),
    /// Rehearse: a job against a built-in fleet of SSH servers with injected faults
    Drill(DrillArgs),
    /// List the hosts that an inventory and a pattern reach
    Hosts(HostsArgs),
    /// Check a job file or an inventory
    Lint(LintArgs),
    /// List runs
    Runs,
    /// Show what a run came to
    Show(ShowArgs),
    /// Hold a run's outcomes against its roll; exit 4 if a host is unaccounted for
    Audit(RunArg),
    /// Show what a host said
    Logs(LogsArgs),
    /// Write a run's artifacts: summary, events, tables, JUnit, address lists
    Export(ExportArgs),
    /// Explain a failure class
    Explain {
        /// The class; all are listed without one
        class: Option<String>,
    },
    /// Print the JSON Schema of job files
    Schema,
    /// Copy files and directories to every host
    Copy(CopyArgs),
    /// Fetch files and directories of every host
    Fetch(FetchArgs),
    /// See which hosts answer
    Ping(PingArgs),
    /// Remove what a run left on its hosts
    Clean(CleanArgs),
    /// Forget old runs, with their events and outputs
    Prune(PruneArgs),
    /// Load-test HTTP services: the program reveille-load
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Load(ProgramArgs),
    /// Tell package managers which mirrors are best for them: the program reveille-mirrorlist
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Mirrorlist(ProgramArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Look at the configuration
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
    /// What the program is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Finished attempts the command may take; more than 1 says that it is safe to run twice
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) attempts: u32,
    /// Keep the command going when the connection is lost, and re-attach to it
    #[arg(long, conflicts_with = "stdin")]
    pub(crate) durable: bool,
    /// Run the command on a terminal: for programs that insist on one. Nobody sits at it
    #[arg(long, conflicts_with_all = ["stdin", "durable"])]
    pub(crate) pty: bool,
    /// Kill the command after this long without output
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub(crate) idle: Option<Duration>,
    /// Kill the command after this long
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub(crate) total: Option<Duration>,
    /// Give every host this file (or - for standard input) as the command's input
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Print every host's output line by line as it comes, instead of folding it at the end
    #[arg(long)]
    pub(crate) no_fold: bool,
    /// The command, from its first word on (after -- if that begins with -); its words are joined and given to the remote
    /// sh
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The job file
    pub(crate) job: PathBuf,
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Set a variable, or read variables from a JSON file; wins over all others
    #[arg(short = 'e', long = "var", value_name = "K=V|@FILE")]
    pub(crate) vars: Vec<String>,
    /// Print what would be done on each host, and connect to none
    #[arg(long)]
    pub(crate) plan: bool,
    /// Only steps with one of these tags (and `always`)
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// No steps with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(crate) skip_tags: Vec<String>,
    /// Begin with the step of this name
    #[arg(long, value_name = "STEP")]
    pub(crate) start_at: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every option with its value and where that comes from
    Show,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Files and directories of this machine, and where they go on the hosts: a path, or a directory that ends in /.
    /// `conf` goes there with its name, `conf/` stands for what is in it
    #[arg(required = true, num_args = 2.., value_names = ["SRC", "DEST"])]
    pub(crate) files: Vec<PathBuf>,
    /// Permissions of files there, octal [default: those of the file replaced, else 0644; in a directory their own]
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<String>,
    /// Their owner there
    #[arg(long, value_name = "USER")]
    pub(crate) owner: Option<String>,
    /// Their group there
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// Files and directories on the hosts
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// The directory here; every host has one of its own in it
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
}

#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// The run: its id, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
    /// Hosts at once
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Runs that ended longer ago than this, such as 90d
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub(crate) older_than: Duration,
    /// Also runs that were interrupted and could be resumed
    #[arg(long)]
    pub(crate) interrupted: bool,
    /// Only list them
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The run: its id, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Sessions at once [default: as the run had]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    /// The command's input again, if the run had one
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The run: its id, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Only hosts of this status or class
    #[arg(long, value_name = "STATUS|CLASS")]
    pub(crate) only: Vec<String>,
    /// The command's input again, if the run had one
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Sessions at once [default: as the run had]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// The job to rehearse [default: an install-like job]
    pub(crate) job: Option<PathBuf>,
    /// Hosts in the fleet
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) hosts: u32,
    /// Inject a fault: KIND=SHARE, KIND=COUNT or KIND=HOST,…; `all=COUNT` for every kind, `none` for none [default: a
    /// dozen kinds]
    #[arg(long = "fault", value_name = "KIND=SHARE")]
    pub(crate) faults: Vec<String>,
    /// List the kinds of fault: what each is, and how its hosts should end
    #[arg(long)]
    pub(crate) list_faults: bool,
    /// Run the job's commands for real, on this machine: each host has a home directory of its own, and no other
    /// protection. Only faults of the connection can be injected then
    #[arg(long)]
    pub(crate) real_shell: bool,
    /// Let --real-shell run the job's commands as root
    #[arg(long, requires = "real_shell")]
    pub(crate) allow_root: bool,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Only serve the fleet and write its inventory, keys and known hosts to this directory
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) serve: Option<PathBuf>,
    /// Commands of a host that go well before its fault shows in one
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) good_commands: u32,
}

#[derive(Debug, Args)]
pub(crate) struct HostsArgs {
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) link: Link,
    /// Show each host's variables; secret ones are masked
    #[arg(long, conflicts_with = "why")]
    pub(crate) vars: bool,
    /// Explain how the hosts that match are reached: every setting, its value, and what set it
    #[arg(long, value_name = "PATTERN")]
    pub(crate) why: Option<String>,
    /// Where the options come from.
    #[arg(skip)]
    pub(crate) origins: Origins,
}

#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// A job file (.yaml, .yml) or an inventory
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArg {
    /// The run: its id, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run: its id, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Print the run's events as they happen, up to its end
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// HOST, or RUN HOST
    #[arg(required = true, num_args = 1..=2, value_names = ["RUN", "HOST"])]
    pub(crate) what: Vec<String>,
    /// The output's bytes as they came, escape sequences and all
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The run: its id, a unique beginning of it, or `last`
    #[arg(default_value = "last")]
    pub(crate) run: String,
    /// The directory to write
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
}

/// Which hosts.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// An inventory: a file, a directory, a program, or a list of hosts such as web[01-40],db1 [default:
    /// $ANSIBLE_INVENTORY]
    #[arg(short, long, value_name = "INV")]
    pub(crate) inventory: Vec<String>,
    /// A list of hosts; never a file
    #[arg(short = 'w', long = "hosts", value_name = "LIST", id = "host_list")]
    pub(crate) list: Vec<String>,
    /// Only hosts that match: group, host, glob, a:b, a:&b, a:!b, ~regex, @FILE, @last:failed, @RUN:CLASS
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) limit: Vec<String>,
    /// The password of encrypted inventories and vars: a file, or a program that prints it [default:
    /// $ANSIBLE_VAULT_PASSWORD_FILE]
    #[arg(long, value_name = "[ID@]FILE")]
    pub(crate) vault_password_file: Vec<String>,
}

/// Which hosts, and how they are reached.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) link: Link,
    /// Ask for the SSH password
    #[arg(short = 'k', long, help_heading = "Connection")]
    pub(crate) ask_pass: bool,
    /// Read the SSH password from the first line of this file
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) password_file: Option<PathBuf>,
    /// Ask for the sudo/su password
    #[arg(short = 'K', long, help_heading = "Privilege")]
    pub(crate) ask_become_pass: bool,
    /// Read the sudo/su password from the first line of this file
    #[arg(long, value_name = "FILE", help_heading = "Privilege")]
    pub(crate) become_password_file: Option<PathBuf>,
    /// Where the options come from.
    #[arg(skip)]
    pub(crate) origins: Origins,
}

/// How hosts are reached.
#[derive(Debug, Args)]
pub(crate) struct Link {
    /// Log in as this user
    #[arg(short, long, help_heading = "Connection")]
    pub(crate) user: Option<String>,
    /// Log in with this private key
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) key: Vec<PathBuf>,
    /// Connect to this port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Connection")]
    pub(crate) port: Option<u16>,
    /// Read this file instead of ~/.ssh/config and /etc/ssh/ssh_config; `none` for none
    #[arg(short = 'F', long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) ssh_config: Option<PathBuf>,
    /// SSH implementation [default: native; the inventory's `local`; openssh for a ProxyCommand]
    #[arg(long, value_parser = words::<TransportKind>(), help_heading = "Connection")]
    pub(crate) transport: Option<TransportKind>,
    /// Timeout of name resolution, and of the TCP connection [default: ConnectTimeout of ssh_config, or 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, help_heading = "Connection")]
    pub(crate) connect_timeout: Option<Duration>,
    /// How to check host keys [default: accept-new, without offering passwords to new hosts]
    #[arg(long, value_parser = words::<HostKeyPolicy>(), help_heading = "Connection")]
    pub(crate) host_key: Option<HostKeyPolicy>,
    /// Run commands as root
    #[arg(short = 'b', long = "become", help_heading = "Privilege")]
    pub(crate) escalate: bool,
    /// Run commands as this user
    #[arg(long, value_name = "USER", help_heading = "Privilege")]
    pub(crate) become_user: Option<String>,
    /// Program that changes the user [default: the inventory's, or sudo]
    #[arg(long, value_parser = words::<BecomeMethod>(), help_heading = "Privilege")]
    pub(crate) become_method: Option<BecomeMethod>,
}

/// Where the options of an invocation come from, by their long names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(HashMap<String, Origin>);

impl Origins {
    pub(crate) fn note(&mut self, option: &str, origin: Origin) {
        self.0.insert(option.to_owned(), origin);
    }

    /// The source of an option's value.
    pub(crate) fn of(&self, option: &str) -> Origin {
        self.0
            .get(option)
            .cloned()
            .unwrap_or(Origin::Default("the command line"))
    }

    /// The first of `options` that the command line has.
    pub(crate) fn on_the_command_line<'a>(&self, options: &[&'a str]) -> Option<&'a str> {
        let is_typed = |option: &&&str| matches!(self.0.get(**option), Some(Origin::Option(_)));
        options.iter().find(is_typed).copied()
    }
}

impl Cli {
    /// Where the command keeps the sources of its options, if it wants them.
    pub(crate) fn origins(&mut self) -> Option<&mut Origins> {
        match &mut self.command {
            Command::Exec(args) => Some(&mut args.reach.origins),
            Command::Run(args) => Some(&mut args.reach.origins),
            Command::Copy(args) => Some(&mut args.reach.origins),
            Command::Fetch(args) => Some(&mut args.reach.origins),
            Command::Ping(args) => Some(&mut args.reach.origins),
            Command::Hosts(args) => Some(&mut args.origins),
            _ => None,
        }
    }
}

/// A parser of the words of an enum, for help and completions too.
fn words<T: Word>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(T::values()).try_map(|word| word.parse::<T>())
}

/// An enum whose values are words.
trait Word: FromStr<Err = UnknownWord> + Clone + Send + Sync + 'static {
    /// The words, with what they mean.
    fn values() -> Vec<PossibleValue>;
}

impl Word for HostKeyPolicy {
    fn values() -> Vec<PossibleValue> {
        let value = |policy: Self, help| PossibleValue::new(policy.as_str()).help(help);
        vec![
            value(Self::Strict, "Refuse hosts whose key is not known"),
            value(Self::AcceptNew, "Accept and record new keys, refuse changed ones"),
            value(Self::Off, "Accept every key, record nothing"),
        ]
    }
}

impl Word for TransportKind {
    fn values() -> Vec<PossibleValue> {
        let value = |transport: Self, help| PossibleValue::new(transport.as_str()).help(help);
        vec![
            value(Self::Native, "SSH in this program"),
            value(Self::Openssh, "The system's ssh"),
            value(Self::Local, "A shell on this machine"),
        ]
    }
}

impl Word for BecomeMethod {
    fn values() -> Vec<PossibleValue> {
        Self::WORDS.iter().map(|word| PossibleValue::new(*word)).collect()
    }
}

/// How a run is paced and when it stops.
#[derive(Debug, Args)]
pub(crate) struct Pacing {
    /// Sessions at once [default: up to 512]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    /// Work in batches: a number, a share, or a list such as 1,5%,25%
    #[arg(long, value_name = "N|%|LIST", value_delimiter = ',')]
    pub(crate) serial: Vec<String>,
    /// Dispatch nothing more when more hosts than this have failed
    #[arg(long, value_name = "N|%")]
    pub(crate) max_fail: Option<String>,
    /// Begin with this many hosts; if one of them fails, dispatch nothing more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) canary: Option<u32>,
    /// Exit with 0 although up to this many hosts failed
    #[arg(long, value_name = "N|%")]
    pub(crate) allow_failed: Option<String>,
    /// Exit with 0 although up to this many hosts failed with this class
    #[arg(long, value_name = "CLASS=N")]
    pub(crate) allow_class: Vec<String>,
    /// How long running steps may go on after the first Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, default_value = "10s")]
    pub(crate) grace: Duration,
    /// How long a host is looked for that went away in the middle of a step [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub(crate) reconnect_within: Option<Duration>,
    /// The shortest silence after which a step without a deadline of yours is looked at [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub(crate) silence_floor: Option<Duration>,
    /// How long work may be stuck, not a process of it moving, if no deadline of yours says otherwise [default: 2h]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    pub(crate) hard_cap: Option<Duration>,
    /// Output kept of all hosts together, such as 500MB; more is counted and dropped
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_output: Option<Bytes>,
    /// A note that is kept with the run
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
}

/// What is told, to whom.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// How the end of the run is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Write every event as a line of JSON (- for standard output)
    #[arg(long, value_name = "FILE|-")]
    pub(crate) events: Option<PathBuf>,
    /// Write the artifacts to this directory, during the run and at its end
    #[arg(long, value_name = "DIR")]
    pub(crate) export_to: Option<PathBuf>,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Run this command (by sh) when the run has ended, with the summary as JSON on its input
    #[arg(long, value_name = "COMMAND")]
    pub(crate) notify: Option<String>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
