//! Expressions: compiled once, evaluated for every host or request.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fmt;
use std::sync::LazyLock;

use minijinja::value::{Serde, Value, ValueKind};
use minijinja::{Environment, ErrorKind, context};
use reveille_account::{Fault, SourceError};

use crate::language::{FILTERS, LARGEST, TESTS, language};
use crate::scan::{Use, uses, without_slices};

/// How many steps the evaluation of one expression may take.
const FUEL: u64 = 50_000;

/// The language of jobs and scenarios.
pub(crate) static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(|| language(FUEL));

/// A compiled expression.
pub struct Expression {
    compiled: minijinja::Expression<'static, 'static>,
    source: String,
    roots: BTreeSet<String>,
    paths: BTreeSet<String>,
    /// The expression is just a name.
    is_name: bool,
    at: usize,
}

/// A source of values by name.
pub trait Names {
    /// The value of a name, if it has one.
    fn value(&self, name: &str) -> Option<Value>;
}

/// Why an expression can't be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvaluationError {
    /// It uses something that is undefined; the part of the expression, if known.
    Undefined(Option<String>),
    /// It calls a function or a method that does not exist for any value.
    UnknownName(String),
    /// A function refused its arguments; the text contains no values. See [`refusal`].
    Refused(String),
    /// Something else; the text may contain parts of values.
    Other(String),
}

// === impl Expression ===

impl Expression {
    /// Compiles an expression that starts at byte `at` of its file.
    ///
    /// # Errors
    ///
    /// The text is not an expression, or it names a filter or a test that does not exist.
    pub fn compile(source: &str, at: usize) -> Result<Self, Fault> {
        Self::compile_in(&LANGUAGE, source, at)
    }

    /// Like [`compile`](Self::compile), in a language with additional functions.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile).
    pub fn compile_in(
        language: &'static Environment<'static>,
        source: &str,
        at: usize,
    ) -> Result<Self, Fault> {
        if source.is_empty() {
            return Err(Fault::new(at, "an expression is missing between the braces"));
        }
        let compiled = language
            .compile_expression_owned(source.to_owned())
            .map_err(|error| {
                let offset = error.range().map_or(0, |range| range.start);
                let detail = error.detail().unwrap_or("it can't be read");
                let fault = Fault::new(at + offset, format!("`{source}` is not an expression: {detail}"));
                if source.starts_with('.') {
                    fault.hint(format!(
                        "for a command's own braces write `{{{{ '{{{{{source}}}}}' }}}}`"
                    ))
                } else {
                    fault
                }
            })?;
        check_uses(language, source, at)?;
        let sliced = without_slices(source);
        let analysed = if &*sliced == source {
            None
        } else {
            language.compile_expression_owned(sliced.into_owned()).ok()
        };
        let analysed = analysed.as_ref().unwrap_or(&compiled);
        let is_global = |name: &String| language.globals().any(|(global, _)| global == name);
        let roots: BTreeSet<String> = analysed
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !is_global(name))
            .collect();
        Ok(Self {
            is_name: roots.contains(source),
            paths: analysed.undeclared_variables(true).into_iter().collect(),
            compiled,
            source: source.to_owned(),
            roots,
            at,
        })
    }

    /// The expression as written, without braces.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The byte of the file at which the expression starts.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The names that the expression needs.
    pub fn roots(&self) -> &BTreeSet<String> {
        &self.roots
    }

    /// The same names with the attributes that are read from them, such as `conf.stdout`.
    pub fn paths(&self) -> &BTreeSet<String> {
        &self.paths
    }

    /// Evaluates the expression. The type is kept: a list remains a list.
    ///
    /// # Errors
    ///
    /// The expression has no value with these names.
    pub fn evaluate(&self, names: &dyn Names) -> Result<Value, EvaluationError> {
        let value = if self.is_name {
            names.value(&self.source).unwrap_or(Value::UNDEFINED)
        } else {
            let roots = self.roots.iter();
            let known = roots.filter_map(|root| Some((root.as_str(), names.value(root)?)));
            self.compiled
                .eval(Value::from_pairs(known))
                .map_err(|error| EvaluationError::from(&error))?
        };
        if value.as_str().is_some_and(|text| text.len() > LARGEST) {
            let message = format!("it makes a text of more than {LARGEST} bytes");
            return Err(EvaluationError::Refused(message));
        }
        if value.is_undefined() {
            return Err(EvaluationError::Undefined(Some(self.source.clone())));
        }
        Ok(value)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{{{{ {} }}}}", self.source)
    }
}

/// Refuses filters and tests that do not exist. `source` starts at byte `at` of its file.
pub(crate) fn check_uses(language: &Environment<'_>, source: &str, at: usize) -> Result<(), Fault> {
    for Use {
        kind,
        name,
        at: offset,
    } in uses(source)
    {
        let question = format!("name is {kind}");
        let answer = language
            .compile_expression(&question)
            .and_then(|question| question.eval(context! { name }));
        if answer.is_ok_and(|answer| answer.is_true()) {
            continue;
        }
        let known = if kind == "filter" { FILTERS } else { TESTS };
        let near = SourceError::nearest(name, known.split(' '));
        return Err(Fault {
            hint: near.map(|near| format!("did you mean `{near}`?")),
            ..Fault::new(at + offset, format!("there is no {kind} `{name}`"))
        });
    }
    Ok(())
}

