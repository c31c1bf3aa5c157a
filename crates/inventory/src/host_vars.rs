//! The vars of one host, with their templates rendered.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use minijinja::value::{Serde, Value};
use reveille_account::{HostName, SourceError};
use reveille_document::ansible::{has_templates, is_template, literal, marked, short_name, unmarked};
use reveille_document::write_value;
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use crate::InventoryError;
use crate::connection::variables::scalar;
use crate::model::{Inventory, Seen, Variable};
use crate::template::{Wrong, fill};

/// How deep templates may refer to vars with templates.
const MAX_DEPTH: usize = 16;

/// The vars of one host; looked up without merging them.
pub(crate) struct HostVars<'a> {
    inventory: &'a Inventory,
    pub(crate) name: &'a HostName,
    source: u32,
    /// Strongest first.
    layers: Vec<&'a [Variable]>,
    filled: RefCell<Filled>,
}

/// The text of a connection var.
pub(crate) struct Found<'a> {
    pub(crate) variable: &'a Variable,
    pub(crate) text: Zeroizing<String>,
    /// The text, or a part of it, must not be shown.
    secret: bool,
}

/// The rendered templates of one host, so that each var is rendered once.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    vars: HashMap<Arc<str>, Known>,
    /// The vars that are being rendered.
    open: Vec<Arc<str>>,
}

/// The value of a var.
#[derive(Debug, Clone)]
struct Known {
    value: Result<Value, Wrong>,
    secret: bool,
}

// === impl HostVars ===

impl<'a> HostVars<'a> {
    pub(crate) fn find(&self, key: &str) -> Option<&'a Variable> {
        // Most settings are set nowhere, and a layer may have thousands of vars.
        let key = self.inventory.keys.get(key)?;
        self.layers
            .iter()
            .find_map(|layer| layer.iter().rev().find(|variable| variable.key == *key))
    }

    /// Returns the text of the first of `names` that is set, with its templates rendered.
    pub(crate) fn text(&self, names: &[&str]) -> Result<Option<Found<'a>>, InventoryError> {
        let Some(variable) = names.iter().find_map(|name| self.find(name)) else {
            return Ok(None);
        };
        let text = scalar(&variable.value).ok_or_else(|| self.error(variable, "it is not text"))?;
        let mut found = Found {
            variable,
            text: Zeroizing::new(text),
            secret: variable.is_secret(),
        };
        if is_template(&found.text) && literal(&variable.value).is_none() {
            let (text, secret) = self
                .filled_text(variable, &found.text)
                .map_err(|message| self.error(variable, &message))?;
            (found.text, found.secret) = (Zeroizing::new(text), secret);
        }
        // As in Ansible, an empty value counts as not set.
        Ok((!found.text.trim().is_empty()).then_some(found))
    }

    /// An error with `message`, or with `plain` if the value is secret.
    pub(crate) fn error_about(&self, found: &Found<'_>, message: &str, plain: &str) -> InventoryError {
        self.error(found.variable, if found.secret { plain } else { message })
    }

    /// The name of the source that sets a var.
    pub(crate) fn file(&self, variable: &Variable) -> Arc<str> {
        let file = self.inventory.files.get(variable.file as usize);
        file.map_or_else(|| "inventory".into(), Arc::clone)
    }

    pub(crate) fn error(&self, variable: &Variable, message: &str) -> InventoryError {
        InventoryError::Connection {
            host: self.name.clone(),
            message: format!("`{}`: {message}", variable.key),
            file: self.file(variable).to_string(),
            line: variable.line as usize,
        }
    }
}

