//! Templates of a scenario. Constants are filled in while the scenario is read.
//!
//! A template knows how long its value stays the same: for the whole test, until the bootstrap is refreshed, or for one
//! request. So a request whose parts do not change is prepared once.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::value::Value;
use reveille_account::Fault;
use reveille_document::{EvaluationError, Expression, Names, Part, Template, write_value};

/// Text with expressions; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    template: Template,
    pub(crate) holds: Holds,
}

/// How long a value stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    /// The whole test.
    Always,
    /// Until the bootstrap is refreshed.
    Refresh,
    /// One request.
    Once,
}

// === impl Text ===

impl Text {
    /// Compiles `text`, which stands at byte `start` of the file as `raw`, with quotes and indentation. Constants are
    /// filled in. The names in `shared` stay the same until a refresh.
    pub(crate) fn compile(
        text: &str,
        raw: &str,
        start: usize,
        constants: &BTreeMap<String, Value>,
        shared: &BTreeSet<String>,
    ) -> Result<Self, Fault> {
        let mut holds = Holds::Always;
        let template = Template::folded(text, raw, start, |expression| {
            let roots = expression.roots();
            if roots.iter().all(|root| constants.contains_key(root)) {
                return Ok(Part::Text(constant(&expression, constants)?));
            }
            let refreshed = |root| constants.contains_key(root) || shared.contains(root);
            holds = holds.max(if roots.iter().all(refreshed) {
                Holds::Refresh
            } else {
                Holds::Once
            });
            Ok(Part::Expression(expression))
        })?;
        Ok(Self { template, holds })
    }

    /// As it was written.
    pub(crate) fn source(&self) -> &str {
        self.template.source()
    }

    /// Its value, if it never changes.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self.template.parts() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Names of the environment that `text` uses.
    pub(crate) fn environment(text: &str) -> BTreeSet<String> {
        let Ok(template) = Template::compile(text, text, 0) else {
            return BTreeSet::new();
        };
        let paths = template.expressions().flat_map(Expression::paths);
        paths
            .filter_map(|path| Some(path.strip_prefix("env.")?.to_owned()))
            .collect()
    }

    /// Whether it surely begins with `sign`.
    pub(crate) fn begins_with(&self, sign: char) -> bool {
        matches!(self.template.parts().first(), Some(Part::Text(text)) if text.starts_with(sign))
    }

    pub(crate) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.template.expressions()
    }

    /// Fills the template in.
    pub(crate) fn render(&self, names: &dyn Names) -> Result<String, String> {
        self.template
            .render(names)
            .map_err(|(expression, error)| words(expression, error))
    }

    /// Fills the template in as JSON. A single expression keeps the type of its value.
    pub(crate) fn render_json(&self, names: &dyn Names) -> Result<String, String> {
        let value = match self.template.single() {
            Some(expression) => {
                let value = expression
                    .evaluate(names)
                    .map_err(|error| words(expression, error))?;
                serde_json::to_value(value).map_err(|error| error.to_string())?
            }
            None => serde_json::Value::String(self.render(names)?),
        };
        Ok(value.to_string())
    }
}

/// The text of an expression that uses only constants.
fn constant(expression: &Expression, constants: &BTreeMap<String, Value>) -> Result<String, Fault> {
    let unset = expression.paths().iter().find_map(|path| {
        let name = path.strip_prefix("env.")?;
        let environment = constants.get("env")?;
        environment
            .get_attr(name)
            .is_ok_and(|value| value.is_undefined())
            .then_some(name)
    });
    match expression.evaluate(constants) {
        Ok(value) => {
            let mut text = String::new();
            write_value(&mut text, &value);
            Ok(text)
        }
        Err(_) if let Some(name) = unset => {
            let message = format!("the environment variable {name} is not set");
            Err(Fault::new(expression.at(), message).hint(format!("set it: `{name}=… reveille-load …`")))
        }
        Err(error) => Err(Fault::new(expression.at(), words(expression, error))),
    }
}

fn words(expression: &Expression, error: EvaluationError) -> String {
    match error {
        EvaluationError::Undefined(None) => format!("`{}` is undefined", expression.source()),
        EvaluationError::Undefined(Some(part)) => format!("`{part}` is undefined"),
        error => format!("`{}`: {error}", expression.source()),
    }
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
    fn constants_are_filled_in_while_reading() {
        let text = compile("http://{{ host }}{{ env.HOME }}/{{ 1 + 1 }}").expect("good");
        assert_eq!(text.constant(), Some("http://web1/root/2"));
        assert_eq!(compile("{{ token }}").expect("good").holds, Holds::Refresh);
        assert_eq!(compile("{{ token ~ id }}").expect("good").holds, Holds::Once);
    }

    #[test]
    fn an_unset_variable_is_named() {
        let fault = compile("x {{ env.TOKEN }}").expect_err("unset");
        assert_eq!(
            (fault.offset, fault.message.as_str()),
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
