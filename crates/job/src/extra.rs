//! Vars from the command line: `-e`.

use std::collections::{BTreeMap, BTreeSet};

use reveille_account::SourceError;
use reveille_document::ansible::is_template;
use reveille_document::{Expression, Kind, Node, Template, Value as Content, read};
use reveille_text::bounded;
use serde_json::Value;

use crate::job::Job;
use crate::parse::{as_written, is_identifier};
use crate::scope::Scope;
use crate::step::Step;

/// The largest file of vars.
const MAX_BYTES: u64 = 4 << 20;

/// Vars from the command line, which win over all others. Later arguments win over earlier ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extra {
    /// Their values, which may contain templates.
    pub values: BTreeMap<String, Value>,
    /// The names that were typed, not read from a file.
    pub typed: BTreeSet<String>,
}

/// A typed name that nothing in the job uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// The name.
    pub name: String,
    /// A similar name that the job uses.
    pub near: Option<String>,
}

// === impl Extra ===

impl Extra {
    /// Reads arguments of `-e`: `NAME=VALUE`, several of them with blanks between them and values in quotes if they
    /// contain blanks, a mapping in JSON or YAML, or `@FILE` with such a mapping. As in Ansible, the values of
    /// `NAME=VALUE` are texts.
    ///
    /// # Errors
    ///
    /// A sentence about the argument that can't be read.
    pub fn read(arguments: &[String]) -> Result<Self, String> {
        let mut extra = Self::default();
        for argument in arguments {
            extra
                .take(argument)
                .map_err(|why| format!("-e {argument}: {why}"))?;
        }
        Ok(extra)
    }

    fn take(&mut self, argument: &str) -> Result<(), String> {
        let text = argument.trim();
        if let Some(path) = argument.strip_prefix('@') {
            let text = bounded::text(path.as_ref(), MAX_BYTES).map_err(|why| why.to_string())?;
            self.values.extend(mapping(&text, path)?);
        } else if text.starts_with(['{', '[']) {
            let values = mapping(text, "-e")?;
            self.typed.extend(values.keys().cloned());
            self.values.extend(values);
        } else {
            for (name, value) in pairs(text)? {
                self.typed.insert(name.clone());
                self.values.insert(name, value.into());
            }
        }
        Ok(())
    }
}

/// Reads a mapping of names to values.
fn mapping(text: &str, file: &str) -> Result<BTreeMap<String, Value>, String> {
    let kind = Kind {
        name: "mapping of vars",
        one: "a mapping of vars",
    };
    let root = read(text, file, &kind).map_err(|mistake| mistake.to_string())?;
    let Value::Object(values) = json(&root, text)? else {
        return Err("expected a mapping of names to values".to_owned());
    };
    for name in values.keys() {
        check_name(name)?;
    }
    Ok(values.into_iter().collect())
}

fn json(node: &Node, text: &str) -> Result<Value, String> {
    Ok(match &node.value {
        Content::Null => Value::Null,
        Content::Truth(truth) => Value::from(*truth),
        Content::Number(number) => as_written(number, text.get(node.place.bytes.clone()).unwrap_or_default()),
        Content::Text(content) => Value::from(content.as_str()),
        Content::List(items) => Value::Array(
            items
                .iter()
                .map(|item| json(item, text))
                .collect::<Result<_, _>>()?,
        ),
        Content::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| match &key.value {
                Content::Text(name) => Ok((name.clone(), json(value, text)?)),
                _ => Err("the names in a mapping must be text".to_owned()),
            });
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
    })
}

fn check_name(name: &str) -> Result<(), String> {
    if is_identifier(name) {
        return Ok(());
    }
    Err(format!(
        "templates can't use the name `{name}`; a name can contain letters, digits and underscores"
    ))
}

/// Reads `NAME=VALUE NAME="a value"`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            return Err(match pairs.last() {
                Some((before, _)) => format!(
                    "`{name}` is not NAME=VALUE; quote a value that contains blanks: {before}='\"VALUE\"'"
                ),
                None => "expected NAME=VALUE, a mapping in JSON or YAML, or @FILE".to_owned(),
            });
        };
        if name.is_empty() {
            return Err("a name is missing before `=`".to_owned());
        }
        check_name(name)?;
        let (value, after) = value(after).map_err(|why| format!("{why} in the value of `{name}`"))?;
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    if pairs.is_empty() {
        return Err("expected NAME=VALUE, a mapping in JSON or YAML, or @FILE".to_owned());
    }
    Ok(pairs)
}

/// Reads a value up to the next blank outside of quotes and templates. Returns it without its quotes, and the rest.
fn value(text: &str) -> Result<(String, &str), String> {
    if let Some(quote) = text.chars().next().filter(|c| "'\"".contains(*c)) {
        let mut value = String::new();
        let mut characters = text.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    let next = characters.next().map(|(_, next)| next);
                    // A backslash stands for itself, except before a quote or a backslash.
                    if !next.is_some_and(|next| next == quote || next == '\\') {
                        value.push('\\');
                    }
                    value.extend(next);
                }
                _ if character == quote => {
                    let after = &text[at + character.len_utf8()..];
                    if after.starts_with(|c: char| !c.is_whitespace()) {
                        return Err("text follows the closing quote".to_owned());
                    }
                    return Ok((value, after));
                }
                _ => value.push(character),
            }
        }
        return Err("a quote is not closed".to_owned());
    }
    let mut depth = 0u32;
    for (at, character) in text.char_indices() {
        let here = &text[at..];
        if here.starts_with("{{") || here.starts_with("{%") {
            depth += 1;
        } else if here.starts_with("}}") || here.starts_with("%}") {
            depth = depth.saturating_sub(1);
        } else if character.is_whitespace() && depth == 0 {
            return Ok((text[..at].to_owned(), here));
        }
    }
    Ok((text.to_owned(), ""))
}

