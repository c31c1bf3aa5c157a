//! Templates: text with `{{ expressions }}`, compiled once; what never changes is filled in while the scenario is read.
//!
//! Only `{{ … }}` is special, as in jobs. A template knows how long its value holds: for the whole test, until the
//! bootstrap is refreshed, or for one request; so that a request whose parts do not change is made once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};
use reveille_document::language;
use reveille_document::template::{Piece, Unclosed, split};

/// Steps of evaluation that one expression may take.
const FUEL: u64 = 50_000;

static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(|| language(FUEL));

/// Text with expressions in it; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// As it was written.
    pub(crate) source: Arc<str>,
    pub(crate) parts: Arc<[Part]>,
    pub(crate) holds: Holds,
}

/// How long a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    /// The whole test.
    Always,
    /// Until the bootstrap is refreshed.
    Refresh,
    /// One request.
    Once,
}

#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Expression(Expression),
}

/// A compiled expression.
pub(crate) struct Expression {
    compiled: minijinja::Expression<'static, 'static>,
    /// As it was written, without braces.
    pub(crate) source: String,
    /// It is nothing but a name.
    plain: bool,
    /// The names it needs from outside.
    pub(crate) roots: BTreeSet<String>,
    /// The names with what is taken from them, `env.HOME`.
    paths: BTreeSet<String>,
    /// Where it stands in the file, in bytes.
    pub(crate) at: usize,
}

/// Where values come from.
pub(crate) trait Names {
    fn value(&self, name: &str) -> Option<Value>;
}

impl Names for BTreeMap<String, Value> {
    fn value(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }
}

/// What is wrong in a template, and where in the file, in bytes.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

// === impl Text ===

impl Text {
    /// Compiles `text`, which the file has at byte `start` in the form `raw` (with its quotes and indentation). What
    /// `constants` define is filled in; the names in `shared` hold until a refresh.
    pub(crate) fn compile(
        text: &str,
        raw: &str,
        start: usize,
        constants: &BTreeMap<String, Value>,
        shared: &BTreeSet<String>,
    ) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut holds = Holds::Always;
        let pieces = split(text, raw, start).map_err(|Unclosed { at }| Fault {
            at,
            message: Unclosed::MESSAGE.into(),
            hint: Some(Unclosed::HINT.into()),
        })?;
        for piece in pieces {
            let (source, at) = match piece {
                Piece::Text(text) => {
                    push(&mut parts, text);
                    continue;
                }
                Piece::Expression { source, at } => (source, at),
            };
            let expression = Expression::compile(source, at)?;
            if expression.roots.iter().all(|root| constants.contains_key(root)) {
                push(&mut parts, &expression.constant(constants)?);
                continue;
            }
            let refreshed = |root| constants.contains_key(root) || shared.contains(root);
            holds = holds.max(if expression.roots.iter().all(refreshed) {
                Holds::Refresh
            } else {
                Holds::Once
            });
            parts.push(Part::Expression(expression));
        }
        if parts.is_empty() {
            parts.push(Part::Text(String::new()));
        }
        Ok(Self {
            source: text.into(),
            parts: parts.into(),
            holds,
        })
    }

    /// Its value, if that never changes.
    pub(crate) fn constant(&self) -> Option<&str> {
        match &*self.parts {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Names of the environment that `text` takes.
    pub(crate) fn environment(text: &str) -> BTreeSet<String> {
        let pieces = split(text, text, 0).unwrap_or_default();
        let compiled = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Expression { source, at } => Expression::compile(source, at).ok(),
        });
        compiled
            .flat_map(|expression| expression.paths)
            .filter_map(|path| Some(path.strip_prefix("env.")?.to_owned()))
            .collect()
    }

    /// Whether it is known to begin with `sign`.
    pub(crate) fn begins_with(&self, sign: char) -> bool {
        matches!(self.parts.first(), Some(Part::Text(text)) if text.starts_with(sign))
    }

    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression) => Some(expression),
        })
    }

    /// Filled in.
    pub(crate) fn render(&self, names: &dyn Names) -> Result<String, String> {
        let mut text = String::new();
        for part in &*self.parts {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Expression(expression) => {
                    let value = expression.evaluate(names)?;
                    match value.as_str() {
                        Some(string) => text.push_str(string),
                        None => text.push_str(&value.to_string()),
                    }
                }
            }
        }
        Ok(text)
    }

    /// Filled in for a place in JSON: a single expression keeps its type.
    pub(crate) fn render_json(&self, names: &dyn Names) -> Result<String, String> {
        let value = match &*self.parts {
            [Part::Expression(expression)] => {
                serde_json::to_value(expression.evaluate(names)?).map_err(|error| error.to_string())?
            }
            _ => serde_json::Value::String(self.render(names)?),
        };
        Ok(value.to_string())
    }
}

fn push(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(before)) => before.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

// === impl Expression ===

