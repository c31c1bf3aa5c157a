//! Steps: what runs on a host, and what counts as success.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use regex::bytes::{Regex, RegexSet};
use reveille_account::Class;
use reveille_document::{Expression, Template};
use reveille_text::harmless::shortened;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::scope::Var;

/// One step of a job.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of the job file by its own name"
)]
pub struct Step {
    /// Its name; by default a few words about its action.
    pub name: String,
    /// Whether its commands become another user; none leaves this to the inventory and options.
    pub becomes: Option<bool>,
    /// How many finished attempts it may take.
    pub attempts: u32,
    /// The wait before the second attempt, from which later waits grow; none leaves it to the engine.
    pub backoff: Option<Duration>,
    /// When the watchdog ends it.
    pub watchdog: Watchdog,
    /// The name of its result in the templates of later steps.
    pub register: Option<String>,
    /// Whether it runs on the first host of the play order only; a failure stops the run, and all hosts get the result.
    pub once: bool,
    /// Whether it may run again if it is unknown whether it ran.
    pub idempotent: bool,
    /// Whether it survives a lost connection.
    pub durable: bool,
    /// Whether it runs on a terminal.
    pub pty: bool,
    /// Whether it changes nothing: it runs with `--check` too, and never counts as a change.
    pub check: bool,
    /// Whether the host continues although the step failed.
    pub ignore_errors: bool,
    /// The wait after it.
    pub settle: Duration,
    /// What to do when the watchdog finds it stuck.
    pub on_stuck: OnStuck,
    /// The name under which its durations are recorded.
    pub class: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Why this run skips it, if it does.
    pub left_out: Option<String>,
    /// When it runs.
    pub role: Role,
    /// What counts as success.
    pub(crate) rules: Rules,
    pub(crate) action: Action,
    pub(crate) when: Option<Arc<Expression>>,
    /// The loop that it belongs to.
    pub(crate) looped: Option<Looped>,
    pub(crate) skip_if: Option<SkipIf>,
    pub(crate) env: Vec<(String, Template)>,
    pub(crate) cwd: Option<Template>,
    pub(crate) become_user: Option<Template>,
    /// The host on which its commands run, if it is another one.
    pub(crate) run_on: Option<Template>,
}

/// The loop that a step belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Looped {
    /// Its items: a list, or a template of one.
    pub(crate) items: Arc<Var>,
    /// Where they stand in the job file.
    pub(crate) at: usize,
    /// The step's name without its item.
    pub(crate) name: String,
    /// Which item this is, from 0.
    pub(crate) number: usize,
}

/// When a step runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Role {
    /// In the order of the job.
    #[default]
    Main,
    /// On a failed host, before its outcome is recorded.
    OnFailed,
    /// On a host that failed with one of these classes, before it is tried again.
    Repair(Vec<Class>),
}

/// What a step does, before its templates are rendered.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Run {
        command: Template,
        shell: String,
    },
    Script {
        src: Template,
        args: Vec<Template>,
    },
    Upload {
        src: Template,
        to: Placing<Template>,
    },
    Template {
        /// As written; the file was read with the job.
        src: String,
        to: Placing<Template>,
    },
    Download {
        src: Template,
        to: Template,
    },
    Reboot {
        within: Duration,
        only_if: Option<Template>,
    },
    WaitFor {
        condition: Condition,
        from: WaitFrom,
        within: Duration,
        every: Duration,
    },
}

/// Where a file is put on a host; texts are templates or what they are rendered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placing<T> {
    /// Its path on the host.
    pub dest: T,
    /// Its permissions on the host.
    pub mode: Option<u32>,
    /// Its owner on the host.
    pub owner: Option<T>,
    /// Its group on the host.
    pub group: Option<T>,
}

/// A condition to wait for, before its templates are rendered.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Port(Template),
    File(Template),
    Command(Template),
    Http(Template),
}

/// When a step is skipped, before its templates are rendered.
#[derive(Debug, Clone)]
pub(crate) enum SkipIf {
    Command(Template),
    Exists(Template),
}

/// Where to check a port from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFrom {
    /// The host itself.
    Host,
    /// The machine that Reveille runs on.
    Controller,
}

/// What to do with a stuck step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStuck {
    /// Not set: kill it only if it is idempotent and its class has enough history.
    #[default]
    Unsaid,
    /// Warn, and let it run up to the hard cap.
    Warn,
    /// Kill it, even at deadlines that Reveille estimated.
    Kill,
}

/// How long a step may be silent, and how long it may run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    /// Without any output.
    #[serde(default)]
    pub idle: Limit,
    /// Since its start.
    #[serde(default)]
    pub total: Limit,
}

/// A time limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Estimated from earlier runs and other hosts.
    #[default]
    Auto,
    /// No limit.
    Off,
    /// A fixed limit.
    After(Duration),
}

/// What counts as success.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// Empty for 0 only.
    pub(crate) ok_codes: Vec<i32>,
    pub(crate) fatal: Option<RegexSet>,
    pub(crate) stderr: StderrRule,
    pub(crate) ignore_stderr: Option<RegexSet>,
    pub(crate) expect: Option<Regex>,
}

