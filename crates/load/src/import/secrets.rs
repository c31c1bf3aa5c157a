//! Secrets in imported files. They are not written to the scenario, which reads them from the environment.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::imported::braces;
use crate::mask::{counts, forms, is_telling};

/// Secrets shorter than this, in bytes, are replaced only behind their names, because they occur elsewhere by chance.
const LONG: usize = 8;

/// Secrets, each with its variable.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<String, String>);

// === impl Secrets ===

impl Secrets {
    /// The value for a scenario: its variable, if its name says that it is secret.
    pub(super) fn text(&mut self, name: &str, value: &str) -> String {
        if is_telling(name) && !value.is_empty() {
            format!("{{{{ env.{} }}}}", self.variable(name, value))
        } else {
            braces(value)
        }
    }

    /// The same for everything in a value.
    pub(super) fn value(&mut self, name: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(name, text).into(),
            Value::Number(number) if is_telling(name) && !counts(name) => {
                let variable = self.variable(name, &number.to_string());
                let kind = if number.is_f64() { "float" } else { "int" };
                format!("{{{{ env.{variable} | {kind} }}}}").into()
            }
            Value::Array(items) => items.iter().map(|item| self.value(name, item)).collect(),
            Value::Object(entries) => entries
                .iter()
                .map(|(key, value)| {
                    // `apiKey: {value: …}` is as secret as `apiKey: …`.
                    let inner = if is_telling(name) && !is_telling(key) {
                        name
                    } else {
                        key
                    };
                    (key.clone(), self.value(inner, value))
                })
                .collect::<Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }

    /// The variable of a secret. Different secrets have different variables.
    fn variable(&mut self, name: &str, value: &str) -> String {
        if let Some(variable) = self.0.get(value) {
            return variable.clone();
        }
        let mut plain = name.to_ascii_uppercase();
        plain = plain.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        if plain.starts_with(|c: char| c.is_ascii_digit()) {
            plain.insert(0, '_');
        }
        let (mut variable, mut number) = (plain.clone(), 1);
        while self.0.values().any(|other| *other == variable) {
            number += 1;
            variable = format!("{plain}_{number}");
        }
        self.0.insert(value.to_owned(), variable.clone());
        variable
    }

    /// Replaces the secrets in all other places, because a token in a header may be a parameter elsewhere.
    pub(super) fn replace(&mut self, value: &mut Value) {
        let mut known: Vec<(String, String)> = self.0.clone().into_iter().collect();
        known.retain(|(secret, _)| secret.len() >= LONG);
        // A secret can be a part of another one.
        known.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        for (secret, variable) in known {
            self.replace_one(value, &secret, &variable);
            for form in forms(&secret) {
                self.replace_one(value, &form, &variable);
            }
        }
    }

    fn replace_one(&mut self, value: &mut Value, form: &str, variable: &str) {
        match value {
            Value::String(text) => {
                let mut replaced = String::new();
                let mut rest = text.as_str();
                while !rest.is_empty() {
                    // Templates that were inserted before are not searched.
                    let open = rest.find("{{").unwrap_or(rest.len());
                    let (plain, after) = rest.split_at(open);
                    if plain.contains(form) {
                        let variable = self.variable(variable, form);
                        replaced.push_str(&plain.replace(form, &format!("{{{{ env.{variable} }}}}")));
                    } else {
                        replaced.push_str(plain);
                    }
                    let template = after.find("}}").map_or(after.len(), |at| at + 2);
                    replaced.push_str(&after[..template]);
                    rest = &after[template..];
                }
                *text = replaced;
            }
            Value::Array(items) => {
                for item in items {
                    self.replace_one(item, form, variable);
                }
            }
            Value::Object(entries) => {
                for (_, value) in entries {
                    self.replace_one(value, form, variable);
                }
            }
            _ => {}
        }
    }

    /// A remark with the variables to set.
    pub(super) fn remark(&self) -> Option<String> {
        let mut variables: Vec<&str> = self.0.values().map(String::as_str).collect();
        variables.sort_unstable();
        (!variables.is_empty()).then(|| {
            format!(
                "secrets are not written to the scenario; set these variables, escaped as in the requests: {}",
                variables.join(", ")
            )
        })
    }
}
