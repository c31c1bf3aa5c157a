//! Vars from outside of the job that contain templates: those of `-e`, and those of the inventory, as inventories for
//! Ansible often do.
//!
//! They are rendered only where a job uses them, with the names that templates see on the host.

use std::collections::BTreeSet;

use minijinja::value::Value;
use reveille_account::SourceError;
use reveille_document::ansible::{Compiled, has_templates, is_template, literal, unmarked};
use reveille_document::value_of;
use reveille_text::is_secret;
use serde_json::Value as Json;

use crate::evaluation::{Evaluation, MAX_VAR_DEPTH};
use crate::job::Job;
use crate::scope::{Found, Var};

/// The longest value of a template, in bytes.
const LONGEST: usize = 1 << 20;

impl<'a> Evaluation<'a> {
    /// The value of a var of the command line, or else of the inventory, with its templates rendered.
    pub(crate) fn outer(self, name: &str) -> Result<Found, SourceError> {
        let Some(json) = self.json(name) else {
            return Ok(Found::Nothing);
        };
        if !has_templates(json) {
            return Ok(Found::Value(value_of(&unmarked(json))));
        }
        // It may use the item of a loop.
        if self.item.is_some() {
            return self.filled(name, json);
        }
        if let Some(found) = self.scope.filled.get(name, self.mode) {
            return Ok(found);
        }
        let found = self.filled(name, json)?;
        self.scope.filled.keep(name, self.mode, &found);
        Ok(found)
    }

    fn json(self, name: &str) -> Option<&'a Json> {
        self.job.extra.get(name).or_else(|| self.scope.vars.get(name))
    }

    fn filled(self, name: &str, json: &Json) -> Result<Found, SourceError> {
        if let Some(text) = literal(json) {
            return Ok(Found::Value(text.into()));
        }
        match json {
            Json::String(text) if is_template(text) => self
                .filled_text(text)
                .map_err(|mistake| self.mistake_in(name, mistake)),
            Json::Array(items) => {
                Found::all(items.iter().map(|item| self.filled(name, item)), Value::from_iter)
            }
            Json::Object(entries) => {
                Found::all(entries.values().map(|value| self.filled(name, value)), |values| {
                    Value::from_pairs(entries.keys().cloned().zip(values))
                })
            }
            plain => Ok(Found::Value(value_of(plain))),
        }
    }

    fn filled_text(self, text: &str) -> Result<Found, SourceError> {
        if self.depth > MAX_VAR_DEPTH {
            return Err(SourceError::whole("it refers to itself", ""));
        }
        let compiled = Compiled::of_job(text).map_err(|fault| SourceError {
            hint: fault.hint,
            ..SourceError::whole(fault.message, "")
        })?;
        // The environment of this process is for the author of the job, not for anyone who can write an inventory tag.
        if compiled.roots().contains("env") {
            let mistake = SourceError::whole("templates outside of the job can't use `env`", "");
            return Err(mistake.hint("set a var of the job to it, and use that var"));
        }
        // The job's checks for exposed secrets only see templates in the job itself.
        if let Some(secret) = compiled
            .roots()
            .iter()
            .find(|root| takes_secret(self.job, root, 0))
        {
            let mistake = SourceError::whole(format!("`{secret}` is a secret of the job"), "");
            return Err(mistake.hint("use it in the `env` of a durable step"));
        }
        let found = match &compiled {
            Compiled::Text(template) => self.template(template)?,
            Compiled::Blocks(blocks) => self
                .blocks(blocks)?
                .map_or(Found::Later, |filled| Found::Value(filled.into())),
        };
        match &found {
            Found::Value(value) if value.as_str().is_some_and(|text| text.len() > LONGEST) => {
                let message = format!("its value is longer than {} MiB", LONGEST >> 20);
                Err(SourceError::whole(message, ""))
            }
            _ => Ok(found),
        }
    }

    /// The names that a var of the command line or the inventory needs.
    pub(crate) fn outer_roots(self, name: &str) -> BTreeSet<String> {
        let mut roots = BTreeSet::new();
        if let Some(json) = self.json(name) {
            collect(json, &mut roots);
        }
        roots
    }

    /// Adds the var to a mistake, unless a var that it refers to was added already. Nothing of a secret var is shown.
    fn mistake_in(self, name: &str, mistake: SourceError) -> SourceError {
        if [INVENTORY, COMMAND_LINE].contains(&mistake.file.as_str()) {
            return mistake;
        }
        if self.job.extra.contains_key(name) {
            let why = mistake.message;
            let message = format!("the template in `{name}` can't be rendered: {why}");
            return SourceError {
                hint: mistake.hint,
                ..SourceError::whole(message, COMMAND_LINE)
            };
        }
        let host = self.scope.host;
        if is_secret(name) {
            let message = format!("{host}: the template in `{name}`, which is a secret, can't be rendered");
            return SourceError::whole(message, INVENTORY);
        }
        let why = mistake.message;
        let message = format!("{host}: the template in `{name}` can't be rendered: {why}");
        SourceError {
            hint: mistake.hint,
            ..SourceError::whole(message, INVENTORY)
        }
    }
}

/// Whether a name is, or needs, a secret var of the job.
fn takes_secret(job: &Job, name: &str, depth: usize) -> bool {
    if depth > MAX_VAR_DEPTH || job.extra.contains_key(name) || job.registers.contains_key(name) {
        return false;
    }
    job.var(name).is_some_and(|var| {
        matches!(var, Var::Secret(_))
            || var
                .expressions()
                .iter()
                .flat_map(|expression| expression.roots())
                .any(|root| takes_secret(job, root, depth + 1))
    })
}

/// Adds the names that the templates in a value need.
pub(crate) fn collect(json: &Json, roots: &mut BTreeSet<String>) {
    if literal(json).is_some() {
        return;
    }
    match json {
        Json::String(text) if is_template(text) => {
            // Templates that can't be compiled are reported where they are used.
            if let Ok(compiled) = Compiled::of_job(text) {
                roots.extend(compiled.roots());
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, roots)),
        Json::Object(entries) => entries.values().for_each(|value| collect(value, roots)),
        _ => {}
    }
}

/// The file name in mistakes about vars of the command line.
const COMMAND_LINE: &str = "-e";
/// The file name in mistakes about the inventory's vars.
const INVENTORY: &str = "inventory";
