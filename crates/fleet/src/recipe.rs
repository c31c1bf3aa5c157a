//! The recipe of a run: recorded in the ledger at the start, restored by `resume` and `retry`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use reveille_account::{HostName, RunId, SourceError};
use reveille_history::HostState;
use reveille_inventory::Inventory;
use reveille_job::{Job, JobSource, Order, Shared};
use reveille_ledger::{Ledger, RollEntry, RunHandle, RunKind, RunRecord, RunSpec};
use reveille_text::harmless;
use reveille_transport::{Client, KnownHosts};
use reveille_way::{Destination, Destinations, Operator, Passwords, Way};
use serde::{Deserialize as _, Serialize};
use serde_json::{Map, Value, json};

use crate::allowance::Allowance;
use crate::limits::{self, Fit};
use crate::options::RunOptions;
use crate::plan::{HostPlan, RunPlan};
use crate::recall::{Before, Recalled, RollHost};

/// A run without its hosts, and without anything that must not be recorded.
#[derive(Debug)]
pub struct RunRecipe {
    /// The command that started it.
    pub kind: RunKind,
    /// What it does on each host.
    pub job: Job,
    /// The options of the run.
    pub options: RunOptions,
    /// The inventory's groups and their hosts, for templates.
    pub groups: Vec<(String, Vec<String>)>,
    /// The random seed.
    pub seed: u64,
    /// The operator's comment.
    pub comment: Option<String>,
}

/// The key in a host's recorded vars for the names of those that are not recorded.
const SECRET: &str = "reveille_secret_vars";

/// A host of a run.
#[derive(Debug, Clone)]
pub struct RunHost {
    /// Its name.
    pub name: HostName,
    /// How to reach it.
    pub way: Way,
    /// Its vars, including secret ones.
    pub vars: Map<String, Value>,
    /// Vars that must not be recorded, besides those with secret names.
    pub unrecorded: Vec<String>,
}

/// The parts of a run that the ledger does not record.
#[derive(Debug, Default)]
pub struct Unrecorded {
    /// The values of the job's secret vars.
    pub secrets: BTreeMap<String, String>,
    /// The environment variables that templates use; see [`RunRecipe::environment`].
    pub environment: Vec<(String, String)>,
    /// Standard input of plain commands.
    pub input: Option<Bytes>,
}

/// The parts of a run that depend on this machine.
pub struct Prepared {
    /// How to reach the hosts, in their order.
    pub to: Vec<Destination>,
    /// How to reach the hosts that steps are delegated to.
    pub delegates: HashMap<HostName, Destination>,
    /// The limit on sessions.
    pub fit: Fit,
    /// The SSH client.
    pub client: Client,
}

