//! Configuration: files and environment variables that set options.
//!
//! Every option of the command line is a key, by its long name. Precedence, highest first: command line, `REVEILLE_NAME`
//! in the environment, `./reveille.toml`, the user's file, the system's file. A table with a command's name holds keys
//! for that command only:
//!
//! ```toml
//! user = "deploy"
//! connect-timeout = "5s"
//!
//! [exec]
//! concurrency = 100
//! ```
//!
//! The values found become the defaults of the options, so that clap parses and checks them like arguments.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, OsStr, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use reveille_account::{Origin, SourceError};
use reveille_text::bounded;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::Origins;
use crate::failure::Failure;
use crate::state;

/// Largest configuration file.
const MAX_BYTES: u64 = 1 << 20;
/// Options that make sense for one invocation only.
const NOT_KEYS: &[&str] = &[
    "help",
    "version",
    "plan",
    "template",
    "dry-run",
    "follow",
    "serve",
    "good-commands",
    "list-faults",
    "real-shell",
    "allow-root",
    "to",
    "failed",
    "interrupted",
    "since",
    "number",
    "step",
    "raw",
];

/// Options that mean something else in a command than elsewhere: only the command line and the command's own table set
/// them.
const OF_THEIR_COMMAND: &[(&str, &str)] =
    &[("drill", "hosts"), ("drill", "inventory"), ("lint", "inventory")];

/// A path below the home directory, which a shell would have put into an argument.
fn at_home(below: &str) -> Option<OsStr> {
    Some(state::home()?.join(below).into_os_string().into())
}

/// The values of the configuration files.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// By command ("" for all commands) and option, the value with the highest precedence.
    values: BTreeMap<(String, String), Setting>,
}

/// A value from a file.
#[derive(Debug, Clone)]
struct Setting {
    values: Vec<String>,
    origin: Origin,
}

/// An option with its value, for `config show`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) command: String,
    pub(crate) option: String,
    pub(crate) value: String,
    pub(crate) origin: String,
}

// === impl Config ===

impl Config {
    /// Reads the files that exist.
    pub(crate) fn read(command: &Command) -> Result<Self, Failure> {
        let mut config = Self::default();
        // Lowest precedence first: later ones win.
        for path in files() {
            config.read_file(&path, command)?;
        }
        Ok(config)
    }

