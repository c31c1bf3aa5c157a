//! Vars of the inventory that are templates, as they are all over the inventories of Ansible's users.
//!
//! They are filled in where a job uses them, with what templates see on the host, and cost nothing where it doesn't.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use minijinja::value::Value;
use reveille_account::SourceError;
use reveille_document::ansible::{
    has_templates, is_template, literal, too_long, unmarked, with_plain_backslashes,
};
use reveille_text::is_secret;
use serde_json::Value as Json;

use crate::job::Job;
use crate::render::{Found, MAX_VAR_DEPTH, Mode};
use crate::scope::{Scope, Var};
use crate::template::{Template, map_of, value_of};
use crate::template_file::TemplateFile;

/// Longest text that a template comes to, in bytes.
const LONGEST: usize = 1 << 20;

/// A var, and where it is used.
struct Place<'a> {
    name: &'a str,
    scope: &'a Scope<'a>,
    mode: Mode,
    depth: usize,
}

/// A template as it was compiled.
enum Compiled {
    /// Text with `{{ … }}` in it.
    Text(Template),
    /// One with `{% … %}` too.
    Blocks(Box<TemplateFile>),
}

impl Job {
    /// The value of an inventory's var on a host, templates in it filled in.
    pub(crate) fn host_var(
        &self,
        name: &str,
        scope: &Scope<'_>,
        mode: Mode,
        depth: usize,
    ) -> Result<Found, SourceError> {
        let Some(json) = scope.vars.get(name) else {
            return Ok(Found::Nothing);
        };
        if !has_templates(json) {
            return Ok(Found::Value(value_of(&unmarked(json))));
        }
        if let Some(found) = scope.filled.get(name, mode) {
            return Ok(found);
        }
        let place = Place {
            name,
            scope,
            mode,
            depth,
        };
        let found = self.filled(json, &place)?;
        scope.filled.keep(name, mode, &found);
        Ok(found)
    }

    fn filled(&self, json: &Json, place: &Place<'_>) -> Result<Found, SourceError> {
        if let Some(text) = literal(json) {
            return Ok(Found::Value(text.into()));
        }
        match json {
            Json::String(text) if is_template(text) => self
                .filled_text(text, place)
                .map_err(|mistake| place.mistake(mistake)),
            Json::Array(items) => Found::all(
                items.iter().map(|item| self.filled(item, place)),
                Value::from_iter,
            ),
            Json::Object(entries) => Found::all(
                entries.values().map(|value| self.filled(value, place)),
                |values| map_of(entries.keys().cloned().zip(values)),
            ),
            plain => Ok(Found::Value(value_of(plain))),
        }
    }

    fn filled_text(&self, text: &str, place: &Place<'_>) -> Result<Found, SourceError> {
        if place.depth > MAX_VAR_DEPTH {
            return Err(SourceError::whole("it needs its own value", ""));
        }
        let compiled = Compiled::new(text)?;
        // This program's environment is for the job's author, not for whoever could write a tag that is a var here.
        if compiled.roots().contains("env") {
            let mistake = SourceError::whole("`env` is not for templates of an inventory", "");
            return Err(mistake.hint("set a var of the job to it, and name that"));
        }
        // What takes a secret is checked in the job alone: where it would be seen is known only there.
        if let Some(secret) = compiled.roots().iter().find(|root| self.takes_secret(root, 0)) {
            let mistake = SourceError::whole(format!("`{secret}` is a secret of the job"), "");
            return Err(mistake.hint("name it in the `env` of a durable step"));
        }
        let Place {
            scope, mode, depth, ..
        } = *place;
        let found = match &compiled {
            Compiled::Text(template) => self.filled_template(template, scope, mode, depth)?,
            Compiled::Blocks(file) => self
                .filled_file(file, scope, mode, depth)?
                .map_or(Found::Later, |filled| Found::Value(filled.into())),
        };
        match &found {
            Found::Value(value) if value.as_str().is_some_and(|text| text.len() > LONGEST) => {
                let message = format!("what it comes to is longer than {} MiB", LONGEST >> 20);
                Err(SourceError::whole(message, ""))
            }
            _ => Ok(found),
        }
    }

