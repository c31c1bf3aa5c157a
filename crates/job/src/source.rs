//! What a job was made from: the ledger keeps it, and the same job can be made from it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::step::Watchdog;

/// All that a job was made from; the ledger keeps it, and [`Job::from_source`](crate::Job::from_source) makes the same job of it.
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

/// What was asked for; the ledger keeps it with the job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Only steps with one of these tags; empty means all.
    pub tags: Vec<String>,
    /// No steps with one of these.
    pub skip_tags: Vec<String>,
    /// The name of the first step.
    pub start_at: Option<String>,
}

// === impl Selection ===

impl Selection {
    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}
