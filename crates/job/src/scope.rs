//! What templates can see on a host.

use std::collections::BTreeMap;

use minijinja::value::Value;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::template::{Expression, Template, map_of, value_of};

/// Names that are always there and that no var can take.
pub(crate) const BUILT_IN: &[&str] = &["inventory_hostname", "groups", "run_id", "env"];
/// What a registered result holds.
pub(crate) const REGISTERED: &[&str] = &["stdout", "stderr", "exit_status", "changed", "skipped"];
/// Facts that are planned; a var may have the name meanwhile.
pub(crate) const FACTS: &[&str] = &["os", "arch", "cpus", "mem_mb", "boot_id", "machine_id"];

/// What all hosts of a run see alike; made once a run.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) run_id: Value,
    pub(crate) groups: Value,
    pub(crate) env: Value,
}

/// What the templates of one host see; cheap to make.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    pub(crate) host: &'a str,
    pub(crate) vars: &'a Map<String, serde_json::Value>,
    pub(crate) shared: &'a Shared,
    pub(crate) registered: BTreeMap<String, Registered>,
}

/// The result of a step, as later steps see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Standard output without its last line end, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// The exit status; none if a signal ended the command or the step has no command.
    pub exit_status: Option<i32>,
    /// Whether the step changed something, as far as it can know.
    pub changed: bool,
    /// Whether the step was skipped.
    pub skipped: bool,
}

/// A job's var: a value, or templates for it.
#[derive(Debug)]
pub(crate) enum Var {
    Plain(Value),
    Template(Template),
    List(Vec<Var>),
    Map(Vec<(String, Var)>),
}

// === impl Shared ===

impl Shared {
    /// The run's id as text, all groups with the names of their hosts, and the environment of this process.
    pub fn new(
        run_id: &str,
        groups: impl IntoIterator<Item = (String, Vec<String>)>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let hosts = |names: Vec<String>| names.into_iter().map(Value::from).collect::<Value>();
        Self {
            run_id: Value::from(run_id),
            groups: map_of(groups.into_iter().map(|(name, names)| (name, hosts(names)))),
            env: map_of(env.into_iter().map(|(name, value)| (name, Value::from(value)))),
        }
    }
}

// === impl Scope ===

impl<'a> Scope<'a> {
    /// The scope of `host`, with the merged vars of the inventory.
    pub fn new(host: &'a str, vars: &'a Map<String, serde_json::Value>, shared: &'a Shared) -> Self {
        Self {
            host,
            vars,
            shared,
            registered: BTreeMap::new(),
        }
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        self.host
    }

    /// Gives later steps the result of one.
    pub fn register(&mut self, name: impl Into<String>, result: Registered) {
        self.registered.insert(name.into(), result);
    }

    /// A built-in name's value.
    pub(crate) fn built_in(&self, name: &str) -> Option<Value> {
        match name {
            "inventory_hostname" => Some(Value::from(self.host)),
            "groups" => Some(self.shared.groups.clone()),
            "run_id" => Some(self.shared.run_id.clone()),
            "env" => Some(self.shared.env.clone()),
            _ => None,
        }
    }

    pub(crate) fn registered(&self, name: &str) -> Option<Value> {
        self.registered.get(name).map(Registered::value)
    }

    pub(crate) fn host_var(&self, name: &str) -> Option<Value> {
        self.vars.get(name).map(value_of)
    }
}

// === impl Registered ===

impl Registered {
    pub(crate) fn value(&self) -> Value {
        map_of([
            ("stdout".to_owned(), Value::from(self.stdout.as_str())),
            ("stderr".to_owned(), Value::from(self.stderr.as_str())),
            (
                "exit_status".to_owned(),
                self.exit_status.map_or_else(|| Value::from(()), Value::from),
            ),
            ("changed".to_owned(), Value::from(self.changed)),
            ("skipped".to_owned(), Value::from(self.skipped)),
        ])
    }
}

// === impl Var ===

impl Var {
    /// The expressions in it.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        match self {
            Var::Plain(_) => Vec::new(),
            Var::Template(template) => template.expressions().collect(),
            Var::List(items) => items.iter().flat_map(Var::expressions).collect(),
            Var::Map(entries) => entries.iter().flat_map(|(_, var)| var.expressions()).collect(),
        }
    }
}
