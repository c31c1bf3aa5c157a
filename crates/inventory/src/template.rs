//! Templates in the vars that say how a host is reached: expressions of Jinja, with the methods that Python's texts have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error as _;
use std::sync::{Arc, LazyLock};

use minijinja::value::{Rest, Serde, Value};
use minijinja::{Environment, Error, ErrorKind};
use reveille_document::ansible::{
    has_templates, is_template, literal, marked, short_name, too_long, unmarked, with_plain_backslashes,
};
use reveille_document::is_secret;
use reveille_document::language;
use serde_json::Value as Json;

use crate::InventoryError;
use crate::connection::HostVars;
use crate::inventory::{Inventory, Variable};

/// Templates may name vars with templates, to this depth.
const MAX_DEPTH: usize = 16;
/// Longest text that a template comes to, in bytes.
const LONGEST: usize = 64 << 10;
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
        Err(wrong("a template from an inventory program can't use `lookup`"))
    });
    environment
});

/// A template.
struct Template<'a> {
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

/// Why nothing is looked up, in words without any value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn wrong(message: &str) -> Error {
    Error::from(ErrorKind::InvalidOperation).with_source(Refused(message.to_owned()))
}

/// A value in which no text is a template.
fn literally(value: &Json) -> Json {
    match value {
        Json::String(text) if is_template(text) => marked(text.clone()),
        Json::Array(items) => items.iter().map(literally).collect(),
        Json::Object(map) if literal(value).is_none() => {
            let entries = map.iter().map(|(key, value)| (key.clone(), literally(value)));
            Json::Object(entries.collect())
        }
        other => other.clone(),
    }
}

// === impl Template ===

impl<'a> Template<'a> {
    /// Reads a template; what is `trusted` may look things up.
    fn compile(text: &'a str, trusted: bool) -> Result<Self, Wrong> {
        if let Some(why) = too_long(text) {
            return Err(Wrong::Text(format!("its template is not read: {why}")));
        }
        let environment: &Environment<'a> = if trusted { &TRUSTED } else { &UNTRUSTED };
        let compiled = environment.template_from_str(text);
        let compiled =
            compiled.map_err(|error| Wrong::Text(format!("its template can't be read: {}", said(&error))))?;
        Ok(Self {
            environment,
            compiled,
        })
    }

    /// The names that it needs, without what comes with the language.
    fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.compiled.undeclared_variables(false).into_iter().collect();
        for (global, _) in self.environment.globals() {
            names.remove(global);
        }
        names
    }

    /// Fills it in with what is `known`.
    fn fill(&self, known: &BTreeMap<String, Value>) -> Result<String, Wrong> {
        let rendered = self.compiled.render(known).map_err(|error| {
            if let Some(refused) = error.source().and_then(|source| source.downcast_ref::<Refused>()) {
                return Wrong::Text(format!("its template can't be filled in: {refused}"));
            }
            let names = self.names();
            match names.iter().find(|name| !known.contains_key(*name)) {
                Some(name) if error.kind() == ErrorKind::UndefinedError => {
                    Wrong::Text(format!("its template names `{name}`, which is not set"))
                }
                _ => Wrong::Values(format!("its template can't be filled in: {}", said(&error))),
            }
        })?;
        if rendered.len() > LONGEST {
            let message = format!("what its template comes to is longer than {} KiB", LONGEST >> 10);
            return Err(Wrong::Text(message));
        }
        Ok(rendered)
    }
}

/// What is wrong with a template, by what the words may hold.
#[derive(Debug, Clone)]
pub(crate) enum Wrong {
    /// Parts of its text.
    Text(String),
    /// Parts of values.
    Values(String),
}

impl Wrong {
    /// In words, if neither text nor values are secret.
    fn words(self, text: bool, values: bool) -> String {
        match self {
            Self::Text(message) if !text => message,
            Self::Values(message) if !text && !values => message,
            _ => "its template, which is or holds a secret, can't be filled in".to_owned(),
        }
    }
}

/// What is wrong, without the template's name, which it has not.
fn said(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

/// What templates on one host came to so far, so that each var is filled in once.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    vars: HashMap<Arc<str>, Known>,
    /// Those that are being filled in.
    open: Vec<Arc<str>>,
}

/// The value of a var.
#[derive(Debug, Clone)]
struct Known {
    value: Result<Value, Wrong>,
    secret: bool,
}

// === impl HostVars ===

