//! The names that templates can use on a host.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use minijinja::value::Value;
use reveille_account::SourceError;
use reveille_document::ansible::short_name;
use reveille_document::{Expression, Template};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::facts::Facts;

/// Built-in names, which vars can't use.
pub(crate) const BUILT_IN: &[&str] = &[
    "inventory_hostname",
    "inventory_hostname_short",
    "group_names",
    "groups",
    "run_id",
    "env",
];
/// The ones that differ between hosts.
pub(crate) const OF_THE_HOST: &[&str] = &["inventory_hostname", "inventory_hostname_short", "group_names"];
/// The fields of the registered result of a loop.
pub(crate) const OF_LOOPS: &[&str] = &["results", "changed", "skipped"];
/// The fields of a registered result.
pub(crate) const REGISTERED: &[&str] = &["stdout", "stderr", "exit_status", "changed", "skipped"];

/// Values that all hosts of a run share; created once per run.
#[derive(Clone)]
pub struct Shared {
    pub(crate) run_id: Value,
    pub(crate) groups: Value,
    /// The groups of each host, computed when a template needs them.
    memberships: Arc<LazyLock<Memberships, Box<dyn FnOnce() -> Memberships + Send>>>,
    pub(crate) env: Value,
    /// Values of secret vars, which are never printed.
    secrets: Arc<BTreeMap<String, String>>,
}

/// The values that the templates of one host can use; cheap to create.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    pub(crate) host: &'a str,
    pub(crate) vars: &'a Map<String, serde_json::Value>,
    pub(crate) shared: &'a Shared,
    pub(crate) registered: BTreeMap<String, Registered>,
    /// The results of loops, by the numbers of their items.
    pub(crate) results: BTreeMap<String, BTreeMap<usize, Registered>>,
    pub(crate) facts: Option<&'a Facts>,
    /// Vars that a plan does not show, besides those with secret names.
    pub(crate) hidden: &'a [String],
    pub(crate) filled: Filled,
}

type Memberships = HashMap<String, Vec<String>>;

/// The result of a step, as later steps see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Standard output without its last newline, with invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// The exit status; none if a signal killed the command or the step has no command.
    pub exit_status: Option<i32>,
    /// Whether the step changed something, as far as it knows, since the host last succeeded.
    pub changed: bool,
    /// Whether the step was skipped.
    pub skipped: bool,
}

/// The source of a secret var's value, which is read at each run and resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of Reveille.
    Env(String),
    /// A file, relative to the job file; a final newline is removed.
    File(String),
    /// A command on this machine, run by `sh`; a final newline in its output is removed.
    Command(String),
    /// The operator, who is asked this question.
    Prompt(String),
}

/// How to treat expressions that need results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// All values are known.
    Run,
    /// Like a run, but some steps did not run, so that their results are unknown.
    Check,
    /// Results of steps and secrets of the job are unknown; expressions that need results stay as written.
    Plan,
    /// A plan for people to read, which shows no secret of the inventory either.
    Show,
}

/// The result of looking up a name.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// A value.
    Value(Value),
    /// Not known in a plan: it needs results or facts.
    Later,
    /// Not defined.
    Nothing,
}

/// A job's var: a value, or templates for it.
#[derive(Debug)]
pub(crate) enum Var {
    Secret(SecretSource),
    Plain(Value),
    Template(Template),
    List(Vec<Var>),
    Map(Vec<(String, Var)>),
}

// === impl Shared ===

impl Shared {
    /// Takes the run's id as text, all groups with the names of their hosts, and the environment of this process.
    pub fn new(
        run_id: &str,
        groups: impl IntoIterator<Item = (String, Vec<String>)>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let groups: Vec<(String, Vec<String>)> = groups.into_iter().collect();
        let hosts = |names: &[String]| {
            names
                .iter()
                .map(|name| Value::from(name.as_str()))
                .collect::<Value>()
        };
        Self {
            run_id: Value::from(run_id),
            groups: Value::from_pairs(groups.iter().map(|(name, names)| (name.clone(), hosts(names)))),
            memberships: Arc::new(LazyLock::new(Box::new(move || memberships(groups)))),
            env: Value::from_pairs(env.into_iter().map(|(name, value)| (name, Value::from(value)))),
            secrets: Arc::default(),
        }
    }

    /// Adds the values of secret vars.
    #[must_use]
    pub fn with_secrets(mut self, secrets: BTreeMap<String, String>) -> Self {
        self.secrets = Arc::new(secrets);
        self
    }
}

