//! What Ansible takes for a template, among the values of an inventory.

use std::borrow::Cow;

use serde_json::Value;

/// How Ansible's JSON marks a text that is no template, though it looks like one: `{"__ansible_unsafe": "…"}`.
const LITERAL: &str = "__ansible_unsafe";

/// Whether `text` has to be filled in.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Whether a value is a template or holds one.
pub fn has_templates(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(has_templates),
        Value::Object(map) => literal(value).is_none() && map.values().any(has_templates),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Marks a text that is no template.
pub fn marked(text: String) -> Value {
    Value::Object([(LITERAL.to_owned(), Value::String(text))].into_iter().collect())
}

/// The text of a marked value.
pub fn literal(value: &Value) -> Option<&str> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    map.get(LITERAL)?.as_str()
}

/// A value without marks.
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

/// A template as Ansible reads it in a playbook or an inventory: in texts within `{{ … }}` a backslash is a backslash, so
/// that `'\1'` is a group of a pattern. Only in front of a quote it says that the text goes on.
pub fn with_plain_backslashes(template: &str) -> Cow<'_, str> {
    if !template.contains('\\') {
        return Cow::Borrowed(template);
    }
    let mut plain = String::with_capacity(template.len() + 8);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        plain.push_str(before);
        plain.push_str("{{");
        let (inside, after) = after.split_at(length(after, "}}"));
        double(inside, &mut plain);
        rest = after;
    }
    Cow::Owned(plain + rest)
}

/// Doubles the backslashes in the texts of an expression.
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

/// Longest template of an inventory, in bytes.
const LONGEST: usize = 64 << 10;
/// Longest expression or block in one: they are read by recursion.
const LONGEST_EXPRESSION: usize = 4 << 10;

/// Why a template of an inventory is not even read, if it is too long.
pub fn too_long(template: &str) -> Option<String> {
    if template.len() > LONGEST {
        return Some(format!("it is longer than {} KiB", LONGEST >> 10));
    }
    let mut rest = template;
    while let Some(at) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let inside = &rest[at + 2..];
        let length = length(inside, if rest[at..].starts_with("{{") { "}}" } else { "%}" });
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

/// The bytes before `end`, one outside of quotes and inner braces; all if there is none.
fn length(text: &str, end: &str) -> usize {
    let (mut quote, mut braces) = (None, 0usize);
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, _) if braces == 0 && text[at..].starts_with(end) => return at,
            (None, '{') => braces += 1,
            (None, '}') => braces = braces.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

/// Whether a var of this name holds a secret, which no screen and no file may show.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "credential"]
        .iter()
        .any(|part| name.contains(part))
        && !name.ends_with("_file")
}
