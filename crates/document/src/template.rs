//! Text with `{{ expressions }}`. Nothing else in it is special: shell text is full of `{%` and `${#`.

use std::sync::Arc;

use minijinja::Environment;
use reveille_account::Fault;

use crate::expression::{EvaluationError, Expression, LANGUAGE, Names, write_value};

/// Text with expressions; cheap to clone.
#[derive(Debug, Clone)]
pub struct Template {
    source: Arc<str>,
    parts: Arc<[Part]>,
}

/// A part of a template.
#[derive(Debug)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// An expression, which stands between braces in the text.
    Expression(Expression),
}

// === impl Template ===

impl Template {
    /// Takes text without expressions, whatever it contains.
    pub fn plain(text: &str) -> Self {
        Self {
            source: text.into(),
            parts: [Part::Text(text.to_owned())].into(),
        }
    }

    /// Compiles `text`, which stands at byte `start` of the file in the form `raw` (with its quotes and indentation).
    ///
    /// # Errors
    ///
    /// One of its expressions can't be compiled. The fault's offset counts from the start of the file.
    pub fn compile(text: &str, raw: &str, start: usize) -> Result<Self, Fault> {
        Self::compile_in(&LANGUAGE, text, raw, start)
    }

    /// Like [`compile`](Self::compile), in a language with additional functions.
    ///
    /// # Errors
    ///
    /// As [`compile`](Self::compile).
    pub fn compile_in(
        language: &'static Environment<'static>,
        text: &str,
        raw: &str,
        start: usize,
    ) -> Result<Self, Fault> {
        Self::build(language, text, raw, start, |expression| {
            Ok(Part::Expression(expression))
        })
    }

    /// Like [`compile`](Self::compile), with each expression replaced by the result of `fold`, such as the text of a
    /// constant.
    ///
    /// # Errors
    ///
    /// Like [`compile`](Self::compile), and the errors of `fold`.
    pub fn folded(
        text: &str,
        raw: &str,
        start: usize,
        fold: impl FnMut(Expression) -> Result<Part, Fault>,
    ) -> Result<Self, Fault> {
        Self::build(&LANGUAGE, text, raw, start, fold)
    }

    fn build(
        language: &'static Environment<'static>,
        text: &str,
        raw: &str,
        start: usize,
        mut fold: impl FnMut(Expression) -> Result<Part, Fault>,
    ) -> Result<Self, Fault> {
        let mut parts: Vec<Part> = Vec::new();
        for piece in split(text, raw, start)? {
            let part = match piece {
                Piece::Text(text) => Part::Text(text.to_owned()),
                Piece::Expression { source, at } => fold(Expression::compile_in(language, source, at)?)?,
            };
            match (parts.last_mut(), part) {
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (_, part) => parts.push(part),
            }
        }
        if parts.is_empty() {
            parts.push(Part::Text(String::new()));
        }
        Ok(Self {
            source: text.into(),
            parts: parts.into(),
        })
    }

    /// The template as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its parts, at least one.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Expression(expression) => Some(expression),
        })
    }

    /// The expression, if the template is a single one, whose value keeps its type.
    pub fn single(&self) -> Option<&Expression> {
        match &*self.parts {
            [Part::Expression(expression)] => Some(expression),
            _ => None,
        }
    }

    /// Renders the text, with every expression replaced by its value.
    ///
    /// # Errors
    ///
    /// The first expression without a value, and why.
    pub fn render(&self, names: &dyn Names) -> Result<String, (&Expression, EvaluationError)> {
        let mut text = String::with_capacity(self.source.len());
        for part in &*self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Expression(expression) => {
                    let value = expression.evaluate(names).map_err(|error| (expression, error))?;
                    write_value(&mut text, &value);
                }
            }
        }
        Ok(text)
    }
}

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    /// Text as it is; never empty.
    Text(&'a str),
    /// The text between the braces, without the blanks around it.
    Expression {
        /// The expression.
        source: &'a str,
        /// The byte of the file at which it starts.
        at: usize,
    },
}

/// Splits `text`, which stands at byte `start` of the file in the form `raw`, with its quotes and indentation.
fn split<'a>(text: &'a str, raw: &str, start: usize) -> Result<Vec<Piece<'a>>, Fault> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while let Some(open) = text[done..].find("{{").map(|at| done + at) {
        // Folding and escapes may move text but never a `{{`; the n-th in the value is the n-th in the file.
        let earlier = text[..open].matches("{{").count();
        let at = raw
            .match_indices("{{")
            .nth(earlier)
            .map_or(start, |(at, _)| start + at);
        let Some(length) = expression_length(&text[open + 2..], "}}") else {
            let fault = Fault::new(at, "this `{{` is never closed");
            return Err(fault.hint("write `{{ '{{' }}` for the two braces themselves"));
        };
        if open > done {
            pieces.push(Piece::Text(&text[done..open]));
        }
        let inside = &text[open + 2..open + 2 + length];
        let blank = inside.len() - inside.trim_start().len();
        pieces.push(Piece::Expression {
            source: inside.trim(),
            at: at + 2 + blank,
        });
        done = open + 2 + length + 2;
    }
    if done < text.len() {
        pieces.push(Piece::Text(&text[done..]));
    }
    Ok(pieces)
}

/// The length of the expression before `end` (`}}` or `%}`): up to the first one outside quotes and inner braces.
pub(crate) fn expression_length(text: &str, end: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0usize;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, _) if depth == 0 && text[at..].starts_with(end) => return Some(at),
            (None, '{') => depth += 1,
            (None, '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use minijinja::value::Value;

    use super::*;

    fn compile(text: &str) -> Result<Template, Fault> {
        Template::compile(text, text, 0)
    }

    #[test]
    fn expressions_have_places_in_the_file() {
        let template = Template::compile("a {{ b }}{{c}} d", "'a {{ b }}{{c}} d'", 10).expect("good");
        let places: Vec<(&str, usize)> = template
            .expressions()
            .map(|expression| (expression.source(), expression.at()))
            .collect();
        assert_eq!(places, [("b", 16), ("c", 22)]);
        assert_eq!(compile("x {{ '}}'").expect_err("open").offset, 2);
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
    fn a_single_expression_keeps_its_kind() {
        assert!(compile("{{ a }}").expect("good").single().is_some());
        assert!(compile("{{ a }} ").expect("good").single().is_none());
        let names = BTreeMap::from([("a", Value::from(()))]);
        assert_eq!(
            compile("<{{ a }}>").expect("good").render(&names).ok().as_deref(),
            Some("<>")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"([{}'"\\ a-c.|()\[\]~+é]|\{\{|\}\}){0,30}"#) {
            let _ = compile(&text);
        }
    }
}
