//! Executable inventories: programs that write JSON when they are called with `--list`.
//!
//! ```json
//! {
//!   "web": {"hosts": ["web1"], "vars": {"x": 1}, "children": ["fast"]},
//!   "fast": ["web2"],
//!   "_meta": {"hostvars": {"web1": {"ansible_host": "192.0.2.1"}}}
//! }
//! ```
//!
//! Without `_meta` the program is called once more for each host, with `--host NAME`. It runs in a process group of its own,
//! which is killed when it takes too long; what it writes is bounded.

use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use reveille_account::SourceError;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};

use crate::InventoryError;
use crate::builder::Builder;
use crate::inventory::Variable;
use crate::place::{Fault, Line};

/// How long all calls of a program may take together, if the caller doesn't say.
pub(crate) const TIME_LIMIT: Duration = Duration::from_mins(1);
/// The most that is read of a call's standard output, bytes.
pub(crate) const MAX_OUTPUT: u64 = 64 << 20;
/// The end of standard error that an error shows, bytes.
pub(crate) const STDERR_SHOWN: usize = 4 << 10;
/// The most that is read of standard error before the program is taken for broken, bytes.
const MAX_STDERR: u64 = 1 << 20;
/// Hosts that are asked for one by one; more need `_meta`.
pub(crate) const MAX_CALLS: usize = 1_000;

/// Runs the program at `path` and reads what it lists.
pub(crate) fn read(path: &Path, builder: &mut Builder) -> Result<(), InventoryError> {
    let name = path.display().to_string();
    let program = Program::new(path, &name, builder.script_limit);
    let listed = program.call(&["--list"])?;
    let Value::Object(groups) = listed else {
        return Err(program.refuse("--list", "is no JSON object of groups"));
    };
    builder.begin_program(&name);
    let before = builder.host_count();
    let mut hosts: Vec<String> = Vec::new();
    let mut hostvars: Option<Map<String, Value>> = None;
    for (group, body) in groups {
        if group == "_meta" {
            if let Value::Object(mut meta) = body
                && let Some(vars) = meta.remove("hostvars")
            {
                let Value::Object(vars) = vars else {
                    return Err(program.refuse("--list", "has a `_meta` whose `hostvars` is no object"));
                };
                hostvars = Some(vars);
            }
        } else {
            program.group(&group, body, &mut hosts, builder)?;
        }
    }
    // Names are asked for in their order, each once.
    let mut seen = std::collections::HashSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    match hostvars {
        Some(mut vars) => {
            for host in &hosts {
                match vars.remove(host) {
                    None => {}
                    Some(Value::Object(vars)) => program.host_vars(host, vars, builder)?,
                    Some(_) => {
                        let what = format!("has vars of the host `{host}` that are no object");
                        return Err(program.refuse("--list", &what));
                    }
                }
            }
        }
        None if hosts.len() > MAX_CALLS => {
            return Err(program.refuse(
                "--list",
                &format!(
                    "lists {} hosts and has no `_meta`; at most {MAX_CALLS} are asked for one by one",
                    hosts.len()
                ),
            ));
        }
        None => {
            for host in &hosts {
                match program.call(&["--host", host])? {
                    Value::Object(vars) => program.host_vars(host, vars, builder)?,
                    Value::Null => {}
                    _ => return Err(program.refuse(&format!("--host {host}"), "is no JSON object of vars")),
                }
            }
        }
    }
    if before == builder.host_count() && hosts.is_empty() {
        builder.warn(&format!("nothing {name}"), || {
            SourceError::whole("this program lists no host", &name)
        });
    }
    Ok(())
}

/// What a program that gives a password wrote on its standard output.
pub(crate) fn password(path: &Path) -> Result<Vec<u8>, InventoryError> {
    let name = path.display().to_string();
    Ok(Program::new(path, &name, TIME_LIMIT).output(&[])?.0)
}

/// A program that is called.
struct Program<'a> {
    name: &'a str,
    path: PathBuf,
    deadline: Instant,
    limit: Duration,
}

// === impl Program ===

impl<'a> Program<'a> {
    fn new(path: &Path, name: &'a str, limit: Duration) -> Self {
        // A name without a slash would be looked for on PATH.
        let plain = path.components().count() == 1;
        Self {
            name,
            path: if plain {
                Path::new(".").join(path)
            } else {
                path.to_owned()
            },
            deadline: Instant::now() + limit,
            limit,
        }
    }

