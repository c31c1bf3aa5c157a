//! Jobs as a whole.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use minijinja::value::Value;
use reveille_account::SourceError;
use serde::{Deserialize, Serialize};

use crate::parse;
use crate::quantity::Amount;
use crate::scope::{SecretSource, Var};
use crate::selection::Selection;
use crate::step::{Action, OnStuck, Role, Rules, Step, Watchdog};
use crate::template::Template;
use crate::template_file::TemplateFile;

/// A list of steps, and how hosts go through them.
#[derive(Debug)]
pub struct Job {
    /// Its name; the file's if it has none.
    pub name: String,
    /// The pattern of the hosts it is for; none means that it doesn't say.
    pub hosts: Option<String>,
    /// The sizes of the batches, the last one repeated; empty means all hosts at once.
    pub serial: Vec<Amount>,
    /// How many failures stop the run.
    pub max_fail: MaxFail,
    /// The order of the hosts.
    pub order: Order,
    /// What is done; at least one step that every host has, then those for hosts that failed.
    pub steps: Vec<Step>,
    /// What may be done to bring a host back.
    pub heal: Heal,
    pub(crate) vars: Vec<(String, Var)>,
    /// Vars of the command line; they win over all others.
    pub(crate) extra: BTreeMap<String, Value>,
    /// The step that registers each name.
    pub(crate) registers: HashMap<String, usize>,
    /// The files of `template` steps by their paths as written.
    pub(crate) template_files: BTreeMap<String, TemplateFile>,
    pub(crate) source: JobSource,
}

/// What a job allows to bring a host back; its repairs are among its steps.
#[derive(Debug, Clone, Default)]
pub struct Heal {
    /// The host may be booted again.
    pub reboot: bool,
    /// A command of this machine that puts another machine in the host's place, and prints its address.
    pub(crate) replace: Option<Template>,
}

/// How many failed hosts are too many; unreachable ones count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MaxFail {
    /// Of all hosts.
    pub total: Option<Amount>,
    /// Of a batch.
    pub batch: Option<Amount>,
}

/// The order in which hosts are dispatched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As the inventory has them.
    #[default]
    Inventory,
    /// By name.
    Sorted,
    /// The inventory's, backwards.
    Reverse,
    /// By the run's seed.
    Shuffled,
}

/// All that a job was made from; the ledger keeps it, and [`Job::from_source`] makes the same job of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSource {
    /// A job file.
    File {
        /// Its name as the user gave it.
        file: String,
        /// Its text.
        text: String,
        /// The vars of the command line.
        vars: BTreeMap<String, serde_json::Value>,
        /// The texts of its template files, by their paths as written.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        files: BTreeMap<String, String>,
        /// Which of its steps were asked for.
        #[serde(default, skip_serializing_if = "Selection::is_everything")]
        selection: Selection,
    },
    /// One command.
    Command {
        /// The command, given to the remote `sh`.
        command: String,
        /// How it is run.
        options: CommandOptions,
    },
}

/// How a single command is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandOptions {
    /// Finished attempts it may take.
    pub attempts: u32,
    /// It survives the loss of its connection.
    pub durable: bool,
    /// It runs on a terminal.
    pub pty: bool,
    /// Whether it becomes another user; none leaves it to the inventory.
    pub becomes: Option<bool>,
    /// The user it becomes.
    pub become_user: Option<String>,
    /// When silence and total time end it.
    pub watchdog: Watchdog,
    /// Environment variables of the command.
    pub env: BTreeMap<String, String>,
    /// Its working directory.
    pub cwd: Option<String>,
}

// === impl CommandOptions ===

impl Default for CommandOptions {
    fn default() -> Self {
        Self {
            attempts: 1,
            durable: false,
            pty: false,
            becomes: None,
            become_user: None,
            watchdog: Watchdog::default(),
            env: BTreeMap::new(),
            cwd: None,
        }
    }
}

// === impl Job ===

