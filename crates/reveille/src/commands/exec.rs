//! `reveille exec`: runs a one-off command on the selected hosts.

use reveille_account::Exit;
use reveille_fleet::RunRecipe;
use reveille_job::{CommandOptions, Job, Limit, Scope, Shared, Watchdog, reads_like_template};
use reveille_ledger::RunKind;

use crate::choose::reach;
use crate::cli::{ExecArgs, Globals};
use crate::failure::Failure;
use crate::launch::{self, Request};
use crate::options::run_options;
use crate::printer::Printer;
use crate::state;

pub(crate) fn run(args: &ExecArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let is_marked = std::env::args_os().any(|word| word == "--");
    if let Some(word) = misplaced(&args.command).filter(|_| !is_marked) {
        return Err(Failure::usage(format!(
            "`{word}` follows the command and would be a part of it; put options before the command, or write -- before \
             the command to send all of it to the hosts"
        )));
    }
    let limit = |time: Option<std::time::Duration>| time.map_or(Limit::Off, Limit::After);
    let command = args.command.join(" ");
    let options = CommandOptions {
        attempts: args.attempts,
        durable: args.durable,
        pty: args.pty,
        watchdog: Watchdog {
            idle: limit(args.idle),
            total: limit(args.total),
        },
        ..CommandOptions::default()
    };
    let request = if args.template {
        of_template(command, options, args, globals, printer)?
    } else {
        warn_of_placeholders(&command, printer);
        let job = Job::command(command, options);
        Request::plain(RunKind::Exec, job, &args.on, !args.stream, globals, printer)?
    };
    let request = Request {
        input: args.stdin.as_deref().map(launch::read_input).transpose()?,
        ..request
    };
    launch::start(request, &args.on.report, printer)
}

/// A run whose command is rendered for each host; it is checked for every host before anything is recorded.
fn of_template(
    command: String,
    command_options: CommandOptions,
    args: &ExecArgs,
    globals: &Globals,
    printer: &Printer,
) -> Result<Request, Failure> {
    if !command.contains("{{") {
        return Err(Failure::usage(
            "--template has no effect: the command has no `{{ … }}`, such as `{{ inventory_hostname }}`",
        ));
    }
    let job = Job::command_template(command, command_options).map_err(Failure::Mistakes)?;
    let on = &args.on;
    let mut options = run_options(Some(&on.reach), &on.pacing, !args.stream)?;
    let chosen = reach(&on.reach, None, &mut options, globals, printer)?;
    let groups = chosen.groups();
    let shared = Shared::new("RUN", groups.clone(), job.environment());
    let (hosts, passwords) = chosen.with_vars();
    let scopes = hosts
        .iter()
        .map(|host| Scope::new(host.name.as_str(), &host.vars, &shared).hiding(&host.unrecorded));
    let mistakes = job.check_all(scopes);
    if !mistakes.is_empty() {
        return Err(Failure::Mistakes(mistakes));
    }
    Ok(Request {
        recipe: RunRecipe {
            kind: RunKind::Exec,
            job,
            options,
            groups,
            seed: launch::seed(),
            comment: on.pacing.comment.clone(),
        },
        hosts,
        passwords,
        input: None,
        state_dir: state::directory(globals)?,
    })
}

/// Finds an option of `exec` that was typed after the command. As a part of the command it has no effect: the command
/// would run on all hosts, or without a check. Found are long options about hosts and checks, and any option after a
/// command that is quoted as a whole; `ls -l` is a command.
fn misplaced(command: &[String]) -> Option<&String> {
    const LONG: &[&str] = &[
        "become",
        "canary",
        "check",
        "concurrency",
        "diff",
        "hosts",
        "inventory",
        "limit",
        "max-fail",
        "template",
        "transport",
    ];
    let (first, rest) = command.split_first()?;
    let is_whole = first.contains(char::is_whitespace);
    rest.iter().find(|word| {
        let long = word
            .strip_prefix("--")
            .map(|name| name.split('=').next().unwrap_or(name));
        long.is_some_and(|name| LONG.contains(&name)) || is_whole && word.starts_with('-') && word.len() > 1
    })
}

/// Warns of what reads like a placeholder and is none.
fn warn_of_placeholders(command: &str, printer: &Printer) {
    if reads_like_template(command) {
        printer
            .warning("`{{ … }}` is sent to the shell as it is; --template fills in the values of each host");
    } else if let Some(word) = host_placeholder(command) {
        printer.warning(&format!(
            "`{word}` is sent to the shell as it is; for the name of each host use --template and `{{{{ \
             inventory_hostname }}}}`"
        ));
    }
}

/// The placeholder of clush for the host, if it stands in the command. Its short form `%h` is none: `stat` and `git log`
/// have formats of that name.
fn host_placeholder(command: &str) -> Option<&'static str> {
    ["%hosts", "%host"].into_iter().find(|word| {
        command.match_indices(*word).any(|(at, _)| {
            let goes_on = |character: char| character.is_alphanumeric() || "_%{".contains(character);
            let before = command[..at].chars().next_back();
            let after = command[at + word.len()..].chars().next();
            !before.is_some_and(goes_on) && !after.is_some_and(goes_on)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_behind_a_command_are_found() {
        let found = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            misplaced(&words).cloned()
        };
        for (words, word) in [
            (&["echo", "restart", "--limit", "web1"][..], "--limit"),
            (&["uptime", "--limit=web1"], "--limit=web1"),
            (&["systemctl restart nginx", "-l", "web1"], "-l"),
            (&["id", "--check"], "--check"),
        ] {
            assert_eq!(found(words).as_deref(), Some(word), "{words:?}");
        }
        for words in [
            &["ls", "-l", "/etc"][..],
            &["sed", "-i", "s/a/b/", "file"],
            &["docker", "--version"],
            &["systemctl", "--user", "status"],
            &["--limit"],
            &["ps aux | grep -v root"],
        ] {
            assert_eq!(found(words), None, "{words:?}");
        }
    }

    #[test]
    fn only_a_placeholder_that_is_surely_one_is_found() {
        assert_eq!(host_placeholder("scp %host:/etc/motd ."), Some("%host"));
        assert_eq!(host_placeholder("echo '%hosts'"), Some("%hosts"));
        for command in [
            "stat -c %h f",
            "git log --format=%h",
            "echo 50%hostile",
            "date +%%host",
            "echo 100%host",
            "rpm --qf %{host}",
        ] {
            assert_eq!(host_placeholder(command), None, "{command}");
        }
    }
}