    fn failed(&self, what: impl Into<String>, stderr: &[u8]) -> InventoryError {
        InventoryError::Program {
            program: self.name.to_owned(),
            what: what.into(),
            stderr: shown(stderr),
        }
    }

    fn refuse(&self, arguments: &str, what: &str) -> InventoryError {
        self.failed(
            format!("gave what is no inventory: its `{arguments}` {what}"),
            b"",
        )
    }

    fn line(&self) -> Line<'_> {
        Line {
            file: self.name,
            number: 0,
            text: "",
            hidden: false,
        }
    }

    fn group(
        &self,
        name: &str,
        body: Value,
        hosts: &mut Vec<String>,
        builder: &mut Builder,
    ) -> Result<(), InventoryError> {
        if name.is_empty() {
            return Err(self.refuse("--list", "has a group without a name"));
        }
        let mut body = match body {
            Value::Object(body) => {
                if ["hosts", "vars", "children"]
                    .iter()
                    .any(|key| body.contains_key(*key))
                {
                    body
                } else {
                    // An object without them is a host of that name, with its vars.
                    let mut whole = Map::new();
                    whole.insert("hosts".into(), Value::Array(vec![name.into()]));
                    whole.insert("vars".into(), Value::Object(body));
                    whole
                }
            }
            listed => {
                let mut whole = Map::new();
                whole.insert("hosts".into(), listed);
                whole
            }
        };
        let group = builder.group(name);
        let listed = |value: Option<Value>, what: &str| match value {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(self.refuse(
                        "--list",
                        &format!("has {what} of the group `{name}` that are no text"),
                    )),
                })
                .collect::<Result<Vec<String>, InventoryError>>(),
            Some(_) => Err(self.refuse(
                "--list",
                &format!("has {what} of the group `{name}` that are no list"),
            )),
        };
        for host in listed(body.remove("hosts"), "hosts")? {
            if let Err(fault) = builder.add_name(&host, group, Vec::new()) {
                builder.mistake(self.line().error(fault));
            } else {
                hosts.push(host);
            }
        }
        match body.remove("vars") {
            None => {}
            Some(Value::Object(vars)) => {
                for variable in self.variables(vars, builder) {
                    builder.set_group_var(group, variable);
                }
            }
            Some(_) => {
                let what = format!("has vars of the group `{name}` that are no object");
                return Err(self.refuse("--list", &what));
            }
        }
        for child in listed(body.remove("children"), "children")? {
            if child.is_empty() {
                return Err(self.refuse("--list", "has a group without a name"));
            }
            let child = builder.group(&child);
            builder.edge(group, child, self.line().error(Fault::new(0, "")));
        }
        for key in body.keys() {
            let message = format!("`{key}` in the group `{name}` is not understood and has no effect");
            builder.warn(&format!("section {key}"), || {
                self.line().error(Fault::new(0, message))
            });
        }
        Ok(())
    }

    fn host_vars(
        &self,
        host: &str,
        vars: Map<String, Value>,
        builder: &mut Builder,
    ) -> Result<(), InventoryError> {
        let variables = self.variables(vars, builder);
        if let Err(fault) = builder.add_name(host, crate::inventory::UNGROUPED, variables) {
            return Err(self.line().error(fault).into());
        }
        Ok(())
    }

    fn variables(&self, vars: Map<String, Value>, builder: &mut Builder) -> Vec<Variable> {
        vars.into_iter()
            .map(|(key, value)| match vaulted(&value) {
                Some(text) => {
                    let hidden = Line {
                        hidden: true,
                        ..self.line()
                    };
                    let text = text.to_owned();
                    match builder.vault.open(&text) {
                        Ok(bytes) => {
                            let value = Value::String(String::from_utf8_lossy(&bytes).into_owned());
                            builder.variable(&key, value, &hidden, 0)
                        }
                        Err(closed) => {
                            let (message, hint) = closed.message();
                            let mut mistake = self.line().error(Fault::new(0, format!("`{key}`: {message}")));
                            mistake.hint = hint.map(str::to_owned);
                            builder.mistake(mistake);
                            builder.untested(&key, Value::Null, &hidden)
                        }
                    }
                }
                None => builder.variable(&key, value, &self.line(), 0),
            })
            .collect()
    }

    /// Runs the program once; what it wrote on standard output and on standard error.
    fn output(&self, arguments: &[&str]) -> Result<(Vec<u8>, Vec<u8>), InventoryError> {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let child = command
            .spawn()
            .map_err(|source| self.failed(format!("can't be started: {source}"), b""))?;
        let (status, stdout, stderr) = self.finish(child)?;
        if status.success() {
            return Ok((stdout, stderr));
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("failed with exit status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "failed".to_owned(),
        };
        Err(self.failed(how, &stderr))
    }

    /// Runs the program once; its output as JSON, null if it wrote nothing.
    fn call(&self, arguments: &[&str]) -> Result<Value, InventoryError> {
        let (stdout, stderr) = self.output(arguments)?;
        let said = arguments.join(" ");
        let text = std::str::from_utf8(&stdout).map_err(|_| {
            self.failed(
                format!("gave what is no inventory: its `{said}` is not text in UTF-8"),
                &stderr,
            )
        })?;
        if text.trim().is_empty() && arguments.first() == Some(&"--host") {
            return Ok(Value::Null);
        }
        serde_json::from_str(text).map_err(|error| {
            self.failed(
                format!(
                    "gave what is no inventory: its `{said}` is not JSON at line {}, column {}",
                    error.line(),
                    error.column()
                ),
                &stderr,
            )
        })
    }

    /// Waits for the end of the program and of its output, both bounded.
    fn finish(&self, mut child: Child) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), InventoryError> {
        let group = Group::of(&child);
        let (sender, ends) = mpsc::channel();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let read = |source: Option<Box<dyn Read + Send>>, bound: u64, which: usize| {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let whole = source.is_none_or(|source| {
                    source.take(bound + 1).read_to_end(&mut bytes).is_ok() && bytes.len() as u64 <= bound
                });
                // Nobody listens any more if the time is over.
                let _ = sender.send((which, bytes, whole));
            });
        };
        read(
            stdout.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            MAX_OUTPUT,
            0,
        );
        read(
            stderr.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            MAX_STDERR,
            1,
        );
        let mut outputs: [Vec<u8>; 2] = [Vec::new(), Vec::new()];
        let stop = |child: &mut Child, what: String, stderr: &[u8]| {
            group.kill();
            // It was killed, so this does not wait long.
            let _ = child.wait();
            self.failed(what, stderr)
        };
        for _ in 0..2 {
            match ends.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
                Ok((which, bytes, true)) => outputs[which] = bytes,
                Ok((which, bytes, false)) => {
                    let bound = if which == 0 { MAX_OUTPUT } else { MAX_STDERR };
                    let stream = ["standard output", "standard error"][which];
                    let what = format!("wrote more than {} MiB to its {stream}", bound >> 20);
                    let stderr = if which == 1 { &bytes } else { &outputs[1] };
                    return Err(stop(&mut child, what, stderr));
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let what = format!("took longer than {} s and was killed", self.limit.as_secs());
                    return Err(stop(&mut child, what, &outputs[1]));
                }
            }
        }
        // Both ends are closed; the program itself may still linger.
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || {
            let _ = sender.send(child.wait());
        });
        let status = ended
            .recv_timeout(self.deadline.saturating_duration_since(Instant::now()))
            .map_err(|_| {
                group.kill();
                self.failed(
                    format!("took longer than {} s and was killed", self.limit.as_secs()),
                    &outputs[1],
                )
            })?
            .map_err(|source| self.failed(format!("can't be waited for: {source}"), b""))?;
        let [stdout, stderr] = outputs;
        Ok((status, stdout, stderr))
    }
}

/// The process group of a program.
#[derive(Clone, Copy)]
pub(crate) struct Group(Option<Pid>);

// === impl Group ===

impl Group {
    /// The group that a child was started in as its leader.
    pub(crate) fn of(child: &Child) -> Self {
        Self(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    /// Kills all processes of the group.
    pub(crate) fn kill(self) {
        if let Some(pid) = self.0 {
            // The group may be gone.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The text of a value that Ansible writes for what is still encrypted.
fn vaulted(value: &Value) -> Option<&str> {
    match value {
        Value::Object(map) if map.len() == 1 => map.get("__ansible_vault")?.as_str(),
        _ => None,
    }
}

/// The end of what a program wrote, fit for a screen.
fn shown(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(STDERR_SHOWN);
    String::from_utf8_lossy(&bytes[start..])
        .chars()
        .filter(|c| *c == '\n' || !c.is_control())
        .collect::<String>()
        .trim()
        .to_owned()
}