/// What standard error may contain.
#[derive(Debug, Clone, Default)]
pub(crate) enum StderrRule {
    /// Anything.
    #[default]
    Anything,
    /// Nothing but blank lines.
    Nothing,
    /// No line that matches.
    Without(RegexSet),
}

// === impl Step ===

impl Step {
    /// The name under which its durations are recorded: its `class`, or a hash of its action.
    pub fn class_name(&self) -> &str {
        &self.class
    }

    /// Whether it has a `when`.
    pub fn has_condition(&self) -> bool {
        self.when.is_some()
    }

    /// Whether it writes files on the host: `upload` and `template`.
    pub fn sends_files(&self) -> bool {
        matches!(self.action, Action::Upload { .. } | Action::Template { .. })
    }

    /// Whether its commands run on another host than the one they are for.
    pub fn runs_elsewhere(&self) -> bool {
        self.run_on.is_some()
    }

    /// The reason for skipping it because of `skip_if`, with the template as written: rendered values may be secret.
    pub fn skip_if_text(&self) -> Option<String> {
        self.skip_if.as_ref().map(|skip_if| match skip_if {
            SkipIf::Command(template) => format!("`{}` succeeds", template.source()),
            SkipIf::Exists(template) => format!("{} exists", template.source()),
        })
    }

    /// A reboot's `only_if`, as written.
    pub fn only_if_text(&self) -> Option<String> {
        match &self.action {
            Action::Reboot { only_if, .. } => only_if.as_ref().map(|template| template.source().to_string()),
            _ => None,
        }
    }

    /// How long a reboot may take.
    pub fn reboot_within(&self) -> Option<Duration> {
        match &self.action {
            Action::Reboot { within, .. } => Some(*within),
            _ => None,
        }
    }

    /// The kind of step, as the job file names it.
    pub fn kind(&self) -> &'static str {
        self.action.kind()
    }

    /// Every template of the step.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let env = self.env.iter().map(|(_, template)| template);
        self.open_templates().chain(env)
    }

    /// All templates except those of environment variables, which others can't see.
    pub(crate) fn open_templates(&self) -> impl Iterator<Item = &Template> {
        let skip_if = self.skip_if.iter().map(|skip_if| match skip_if {
            SkipIf::Command(template) | SkipIf::Exists(template) => template,
        });
        self.action
            .templates()
            .into_iter()
            .chain(skip_if)
            .chain(&self.cwd)
            .chain(&self.become_user)
            .chain(&self.run_on)
    }

    /// All expressions of the step, `when` first.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.when
            .iter()
            .map(|when| &**when)
            .chain(self.looped.iter().flat_map(Looped::expressions))
            .chain(self.templates().flat_map(Template::expressions))
    }

    /// Its name in the job file, the same for all items of a loop.
    pub fn name_in_file(&self) -> &str {
        self.looped.as_ref().map_or(&self.name, |looped| &looped.name)
    }
}

// === impl Looped ===

impl Looped {
    /// The expressions of the items.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        self.items.expressions()
    }
}

// === impl Placing ===

impl<T> Placing<T> {
    fn texts(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.dest).chain(&self.owner).chain(&self.group)
    }
}

// === impl Action ===

impl Action {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Action::Run { .. } => "run",
            Action::Script { .. } => "script",
            Action::Upload { .. } => "upload",
            Action::Template { .. } => "template",
            Action::Download { .. } => "download",
            Action::Reboot { .. } => "reboot",
            Action::WaitFor { .. } => "wait_for",
        }
    }

    pub(crate) fn templates(&self) -> Vec<&Template> {
        match self {
            Action::Run { command, .. } => vec![command],
            Action::Script { src, args } => std::iter::once(src).chain(args).collect(),
            Action::Upload { src, to } => std::iter::once(src).chain(to.texts()).collect(),
            Action::Template { to, .. } => to.texts().collect(),
            Action::Download { src, to } => vec![src, to],
            Action::Reboot { only_if, .. } => only_if.iter().collect(),
            Action::WaitFor { condition, .. } => match condition {
                Condition::Port(template)
                | Condition::File(template)
                | Condition::Command(template)
                | Condition::Http(template) => vec![template],
            },
        }
    }

    /// A few words that describe the step.
    pub(crate) fn words(&self) -> String {
        let templates = self.templates();
        let text = templates.first().map_or("", |template| template.source());
        let line = text.trim().lines().next().unwrap_or_default();
        let shown = match self {
            Action::Run { .. } => line.to_owned(),
            Action::Template { src, .. } => format!("template {src}"),
            Action::Reboot { .. } => "reboot".to_owned(),
            _ => format!("{} {line}", self.kind()),
        };
        shortened(&shown, 60)
    }

    /// `run-` and 12 digits of a SHA-256; the same command template has the same class on every host.
    pub(crate) fn class(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.kind());
        if let Action::Template { src, .. } = self {
            hash.update(src);
        }
        for template in self.templates() {
            hash.update([0]);
            hash.update(template.source().as_bytes());
        }
        format!("{}-{}", self.kind(), &HEXLOWER.encode(&hash.finalize())[..12])
    }
}
