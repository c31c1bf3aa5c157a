//! Reading a node as what it should be; every mistake is noted and reading goes on.

use std::ops::RangeInclusive;

use crate::mistake::Mistake;
use regex::Regex;

use super::quantity;
use super::tree::{Node, Place, Value};

/// Mistakes noted of one file.
const MAX_MISTAKES: usize = 50;

/// A file being read, and the mistakes in it so far.
pub(crate) struct Reader<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) mistakes: Vec<Mistake>,
}

/// The entries of a mapping that nobody has taken yet.
pub(crate) struct Fields<'a> {
    entries: Vec<(&'a str, &'a Node, &'a Node)>,
    /// Of the mapping itself.
    pub(crate) place: &'a Place,
}

// === impl Reader ===

impl Reader<'_> {
    pub(crate) fn mistake(&mut self, place: &Place, message: impl Into<String>) {
        self.note(Mistake::at(
            message,
            self.file,
            self.text,
            place.line,
            place.column,
        ));
    }

    pub(crate) fn mistake_with_hint(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.note(Mistake::at(message, self.file, self.text, place.line, place.column).hint(hint));
    }

    pub(crate) fn note(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(mistake);
        }
    }

    /// Notes that `node` is not `what`.
    pub(crate) fn expected(&mut self, node: &Node, what: &str) {
        let found = node.value.kind();
        if self.raw(node).starts_with("{{")
            || self.text[node.place.bytes.start.min(self.text.len())..].starts_with("{{")
        {
            let line = self.text.lines().nth(node.place.line - 1).unwrap_or_default();
            let mut value: String = line.chars().skip(node.place.column - 1).collect();
            // In a flow mapping or list the value ends with its braces.
            if let Some(end) = value.find("}}").map(|at| at + 2)
                && value[end..].starts_with(['}', ',', ']'])
            {
                value.truncate(end);
            }
            self.mistake_with_hint(
                &node.place,
                "a value that begins with `{{` is a mapping to YAML",
                format!("quote it: `\"{}\"`", value.trim_end().replace('"', "'")),
            );
        } else {
            self.mistake(&node.place, format!("expected {what}, found {found}"));
        }
    }

    /// The text that a node is written with.
    pub(crate) fn raw(&self, node: &Node) -> &str {
        self.text.get(node.place.bytes.clone()).unwrap_or_default()
    }

    /// A mapping's entries; keys outside `known` are mistakes, those in `later` with their own message.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            self.expected(node, &format!("{what}, a mapping"));
            return None;
        };
        let mut fields = Fields {
            entries: Vec::with_capacity(entries.len()),
            place: &node.place,
        };
        for (key, value) in entries {
            let name = match &key.value {
                Value::Text(name) => name.as_str(),
                // YAML takes an unquoted `on` for true.
                Value::Truth(true) if self.raw(key) == "on" => "on",
                _ => {
                    self.expected(key, &format!("a name that {what} has"));
                    continue;
                }
            };
            if known.contains(&name) {
                fields.entries.push((name, key, value));
            } else {
                let message = format!("{what} has no `{name}`");
                match Mistake::nearest(name, known.iter().copied()) {
                    Some(near) => {
                        self.mistake_with_hint(&key.place, message, format!("did you mean `{near}`?"));
                    }
                    None => {
                        self.mistake_with_hint(&key.place, message, format!("it has {}", known.join(", ")));
                    }
                }
            }
        }
        Some(fields)
    }

    /// A scalar as it is written; `1.10` stays `1.10`.
    pub(crate) fn scalar(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(_) | Value::Truth(_) => Some(self.raw(node).to_owned()),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.expected(node, "text");
                None
            }
        }
    }

    /// A scalar that says something.
    pub(crate) fn filled(&mut self, node: &Node) -> Option<String> {
        let text = self.scalar(node)?;
        if text.trim().is_empty() {
            self.mistake(&node.place, "expected text, found nothing");
            return None;
        }
        Some(text)
    }

    pub(crate) fn truth(&mut self, node: &Node) -> Option<bool> {
        if let Value::Truth(truth) = node.value {
            return Some(truth);
        }
        self.expected(node, "true or false");
        None
    }

    pub(crate) fn whole(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        let number = match &node.value {
            Value::Number(number) => number.as_u64().filter(|number| range.contains(number)),
            _ => None,
        };
        if number.is_none() {
            let what = format!("a whole number from {} to {}", range.start(), range.end());
            if let Value::Number(_) = node.value {
                let message = format!("expected {what}, found {}", self.raw(node));
                self.mistake(&node.place, message);
            } else {
                self.expected(node, &what);
            }
        }
        number
    }

    /// A scalar read by `parse`, which says what is wrong.
    pub(crate) fn parsed<T>(
        &mut self,
        node: &Node,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.scalar(node)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.mistake(&node.place, message);
                None
            }
        }
    }

    pub(crate) fn duration(&mut self, node: &Node) -> Option<std::time::Duration> {
        self.parsed(node, quantity::duration)
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.scalar(node)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("expected {}, found `{text}`", all.join(", "));
            match Mistake::nearest(&text, all) {
                Some(near) => self.mistake_with_hint(&node.place, message, format!("did you mean `{near}`?")),
                None => self.mistake(&node.place, message),
            }
        }
        found
    }

    /// A regular expression.
    pub(crate) fn regex(&mut self, node: &Node) -> Option<Regex> {
        let text = self.scalar(node)?;
        match Regex::new(&text) {
            Ok(regex) => Some(regex),
            Err(error) => {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                self.mistake(
                    &node.place,
                    format!("`{text}` is not a regular expression: {reason}"),
                );
                None
            }
        }
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// The value of a key, if the mapping has it.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Node> {
        self.entry(name).map(|(_, value)| value)
    }

    /// The key and the value, if the mapping has it.
    pub(crate) fn entry(&self, name: &str) -> Option<(&'a Node, &'a Node)> {
        self.entries
            .iter()
            .find(|(key, _, _)| *key == name)
            .map(|(_, key, value)| (*key, *value))
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&self, name: &str, what: &str, reader: &mut Reader<'_>) -> Option<&'a Node> {
        let found = self.get(name);
        if found.is_none() {
            reader.mistake(self.place, format!("{what} needs `{name}`"));
        }
        found
    }
}

/// One item, or a list of them.
pub(crate) fn items(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    }
}