    fn read_file(&mut self, path: &Path, command: &Command) -> Result<(), Failure> {
        let shown = path.display().to_string();
        let refused = |why: String| Failure::usage(format!("can't read the configuration {shown}: {why}"));
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(refused(error.to_string())),
        };
        // Whoever can write to the file could make us run a command, and without it other hosts might be chosen.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let replaces = who_else_replaces(directory).map_err(|error| refused(error.to_string()))?;
        let why = who_else_writes(&metadata)
            .map(|who| format!("{who} can write to it"))
            .or_else(|| Some(format!("{} can write to its directory", replaces?)));
        if let Some(why) = why {
            return Err(refused(format!(
                "{why}, and could make Reveille run commands; correct owner and mode (`chmod go-w`), or remove the file"
            )));
        }
        let text = bounded::text(path, MAX_BYTES).map_err(|error| refused(error.to_string()))?;
        let table = DeTable::parse(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            mistake(&shown, &text, at, error.message().trim())
        })?;
        for (key, value) in table.get_ref() {
            if let DeValue::Table(inner) = value.get_ref() {
                let name: &str = key.get_ref();
                let Some(of_command) = command.find_subcommand(name) else {
                    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
                    return Err(unknown(&shown, &text, key, "command", &names));
                };
                for (key, value) in inner {
                    self.keep(
                        &shown,
                        &text,
                        of_command.get_name(),
                        &[of_command, command],
                        key,
                        value,
                    )?;
                }
            } else {
                let all: Vec<&Command> = std::iter::once(command)
                    .chain(command.get_subcommands())
                    .collect();
                self.keep(&shown, &text, "", &all, key, value)?;
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        file: &str,
        text: &str,
        command: &str,
        places: &[&Command],
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), Failure> {
        let name = key.get_ref().replace('_', "-");
        let known: Vec<&str> = places
            .iter()
            .flat_map(|place| place.get_arguments())
            .filter_map(key_of)
            .collect();
        if !known.contains(&name.as_str()) {
            return Err(unknown(file, text, key, "option", &known));
        }
        let values = plain(value.get_ref()).ok_or_else(|| {
            mistake(
                file,
                text,
                value.span().start,
                &format!("`{name}` takes a string, a number, true, false, or a list of them"),
            )
        })?;
        let (line, _) = position(text, key.span().start);
        let origin = Origin::File {
            key: name.as_str().into(),
            file: file.into(),
            line: u32::try_from(line).unwrap_or(0),
        };
        self.values
            .insert((command.to_owned(), name), Setting { values, origin });
        Ok(())
    }

    fn value(&self, command: &str, name: &str) -> Option<&Setting> {
        let own = self.values.get(&(command.to_owned(), name.to_owned()));
        if OF_THEIR_COMMAND.contains(&(command, name)) {
            return own;
        }
        own.or_else(|| self.values.get(&(String::new(), name.to_owned())))
    }

    /// Makes values of the environment and of files the defaults of options.
    pub(crate) fn apply(&self, command: Command) -> Command {
        let mut command = command.mut_args(|argument| self.with_default("", argument));
        if std::env::var_os("REVEILLE_STATE_DIR").is_some_and(|value| value.is_empty()) {
            command = command.mut_arg("state_dir", |argument| argument.env(Resettable::Reset));
        }
        command.mut_subcommands(|of_command| {
            let name = of_command.get_name().to_owned();
            of_command.mut_args(|argument| self.with_default(&name, argument))
        })
    }

    fn with_default(&self, command: &str, argument: Arg) -> Arg {
        let Some(name) = key_of(&argument).map(str::to_owned) else {
            return argument;
        };
        let mut argument = argument;
        if matches!(argument.get_action(), ArgAction::SetTrue) {
            argument = argument.value_parser(BoolishValueParser::new());
        }
        if has_variable(command, &name) {
            argument = argument.env(OsStr::from(variable(&name))).hide_env(true);
        }
        match self.value(command, &name) {
            Some(setting) => {
                let is_path = argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
                let expand = is_path || name == "inventory";
                let values = setting.values.iter().map(|value| match value.strip_prefix("~/") {
                    Some(below) if expand => at_home(below).unwrap_or_else(|| value.into()),
                    _ => value.into(),
                });
                let values: Vec<OsStr> = values.collect();
                argument.default_values(values).required(false)
            }
            None => argument,
        }
    }

    /// The source of each option of an invocation.
    pub(crate) fn origins(&self, command: &Command, matches: &ArgMatches) -> Origins {
        let mut origins = Origins::default();
        let invoked = matches.subcommand();
        let Some((of_command, matches)) =
            invoked.and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)))
        else {
            return origins;
        };
        for argument in of_command.get_arguments() {
            let Some(option) = argument.get_long() else {
                continue;
            };
            let origin = match matches.value_source(argument.get_id().as_str()) {
                Some(ValueSource::CommandLine) => Origin::Option(format!("--{option}").into()),
                Some(ValueSource::EnvVariable) => Origin::Environment(variable(option).into()),
                Some(ValueSource::DefaultValue) => match self.value(of_command.get_name(), option) {
                    Some(setting) => setting.origin.clone(),
                    None => continue,
                },
                _ => continue,
            };
            origins.note(option, origin);
        }
        origins
    }

    /// Every option with its value and its source, including the program's defaults.
    pub(crate) fn show(&self, command: &Command) -> Vec<Shown> {
        let mut all = Vec::new();
        let commands = std::iter::once(("", command))
            .chain(command.get_subcommands().map(|inner| (inner.get_name(), inner)));
        for (of_command, place) in commands {
            for argument in place.get_arguments() {
                let Some(name) = key_of(argument) else { continue };
                let found = has_variable(of_command, name)
                    .then(|| std::env::var(variable(name)).ok())
                    .flatten()
                    .map(|value| (value, variable(name)))
                    .or_else(|| {
                        let setting = self.value(of_command, name)?;
                        Some((setting.values.join(", "), setting.origin.place()))
                    })
                    .or_else(|| {
                        let defaults: Vec<String> = argument
                            .get_default_values()
                            .iter()
                            .map(|value| value.to_string_lossy().into_owned())
                            .collect();
                        (!defaults.is_empty()).then(|| (defaults.join(", "), "default".to_owned()))
                    });
                let (value, origin) = found.unwrap_or((String::new(), "not set".to_owned()));
                all.push(Shown {
                    command: of_command.to_owned(),
                    option: name.to_owned(),
                    value,
                    origin,
                });
            }
        }
        all
    }
}

