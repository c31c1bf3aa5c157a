//! Templates as Ansible reads them in the values of an inventory.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use minijinja::Environment;
use reveille_account::Fault;
use serde_json::Value;

use crate::Blocks;
use crate::expression::LANGUAGE;
use crate::template::{Template, expression_length};

/// Ansible's JSON marks a text that looks like a template and is not one: `{"__ansible_unsafe": "…"}`.
const LITERAL: &str = "__ansible_unsafe";

/// Whether `text` contains a template.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Whether a value is or contains a template.
pub fn has_templates(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(has_templates),
        Value::Object(map) => literal(value).is_none() && map.values().any(has_templates),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Marks a text as not a template.
pub fn marked(text: String) -> Value {
    Value::Object([(LITERAL.to_owned(), Value::String(text))].into_iter().collect())
}

/// Returns the text of a marked value.
pub fn literal(value: &Value) -> Option<&str> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    map.get(LITERAL)?.as_str()
}

/// Returns a value without marks.
pub fn unmarked(value: &Value) -> Value {
    if let Some(text) = literal(value) {
        return Value::String(text.to_owned());
    }
    match value {
        Value::Array(items) => items.iter().map(unmarked).collect(),
        Value::Object(map) => {
            let entries = map.iter().map(|(key, value)| (key.clone(), unmarked(value)));
            Value::Object(entries.collect())
        }
        other => other.clone(),
    }
}

/// Rewrites a template as Ansible reads it in a playbook or an inventory: in the strings within `{{ … }}` a backslash
/// stands for itself, so that `'\1'` is a group of a pattern. Only before a quote does it escape.
pub fn with_plain_backslashes(template: &str) -> Cow<'_, str> {
    if !template.contains('\\') {
        return Cow::Borrowed(template);
    }
    let mut plain = String::with_capacity(template.len() + 8);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        plain.push_str(before);
        plain.push_str("{{");
        let (inside, after) = after.split_at(expression_length(after, "}}").unwrap_or(after.len()));
        double(inside, &mut plain);
        rest = after;
    }
    Cow::Owned(plain + rest)
}

/// Doubles the backslashes in the strings of an expression.
fn double(expression: &str, plain: &mut String) {
    let mut quote = None;
    let mut characters = expression.chars();
    while let Some(character) = characters.next() {
        plain.push(character);
        match (quote, character) {
            (Some(open), '\\') => {
                let next = characters.next();
                plain.push_str(match next {
                    Some(next) if next == open => "",
                    Some('\\') => "\\\\",
                    _ => "\\",
                });
                plain.extend(next);
            }
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            _ => {}
        }
    }
}

/// The longest template of an inventory, in bytes.
const LONGEST: usize = 64 << 10;
/// The longest expression or block in a template: the parser is recursive.
const LONGEST_EXPRESSION: usize = 4 << 10;

/// Returns why a template of an inventory is refused, if it is too long.
pub fn too_long(template: &str) -> Option<String> {
    if template.len() > LONGEST {
        return Some(format!("it is longer than {} KiB", LONGEST >> 10));
    }
    let mut rest = template;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let inside = &rest[at + 2..];
        let end = if rest[at..].starts_with("{{") { "}}" } else { "%}" };
        let length = expression_length(inside, end).unwrap_or(inside.len());
        if length > LONGEST_EXPRESSION {
            return Some(format!(
                "an expression in it is longer than {} KiB",
                LONGEST_EXPRESSION >> 10
            ));
        }
        rest = &inside[length..];
    }
    None
}

/// A compiled template of an inventory.
#[derive(Debug)]
pub enum Compiled {
    /// Text with `{{ expressions }}`. If the template is a single expression, its value keeps its type.
    Text(Template),
    /// Text with `{% blocks %}` too.
    Blocks(Box<Blocks>),
}

// === impl Compiled ===

impl Compiled {
    /// Compiles a template as Ansible reads it.
    ///
    /// # Errors
    ///
    /// The template is too long, or can't be parsed. The fault's offset counts from the start of the template.
    pub fn compile(language: &'static Environment<'static>, text: &str) -> Result<Self, Fault> {
        if let Some(why) = too_long(text) {
            return Err(Fault::new(0, why));
        }
        let text = &*with_plain_backslashes(text);
        if text.contains("{%") || text.contains("{#") {
            let blocks = Blocks::compile(language.clone(), "", text);
            return blocks
                .map(|blocks| Self::Blocks(Box::new(blocks)))
                .map_err(|mistake| Fault {
                    offset: 0,
                    message: mistake.message,
                    hint: mistake.hint,
                });
        }
        Template::compile_in(language, text, text, 0).map(Self::Text)
    }

    /// Like [`compile`](Self::compile), in the language of jobs.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile).
    pub fn of_job(text: &str) -> Result<Self, Fault> {
        Self::compile(&LANGUAGE, text)
    }

    /// The names that the template needs.
    pub fn roots(&self) -> BTreeSet<String> {
        match self {
            Self::Text(template) => template
                .expressions()
                .flat_map(|expression| expression.roots().iter().cloned())
                .collect(),
            Self::Blocks(blocks) => blocks.roots().clone(),
        }
    }
}

/// Ansible's `inventory_hostname_short`: the name up to its first dot; an address is not cut.
pub fn short_name(host: &str) -> &str {
    match host.split_once('.') {
        Some((short, _)) if host.parse::<IpAddr>().is_err() => short,
        _ => host,
    }
}