/// Why a run can't be started, resumed or retried. Nothing was dispatched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] reveille_ledger::Error),
    /// A part of the record can't be read.
    #[error("failed to read the {what} that {run} recorded: {why}")]
    Damaged {
        /// The run.
        run: RunId,
        /// The part.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The recorded job has mistakes.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Mistakes(Vec<SourceError>),
    /// A host's way is invalid.
    #[error(transparent)]
    Way(#[from] reveille_way::Error),
    /// Another mistake in the input; the text names it and what to try.
    #[error("{0}")]
    Input(String),
}

// === impl RunRecipe ===

impl RunRecipe {
    /// Sorts the hosts into the order in which the job dispatches them.
    pub fn order(&self, hosts: &mut [RunHost]) {
        match self.job.order {
            Order::Inventory => {}
            Order::Sorted => hosts.sort_by(|one, other| one.name.cmp(&other.name)),
            Order::Reverse => hosts.reverse(),
            Order::Shuffled => fastrand::Rng::with_seed(self.seed).shuffle(hosts),
        }
    }

    /// Records a new run with its roll in one transaction, started by `user` on `node`.
    ///
    /// # Errors
    ///
    /// The ledger can't be written.
    pub fn record(
        &self,
        ledger: &Ledger,
        hosts: &[RunHost],
        user: String,
        node: String,
    ) -> Result<RunHandle, RecipeError> {
        let source = self.job.source();
        let text = json_text(&anchored(source))?;
        let mut spec = RunSpec::new(self.kind, text);
        spec.vars = json!({});
        if let JobSource::File { file, text, .. } = source {
            spec.file = Some(file.clone());
            spec.sha256 = Some(sha256(text.as_bytes()));
        }
        if source.uses_vars() {
            spec.vars = json!({ "groups": self.groups });
        }
        spec.options = serde_json::to_value(&self.options)
            .map_err(|error| RecipeError::Input(format!("failed to record the options: {error}")))?;
        spec.seed = self.seed;
        spec.user = user;
        spec.node = node;
        spec.comment.clone_from(&self.comment);
        spec.name = Some(self.name());
        let has_vars = source.uses_vars();
        let roll = hosts.iter().map(|host| host.record(has_vars));
        let roll = roll.collect::<Result<Vec<_>, RecipeError>>()?;
        Ok(ledger.create_run(&spec, &roll)?)
    }

    /// What the run is called, in one line: its job, its command, or what it does.
    pub fn name(&self) -> String {
        match self.kind {
            RunKind::Exec => harmless::line(self.job.steps.first().map_or("", |step| &step.name)),
            RunKind::Run | RunKind::Drill | RunKind::Bench => harmless::line(&self.job.name),
            // Its reports must not join those of runs.
            RunKind::Check => format!("{} (check)", harmless::line(&self.job.name)),
            RunKind::Copy | RunKind::Fetch | RunKind::Ping => self.kind.as_str().to_owned(),
        }
    }

    /// Restores what [`record`](Self::record) wrote.
    ///
    /// # Errors
    ///
    /// A part of it can't be read, or is unknown to this version.
    pub fn restore(record: &RunRecord) -> Result<Self, RecipeError> {
        let damaged = |what, error: serde_json::Error| damaged(record.run, what, &error);
        let options =
            RunOptions::deserialize(&record.spec.options).map_err(|error| damaged("options", error))?;
        let source: JobSource =
            serde_json::from_str(&record.spec.text).map_err(|error| damaged("job", error))?;
        let groups = match record.spec.vars.get("groups") {
            None => Vec::new(),
            Some(groups) => Vec::deserialize(groups).map_err(|error| damaged("groups", error))?,
        };
        Ok(Self {
            kind: record.spec.kind,
            job: Job::from_source(&source).map_err(RecipeError::Mistakes)?,
            options,
            groups,
            seed: record.spec.seed,
            comment: record.spec.comment.clone(),
        })
    }

    /// Restores the allowance of a recorded run.
    ///
    /// # Errors
    ///
    /// It can't be read, or is unknown to this version.
    pub fn allowance(record: &RunRecord) -> Result<Allowance, RecipeError> {
        match record.spec.options.get("allowance") {
            None => Ok(Allowance::default()),
            Some(allowance) => Allowance::deserialize(allowance)
                .map_err(|error| damaged(record.run, "allowed failures", &error)),
        }
    }

    /// Takes what the job uses of the environment, which a resumed run keeps.
    pub fn take_environment(&mut self) {
        let public = |(name, value): (String, String)| {
            let value = Some(value).filter(|_| !reveille_text::is_secret(&name));
            (name, value)
        };
        self.options.environment = self.job.environment().into_iter().map(public).collect();
    }

    /// The environment that the run started with. Secret variables have their present values.
    ///
    /// # Errors
    ///
    /// A secret variable that was set is no longer set.
    pub fn environment(&self) -> Result<Vec<(String, String)>, RecipeError> {
        let variables = self.options.environment.iter();
        let value = |(name, value): (&String, &Option<String>)| {
            let value = value.clone().or_else(|| std::env::var(name).ok());
            let value = value.ok_or_else(|| {
                RecipeError::Input(format!(
                    "the environment variable {name}, which the run uses and which is not recorded, is not set"
                ))
            });
            Ok((name.clone(), value?))
        };
        variables.map(value).collect()
    }

    /// Checks that `input` is the one that the run started with. The ledger records only its hash.
    ///
    /// # Errors
    ///
    /// It differs, or one of the two is missing.
    pub fn check_input(&self, run: RunId, input: Option<&Bytes>) -> Result<(), RecipeError> {
        let refused = |why: String| Err(RecipeError::Input(why));
        match (self.options.input.as_deref(), input.map(|input| sha256(input))) {
            (Some(wanted), Some(given)) if wanted == given => Ok(()),
            (None, None) => Ok(()),
            (Some(_), None) => refused(format!(
                "{run} had a standard input, which is not recorded; give the same file again with --stdin"
            )),
            (Some(_), Some(_)) => refused(format!("this is not the input that {run} started with")),
            (None, Some(_)) => refused(format!("{run} started without an input")),
        }
    }

    /// What happened to the files of the job since the run was recorded. The run uses the recorded ones.
    pub fn changed_files(&self) -> Vec<String> {
        let JobSource::File {
            file, text, files, ..
        } = self.job.source()
        else {
            return Vec::new();
        };
        if !matches!(self.kind, RunKind::Run | RunKind::Check) {
            // The program wrote its job.
            return Vec::new();
        }
        let all = std::iter::once((PathBuf::from(file), text));
        let all = all.chain(files.iter().map(|(path, text)| (self.job.resolve(path), text)));
        all.filter_map(|(path, text)| {
            // Reading a pipe might never end.
            let is_file = std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file());
            let now = if is_file {
                std::fs::read(&path)
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            };
            let path = path.display();
            match now {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    Some(format!("{path} is no longer there; using the recorded one"))
                }
                Err(error) => Some(format!(
                    "{path} can't be read any more: {error}; using the recorded one"
                )),
                Ok(now) if now.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&now) == text.as_bytes() => None,
                Ok(_) => Some(format!("{path} has changed since; using the recorded one")),
            }
        })
        .collect()
    }

    /// Reads what the run needs from this machine: keys, known hosts, limits. Errors surface here, before anything is
    /// recorded or dispatched. New host keys go to `state_dir`.
    ///
    /// # Errors
    ///
    /// A key or a known-hosts file can't be used, or the limits of this process permit no session.
    pub fn prepare(
        &self,
        hosts: &[RunHost],
        passwords: &Passwords,
        state_dir: &Path,
        operator: &dyn Operator,
    ) -> Result<Prepared, RecipeError> {
        let mut destinations = Destinations::new(self.options.trust(), passwords, operator);
        let to = hosts
            .iter()
            .map(|host| destinations.make(host.name.clone(), &host.way));
        let to = to.collect::<Result<Vec<_>, _>>()?;
        let delegates = self.options.delegates.iter().map(|(name, way)| {
            let delegate = destinations.make(name.clone(), way)?;
            Ok((name.clone(), delegate))
        });
        let delegates = delegates.collect::<Result<_, reveille_way::Error>>()?;
        let fit = limits::sessions(self.options.sessions(to.len()).into()).map_err(RecipeError::Input)?;
        Ok(Prepared {
            to,
            delegates,
            fit,
            client: self.client(state_dir)?,
        })
    }

    fn client(&self, state_dir: &Path) -> Result<Client, RecipeError> {
        let mut files = self.options.known_hosts.clone();
        files.extend(std::env::home_dir().map(|home| home.join(".ssh/known_hosts")));
        files.push("/etc/ssh/ssh_known_hosts".into());
        let known_hosts = KnownHosts::load(&files, Some(state_dir.join("known_hosts")))
            .map_err(|error| RecipeError::Input(error.to_string()))?;
        Ok(Client::new(self.options.deadlines(), Arc::new(known_hosts)))
    }

    /// The engine's plan and its client: the job, the hosts of `recalled` without an outcome, with their histories, and
    /// the settings. `resumed` if another controller began this round.
    pub fn plan(
        self,
        run: RunId,
        prepared: Prepared,
        hosts: Vec<(RunHost, Option<Before>)>,
        recalled: Recalled,
        resumed: bool,
        unrecorded: Unrecorded,
    ) -> (RunPlan, Client) {
        let Unrecorded {
            secrets,
            environment,
            input,
        } = unrecorded;
        let (mut vars, mut hidden) = (HashMap::new(), HashMap::new());
        let mut plans = Vec::with_capacity(hosts.len());
        for (to, (host, before)) in prepared.to.into_iter().zip(hosts) {
            let before = before.map(Box::new);
            plans.push(HostPlan { to, before });
            if !host.unrecorded.is_empty() {
                hidden.insert(host.name.clone(), host.unrecorded);
            }
            if !host.vars.is_empty() {
                vars.insert(host.name, host.vars);
            }
        }
        let mut settings = self.options.settings(&self.job, self.seed, input);
        settings.sessions = usize::try_from(prepared.fit.sessions).unwrap_or(usize::MAX);
        settings.frugal = prepared.fit.frugal;
        let plan = RunPlan {
            shared: Shared::new(&run.to_string(), self.groups, environment).with_secrets(secrets),
            vars: Arc::new(move |name| vars.get(name).cloned().unwrap_or_default()),
            hidden,
            roll: recalled.roll,
            halted: recalled.halted,
            once: recalled.once,
            resumed,
            job: Arc::new(self.job),
            hosts: plans,
            delegates: prepared.delegates,
            settings,
        };
        (plan, prepared.client)
    }
}