/// The groups of each host in order, without `all`.
fn memberships(groups: Vec<(String, Vec<String>)>) -> Memberships {
    let mut memberships = Memberships::new();
    for (group, hosts) in groups.into_iter().filter(|(group, _)| group != "all") {
        for host in hosts {
            memberships.entry(host).or_default().push(group.clone());
        }
    }
    for names in memberships.values_mut() {
        names.sort_unstable();
    }
    memberships
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
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
            results: BTreeMap::new(),
            facts: None,
            hidden: &[],
            filled: Filled::default(),
        }
    }

    /// Keeps these vars of the inventory out of plans, besides those with secret names.
    #[must_use]
    pub fn hiding(mut self, names: &'a [String]) -> Self {
        self.hidden = names;
        self
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        self.host
    }

    /// Makes the result of a step available to later steps.
    pub fn register(&mut self, name: impl Into<String>, result: Registered) {
        self.registered.insert(name.into(), result);
        self.filled.forget();
    }

    /// Makes the result of a step for an item of a loop available to later steps.
    pub(crate) fn register_item(&mut self, name: String, number: usize, result: Registered) {
        self.results.entry(name).or_default().insert(number, result);
        self.filled.forget();
    }

    /// Adds the host's facts.
    #[must_use]
    pub fn with_facts(mut self, facts: Option<&'a Facts>) -> Self {
        self.facts = facts;
        self.filled.forget();
        self
    }

    /// The value of a secret var.
    pub(crate) fn secret(&self, name: &str) -> Option<Value> {
        self.shared
            .secrets
            .get(name)
            .map(|value| Value::from(value.as_str()))
    }

    /// The value of a built-in name.
    pub(crate) fn built_in(&self, name: &str) -> Option<Value> {
        match name {
            "inventory_hostname" => Some(Value::from(self.host)),
            "inventory_hostname_short" => Some(Value::from(short_name(self.host))),
            "group_names" => {
                let names = self.shared.memberships.get(self.host);
                Some(names.into_iter().flatten().map(String::as_str).collect())
            }
            "groups" => Some(self.shared.groups.clone()),
            "run_id" => Some(self.shared.run_id.clone()),
            "env" => Some(self.shared.env.clone()),
            _ => None,
        }
    }

    pub(crate) fn registered(&self, name: &str) -> Option<Value> {
        self.registered.get(name).map(Registered::value)
    }
}

// === impl Registered ===

impl Registered {
    /// Reads a recorded result.
    ///
    /// # Errors
    ///
    /// It is not one.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(crate) fn value(&self) -> Value {
        Value::from_pairs(self.fields())
    }

    /// The value of a loop's result, from those of its items.
    pub(crate) fn of_loop<'r>(results: impl Iterator<Item = (Value, &'r Registered)>) -> Value {
        let (mut changed, mut skipped) = (false, true);
        let results: Vec<Value> = results
            .map(|(item, result)| {
                changed |= result.changed;
                skipped &= result.skipped;
                let item = ("item".to_owned(), item);
                Value::from_pairs(result.fields().into_iter().chain([item]))
            })
            .collect();
        Value::from_pairs([
            ("results".to_owned(), Value::from(results)),
            ("changed".to_owned(), Value::from(changed)),
            ("skipped".to_owned(), Value::from(skipped)),
        ])
    }

    /// A step that was skipped has no output: an empty one would make `rm -rf DIR/{{ x.stdout }}` of nothing.
    fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = vec![
            ("changed".to_owned(), Value::from(self.changed)),
            ("skipped".to_owned(), Value::from(self.skipped)),
        ];
        if !self.skipped {
            let status = self.exit_status.map_or_else(|| Value::from(()), Value::from);
            fields.extend([
                ("stdout".to_owned(), Value::from(self.stdout.as_str())),
                ("stderr".to_owned(), Value::from(self.stderr.as_str())),
                ("exit_status".to_owned(), status),
            ]);
        }
        fields
    }
}

// === impl Var ===

impl Var {
    /// Its expressions.
    pub(crate) fn expressions(&self) -> Vec<&Expression> {
        match self {
            Var::Plain(_) | Var::Secret(_) => Vec::new(),
            Var::Template(template) => template.expressions().collect(),
            Var::List(items) => items.iter().flat_map(Var::expressions).collect(),
            Var::Map(entries) => entries.iter().flat_map(|(_, var)| var.expressions()).collect(),
        }
    }
}

/// The inventory templates that were rendered for a scope, so that each is rendered once.
#[derive(Debug, Default)]
pub(crate) struct Filled(Mutex<BTreeMap<(String, Mode), Found>>);

// === impl Filled ===

impl Filled {
    pub(crate) fn get(&self, name: &str, mode: Mode) -> Option<Found> {
        let filled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        filled.get(&(name.to_owned(), mode)).cloned()
    }

    pub(crate) fn keep(&self, name: &str, mode: Mode, found: &Found) {
        let mut filled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        filled.insert((name.to_owned(), mode), found.clone());
    }

    /// Forgets all values, because a new result or the facts may change them.
    pub(crate) fn forget(&mut self) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Clone for Filled {
    /// A cloned scope renders its own values.
    fn clone(&self) -> Self {
        Self::default()
    }
}

// === impl Found ===

impl Found {
    /// Collects all values; `Later` if one of them is.
    pub(crate) fn all(
        found: impl Iterator<Item = Result<Found, SourceError>>,
        together: impl FnOnce(Vec<Value>) -> Value,
    ) -> Result<Self, SourceError> {
        let mut values = Vec::new();
        for found in found {
            match found? {
                Found::Value(value) => values.push(value),
                Found::Later => return Ok(Found::Later),
                Found::Nothing => values.push(Value::UNDEFINED),
            }
        }
        Ok(Found::Value(together(values)))
    }
}

impl From<Option<Value>> for Found {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Nothing, Self::Value)
    }
}
