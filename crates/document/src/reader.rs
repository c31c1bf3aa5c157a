//! Reads a node as a certain type; records every mistake and continues.

use std::ops::RangeInclusive;

use regex::bytes::{Regex, RegexSet};
use reveille_account::SourceError;
use reveille_text::duration;

use crate::tree::{Node, Place, Value};

/// How many mistakes of one file are recorded.
const MAX_MISTAKES: usize = 50;

/// A file that is being read, and its mistakes so far.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The file's name in messages.
    pub file: &'a str,
    /// The file's content.
    pub text: &'a str,
    /// The mistakes so far, up to a bound.
    pub mistakes: Vec<SourceError>,
}

/// The entries of a mapping, all with known keys.
#[derive(Debug)]
pub struct Fields<'a> {
    entries: Vec<(&'a str, &'a Node, &'a Node)>,
    /// The place of the mapping.
    pub place: &'a Place,
    /// Whether unknown keys of the mapping were reported.
    pub incomplete: bool,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    /// Starts without mistakes.
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            mistakes: Vec::new(),
        }
    }

    /// Records a mistake at a place.
    pub fn mistake(&mut self, place: &Place, message: impl Into<String>) {
        self.note(self.at(place, message));
    }

    /// Like [`mistake`](Self::mistake), with a hint.
    pub fn mistake_with_hint(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.note(self.at(place, message).hint(hint));
    }

    fn at(&self, place: &Place, message: impl Into<String>) -> SourceError {
        SourceError::at(message, self.file, self.text, place.line, place.column)
    }

    /// Records a mistake, unless there are too many already.
    pub fn note(&mut self, mistake: SourceError) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(mistake);
        }
    }

    /// Records that `node` is not `what`.
    pub fn expected(&mut self, node: &Node, what: &str) {
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
                "YAML reads a value that begins with `{{` as a mapping",
                format!("quote it: `\"{}\"`", value.trim_end().replace('"', "'")),
            );
        } else {
            self.mistake(&node.place, format!("expected {what}, found {found}"));
        }
    }

    /// The text of a node as written.
    pub fn raw(&self, node: &Node) -> &str {
        self.text.get(node.place.bytes.clone()).unwrap_or_default()
    }

    /// Reads a mapping; keys outside `known` are mistakes.
    pub fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        self.fields_or_hints(node, what, known, &[])
    }

    /// Like [`fields`](Self::fields); `hints` has the hints for some unknown keys.
    pub fn fields_or_hints<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
        hints: &[(&str, &str)],
    ) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            self.expected(node, &format!("{what}, a mapping"));
            return None;
        };
        let mut fields = Fields {
            entries: Vec::with_capacity(entries.len()),
            place: &node.place,
            incomplete: false,
        };
        for (key, value) in entries {
            let name = match &key.value {
                Value::Text(name) => name.as_str(),
                // YAML reads an unquoted `on` as true.
                Value::Truth(true) if self.raw(key) == "on" => "on",
                _ => {
                    self.expected(key, &format!("a key of {what}"));
                    fields.incomplete = true;
                    continue;
                }
            };
            if known.contains(&name) {
                fields.entries.push((name, key, value));
            } else {
                let hint = if let Some((_, hint)) = hints.iter().find(|(foreign, _)| *foreign == name) {
                    (*hint).to_owned()
                } else if let Some(near) = SourceError::nearest(name, known.iter().copied()) {
                    format!("did you mean `{near}`?")
                } else {
                    format!("valid keys: {}", known.join(", "))
                };
                self.mistake_with_hint(&key.place, format!("{what} has no `{name}`"), hint);
                fields.incomplete = true;
            }
        }
        Some(fields)
    }

    /// Reads a scalar as it is written; `1.10` stays `1.10`.
    pub fn scalar(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(_) | Value::Truth(_) => Some(self.raw(node).to_owned()),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.expected(node, "text");
                None
            }
        }
    }

    /// Reads a scalar that is not blank.
    pub fn filled(&mut self, node: &Node) -> Option<String> {
        let text = self.scalar(node)?;
        if text.trim().is_empty() {
            self.mistake(&node.place, "expected text, found nothing");
            return None;
        }
        Some(text)
    }

    /// Reads true or false.
    pub fn truth(&mut self, node: &Node) -> Option<bool> {
        if let Value::Truth(truth) = node.value {
            return Some(truth);
        }
        self.expected(node, "true or false");
        None
    }

    /// Reads a whole number in a range.
    pub fn whole(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
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

    /// Reads a scalar with `parse`, whose error is the message.
    pub fn parsed<T>(&mut self, node: &Node, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.scalar(node)?;
        parse(&text)
            .map_err(|message| self.mistake(&node.place, message))
            .ok()
    }

    /// Reads a duration.
    pub fn duration(&mut self, node: &Node) -> Option<std::time::Duration> {
        self.parsed(node, duration::parse)
    }

    /// Reads one of several words.
    pub fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let text = self.scalar(node)?;
        let found = words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("expected {}, found `{text}`", all.join(", "));
            let mistake = self.at(&node.place, message);
            let near = SourceError::nearest(&text, all);
            self.note(SourceError {
                hint: near.map(|near| format!("did you mean `{near}`?")),
                ..mistake
            });
        }
        found
    }

    /// Reads a regular expression: for text with `regex::Regex::new`, for bytes with `regex::bytes::Regex::new`.
    pub fn regex<T>(
        &mut self,
        node: &Node,
        compile: impl FnOnce(&str) -> Result<T, regex::Error>,
    ) -> Option<T> {
        self.parsed(node, |text| {
            compile(text).map_err(|error| {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                format!("`{text}` is not a regular expression: {reason}")
            })
        })
    }

    /// Reads a list of regular expressions for bytes, to be matched together.
    pub fn regexes(&mut self, node: &Node) -> Option<RegexSet> {
        let before = self.mistakes.len();
        let items = items(node);
        let regexes = items.into_iter().filter_map(|item| self.regex(item, Regex::new));
        let texts: Vec<String> = regexes.map(|regex| regex.as_str().to_owned()).collect();
        if self.mistakes.len() > before {
            return None;
        }
        let set = RegexSet::new(&texts)
            .map_err(|error| format!("these regular expressions are too large together: {error}"));
        set.map_err(|message| self.mistake(&node.place, message)).ok()
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// The value of a key, if the mapping has it.
    pub fn get(&self, name: &str) -> Option<&'a Node> {
        self.entry(name).map(|(_, value)| value)
    }

    /// The key and the value, if the mapping has the key.
    pub fn entry(&self, name: &str) -> Option<(&'a Node, &'a Node)> {
        self.entries
            .iter()
            .find(|(key, _, _)| *key == name)
            .map(|(_, key, value)| (*key, *value))
    }

    /// The value of a required key; a missing one is a mistake.
    pub fn need(&self, name: &str, what: &str, reader: &mut Reader<'_>) -> Option<&'a Node> {
        let found = self.get(name);
        if found.is_none() {
            reader.mistake(self.place, format!("{what} needs `{name}`"));
        }
        found
    }
}

/// One item, or a list of them.
pub fn items(node: &Node) -> Vec<&Node> {
    match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    }
}