    /// Whether a name is, or needs, a secret var of the job.
    fn takes_secret(&self, name: &str, depth: usize) -> bool {
        if depth > MAX_VAR_DEPTH || self.extra.contains_key(name) || self.registers.contains_key(name) {
            return false;
        }
        let var = self.vars.iter().rev().find(|(var, _)| var == name);
        var.is_some_and(|(_, var)| {
            matches!(var, Var::Secret(_))
                || var
                    .expressions()
                    .iter()
                    .flat_map(|expression| &expression.roots)
                    .any(|root| self.takes_secret(root, depth + 1))
        })
    }

    /// The names that a var of the inventory needs.
    pub(crate) fn host_var_roots(name: &str, scope: &Scope<'_>) -> BTreeSet<String> {
        let mut roots = BTreeSet::new();
        if let Some(json) = scope.vars.get(name) {
            collect(json, &mut roots);
        }
        roots
    }
}

fn collect(json: &Json, roots: &mut BTreeSet<String>) {
    if literal(json).is_some() {
        return;
    }
    match json {
        Json::String(text) if is_template(text) => {
            // What can't be read is told when it is used.
            if let Ok(compiled) = Compiled::new(text) {
                roots.extend(compiled.roots());
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, roots)),
        Json::Object(entries) => entries.values().for_each(|value| collect(value, roots)),
        _ => {}
    }
}

/// The templates of the inventory that were filled in for a scope, so that each is filled in once.
#[derive(Debug, Default)]
pub(crate) struct Filled(Mutex<BTreeMap<(String, Mode), Found>>);

// === impl Filled ===

impl Filled {
    fn get(&self, name: &str, mode: Mode) -> Option<Found> {
        let filled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        filled.get(&(name.to_owned(), mode)).cloned()
    }

    fn keep(&self, name: &str, mode: Mode, found: &Found) {
        let mut filled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        filled.insert((name.to_owned(), mode), found.clone());
    }

    /// A result or the facts have come, which templates may name.
    pub(crate) fn forget(&mut self) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Clone for Filled {
    /// What goes on from here has values of its own.
    fn clone(&self) -> Self {
        Self::default()
    }
}

// === impl Place ===

impl Place<'_> {
    /// A mistake in the var; what it names may have said already which var it is. Of a secret one nothing is told.
    fn mistake(&self, mistake: SourceError) -> SourceError {
        if mistake.file == INVENTORY {
            return mistake;
        }
        let (host, name) = (self.scope.host, self.name);
        if is_secret(name) {
            let message = format!("{host}: the template in `{name}`, which is a secret, can't be filled in");
            return SourceError::whole(message, INVENTORY);
        }
        let mine = SourceError::whole(
            format!(
                "{host}: the template in `{name}` can't be filled in: {}",
                mistake.message
            ),
            INVENTORY,
        );
        match mistake.hint {
            Some(hint) => mine.hint(hint),
            None => mine,
        }
    }
}

/// The place of mistakes in the inventory's vars.
const INVENTORY: &str = "inventory";

// === impl Compiled ===

impl Compiled {
    fn new(text: &str) -> Result<Self, SourceError> {
        if let Some(why) = too_long(text) {
            return Err(SourceError::whole(why, ""));
        }
        let text = &*with_plain_backslashes(text);
        if text.contains("{%") || text.contains("{#") {
            return TemplateFile::compile("", text).map(|file| Self::Blocks(Box::new(file)));
        }
        Template::compile(text, text, 0).map(Self::Text).map_err(|fault| {
            let mistake = SourceError::whole(fault.message, "");
            match fault.hint {
                Some(hint) => mistake.hint(hint),
                None => mistake,
            }
        })
    }

    fn roots(&self) -> BTreeSet<String> {
        match self {
            Self::Text(template) => template
                .expressions()
                .flat_map(|expression| expression.roots.iter().cloned())
                .collect(),
            Self::Blocks(file) => file.roots.clone(),
        }
    }
}
