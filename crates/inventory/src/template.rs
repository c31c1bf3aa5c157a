//! Templates in the vars that say how a host is reached: expressions of Jinja, with the methods that Python's texts have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use minijinja::value::{Rest, Serde, Value};
use minijinja::{Environment, Error, ErrorKind};
use reveille_document::ansible::{has_templates, is_template, literal, with_plain_backslashes};
use reveille_document::language;
use serde_json::Value as Json;

use crate::connection::{HostVars, is_secret};
use crate::inventory::Inventory;

/// Templates may name vars with templates, to this depth.
const MAX_DEPTH: usize = 8;
/// Steps of evaluation that one template may take.
const FUEL: u64 = 50_000;

/// What a file of the operator's says may look around on this machine.
static TRUSTED: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = language(FUEL);
    environment.add_function("lookup", |plugin: String, names: Rest<String>| {
        lookup(&plugin, &names)
    });
    environment
});

/// What a program says may come from anywhere, such as a cloud's tags.
static UNTRUSTED: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = language(FUEL);
    environment.add_function("lookup", |_: Rest<Value>| -> Result<Value, Error> {
        Err(wrong("what a program says looks nothing up"))
    });
    environment
});

/// A template.
pub(crate) struct Template<'a> {
    environment: &'a Environment<'a>,
    compiled: minijinja::Template<'a, 'a>,
}

/// What templates see of the whole inventory.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The groups, each with the names of its hosts.
    pub(crate) groups: Value,
    /// The vars of all hosts, without those that are secret or templates.
    pub(crate) hosts: Value,
}

/// Ansible's `lookup`, as far as the environment goes.
fn lookup(plugin: &str, names: &[String]) -> Result<String, Error> {
    match (plugin.trim_start_matches("ansible.builtin."), names) {
        // What is not set is empty, as it is to Ansible.
        ("env", [name]) => Ok(std::env::var(name).unwrap_or_default()),
        ("env", _) => Err(wrong("`lookup('env', …)` takes the name of one variable")),
        _ => Err(wrong(&format!(
            "of Ansible's lookups `env` is known, and `{plugin}` is not"
        ))),
    }
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_owned())
}

// === impl Template ===

impl<'a> Template<'a> {
    /// Reads a template; what is `trusted` may look things up.
    pub(crate) fn compile(text: &'a str, trusted: bool) -> Result<Self, String> {
        let environment: &Environment<'a> = if trusted { &TRUSTED } else { &UNTRUSTED };
        let compiled = environment.template_from_str(text);
        let compiled = compiled.map_err(|error| format!("its template can't be read: {}", said(&error)))?;
        Ok(Self {
            environment,
            compiled,
        })
    }

    /// The names that it needs, without what comes with the language.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.compiled.undeclared_variables(false).into_iter().collect();
        for (global, _) in self.environment.globals() {
            names.remove(global);
        }
        names
    }

    /// Fills it in with what is `known`, of which nothing is told if it is `secret`.
    pub(crate) fn render(&self, known: &BTreeMap<String, Value>, secret: bool) -> Result<String, String> {
        self.compiled.render(known).map_err(|error| {
            let names = self.names();
            match names.iter().find(|name| !known.contains_key(*name)) {
                Some(name) if error.kind() == ErrorKind::UndefinedError => {
                    format!("its template names `{name}`, which is not set")
                }
                _ if secret => "its template, which holds a secret, can't be filled in".to_owned(),
                _ => format!("its template can't be filled in: {}", said(&error)),
            }
        })
    }
}

/// What is wrong, without the template's name, which it has not.
fn said(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

// === impl HostVars ===

impl HostVars<'_> {
    /// Fills in a template, with the other vars of the host as far as it needs them. Sets `secret` if one of them is.
    pub(crate) fn render(
        &self,
        text: &str,
        depth: usize,
        trust: bool,
        secret: &mut bool,
    ) -> Result<String, String> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        if depth > MAX_DEPTH {
            return Err("its template refers to itself".into());
        }
        let text = with_plain_backslashes(text);
        let template = Template::compile(&text, trust)?;
        let mut known = BTreeMap::new();
        for name in template.names() {
            if let Some(value) = self.known(&name, depth, secret)? {
                known.insert(name, value);
            }
        }
        template.render(&known, *secret)
    }

    /// What a template sees by this name.
    fn known(&self, name: &str, depth: usize, secret: &mut bool) -> Result<Option<Value>, String> {
        if let Some(magic) = self.magic(name) {
            return Ok(Some(magic));
        }
        let Some(variable) = self.find(name) else {
            return Ok(None);
        };
        *secret |= variable.secret || is_secret(name);
        let trust = self.inventory.is_trusted(variable.file);
        self.filled(&variable.value, depth + 1, trust, secret).map(Some)
    }

    fn filled(&self, value: &Json, depth: usize, trust: bool, secret: &mut bool) -> Result<Value, String> {
        if let Some(text) = literal(value) {
            return Ok(Value::from(text));
        }
        match value {
            Json::String(text) => self.render(text, depth, trust, secret).map(Value::from),
            // An empty var counts as one that is not set.
            Json::Null => Ok(Value::from("")),
            Json::Array(items) => items
                .iter()
                .map(|item| self.filled(item, depth, trust, secret))
                .collect(),
            Json::Object(map) => map
                .iter()
                .map(|(key, value)| Ok((key.clone(), self.filled(value, depth, trust, secret)?)))
                .collect::<Result<Vec<_>, String>>()
                .map(Value::from_pairs),
            Json::Bool(_) | Json::Number(_) => Ok(Serde(value).into()),
        }
    }

    /// What Ansible knows of every host by itself.
    fn magic(&self, name: &str) -> Option<Value> {
        let whole = self.name.as_str();
        let source = || {
            let file = self.inventory.files.get(self.source as usize)?;
            std::path::absolute(&**file).ok().filter(|path| path.exists())
        };
        let text = match name {
            "inventory_hostname" => whole.to_owned(),
            "inventory_hostname_short" => match whole.parse::<IpAddr>() {
                Ok(_) => whole.to_owned(),
                Err(_) => whole.split('.').next().unwrap_or_default().to_owned(),
            },
            "inventory_file" => source()?.display().to_string(),
            "inventory_dir" => source()?.parent()?.display().to_string(),
            // A var that is left out is empty, and an empty one counts as not set.
            "omit" => String::new(),
            "group_names" => return Some(self.inventory.group_names(whole).into_iter().collect()),
            "groups" => return Some(self.inventory.templates().groups.clone()),
            "hostvars" => return Some(self.inventory.templates().hosts.clone()),
            _ => return None,
        };
        Some(text.into())
    }
}

// === impl Inventory ===

impl Inventory {
    /// Whether the source of this number was written by the operator, and not made by a program.
    pub(crate) fn is_trusted(&self, file: u32) -> bool {
        !self.programs.contains(&file)
    }

    /// What templates see of the whole inventory, made when the first of them asks.
    pub(crate) fn templates(&self) -> &Seen {
        self.seen.get_or_init(|| Seen {
            groups: Value::from_pairs(self.groups().into_iter().map(|(group, hosts)| {
                let hosts: Value = hosts.iter().map(|host| Value::from(host.as_str())).collect();
                (group, hosts)
            })),
            hosts: Value::from_pairs(self.hosts().map(|host| {
                let mut vars = self.public_vars(host.as_str());
                vars.retain(|_, value| !has_templates(value));
                vars.insert("inventory_hostname".to_owned(), host.as_str().into());
                (host.as_str(), Value::from(Serde(vars)))
            })),
        })
    }
}
