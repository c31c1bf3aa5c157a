//! Answers to the options of other tools, for those who type them out of habit.

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::Cli;

/// Options that other tools have, and what to write instead.
const ANSWERS: &[(&[&str], &str)] = &[
    (
        &["-f", "--forks", "--fanout", "--par"],
        "the number of hosts at once is -c N",
    ),
    (
        &["-p"],
        "the number of hosts at once is -c N; the port is --port N",
    ),
    (&["-g", "--group"], "choose groups by -l GROUP, with -i INVENTORY"),
    (&["-x", "--exclude"], "exclude hosts by a pattern: -l 'all:!HOST'"),
    (&["-X"], "exclude groups by a pattern: -l 'all:!GROUP'"),
    (
        &["-C", "--check"],
        "reveille run JOB --check and reveille copy --check ask the hosts what would change; a command has to run to \
         tell",
    ),
    (
        &["-D", "--diff"],
        "reveille run JOB --diff and reveille copy --diff show how texts change",
    ),
    (
        &["-m", "--module-name"],
        "there are no modules: reveille exec runs commands, reveille copy sends files",
    ),
    (&["-a", "--args"], "write the command after --"),
    (&["--extra-vars"], "set variables by -e NAME=VALUE or -e @FILE"),
    (
        &["--private-key", "--identity"],
        "log in with a key by --key FILE",
    ),
    (
        &["--list-hosts"],
        "reveille hosts lists the hosts that -i and -l choose",
    ),
    (
        &["--list-tasks", "--list-tags"],
        "reveille run JOB --plan prints the steps for each host",
    ),
    (
        &["--syntax-check"],
        "reveille lint FILE checks a job or an inventory",
    ),
    (&["--start-at-task"], "start with a step by --start-at STEP"),
    (&["--ask-become-password"], "ask for the sudo/su password by -K"),
    (
        &["--ssh-common-args", "--ssh-extra-args", "-o", "-O", "--options"],
        "set options of ssh in ~/.ssh/config, or in a file for -F",
    ),
    (
        &["--timeout", "-t"],
        "--connect-timeout limits connecting, exec --total the command; --tags chooses steps of a job",
    ),
    (
        &["--command_timeout", "--exec-timeout"],
        "limit the command by exec --total TIME, a step by its watchdog",
    ),
    (
        &["-L", "-P", "--print", "--no-dshbak", "-N"],
        "print lines as they come by --stream",
    ),
    (
        &["--dshbak", "--gather"],
        "like outputs are grouped without an option",
    ),
    (&["-H", "--host"], "name hosts by -w HOST,HOST"),
    (
        &["--outdir", "--errdir", "--output-dir"],
        "outputs are kept: reveille logs prints them, reveille export --to DIR writes them",
    ),
    (
        &["--vault-id", "--ask-vault-pass"],
        "read vault passwords by --vault-password-file [ID@]FILE",
    ),
    (
        &["--flush-cache", "--force-handlers", "--step"],
        "there is no such thing here; docs/coming-from.md has the equivalents",
    ),
];

/// Options that only some commands have, and what to write for others.
const ANSWERS_OF: &[(&[&str], &[&str], &str)] = &[
    (
        &["retry", "resume"],
        &[
            "-i",
            "--inventory",
            "-l",
            "--limit",
            "-w",
            "--hosts",
            "-e",
            "--var",
        ],
        "the recorded job, inventory and variables are used; to use them as they are now, run the job again on the hosts \
         that failed: reveille run JOB -i INVENTORY -l @RUN:failed",
    ),
    (
        &["copy", "fetch"],
        &["--template"],
        "paths are used as they are; a job with an `upload` step fills in the values of each host",
    ),
    (
        &["exec", "ping", "copy", "fetch"],
        &["-e", "--var"],
        "exec --template fills in the variables of the inventory; `NAME=VALUE COMMAND` sets an environment variable",
    ),
];

/// Adds the answer for an unknown option to its error.
pub(crate) fn add(error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let option = option.split('=').next().unwrap_or(option).to_owned();
    let known = |names: &&[&str]| names.contains(&option.as_str());
    let usage = error.get(ContextKind::Usage).cloned();
    let usage_text = usage.as_ref().map(ToString::to_string).unwrap_or_default();
    let is_of = |commands: &[&str]| {
        let mut commands = commands.iter();
        commands.any(|command| usage_text.contains(&format!("reveille {command} ")))
    };
    let mut of_command = ANSWERS_OF.iter();
    let of_command = of_command.find(|(commands, names, _)| is_of(commands) && known(names));
    let general = || {
        let found = ANSWERS.iter().find(|(names, _)| known(names));
        found.map(|(_, answer)| *answer)
    };
    let Some(answer) = of_command.map(|(.., answer)| *answer).or_else(general) else {
        return error;
    };
    let mut answered = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(&Cli::command());
    answered.insert(ContextKind::InvalidArg, ContextValue::String(option));
    let tip = clap::builder::StyledStr::from(answer);
    answered.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    if let Some(usage) = usage {
        answered.insert(ContextKind::Usage, usage);
    }
    answered
}
