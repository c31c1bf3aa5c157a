//! The job as a whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use reveille_account::SourceError;
use reveille_document::{Blocks, Template};
use serde::{Deserialize, Serialize};

use crate::facts::FACTS;
use crate::quantity::Amount;
use crate::scope::{SecretSource, Var};
use crate::source::{COMMAND, CommandOptions, JobSource};
use crate::step::{Action, OnStuck, Role, Rules, Step};

/// A list of steps, and how hosts run them.
#[derive(Debug)]
pub struct Job {
    /// Its name; by default the file's.
    pub name: String,
    /// The pattern of its hosts; none if the job sets no pattern.
    pub hosts: Option<String>,
    /// Where that pattern begins in the file, in bytes.
    pub(crate) hosts_at: usize,
    /// The sizes of the batches, the last one repeated; empty for all hosts at once.
    pub serial: Vec<Amount>,
    /// How many failures stop the run.
    pub max_fail: MaxFail,
    /// The order of the hosts.
    pub order: Order,
    /// The steps: at least one for every host, then those for failed hosts.
    pub steps: Vec<Step>,
    /// What may be done to recover a host.
    pub heal: Heal,
    pub(crate) vars: Vec<(String, Var)>,
    /// Vars from the command line, which win over all others.
    pub(crate) extra: BTreeMap<String, serde_json::Value>,
    /// The step that registers each name.
    pub(crate) registers: HashMap<String, usize>,
    /// The files of `template` steps, by their paths as written.
    pub(crate) template_files: BTreeMap<String, Blocks>,
    /// The environment variables that its templates use.
    pub(crate) environment: BTreeSet<String>,
    /// Whether the items of all loops are the same on every host, once that is asked.
    pub(crate) constant_items: OnceLock<bool>,
    pub(crate) source: JobSource,
}

/// How a host may be recovered; repairs are among the job's steps.
#[derive(Debug, Clone, Default)]
pub struct Heal {
    /// The host may be rebooted.
    pub reboot: bool,
    /// A local command that replaces the host by another machine, and prints its address.
    pub(crate) replace: Option<Template>,
}

/// How many hosts may fail before the run stops; unreachable hosts count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MaxFail {
    /// Among all hosts.
    pub total: Option<Amount>,
    /// Within a batch.
    pub batch: Option<Amount>,
}

/// The order in which hosts are dispatched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The order of the inventory.
    #[default]
    Inventory,
    /// By name.
    Sorted,
    /// The reversed order of the inventory.
    Reverse,
    /// Shuffled with the run's seed.
    Shuffled,
}

// === impl Job ===

impl Job {
    /// A job with a single command, sent as it is. `options.template` has no effect.
    pub fn command(command: String, options: CommandOptions) -> Self {
        let text = Template::plain(&command);
        let options = CommandOptions {
            template: false,
            ..options
        };
        Self::of_command(command, text, BTreeSet::new(), options)
    }

    pub(crate) fn of_command(
        command: String,
        text: Template,
        environment: BTreeSet<String>,
        options: CommandOptions,
    ) -> Self {
        let action = Action::Run {
            command: text,
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
            check: false,
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
            looped: None,
            skip_if: None,
            env: env.collect(),
            cwd: options.cwd.as_deref().map(Template::plain),
            become_user: options.become_user.as_deref().map(Template::plain),
            run_on: None,
        };
        Self {
            name: step.name.clone(),
            hosts: None,
            hosts_at: 0,
            serial: Vec::new(),
            max_fail: MaxFail::default(),
            order: Order::default(),
            steps: vec![step],
            heal: Heal::default(),
            vars: Vec::new(),
            extra: BTreeMap::new(),
            registers: HashMap::new(),
            template_files: BTreeMap::new(),
            environment,
            constant_items: OnceLock::new(),
            source: JobSource::Command { command, options },
        }
    }

    /// The steps for every host, without those for failed hosts.
    pub fn main_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.role == Role::Main)
    }

    /// Whether a host may be replaced by another machine.
    pub fn replaces(&self) -> bool {
        self.heal.replace.is_some()
    }

    /// Everything that the job was made from.
    pub fn source(&self) -> &JobSource {
        &self.source
    }

    /// The environment variables of this process that its templates use and that are set, with their values.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let names = self.environment.iter();
        names
            .filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)))
            .collect()
    }

    /// The secret vars, and where their values come from.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretSource)> {
        self.vars.iter().filter_map(|(name, var)| match var {
            Var::Secret(source) => Some((name.as_str(), source)),
            _ => None,
        })
    }

    /// The directory of the job file, or the working directory. Local commands of the job run in it.
    pub fn directory(&self) -> PathBuf {
        self.resolve(".")
    }

    /// Resolves a path in the job file, relative to the file's directory; `~/` is the home directory.
    pub fn resolve(&self, path: &str) -> PathBuf {
        if let (Some(below), Some(home)) = (path.strip_prefix("~/"), std::env::home_dir()) {
            return home.join(below);
        }
        match &self.source {
            JobSource::File { file, .. } => Path::new(file)
                .parent()
                .map_or_else(|| PathBuf::from(path), |directory| directory.join(path)),
            JobSource::Written { .. } | JobSource::Command { .. } => PathBuf::from(path),
        }
    }

    /// The files of `script` and `upload` steps that can't be read, and why. Files with templates in their paths are left
    /// out, and those after a step that may make them: a download, or one with `run_on`.
    pub fn missing_files(&self) -> Vec<String> {
        self.missing(|_| true)
    }

    /// Those of the missing files that some host surely needs: files of steps that are not skipped.
    pub fn needed_files_missing(&self) -> Vec<String> {
        self.missing(|step| {
            step.left_out.is_none()
                && step.when.is_none()
                && step.skip_if.is_none()
                && step.role == Role::Main
        })
    }

    fn missing(&self, wanted: impl Fn(&Step) -> bool) -> Vec<String> {
        let mut missing = Vec::new();
        for step in &self.steps {
            if step.runs_elsewhere() || matches!(step.action, Action::Download { .. }) {
                break;
            }
            let (Action::Script { src, .. } | Action::Upload { src, .. }) = &step.action else {
                continue;
            };
            let path = self.resolve(src.source());
            if wanted(step)
                && src.expressions().next().is_none()
                && let Err(error) = std::fs::metadata(&path)
            {
                missing.push(format!("`{}`: can't read {}: {error}", step.name, path.display()));
            }
        }
        missing
    }

    /// The job's var of this name; the last one wins.
    pub(crate) fn var(&self, name: &str) -> Option<&Var> {
        let mut vars = self.vars.iter().rev();
        vars.find(|(var, _)| var == name).map(|(_, var)| var)
    }

    /// Whether the name has a value only while the job runs.
    pub(crate) fn comes_later(&self, name: &str) -> bool {
        self.registers.contains_key(name) || FACTS.contains(&name)
    }

    /// A mistake in the pattern of the job's hosts, `offset` bytes after its beginning.
    pub fn mistake_in_hosts(&self, offset: usize, message: String) -> SourceError {
        self.mistake(self.hosts_at + offset, message)
    }

    /// A mistake at a byte of the job file.
    pub(crate) fn mistake(&self, byte: usize, message: String) -> SourceError {
        match &self.source {
            JobSource::File { file, text, .. } | JobSource::Written { by: file, text } => {
                let (line, column) = reveille_document::position(text, byte);
                SourceError::at(message, file, text, line, column)
            }
            JobSource::Command { command, .. } => {
                let (line, column) = reveille_document::position(command, byte);
                SourceError::at(message, COMMAND, command, line, column)
            }
        }
    }
}
