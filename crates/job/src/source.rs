//! The source of a job, which the ledger records so that the job can be recreated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::step::Watchdog;

/// The name of a command in messages, in the place of a file's.
pub(crate) const COMMAND: &str = "the command";

/// Everything that a job was made from; the ledger records it for [`Job::from_source`](crate::Job::from_source).
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
        /// Which of its steps were selected.
        #[serde(default, skip_serializing_if = "Selection::is_everything")]
        selection: Selection,
        /// For each of its steps with `loop`, how many steps it became.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        loops: Vec<usize>,
    },
    /// A job that the program wrote for one of its commands, such as `copy`.
    Written {
        /// The command.
        by: String,
        /// The job's text.
        text: String,
    },
    /// One command.
    Command {
        /// The command, given to the remote `sh`.
        command: String,
        /// The command's options.
        options: CommandOptions,
    },
}

/// The options of a single command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandOptions {
    /// How many finished attempts it may take.
    pub attempts: u32,
    /// Whether it survives a lost connection.
    pub durable: bool,
    /// Whether it runs on a terminal.
    pub pty: bool,
    /// Whether it becomes another user; none leaves this to the inventory.
    pub becomes: Option<bool>,
    /// The user it becomes.
    pub become_user: Option<String>,
    /// When the watchdog ends it.
    pub watchdog: Watchdog,
    /// Environment variables of the command.
    pub env: BTreeMap<String, String>,
    /// Its working directory.
    pub cwd: Option<String>,
    /// Whether it is a template, rendered for each host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
}

// === impl JobSource ===

impl JobSource {
    /// Whether its templates use the vars of hosts and the inventory's groups.
    pub fn uses_vars(&self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::Written { .. } => false,
            Self::Command { options, .. } => options.template,
        }
    }
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
            template: false,
        }
    }
}

/// The selected steps; the ledger records this with the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Only steps with one of these tags; empty for all steps.
    pub tags: Vec<String>,
    /// No steps with one of these tags.
    pub skip_tags: Vec<String>,
    /// The name of the first step.
    pub start_at: Option<String>,
}

// === impl Selection ===

impl Selection {
    /// Whether all steps are selected.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}