impl Expression {
    fn compile(source: &str, at: usize) -> Result<Self, Fault> {
        if source.is_empty() {
            return Err(Fault {
                at,
                message: "an expression is missing between the braces".into(),
                hint: None,
            });
        }
        let compiled = LANGUAGE
            .compile_expression_owned(source.to_owned())
            .map_err(|error| Fault {
                at: at + error.range().map_or(0, |range| range.start),
                message: format!(
                    "`{source}` is not an expression: {}",
                    error.detail().unwrap_or("it can't be read")
                ),
                hint: None,
            })?;
        let known = |name: &String| LANGUAGE.globals().any(|(global, _)| global == name);
        let roots: BTreeSet<String> = compiled
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !known(name))
            .collect();
        Ok(Self {
            plain: roots.contains(source),
            paths: compiled.undeclared_variables(true).into_iter().collect(),
            compiled,
            source: source.to_owned(),
            roots,
            at,
        })
    }

    /// The names that it needs, each with what is taken from it.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    fn constant(&self, constants: &BTreeMap<String, Value>) -> Result<String, Fault> {
        let fault = |message: String, hint: Option<String>| Fault {
            at: self.at,
            message,
            hint,
        };
        let unset = self.paths.iter().find_map(|path| {
            let name = path.strip_prefix("env.")?;
            let environment = constants.get("env")?;
            environment
                .get_attr(name)
                .is_ok_and(|value| value.is_undefined())
                .then_some(name)
        });
        match self.evaluate(constants) {
            Ok(value) => Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            Err(_) if let Some(name) = unset => Err(fault(
                format!("the environment variable {name} is not set"),
                Some(format!("set it: `{name}=… reveille-load …`; nothing was sent")),
            )),
            Err(message) => Err(fault(format!("`{}`: {message}", self.source), None)),
        }
    }

    fn evaluate(&self, names: &dyn Names) -> Result<Value, String> {
        if self.plain {
            return names
                .value(&self.source)
                .ok_or_else(|| format!("`{}` has no value yet", self.source));
        }
        let roots: BTreeMap<&str, Value> = self
            .roots
            .iter()
            .filter_map(|root| Some((root.as_str(), names.value(root)?)))
            .collect();
        let value = self
            .compiled
            .eval(Value::from_pairs(roots))
            .map_err(|error| match error.kind() {
                ErrorKind::UndefinedError => format!("something in `{}` has no value", self.source),
                _ => error
                    .detail()
                    .map_or_else(|| error.kind().to_string(), str::to_owned),
            })?;
        if value.is_undefined() {
            return Err(format!("`{}` has no value", self.source));
        }
        Ok(value)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{{{{ {} }}}}", self.source)
    }
}

/// A JSON value as a template's value.
pub(crate) fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(
            || {
                number
                    .as_u64()
                    .map_or_else(|| Value::from(number.as_f64().unwrap_or_default()), Value::from)
            },
            Value::from,
        ),
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(value_of).collect(),
        serde_json::Value::Object(entries) => map_of(
            entries
                .iter()
                .map(|(name, value)| (name.clone(), value_of(value))),
        ),
    }
}

/// A mapping as a template's value.
fn map_of(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::from_object(entries.into_iter().collect::<BTreeMap<String, Value>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constants() -> BTreeMap<String, Value> {
        BTreeMap::from([
            ("host".to_owned(), Value::from("web1")),
            (
                "env".to_owned(),
                Value::from_pairs([("HOME", Value::from("/root"))]),
            ),
        ])
    }

    fn compile(text: &str) -> Result<Text, Fault> {
        let shared = BTreeSet::from(["token".to_owned()]);
        Text::compile(text, text, 0, &constants(), &shared)
    }

    #[test]
    fn what_never_changes_is_filled_in_at_once() {
        let text = compile("http://{{ host }}{{ env.HOME }}/{{ 1 + 1 }}").expect("good");
        assert_eq!(text.constant(), Some("http://web1/root/2"));
        assert_eq!(compile("{{ token }}").expect("good").holds, Holds::Refresh);
        assert_eq!(compile("{{ token ~ id }}").expect("good").holds, Holds::Once);
    }

    #[test]
    fn an_unset_variable_is_named() {
        let fault = compile("x {{ env.TOKEN }}").expect_err("unset");
        assert_eq!(
            (fault.at, fault.message.as_str()),
            (5, "the environment variable TOKEN is not set")
        );
    }

    #[test]
    fn json_keeps_types() {
        let names = BTreeMap::from([
            ("n".to_owned(), Value::from(3)),
            ("s".to_owned(), Value::from("a\"b")),
        ]);
        let json = |text: &str| compile(text).expect("good").render_json(&names).expect("good");
        assert_eq!(json("{{ n }}"), "3");
        assert_eq!(json("{{ s }}"), r#""a\"b""#);
        assert_eq!(json("{{ n }} {{ s }}"), r#""3 a\"b""#);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"([{}'"\\ a-c.|()\[\]~+é]|\{\{|\}\}){0,30}"#) {
            let _ = compile(&text);
        }
    }
}