// === impl Job ===

impl Job {
    /// The typed names that neither the job nor a template of the hosts' vars uses.
    pub fn unused<'a>(
        &self,
        typed: &BTreeSet<String>,
        scopes: impl IntoIterator<Item = Scope<'a>>,
    ) -> Vec<Unused> {
        let used = self.names();
        let mut unused: Vec<&String> = typed
            .iter()
            .filter(|name| !used.contains(name.as_str()))
            .collect();
        if unused.is_empty() {
            return Vec::new();
        }
        let values = self.extra.values();
        unused.retain(|name| !values.clone().any(|value| mentions(value, name)));
        for scope in scopes {
            unused.retain(|name| !scope.vars.values().any(|value| mentions(value, name)));
            if unused.is_empty() {
                break;
            }
        }
        unused
            .into_iter()
            .map(|name| Unused {
                name: name.clone(),
                near: SourceError::nearest(name, used.iter().copied()).map(str::to_owned),
            })
            .collect()
    }

    /// The names that the job's templates use.
    fn names(&self) -> BTreeSet<&str> {
        let steps = self.steps.iter().flat_map(Step::expressions);
        let vars = self.vars.iter().flat_map(|(_, var)| var.expressions());
        let replace = self.heal.replace.iter().flat_map(Template::expressions);
        let files = self
            .template_files
            .values()
            .flat_map(reveille_document::Blocks::roots);
        steps
            .chain(vars)
            .chain(replace)
            .flat_map(Expression::roots)
            .chain(files)
            .map(String::as_str)
            .collect()
    }
}

/// Whether a template in the value contains the name.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => {
            is_template(text)
                && text
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .any(|word| word == name)
        }
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Object(entries) => entries.values().any(|value| mentions(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(argument: &str) -> Result<Value, String> {
        let extra = Extra::read(&[argument.to_owned()])?;
        Ok(Value::Object(extra.values.into_iter().collect()))
    }

    #[test]
    fn arguments_are_read_as_ansible_reads_them() {
        for (argument, wanted) in [
            ("a=1", json!({"a": "1"})),
            ("a=1 b=2", json!({"a": "1", "b": "2"})),
            ("a='x y' b=\"it's\"", json!({"a": "x y", "b": "it's"})),
            (r#"a="say \"hi\"""#, json!({"a": "say \"hi\""})),
            ("a= b=x=y", json!({"a": "", "b": "x=y"})),
            ("a={{ b + 1 }}/c d=2", json!({"a": "{{ b + 1 }}/c", "d": "2"})),
            (
                r#"{"a": "b=1", "n": 3, "on": true}"#,
                json!({"a": "b=1", "n": 3, "on": true}),
            ),
            ("{a: [1, x]}", json!({"a": [1, "x"]})),
            // Modes, versions and long numbers are what was written, as in `vars` of a job.
            (
                "{a: 0640, b: 1.10, c: 12345678901234567890123, d: 1.5}",
                json!({"a": "0640", "b": "1.10", "c": "12345678901234567890123", "d": 1.5}),
            ),
            (
                "{a: y, b: [n, N, Y], c: yes}",
                json!({"a": "y", "b": ["n", "N", "Y"], "c": true}),
            ),
        ] {
            assert_eq!(values(argument), Ok(wanted), "{argument}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        for (argument, wanted) in [
            ("=1", "-e =1: a name is missing before `=`"),
            (
                "",
                "-e : expected NAME=VALUE, a mapping in JSON or YAML, or @FILE",
            ),
            (
                "a",
                "-e a: expected NAME=VALUE, a mapping in JSON or YAML, or @FILE",
            ),
            ("a-b=1", "-e a-b=1: templates can't use the name `a-b`"),
            (
                "a=x y",
                "-e a=x y: `y` is not NAME=VALUE; quote a value that contains blanks: a='\"VALUE\"'",
            ),
            ("a='x", "-e a='x: a quote is not closed in the value of `a`"),
            (
                "a='x'y",
                "-e a='x'y: text follows the closing quote in the value of `a`",
            ),
            ("[1]", "-e [1]: expected a mapping of names to values"),
            (
                r#"{"a b": 1}"#,
                "-e {\"a b\": 1}: templates can't use the name `a b`",
            ),
            ("@/nowhere", "-e @/nowhere: "),
        ] {
            let refused = values(argument).unwrap_err();
            assert!(refused.starts_with(wanted), "{refused}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_value_is_read_back(value in "[^\\x00]{0,20}") {
            let quoted = value.replace('\\', r"\\").replace('"', "\\\"");
            let read = values(&format!("a=\"{quoted}\" b=1"));
            proptest::prop_assert_eq!(read, Ok(json!({"a": value, "b": "1"})));
        }

        #[test]
        fn no_argument_panics(argument in r#"[{}='" a-c\\%@é]{0,20}"#) {
            let _ = values(&argument);
        }
    }
}
