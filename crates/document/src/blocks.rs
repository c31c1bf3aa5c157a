//! Complete Jinja templates: text with `{{ expressions }}` and `{% blocks %}`.

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};
use reveille_account::{Fault, SourceError};

use crate::expression::{check_uses, part};
use crate::language::{LARGEST, too_large};
use crate::scan::without_slices;
use crate::template::expression_length;

const NAME: &str = "file";

/// A compiled template.
pub struct Blocks {
    /// The file's name in messages.
    file: String,
    text: String,
    environment: Environment<'static>,
    roots: BTreeSet<String>,
    paths: BTreeSet<String>,
}

// === impl Blocks ===

impl Blocks {
    /// Compiles a template; `file` is its name in messages.
    ///
    /// # Errors
    ///
    /// The place where the template can't be parsed, or names a filter or a test that does not exist.
    pub fn compile(mut language: Environment<'static>, file: &str, text: &str) -> Result<Self, SourceError> {
        let wrong = |error| located(file, text, &error);
        language
            .add_template_owned(NAME, text.to_owned())
            .map_err(wrong)?;
        check(&language, text).map_err(|fault| placed(file, text, fault))?;
        let analysed = in_tags(text, |inside| without_slices(inside).into_owned());
        let analysed = language.template_from_str(&analysed);
        let analysed = match analysed {
            Ok(template) => template,
            Err(_) => language.get_template(NAME).map_err(wrong)?,
        };
        let is_global = |name: &String| language.globals().any(|(global, _)| global == name);
        let roots = analysed.undeclared_variables(false).into_iter();
        let roots = roots.filter(|name| !is_global(name)).collect();
        let paths = analysed.undeclared_variables(true).into_iter().collect();
        drop(analysed);
        Ok(Self {
            file: file.to_owned(),
            text: text.to_owned(),
            environment: language,
            roots,
            paths,
        })
    }

    /// The names that the template needs.
    pub fn roots(&self) -> &BTreeSet<String> {
        &self.roots
    }

    /// The same names with the attributes that are read from them, such as `conf.stdout`.
    pub fn paths(&self) -> &BTreeSet<String> {
        &self.paths
    }

    /// Renders the template with the values of its names.
    ///
    /// # Errors
    ///
    /// A name in it has no value.
    pub fn render(&self, roots: &BTreeMap<String, Value>) -> Result<String, SourceError> {
        self.try_render(roots)
            .map_err(|error| located(&self.file, &self.text, &error))
    }

    /// Like [`render`](Self::render), with MiniJinja's own error, which may contain parts of values.
    ///
    /// # Errors
    ///
    /// A name in it has no value.
    pub fn try_render(&self, roots: &BTreeMap<String, Value>) -> Result<String, Error> {
        let mut made = Made(Vec::new());
        let template = self.environment.get_template(NAME)?;
        let rendered = template.render_captured_to(Value::from_pairs(roots.clone()), &mut made);
        if let Err(error) = rendered {
            return Err(if made.0.len() > LARGEST {
                too_large()
            } else {
                error
            });
        }
        String::from_utf8(made.0).map_err(|_| Error::new(ErrorKind::InvalidOperation, "it is not UTF-8"))
    }
}

/// A template's result, which ends when it is too large.
struct Made(Vec<u8>);

impl io::Write for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Blocks")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The text inside each tag of a template, with its offset in bytes; comments and raw text are left out.
fn tags(text: &str) -> Vec<(usize, &str)> {
    let mut tags = Vec::new();
    let mut done = 0;
    while let Some(open) = text[done..].find('{').map(|at| done + at) {
        let start = open + 2;
        let Some(kind) = text.as_bytes().get(open + 1) else {
            break;
        };
        let end = match kind {
            b'{' => "}}",
            b'%' => "%}",
            b'#' => {
                done = text[start..].find("#}").map_or(text.len(), |at| start + at + 2);
                continue;
            }
            _ => {
                done = open + 1;
                continue;
            }
        };
        let Some(length) = expression_length(&text[start..], end) else {
            break;
        };
        let inside = &text[start..start + length];
        done = start + length + 2;
        if *kind == b'%' && inside.trim_matches(|c| "+- \t\r\n".contains(c)) == "raw" {
            done = text[done..].find("endraw").map_or(text.len(), |at| done + at);
            continue;
        }
        tags.push((start, inside));
    }
    tags
}

/// Returns the template with the inside of each tag replaced.
fn in_tags(text: &str, mut replace: impl FnMut(&str) -> String) -> String {
    let mut done = 0;
    let mut replaced = String::with_capacity(text.len());
    for (at, inside) in tags(text) {
        replaced.push_str(&text[done..at]);
        replaced.push_str(&replace(inside));
        done = at + inside.len();
    }
    replaced + &text[done..]
}

fn check(language: &Environment<'_>, text: &str) -> Result<(), Fault> {
    for (at, inside) in tags(text) {
        check_uses(language, inside, at)?;
        // `{% filter upper %}`
        let words = inside.trim_start_matches(['-', '+']).trim_start();
        if let Some(filters) = words.strip_prefix("filter ")
            && text[..at].ends_with("{%")
        {
            let at = at + inside.len() - filters.len();
            let piped = format!("|{filters}");
            check_uses(language, &piped, at.saturating_sub(1))?;
        }
    }
    Ok(())
}

/// Turns a fault into a mistake at its place in the file.
fn placed(file: &str, text: &str, fault: Fault) -> SourceError {
    let (line, column) = crate::position(text, fault.offset);
    SourceError {
        hint: fault.hint,
        ..SourceError::at(fault.message, file, text, line, column)
    }
}