impl Job {
    /// Reads a job file, `file` being its name in messages; all mistakes are returned, up to a bound.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<SourceError>> {
        Self::parse_with(text, file, BTreeMap::new())
    }

    /// The same with vars of the command line, which win over all others.
    pub fn parse_with(
        text: &str,
        file: &str,
        vars: BTreeMap<String, serde_json::Value>,
    ) -> Result<Self, Vec<SourceError>> {
        parse::job(text, file, vars, None)
    }

    /// The same from the bytes of a file, which may not be text.
    pub fn parse_bytes(
        bytes: &[u8],
        file: &str,
        vars: BTreeMap<String, serde_json::Value>,
    ) -> Result<Self, Vec<SourceError>> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse_with(text.strip_prefix('\u{feff}').unwrap_or(text), file, vars),
            Err(error) => {
                let at = error.valid_up_to();
                let before = &bytes[..at];
                let start = before
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |end| end + 1);
                let message = format!("byte {at} (0x{:02x}) is not UTF-8", bytes[at]);
                let mut mistake = SourceError::whole(message, file);
                mistake.line = before.split(|byte| *byte == b'\n').count();
                mistake.column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
                Err(vec![mistake.hint("a job file is a text file in UTF-8")])
            }
        }
    }

    /// One plain command as a job: one step, in which no templates are looked for.
    pub fn command(command: String, options: CommandOptions) -> Self {
        let action = Action::Run {
            command: Template::plain(&command),
            shell: "sh".into(),
        };
        let env = options
            .env
            .iter()
            .map(|(name, value)| (name.clone(), Template::plain(value)));
        let step = Step {
            name: action.words(),
            becomes: options.becomes,
            attempts: options.attempts.max(1),
            backoff: None,
            watchdog: options.watchdog,
            register: None,
            once: false,
            idempotent: options.attempts > 1,
            durable: options.durable,
            pty: options.pty,
            ignore_errors: false,
            settle: std::time::Duration::ZERO,
            on_stuck: OnStuck::default(),
            class: action.class(),
            tags: Vec::new(),
            left_out: None,
            role: Role::Main,
            rules: Rules::default(),
            action,
            when: None,
            skip_if: None,
            env: env.collect(),
            cwd: options.cwd.as_deref().map(Template::plain),
            become_user: options.become_user.as_deref().map(Template::plain),
            run_on: None,
        };
        Self {
            name: step.name.clone(),
            hosts: None,
            serial: Vec::new(),
            max_fail: MaxFail::default(),
            order: Order::default(),
            steps: vec![step],
            heal: Heal::default(),
            vars: Vec::new(),
            extra: BTreeMap::new(),
            registers: HashMap::new(),
            template_files: BTreeMap::new(),
            source: JobSource::Command { command, options },
        }
    }

    /// The steps that every host has, without those for hosts that failed.
    pub fn main_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.role == Role::Main)
    }

    /// Whether a host may be replaced by another machine.
    pub fn replaces(&self) -> bool {
        self.heal.replace.is_some()
    }

    /// All that the job was made from.
    pub fn source(&self) -> &JobSource {
        &self.source
    }

    /// Makes a job from its recorded source.
    pub fn from_source(source: &JobSource) -> Result<Self, Vec<SourceError>> {
        match source {
            JobSource::File {
                file,
                text,
                vars,
                files,
                selection,
            } => {
                let mut job = parse::job(text, file, vars.clone(), Some(files))?;
                job.select(selection)
                    .map_err(|message| vec![SourceError::whole(message, file)])?;
                Ok(job)
            }
            JobSource::Command { command, options } => Ok(Self::command(command.clone(), options.clone())),
        }
    }

    /// The vars whose values are secrets, and where those come from.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretSource)> {
        self.vars.iter().filter_map(|(name, var)| match var {
            Var::Secret(source) => Some((name.as_str(), source)),
            _ => None,
        })
    }

    /// Keeps with the source what was selected.
    pub(crate) fn remember(&mut self, chosen: &Selection) {
        if let JobSource::File { selection, .. } = &mut self.source {
            selection.clone_from(chosen);
        }
    }

    /// A path of the job file, which is relative to the file's directory.
    pub fn resolve(&self, path: &str) -> PathBuf {
        match &self.source {
            JobSource::File { file, .. } => Path::new(file)
                .parent()
                .map_or_else(|| PathBuf::from(path), |directory| directory.join(path)),
            JobSource::Command { .. } => PathBuf::from(path),
        }
    }
}