/// Who can replace the files of a directory besides this user and root.
pub(crate) fn who_else_replaces(directory: &Path) -> io::Result<Option<String>> {
    let metadata = std::fs::metadata(directory)?;
    // In a directory such as /tmp, nobody else can replace our file.
    let sticky = metadata.mode() & 0o1000 != 0;
    Ok(who_else_writes(&metadata).filter(|_| !sticky))
}

/// Who can write to a file besides this user and root.
fn who_else_writes(metadata: &std::fs::Metadata) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    if ![0, us].contains(&metadata.uid()) {
        return Some(format!("the user {}", metadata.uid()));
    }
    if metadata.mode() & 0o002 != 0 {
        return Some("everyone".to_owned());
    }
    let by_group = metadata.mode() & 0o020 != 0 && !is_own_group(metadata.gid(), us);
    by_group.then(|| format!("the group {}", metadata.gid()))
}

/// Whether nobody but this user is in a group: many systems give each user a group of that name, and files that it can
/// write to.
fn is_own_group(gid: u32, us: u32) -> bool {
    let groups = bounded::text(Path::new("/etc/group"), MAX_BYTES).unwrap_or_default();
    let number = gid.to_string();
    let found = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let members = fields.nth(2)?;
        (fields.next().is_none() && line.split(':').nth(2) == Some(&number)).then_some((name, members))
    });
    let user = state::user();
    match found {
        Some((name, members)) => {
            name == user
                && members
                    .split(',')
                    .all(|member| member.is_empty() || member == user)
        }
        None => gid == us,
    }
}

/// The configuration files, lowest precedence first.
pub(crate) fn files() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| state::home().map(|home| home.join(".config")));
    let mut files = vec![PathBuf::from("/etc/reveille/config.toml")];
    files.extend(user.map(|user| user.join("reveille/config.toml")));
    files.push(PathBuf::from("reveille.toml"));
    files
}

/// The environment variable of an option.
fn variable(name: &str) -> String {
    format!("REVEILLE_{}", name.to_uppercase().replace('-', "_"))
}

/// Whether the environment may set an option of a command. An empty variable sets nothing, except for a limit: no limit
/// would be all hosts.
fn has_variable(command: &str, name: &str) -> bool {
    let is_empty = || std::env::var_os(variable(name)).is_some_and(|value| value.is_empty());
    !OF_THEIR_COMMAND.contains(&(command, name)) && (name == "limit" || !is_empty())
}

/// The key of an option, if it has one.
fn key_of(argument: &Arg) -> Option<&str> {
    argument.get_long().filter(|name| !NOT_KEYS.contains(name))
}

/// A value as arguments of the command line.
fn plain(value: &DeValue<'_>) -> Option<Vec<String>> {
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    };
    match value {
        DeValue::Array(items) => items.iter().map(|item| one(item.get_ref())).collect(),
        other => one(other).map(|value| vec![value]),
    }
}

fn unknown(
    file: &str,
    text: &str,
    key: &Spanned<std::borrow::Cow<'_, str>>,
    what: &str,
    known: &[&str],
) -> Failure {
    let name = key.get_ref();
    let (line, column) = position(text, key.span().start);
    let mistake = SourceError::at(format!("there is no {what} `{name}`"), file, text, line, column);
    let mistake = match SourceError::nearest(name, known.iter().copied()) {
        Some(near) => mistake.hint(format!("did you mean `{near}`?")),
        None => mistake.hint("`reveille config show` lists all options"),
    };
    Failure::Mistakes(vec![mistake])
}

fn mistake(file: &str, text: &str, at: usize, message: &str) -> Failure {
    let (line, column) = position(text, at);
    Failure::Mistakes(vec![SourceError::at(message, file, text, line, column)])
}

/// Line and column of a byte, counted from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
