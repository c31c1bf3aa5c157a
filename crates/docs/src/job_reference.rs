//! `docs/job-reference.md`, from the JSON Schema that `reveille schema` prints.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use xtask::failure::{Failure, Result};

use super::{NOTICE, cell};

const INTRODUCTION: &str = "\
Every key of a job file, as `reveille schema` describes it to editors. [jobs.md](jobs.md) is the guide: it says what the
keys do together, and how durations, amounts, templates and modes are written.

Unknown keys are mistakes. A key may be omitted unless it is *required*. Commas in a type separate what the value may
be.
";

/// How a description says what holds without the key.
const DEFAULT: &str = " if left out";

/// The part of the schema that a key's value may lie in.
const DEFINITIONS: &str = "#/$defs/";

/// A mapping with keys of its own, and the keys whose value it is.
#[derive(Debug)]
struct Section<'a> {
    name: &'a str,
    keys: Vec<&'a str>,
}

/// The whole page.
pub(super) fn page(schema: &Value) -> Result<String> {
    let reference = Reference::read(schema)?;
    let mut page = format!("# Reference of job files\n{NOTICE}\n\n{INTRODUCTION}");
    reference.write_table(&mut page, "The job", schema)?;
    for section in &reference.sections {
        let definition = reference.definition(section.name)?;
        reference.write_table(&mut page, &section.heading(), definition)?;
    }
    Ok(page)
}

/// A schema, and the mappings found in it in the order in which they are met.
struct Reference<'a> {
    definitions: &'a Map<String, Value>,
    sections: Vec<Section<'a>>,
}

// === impl Reference ===

impl<'a> Reference<'a> {
    fn read(schema: &'a Value) -> Result<Self> {
        let definitions = schema
            .get("$defs")
            .and_then(Value::as_object)
            .ok_or_else(|| Failure::failed("the schema of jobs has no definitions"))?;
        let mut reference = Self {
            definitions,
            sections: Vec::new(),
        };
        reference.find_sections(schema)?;
        // Deeper mappings are met while this list grows.
        let mut read = 0;
        while let Some(section) = reference.sections.get(read) {
            let definition = reference.definition(section.name)?;
            reference.find_sections(definition)?;
            read += 1;
        }
        // Steps are what the job is made of; what else it has is looked up.
        reference.sections.sort_by_key(|section| !section.is_steps());
        Ok(reference)
    }

    fn find_sections(&mut self, mapping: &'a Value) -> Result {
        for (key, value) in properties(mapping)? {
            for name in named(value) {
                if self.definition(name)?.get("properties").is_none() {
                    continue;
                }
                match self.sections.iter_mut().find(|section| section.name == name) {
                    Some(section) if section.keys.contains(&key.as_str()) => {}
                    Some(section) => section.keys.push(key),
                    None => self.sections.push(Section {
                        name,
                        keys: vec![key],
                    }),
                }
            }
        }
        Ok(())
    }

    fn definition(&self, name: &str) -> Result<&'a Value> {
        self.definitions
            .get(name)
            .ok_or_else(|| Failure::failed(format!("the schema of jobs does not define {name}")))
    }

    fn write_table(&self, page: &mut String, heading: &str, mapping: &Value) -> Result {
        let description = text(mapping, "description");
        let _ = write!(
            page,
            "\n## {heading}\n\n{description}\n\n| key | type | default | what |\n|---|---|---|---|\n"
        );
        let required = mapping.get("required").and_then(Value::as_array);
        for (key, value) in properties(mapping)? {
            let needed = required.is_some_and(|names| names.iter().any(|name| name == key.as_str()));
            let (what, default) = split_default(text(value, "description"));
            let without = if needed { "*required*" } else { default };
            let _ = writeln!(
                page,
                "| `{key}` | {} | {} | {} |",
                cell(&self.type_of(value)?),
                cell(without),
                cell(what)
            );
        }
        Ok(())
    }

    /// What a value may be, in words.
    fn type_of(&self, value: &Value) -> Result<String> {
        if let Some(name) = value.get("$ref").and_then(Value::as_str) {
            return self.type_of_definition(name.trim_start_matches(DEFINITIONS));
        }
        if let Some(choices) = value.get("anyOf").and_then(Value::as_array) {
            return self.type_of_choices(choices);
        }
        if let Some(words) = value.get("enum").and_then(Value::as_array) {
            let words: Vec<String> = words
                .iter()
                .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
                .collect();
            return Ok(words.join(", "));
        }
        Ok(match main_type(value) {
            Some("string") => match value.get("pattern").and_then(Value::as_str) {
                Some(pattern) => format!("text, `{pattern}`"),
                None => "text".to_owned(),
            },
            Some("boolean") => "`true`, `false`".to_owned(),
            Some("number") => "number".to_owned(),
            Some("integer") => match (value.get("minimum"), value.get("maximum")) {
                (Some(least), Some(most)) => format!("{least} to {most}"),
                _ => "whole number".to_owned(),
            },
            Some("array") => match value.get("items") {
                Some(items) => format!("list of {}", self.type_of(items)?),
                None => "list".to_owned(),
            },
            Some("object") => match value.get("additionalProperties") {
                Some(of @ Value::Object(_)) => format!("mapping of names to {}", self.type_of(of)?),
                _ => "mapping".to_owned(),
            },
            _ => {
                return Err(Failure::failed(format!(
                    "a type that the reference has no words for: {value}"
                )));
            }
        })
    }

    fn type_of_definition(&self, name: &str) -> Result<String> {
        let definition = self.definition(name)?;
        if let Some(section) = self.sections.iter().find(|section| section.name == name) {
            return Ok(format!("[{}](#{})", section.words(), section.anchor()));
        }
        match text(definition, "description") {
            "" => self.type_of(definition),
            words => Ok(uncapitalised(words.trim_end_matches('.'))),
        }
    }

    fn type_of_choices(&self, choices: &[Value]) -> Result<String> {
        let choices: Vec<&Value> = choices
            .iter()
            .filter(|choice| main_type(choice) != Some("null"))
            .collect();
        if let [one, many] = choices[..]
            && many.get("items") == Some(one)
        {
            return Ok(format!("{}, or a list of them", self.type_of(one)?));
        }
        let words: Result<Vec<String>> = choices.iter().map(|choice| self.type_of(choice)).collect();
        Ok(words?.join(", "))
    }
}

