//! Executable inventories: programs that print JSON when called with `--list`.
//!
//! ```json
//! {
//!   "web": {"hosts": ["web1"], "vars": {"x": 1}, "children": ["fast"]},
//!   "fast": ["web2"],
//!   "_meta": {"hostvars": {"web1": {"ansible_host": "192.0.2.1"}}}
//! }
//! ```
//!
//! Without `_meta`, the program is called again for each host, with `--host NAME`. It runs in its own process group,
//! which is killed if it takes too long; its output is limited.

use std::path::Path;

use reveille_account::{Fault, Line, SourceError};
use serde_json::{Map, Value};

use super::builder::Builder;
use super::program::Program;
use crate::InventoryError;
use crate::model::{UNGROUPED, Variable};

/// How many hosts `--host` may be called for; more need `_meta`.
const MAX_CALLS: usize = 1_000;

/// Runs the program at `path` and reads its output.
pub(super) fn read(path: &Path, builder: &mut Builder) -> Result<(), InventoryError> {
    let name = path.display().to_string();
    let program = Program::new(path, &name, builder.script_limit);
    let listed = program.call(&["--list"])?;
    let Value::Object(groups) = listed else {
        return Err(program.refuse("--list", "is not a JSON object of groups"));
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
                    return Err(program.refuse("--list", "has a `_meta` whose `hostvars` is not an object"));
                };
                hostvars = Some(vars);
            }
        } else {
            program.group(&group, body, &mut hosts, builder)?;
        }
    }
    // Each name is asked for once, in order.
    let mut seen = std::collections::HashSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    match hostvars {
        Some(mut vars) => {
            for host in &hosts {
                match vars.remove(host) {
                    None => {}
                    Some(Value::Object(vars)) => program.host_vars(host, vars, builder)?,
                    Some(_) => {
                        let what = format!("has vars of the host `{host}` that are not an object");
                        return Err(program.refuse("--list", &what));
                    }
                }
            }
        }
        None if hosts.len() > MAX_CALLS => {
            return Err(program.refuse(
                "--list",
                &format!(
                    "lists {} hosts and has no `_meta`; `--host` is called for at most {MAX_CALLS}",
                    hosts.len()
                ),
            ));
        }
        None => {
            for host in &hosts {
                match program.call(&["--host", host])? {
                    Value::Object(vars) => program.host_vars(host, vars, builder)?,
                    Value::Null => {}
                    _ => {
                        return Err(program.refuse(&format!("--host {host}"), "is not a JSON object of vars"));
                    }
                }
            }
        }
    }
    if before == builder.host_count() && hosts.is_empty() {
        builder.warn(&format!("nothing {name}"), || {
            SourceError::whole("this program lists no hosts", &name)
        });
    }
    Ok(())
}

// === impl Program ===

impl Program<'_> {
    fn refuse(&self, arguments: &str, what: &str) -> InventoryError {
        self.failed(
            format!("did not print an inventory: its `{arguments}` {what}"),
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
                    // An object without any of these keys is a host with that name and these vars.
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
                        &format!("has {what} of the group `{name}` that are not text"),
                    )),
                })
                .collect::<Result<Vec<String>, InventoryError>>(),
            Some(_) => Err(self.refuse(
                "--list",
                &format!("has {what} of the group `{name}` that are not a list"),
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
                let what = format!("has vars of the group `{name}` that are not an object");
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
        if let Err(fault) = builder.add_name(host, UNGROUPED, variables) {
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
                            builder.mistake(closed.shown_at(|message| {
                                self.line().error(Fault::new(0, format!("`{key}`: {message}")))
                            }));
                            builder.untested(&key, Value::Null, &hidden)
                        }
                    }
                }
                None => builder.variable(&key, value, &self.line(), 0),
            })
            .collect()
    }

    /// Runs the program once; returns its output as JSON, null if there was none.
    fn call(&self, arguments: &[&str]) -> Result<Value, InventoryError> {
        let (stdout, stderr) = self.output(arguments)?;
        let said = arguments.join(" ");
        let text = std::str::from_utf8(&stdout).map_err(|_| {
            self.failed(
                format!("did not print an inventory: its `{said}` is not text in UTF-8"),
                &stderr,
            )
        })?;
        if text.trim().is_empty() && arguments.first() == Some(&"--host") {
            return Ok(Value::Null);
        }
        serde_json::from_str(text).map_err(|error| {
            self.failed(
                format!(
                    "did not print an inventory: its `{said}` is not JSON at line {}, column {}",
                    error.line(),
                    error.column()
                ),
                &stderr,
            )
        })
    }
}

/// The text of an encrypted value, as Ansible prints it.
fn vaulted(value: &Value) -> Option<&str> {
    match value {
        Value::Object(map) if map.len() == 1 => map.get("__ansible_vault")?.as_str(),
        _ => None,
    }
}
