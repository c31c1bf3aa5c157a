//! Templates: text with `{{ expressions }}`, compiled once, evaluated for each host.
//!
//! Only `{{ … }}` is special. Shell text is full of `{%` and `${#`, which a whole template language would take for its own.

use std::collections::BTreeSet;
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
pub(crate) struct Template {
    /// As it was written.
    pub(crate) text: Arc<str>,
    pub(crate) parts: Arc<[Part]>,
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
    /// The names it needs from outside.
    pub(crate) roots: BTreeSet<String>,
    /// The names with what is taken from them, `conf.stdout`.
    pub(crate) paths: BTreeSet<String>,
    /// Where it stands in the file, in bytes.
    pub(crate) at: usize,
}

/// What is wrong in a template, and where in the file, in bytes.
#[derive(Debug)]
pub(crate) struct TemplateFault {
    pub(crate) at: usize,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Why an expression has no value.
#[derive(Debug)]
pub(crate) struct EvaluationError {
    /// Something it uses is not defined.
    pub(crate) undefined: bool,
    /// A filter, test, function or method doesn't exist, whatever the values are.
    pub(crate) unknown_name: bool,
    pub(crate) message: String,
}

// === impl Template ===

impl Template {
    /// Text without expressions, whatever it contains.
    pub(crate) fn plain(text: &str) -> Self {
        Self {
            text: text.into(),
            parts: [Part::Text(text.to_owned())].into(),
        }
    }

    /// Compiles `text`, which the file has at byte `start` in the form `raw` (with its quotes and indentation).
    pub(crate) fn compile(text: &str, raw: &str, start: usize) -> Result<Self, TemplateFault> {
        let pieces = split(text, raw, start).map_err(|Unclosed { at }| TemplateFault {
            at,
            message: Unclosed::MESSAGE.into(),
            hint: Some(Unclosed::HINT.into()),
        })?;
        let mut parts = pieces
            .into_iter()
            .map(|piece| {
                Ok(match piece {
                    Piece::Text(text) => Part::Text(text.to_owned()),
                    Piece::Expression { source, at } => Part::Expression(Expression::compile(source, at)?),
                })
            })
            .collect::<Result<Vec<Part>, TemplateFault>>()?;
        if parts.is_empty() {
            parts.push(Part::Text(String::new()));
        }
        Ok(Self {
            text: text.into(),
            parts: parts.into(),
        })
    }

    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression) => Some(expression),
        })
    }
}

// === impl Expression ===

impl Expression {
    /// Compiles an expression that stands at byte `at` of the file.
    pub(crate) fn compile(source: &str, at: usize) -> Result<Self, TemplateFault> {
        if source.is_empty() {
            return Err(TemplateFault {
                at,
                message: "an expression is missing between the braces".into(),
                hint: None,
            });
        }
        let compiled = LANGUAGE
            .compile_expression_owned(source.to_owned())
            .map_err(|error| {
                let offset = error.range().map_or(0, |range| range.start);
                let detail = error.detail().unwrap_or("it can't be read");
                TemplateFault {
                    at: at + offset,
                    message: format!("`{source}` is not an expression: {detail}"),
                    hint: source
                        .starts_with('.')
                        .then(|| format!("for a command's own braces write `{{{{ '{{{{{source}}}}}' }}}}`")),
                }
            })?;
        let known = |name: &String| LANGUAGE.globals().any(|(global, _)| global == name);
        let roots: BTreeSet<String> = compiled
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !known(name))
            .collect();
        let paths = compiled.undeclared_variables(true).into_iter().collect();
        Ok(Self {
            compiled,
            source: source.to_owned(),
            roots,
            paths,
            at,
        })
    }

    /// Its value, given the values of its roots.
    pub(crate) fn evaluate(&self, roots: Value) -> Result<Value, EvaluationError> {
        let fail = |error: &minijinja::Error| EvaluationError {
            undefined: error.kind() == ErrorKind::UndefinedError,
            unknown_name: matches!(
                error.kind(),
                ErrorKind::UnknownFilter
                    | ErrorKind::UnknownTest
                    | ErrorKind::UnknownFunction
                    | ErrorKind::SyntaxError
            ),
            message: error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned),
        };
        let value = self.compiled.eval(roots).map_err(|error| fail(&error))?;
        if value.is_undefined() {
            return Err(EvaluationError {
                undefined: true,
                unknown_name: false,
                message: "undefined value".into(),
            });
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
pub(crate) fn map_of(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::from_pairs(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Template, TemplateFault> {
        Template::compile(text, text, 0)
    }

    #[test]
    fn only_double_braces_are_special() {
        let template = compile("echo ${#a} {% x %} {# y #} { z } }}").expect("plain text");
        assert_eq!(template.expressions().count(), 0);
    }

    #[test]
    fn quotes_and_inner_braces_hide_the_end() {
        for text in [
            "{{ '}}' }}",
            r#"{{ "\"}}" }}"#,
            "{{ {'a': {'b': 1}} }}",
            "{{ '{{' }}",
        ] {
            assert_eq!(compile(text).expect(text).expressions().count(), 1, "{text}");
        }
    }

    #[test]
    fn roots_are_what_must_come_from_outside() {
        let template = compile("{{ conf.stdout ~ range(n) | join(sep) }}").expect("good");
        let roots: Vec<&String> = template.expressions().flat_map(|e| &e.roots).collect();
        assert_eq!(roots, ["conf", "n", "sep"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"([{}'"\\ a-c.|()\[\]~+é]|\{\{|\}\}){0,30}"#) {
            let _ = compile(&text);
        }
    }
}