/// The expression that contains this byte, without the word of its block.
fn expression_at(text: &str, byte: usize) -> Option<&str> {
    let (at, inside) = tags(text)
        .into_iter()
        .find(|(at, inside)| (*at..=at + inside.len()).contains(&byte))?;
    let inside = inside.trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
    if text[..at].ends_with("{%") {
        let words = inside.split_once(char::is_whitespace);
        return Some(words.map_or(inside, |(_, words)| words.trim()));
    }
    Some(inside)
}

/// Turns MiniJinja's error into a mistake at its place in the file.
fn located(file: &str, text: &str, error: &minijinja::Error) -> SourceError {
    let start = error.range().map(|range| range.start);
    let line = error.line().unwrap_or(1).max(1);
    let column = start.map_or(1, |start| {
        let before = text.get(..start).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    });
    let message = match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, detail) if start.is_some() => {
            // The error's range begins in the middle of some expressions, such as a filter's.
            let whole = expression_at(text, start.unwrap_or_default()).unwrap_or_default();
            let part = detail.and_then(part).filter(|part| whole.contains(part));
            match part.unwrap_or(whole) {
                "" => "something here is undefined".to_owned(),
                part => format!("`{part}` is undefined"),
            }
        }
        (ErrorKind::UndefinedError, _) => "something here is undefined".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    SourceError::at(message, file, text, line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Blocks, SourceError> {
        Blocks::compile(crate::language(5_000_000), "server.conf.j2", text)
    }

    fn render(text: &str, roots: &[(&str, Value)]) -> Result<String, SourceError> {
        let roots = roots
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        compile(text)?.render(&roots.collect())
    }

    #[test]
    fn blocks_leave_no_lines_and_the_last_line_ends() {
        let text =
            "listen {{ port }}\n{% for name in names %}\nserver {{ name }}\n{% endfor %}\n{# a note #}end\n";
        let names = Value::from(vec!["a", "b"]);
        assert_eq!(
            render(text, &[("port", Value::from(80)), ("names", names)]).unwrap(),
            "listen 80\nserver a\nserver b\nend\n"
        );
    }

    #[test]
    fn a_result_of_any_size_is_not_made() {
        let large = [("x", Value::from("a".repeat(9 << 20)))];
        for text in [
            "{{ x }}{{ x }}",
            "{% set y %}{{ x }}{{ x }}{% endset %}",
            "{% for i in range(100000) %}a text of its own, a text of its own, a text of its own, and so on, and so on, and so on, and so on, and so on, and so on, and so on{% endfor %}{{ x }}",
        ] {
            let error = render(text, &large).unwrap_err().to_string();
            assert!(error.contains("more than 16777216 bytes"), "{error}");
        }
        assert_eq!(render("{{ x }}", &large).unwrap().len(), 9 << 20);
    }

    #[test]
    fn what_is_not_defined_is_quoted_as_a_whole() {
        let roots = [
            ("name", Value::from("x")),
            ("xs", Value::from(Vec::<u8>::new())),
            ("d", Value::from_iter([("a", 1)])),
        ];
        for (text, wanted) in [
            ("{{ name.split(':')[1] }}", "`name.split(':')[1]` is undefined"),
            ("{{ xs | first }}", "`xs | first` is undefined"),
            ("a {{- d.b.c -}}", "`d.b` is undefined"),
            ("{% if xs[3] > 1 %}{% endif %}", "`xs[3]` is undefined"),
            ("{{ gone }}", "`gone` is undefined"),
        ] {
            let mistake = render(text, &roots).unwrap_err();
            assert_eq!(mistake.message, wanted, "{text}");
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        let missing = render("a\n  b = {{ nothing }}\n", &[]).unwrap_err();
        assert_eq!((missing.line, missing.column), (2, 10), "{missing}");
        assert!(
            missing.to_string().contains("`nothing` is undefined"),
            "{missing}"
        );
        let open = compile("{% if a %}\n").unwrap_err();
        assert_eq!(open.file, "server.conf.j2");
        assert!(
            render("{% if name is defined %}x{% endif %}", &[])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn unknown_filters_are_mistakes_of_the_file() {
        for (text, line, column) in [
            ("a\n{{ b | uper }}\n", 2, 8),
            ("{% if b is definde %}{% endif %}", 1, 12),
            ("x {% filter uper %}a{% endfilter %}", 1, 13),
        ] {
            let mistake = compile(text).expect_err(text);
            assert_eq!((mistake.line, mistake.column), (line, column), "{mistake}");
            assert!(mistake.hint.is_some(), "{mistake}");
        }
        for fine in [
            "{% raw %}{{ a | uper }}{% endraw %}",
            "{# {{ a | uper }} #}",
            "it's {{ b | upper }} isn't it",
        ] {
            assert!(compile(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn names_in_slices_are_needed() {
        let blocks = compile("don't {{ all[first:] }}{% for x in rows[:n] %}{{ x }}{% endfor %}").unwrap();
        assert_eq!(
            blocks.roots().iter().map(String::as_str).collect::<Vec<_>>(),
            ["all", "first", "n", "rows"]
        );
    }

    #[test]
    fn an_endless_template_ends() {
        let text = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(render(text, &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"([{}'"\\ a-c.|()\[\]~+:é#]|\{\{|\}\}|\{%|%\}| for | in | if | raw ){0,30}"#) {
            if let Ok(blocks) = compile(&text) {
                let _ = blocks.render(&BTreeMap::new());
            }
        }
    }
}