// === impl Names ===

impl<K: Ord + std::borrow::Borrow<str>> Names for BTreeMap<K, Value> {
    fn value(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }
}

// === impl EvaluationError ===

impl From<&minijinja::Error> for EvaluationError {
    fn from(error: &minijinja::Error) -> Self {
        if let Some(Refusal(message)) = error.source().and_then(|source| source.downcast_ref()) {
            return Self::Refused(message.clone());
        }
        let detail = || {
            error
                .detail()
                .map_or_else(|| error.kind().to_string(), str::to_owned)
        };
        match error.kind() {
            ErrorKind::UndefinedError => Self::Undefined(error.detail().and_then(part).map(str::to_owned)),
            ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::SyntaxError => Self::UnknownName(detail()),
            _ => Self::Other(detail()),
        }
    }
}

/// The part of an expression that MiniJinja's message quotes.
pub(crate) fn part(detail: &str) -> Option<&str> {
    detail.strip_prefix('`')?.strip_suffix("` is undefined")
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined(Some(part)) => write!(formatter, "`{part}` is undefined"),
            Self::Undefined(None) => formatter.write_str("something in it is undefined"),
            Self::UnknownName(message) | Self::Refused(message) | Self::Other(message) => {
                formatter.write_str(message)
            }
        }
    }
}

/// The error of a function that refuses its arguments; the message contains no values.
pub fn refusal(message: impl Into<String>) -> minijinja::Error {
    minijinja::Error::from(ErrorKind::InvalidOperation).with_source(Refusal(message.into()))
}

#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Converts a JSON value.
pub fn value_of(json: &serde_json::Value) -> Value {
    Serde(json).into()
}

/// Appends a value to a text; none is written as nothing.
pub fn write_value(text: &mut String, value: &Value) {
    match value.as_str() {
        Some(string) => text.push_str(string),
        None if value.kind() == ValueKind::None => {}
        None => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(source: &str) -> Expression {
        Expression::compile(source, 0).expect(source)
    }

    #[test]
    fn roots_are_what_must_come_from_outside() {
        for (source, roots) in [
            ("conf.stdout ~ range(n) | join(sep)", &["conf", "n", "sep"][..]),
            ("all[first:last]", &["all", "first", "last"]),
            ("all[1:]", &["all"]),
            ("x[y[z:][0]]", &["x", "y", "z"]),
        ] {
            let found: Vec<String> = compile(source).roots().iter().cloned().collect();
            assert_eq!(found, roots, "{source}");
        }
    }

    #[test]
    fn kinds_are_kept_and_slices_work() {
        let names = BTreeMap::from([("all", Value::from(vec![1, 2, 3])), ("n", Value::from(1))]);
        let json = |source: &str| {
            let value = compile(source).evaluate(&names).expect(source);
            serde_json::to_value(value).expect("json")
        };
        assert_eq!(json("all"), serde_json::json!([1, 2, 3]));
        assert_eq!(json("all[n:]"), serde_json::json!([2, 3]));
        assert_eq!(json("all | length"), serde_json::json!(3));
        assert_eq!(
            compile("gone").evaluate(&names),
            Err(EvaluationError::Undefined(Some("gone".to_owned())))
        );
    }

    #[test]
    fn a_text_of_any_size_is_not_made() {
        let names = BTreeMap::<&str, Value>::new();
        let large = compile("'x' * 99000000").evaluate(&names);
        assert!(matches!(large, Err(EvaluationError::Refused(_))));
    }

    #[test]
    fn unknown_filters_and_tests_are_found_before_anything_runs() {
        for (source, message, at) in [
            (
                "a | uper",
                "there is no filter `uper`\n  did you mean `upper`?",
                9,
            ),
            (
                "1 if b else a is definde",
                "there is no test `definde`\n  did you mean `defined`?",
                22,
            ),
            (
                "[1 | nothing_like_it]",
                "there is no filter `nothing_like_it`",
                10,
            ),
        ] {
            let fault = Expression::compile(source, 5).expect_err(source);
            let hint = fault.hint.map_or_else(String::new, |hint| format!("\n  {hint}"));
            assert_eq!(
                (format!("{}{hint}", fault.message), fault.offset),
                (message.to_owned(), at)
            );
        }
    }

    #[test]
    fn the_lists_for_hints_are_right() {
        let exists = |kind: &str, name: &str| {
            let question = LANGUAGE
                .compile_expression_owned(format!("name is {kind}"))
                .expect("good");
            question.eval(context! { name }).expect("an answer").is_true()
        };
        for name in FILTERS.split(' ') {
            assert!(exists("filter", name), "{name}");
        }
        for name in TESTS.split(' ') {
            assert!(exists("test", name), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"[{}'"\\ a-c.|()\[\]~+:é]{0,30}"#) {
            if let Ok(expression) = Expression::compile(&text, 0) {
                let _ = expression.evaluate(&BTreeMap::from([("a", Value::from(vec![1, 2]))]));
            }
        }
    }
}