impl HostVars<'_> {
    /// Renders the text of a var with the host's other vars; also returns whether it is secret.
    pub(crate) fn filled_text(&self, variable: &Variable, text: &str) -> Result<(String, bool), String> {
        let own = variable.is_secret();
        let mut secret = own;
        let trust = self.inventory.is_trusted(variable.file);
        self.opened(&variable.key, || self.render(text, trust, &mut secret))
            .map(|rendered| {
                let mut text = String::new();
                write_value(&mut text, &rendered);
                (text, secret)
            })
            .map_err(|wrong| wrong.words(own, secret))
    }

    /// Renders a var, which may not be needed for its own value.
    fn opened(&self, key: &Arc<str>, render: impl FnOnce() -> Result<Value, Wrong>) -> Result<Value, Wrong> {
        let mut filled = self.filled.borrow_mut();
        if filled.open.contains(key) {
            return Err(Wrong::Text("its template refers to itself".to_owned()));
        }
        if filled.open.len() >= MAX_DEPTH {
            let message =
                format!("its template refers to vars that refer to vars, more than {MAX_DEPTH} deep");
            return Err(Wrong::Text(message));
        }
        filled.open.push(Arc::clone(key));
        drop(filled);
        let rendered = render();
        self.filled.borrow_mut().open.pop();
        rendered
    }

    /// Renders a template. Sets `secret` if it uses a secret value.
    fn render(&self, text: &str, trust: bool, secret: &mut bool) -> Result<Value, Wrong> {
        if !is_template(text) {
            return Ok(text.into());
        }
        let template = self.inventory.compiled.compile(text, trust)?;
        // Most values that people look up are secrets.
        *secret |= text.contains("lookup(");
        let mut known = BTreeMap::new();
        for name in template.roots() {
            let Some(found) = self.known(&name) else { continue };
            if found.secret && !trust {
                let message =
                    format!("a template from an inventory program can't use `{name}`, which is secret");
                return Err(Wrong::Text(message));
            }
            *secret |= found.secret;
            known.insert(name, found.value?);
        }
        fill(&template, &known)
    }

    /// Compiles the templates in a value.
    fn compile(&self, value: &Json, file: u32) -> Result<(), Wrong> {
        match value {
            _ if literal(value).is_some() => Ok(()),
            Json::String(text) if is_template(text) => {
                let trust = self.inventory.is_trusted(file);
                self.inventory.compiled.compile(text, trust).map(drop)
            }
            Json::Array(items) => items.iter().try_for_each(|item| self.compile(item, file)),
            Json::Object(map) => map.values().try_for_each(|value| self.compile(value, file)),
            _ => Ok(()),
        }
    }

    /// The value that templates see under this name.
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
        let own = variable.is_secret();
        let mut secret = own;
        let trust = self.inventory.is_trusted(variable.file);
        let value = self.opened(&variable.key, || self.value(&variable.value, trust, &mut secret));
        // If a secret var fails, whoever refers to it sees an error without its text.
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
            Json::String(text) => self.render(text, trust, secret),
            // An empty var counts as not set.
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

    /// A var for the templates of jobs, which cannot see where it comes from.
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

    /// Whether a value needs a secret var. `seen` contains the vars that were already checked.
    fn takes_secret(&self, value: &Json, seen: &mut BTreeSet<String>) -> bool {
        match value {
            Json::String(text) if is_template(text) => {
                // Templates that can't be compiled are reported where they are used.
                let template = self.inventory.compiled.compile(text, false);
                let names = template.map(|template| template.roots());
                names.unwrap_or_default().into_iter().any(|name| {
                    let variable = self.find(&name).filter(|_| seen.insert(name));
                    variable.is_some_and(|variable| {
                        variable.is_secret() || self.takes_secret(&variable.value, seen)
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

    /// The value of a var, with its templates rendered.
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

    /// Ansible's built-in vars of every host.
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
            // An omitted var is empty, and an empty var counts as not set.
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
    /// Why hosts can't be reached, each place once with the first host that it concerns; and other vars whose templates
    /// can't be read. Those are no mistake unless a job uses them, because the language is not all of Ansible's.
    pub fn check(&self) -> (Vec<InventoryError>, Vec<SourceError>) {
        let (mut mistakes, mut unreadable) = (Vec::new(), Vec::new());
        let (mut places, mut layers) = (HashSet::new(), HashSet::new());
        for host in &self.hosts {
            match self.connection(host.name.as_str()) {
                Err(InventoryError::Connection { file, line, .. })
                    if !places.insert((file.clone(), line)) => {}
                Err(mistake) => mistakes.push(mistake),
                Ok(_) => {}
            }
        }
        for index in (0..).take(self.hosts.len()) {
            let vars = self.host_vars(index);
            let new = vars.layers.iter().filter(|layer| layers.insert(layer.as_ptr()));
            for variable in new.flat_map(|layer| layer.iter()) {
                let (file, line) = (vars.file(variable).to_string(), variable.line as usize);
                let own = variable.is_secret();
                if let Err(wrong) = vars.compile(&variable.value, variable.file)
                    && !places.contains(&(file.clone(), line))
                {
                    let message = format!("`{}`: {}", variable.key, wrong.words(own, own));
                    let mut mistake = SourceError::whole(message, &file);
                    mistake.line = line;
                    unreadable.push(mistake);
                }
            }
        }
        (mistakes, unreadable)
    }

    /// The value of a var of `host`, with its templates rendered as in connection vars; none if it is not set, or the
    /// host does not exist.
    ///
    /// # Errors
    ///
    /// The template can't be rendered.
    pub fn filled(&self, host: &str, var: &str) -> Result<Option<Json>, InventoryError> {
        match self.index(host) {
            Some(index) => self.host_vars(index).filled(var),
            None => Ok(None),
        }
    }

    pub(crate) fn host_vars(&self, index: u32) -> HostVars<'_> {
        HostVars {
            inventory: self,
            name: &self.hosts[index as usize].name,
            source: self.hosts[index as usize].source,
            layers: self.layers(index),
            filled: RefCell::default(),
        }
    }

    /// The merged vars of `host` for templates. A text that is marked as not a template (`!unsafe`) becomes
    /// `{"__ansible_unsafe": TEXT}`, as in Ansible's JSON; so does a template from an inventory program that refers to
    /// a secret var.
    pub fn template_vars(&self, host: &str) -> Map<String, Json> {
        let Some(index) = self.index(host) else {
            return Map::new();
        };
        let vars = self.host_vars(index);
        self.merged(host, |variable| vars.to_template(variable))
    }

    /// Whether a source was written by the operator rather than printed by a program.
    pub(crate) fn is_trusted(&self, file: u32) -> bool {
        !self.programs.contains(&file)
    }

    /// The whole inventory as templates see it, built on first use.
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

/// Marks every text in a value as not a template.
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