// === impl RunHost ===

impl RunHost {
    fn record(&self, has_vars: bool) -> Result<RollEntry, RecipeError> {
        let mut entry = RollEntry::new(self.name.clone());
        entry.address = Some(self.way.link.address.clone());
        entry.port = self.way.link.port;
        entry.way = json_text(&self.way)?;
        if has_vars {
            let is_public = |key: &String| !reveille_text::is_secret(key) && !self.unrecorded.contains(key);
            let (mut public, mut secret) = (Map::new(), Vec::new());
            for (key, value) in &self.vars {
                if is_public(key) {
                    public.insert(key.clone(), value.clone());
                } else {
                    secret.push(Value::from(key.as_str()));
                }
            }
            if !secret.is_empty() {
                public.insert(SECRET.to_owned(), Value::Array(secret));
            }
            entry.vars = json_text(&public)?;
        }
        Ok(entry)
    }

    /// Restores a host of the roll. Vars that were not recorded come from the inventory, if there is one.
    ///
    /// # Errors
    ///
    /// A part of it can't be read, or is unknown to this version.
    pub fn restore(
        run: RunId,
        entry: &RollEntry,
        inventory: Option<&Inventory>,
    ) -> Result<Self, RecipeError> {
        let way = serde_json::from_str(&entry.way).map_err(|error| damaged(run, "way to a host", &error))?;
        let mut vars: Map<String, Value> = if entry.vars.is_empty() {
            Map::new()
        } else {
            serde_json::from_str(&entry.vars).map_err(|error| damaged(run, "vars of a host", &error))?
        };
        let name = entry.host.clone();
        let secret = vars.remove(SECRET);
        let secret: Vec<String> = secret
            .as_ref()
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        if let Some(inventory) = inventory {
            let now = inventory.template_vars(name.as_str()).into_iter();
            vars.extend(now.filter(|(var, _)| inventory.is_secret(name.as_str(), var)));
            if let Some(lost) = secret.iter().find(|var| !vars.contains_key(*var)) {
                return Err(RecipeError::Input(format!(
                    "the inventory no longer sets the secret variable `{lost}` of {name}, which the run needs"
                )));
            }
        }
        Ok(Self {
            name,
            way,
            vars,
            unrecorded: secret,
        })
    }
}

// === impl Recalled ===

impl Recalled {
    /// The start of a new run: no host was dispatched yet.
    pub fn beginning<'a>(hosts: impl IntoIterator<Item = &'a RunHost>) -> Self {
        let roll = hosts.into_iter().map(|host| RollHost {
            name: host.name.clone(),
            state: HostState::Waiting,
            ready: true,
            place: None,
        });
        Self {
            roll: roll.collect(),
            ..Self::default()
        }
    }
}

/// The job with an absolute path to its file, so that relative paths of its steps work from any directory.
fn anchored(source: &JobSource) -> JobSource {
    let mut source = source.clone();
    if let JobSource::File { file, .. } = &mut source
        && let Ok(path) = std::path::absolute(&*file)
        && let Some(path) = path.to_str()
    {
        path.clone_into(file);
    }
    source
}

fn json_text(value: &impl Serialize) -> Result<String, RecipeError> {
    serde_json::to_string(value)
        .map_err(|error| RecipeError::Input(format!("failed to record the run: {error}")))
}

fn damaged(run: RunId, what: &'static str, error: &serde_json::Error) -> RecipeError {
    RecipeError::Damaged {
        run,
        what,
        why: error.to_string(),
    }
}

/// The SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}
