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

/// A template as Ansible reads it in a playbook or an inventory: in texts within braces a backslash is a backslash, so that
/// `'\1'` is a group of a pattern. Only in front of a quote it says that the text goes on.
pub fn with_plain_backslashes(template: &str) -> Cow<'_, str> {
    if !template.contains('\\') {
        return Cow::Borrowed(template);
    }
    let mut plain = String::with_capacity(template.len() + 8);
    let (mut inside, mut quote) = (false, None);
    let mut rest = template;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        plain.push(character);
        match (quote, character) {
            (Some(open), '\\') if after.starts_with(open) => {
                plain.push(open);
                rest = &after[1..];
                continue;
            }
            (Some(_), '\\') => plain.push('\\'),
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') if inside => quote = Some(character),
            (None, '{') if after.starts_with(['{', '%']) => inside = true,
            (None, '}' | '%') if after.starts_with('}') => inside = false,
            _ => {}
        }
        rest = after;
    }
    Cow::Owned(plain)
}