// === impl Section ===

impl Section<'_> {
    /// What it is called where it is the value of a key.
    fn words(&self) -> &'static str {
        if self.is_steps() { "steps" } else { "mapping" }
    }

    fn is_steps(&self) -> bool {
        self.keys == ["steps"]
    }

    fn heading(&self) -> String {
        if self.is_steps() {
            return "A step".to_owned();
        }
        let keys: Vec<String> = self.keys.iter().map(|key| format!("`{key}`")).collect();
        keys.join(" and ")
    }

    /// The anchor of that heading, as Markdown makes it.
    fn anchor(&self) -> String {
        self.heading().replace('`', "").replace(' ', "-").to_lowercase()
    }
}

/// The definitions that a value names, in whatever depth.
fn named(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, member)| match member.as_str() {
                Some(name) if key == "$ref" => vec![name.trim_start_matches(DEFINITIONS)],
                _ => named(member),
            })
            .collect(),
        Value::Array(members) => members.iter().flat_map(named).collect(),
        _ => Vec::new(),
    }
}

fn properties(mapping: &Value) -> Result<&Map<String, Value>> {
    mapping
        .get("properties")
        .and_then(Value::as_object)
        .ok_or_else(|| Failure::failed("the schema of jobs has a mapping without keys"))
}

/// The type of a value, whether or not it may be empty.
fn main_type(value: &Value) -> Option<&str> {
    match value.get("type")? {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        one => one.as_str(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `What it is; X if left out.` is what it is, and X.
fn split_default(description: &str) -> (&str, &str) {
    let whole = description.trim_end_matches('.');
    whole
        .strip_suffix(DEFAULT)
        .and_then(|rest| rest.rsplit_once("; "))
        .unwrap_or((whole, ""))
}

fn uncapitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_taken_from_the_description() {
        assert_eq!(split_default("The user; root if left out."), ("The user", "root"));
        assert_eq!(split_default("Waits, and goes on."), ("Waits, and goes on", ""));
    }

    #[test]
    fn types_are_told_in_words() {
        let schema = json!({
            "description": "A thing.",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How large."},
                "words": {"anyOf": [{"$ref": "#/$defs/Many"}, {"type": "null"}], "description": "What; none if left out."},
                "part": {"$ref": "#/$defs/Part"},
                "piece": {"$ref": "#/$defs/Part"}
            },
            "$defs": {
                "Many": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
                "Part": {"properties": {"on": {"type": ["boolean", "null"]}, "how": {"enum": ["a", "b"]}}}
            }
        });
        let page = page(&schema).unwrap();
        for row in [
            "| `size` | 1 to 9 | *required* | How large |",
            "| `words` | text, or a list of them | none | What |",
            "| `part` | [mapping](#part-and-piece) |  |  |",
            "## `part` and `piece`",
            "| `on` | `true`, `false` |  |  |",
            "| `how` | `a`, `b` |  |  |",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
        }
    }
}