impl HostVars<'_> {
    /// The text of a var, and whether it is secret; templates in it are filled in with the other vars of the host.
    pub(crate) fn filled_text(&self, variable: &Variable, text: &str) -> Result<(String, bool), String> {
        let own = variable.secret || is_secret(&variable.key);
        let mut secret = own;
        self.open(&variable.key)
            .and_then(|()| {
                let rendered = self.render(text, self.inventory.is_trusted(variable.file), &mut secret);
                self.filled.borrow_mut().open.pop();
                rendered
            })
            .map(|rendered| (rendered, secret))
            .map_err(|wrong| wrong.words(own, secret))
    }

    /// Notes that a var is being filled in.
    fn open(&self, key: &Arc<str>) -> Result<(), Wrong> {
        let mut filled = self.filled.borrow_mut();
        if filled.open.contains(key) {
            return Err(Wrong::Text("its template refers to itself".to_owned()));
        }
        if filled.open.len() >= MAX_DEPTH {
            let message = format!("its template names vars that name vars, more than {MAX_DEPTH} deep");
            return Err(Wrong::Text(message));
        }
        filled.open.push(Arc::clone(key));
        Ok(())
    }

    /// Fills in a template. Sets `secret` if a value in it is.
    fn render(&self, text: &str, trust: bool, secret: &mut bool) -> Result<String, Wrong> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let text = with_plain_backslashes(text);
        let template = Template::compile(&text, trust)?;
        // What is looked up is more often a secret than not.
        *secret |= text.contains("lookup(");
        let mut known = BTreeMap::new();
        for name in template.names() {
            let Some(found) = self.known(&name) else { continue };
            if found.secret && !trust {
                let message =
                    format!("a template from an inventory program can't use `{name}`, which is secret");
                return Err(Wrong::Text(message));
            }
            *secret |= found.secret;
            known.insert(name, found.value?);
        }
        template.fill(&known)
    }

    /// What a template sees by this name.
    fn known(&self, name: &str) -> Option<Known> {
        if let Some(value) = self.magic(name) {
            return Some(Known {
                value: Ok(value),
                secret: false,
            });
        }
        if let Some(known) = self.filled.borrow().vars.get(name) {
            return Some(known.clone());
        }
        let variable = self.find(name)?;
        let own = variable.secret || is_secret(name);
        let mut secret = own;
        let value = self.open(&variable.key).and_then(|()| {
            let value = self.value(
                &variable.value,
                self.inventory.is_trusted(variable.file),
                &mut secret,
            );
            self.filled.borrow_mut().open.pop();
            value
        });
        // The text of a secret var is a value to those that name it.
        let value = value.map_err(|wrong| Wrong::Text(wrong.words(own, secret)));
        let known = Known { value, secret };
        let key = Arc::clone(&variable.key);
        self.filled.borrow_mut().vars.insert(key, known.clone());
        Some(known)
    }

    fn value(&self, value: &Json, trust: bool, secret: &mut bool) -> Result<Value, Wrong> {
        if let Some(text) = literal(value) {
            return Ok(Value::from(text));
        }
        match value {
            Json::String(text) => self.render(text, trust, secret).map(Value::from),
            // An empty var counts as one that is not set.
            Json::Null => Ok(Value::from("")),
            Json::Array(items) => items.iter().map(|item| self.value(item, trust, secret)).collect(),
            Json::Object(map) => map
                .iter()
                .map(|(key, value)| Ok((key.clone(), self.value(value, trust, secret)?)))
                .collect::<Result<Vec<_>, Wrong>>()
                .map(Value::from_pairs),
            Json::Bool(_) | Json::Number(_) => Ok(Serde(value).into()),
        }
    }

    /// A var for the templates of jobs, which do not know who said it.
    pub(crate) fn to_template(&self, variable: &Variable) -> Json {
        let value = &variable.value;
        if self.inventory.is_trusted(variable.file) || !has_templates(value) {
            return value.clone();
        }
        if self.takes_secret(value, &mut BTreeSet::new()) {
            return literally(value);
        }
        value.clone()
    }

    /// Whether a value needs a secret var. `seen` are the vars that were looked at.
    fn takes_secret(&self, value: &Json, seen: &mut BTreeSet<String>) -> bool {
        match value {
            Json::String(text) if is_template(text) => {
                let text = with_plain_backslashes(text);
                // What can't be read is told where it is used.
                let names = Template::compile(&text, false).map(|template| template.names());
                names.unwrap_or_default().into_iter().any(|name| {
                    let variable = self.find(&name).filter(|_| seen.insert(name));
                    variable.is_some_and(|variable| {
                        let own = variable.secret || is_secret(&variable.key);
                        own || self.takes_secret(&variable.value, seen)
                    })
                })
            }
            Json::Array(items) => items.iter().any(|item| self.takes_secret(item, seen)),
            Json::Object(map) if literal(value).is_none() => {
                map.values().any(|value| self.takes_secret(value, seen))
            }
            _ => false,
        }
    }

    /// The value of a var, templates in it filled in.
    pub(crate) fn filled(&self, name: &str) -> Result<Option<Json>, InventoryError> {
        let Some(variable) = self.find(name) else {
            return Ok(None);
        };
        let Some(Known { value, secret }) = self.known(name) else {
            return Ok(None);
        };
        let value = value.map_err(|wrong| wrong.words(false, secret));
        let json = value.and_then(|value| serde_json::to_value(value).map_err(|error| error.to_string()));
        json.map(Some).map_err(|message| self.error(variable, &message))
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
            "inventory_hostname_short" => short_name(whole).to_owned(),
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
                let mut vars = self.template_vars(host.as_str());
                vars.retain(|var, value| !self.is_secret(host.as_str(), var) && !has_templates(value));
                vars.values_mut().for_each(|value| *value = unmarked(value));
                vars.insert("inventory_hostname".to_owned(), host.as_str().into());
                (host.as_str(), Value::from(Serde(vars)))
            })),
        })
    }
}
