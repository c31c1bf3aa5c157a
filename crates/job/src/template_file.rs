//! Template files: whole files with `{{ … }}` and `{% … %}`, filled in for each host.
//!
//! Unlike commands, configuration files are not full of other braces, and lists in them want loops: the whole language of
//! MiniJinja is there. A line that holds only a block leaves no empty line behind, and the last line end is kept, as
//! Ansible has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};
use reveille_account::SourceError;
use reveille_document::language;

/// Largest template file.
pub(crate) const MAX_TEMPLATE_BYTES: u64 = 4 << 20;
/// Steps of evaluation that one file may take on one host.
const FUEL: u64 = 5_000_000;
const NAME: &str = "file";

/// A template file that was read and compiled.
pub(crate) struct TemplateFile {
    /// As it is written in the job file.
    path: String,
    text: String,
    environment: Environment<'static>,
    /// The names it needs from outside.
    pub(crate) roots: BTreeSet<String>,
}

// === impl TemplateFile ===

impl TemplateFile {
    pub(crate) fn compile(path: &str, text: &str) -> Result<Self, SourceError> {
        let mut environment = language(FUEL);
        environment
            .add_template_owned(NAME, text.to_owned())
            .map_err(|error| located(path, text, &error))?;
        let roots = environment
            .get_template(NAME)
            .map_err(|error| located(path, text, &error))?
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !environment.globals().any(|(global, _)| global == name))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            environment,
            roots,
        })
    }

    /// The file for one host, given the values of its roots.
    pub(crate) fn render(&self, roots: BTreeMap<String, Value>) -> Result<String, SourceError> {
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from_object(roots)))
            .map_err(|error| located(&self.path, &self.text, &error))
    }
}

impl fmt::Debug for TemplateFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TemplateFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// An error with its place in the file.
fn located(path: &str, text: &str, error: &minijinja::Error) -> SourceError {
    let start = error.range().map(|range| range.start);
    let line = error.line().unwrap_or(1).max(1);
    let column = start.map_or(1, |start| {
        let before = text.get(..start).unwrap_or_default();
        before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
    });
    let taken = error
        .range()
        .and_then(|range| text.get(range))
        .unwrap_or_default();
    let message = match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, _) if !taken.is_empty() => format!("`{}` is not defined", taken.trim()),
        (ErrorKind::UndefinedError, _) => "something here is not defined".to_owned(),
        (_, Some(detail)) => detail.to_owned(),
        (kind, None) => kind.to_string(),
    };
    SourceError::at(message, path, text, line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, roots: &[(&str, Value)]) -> Result<String, SourceError> {
        let roots = roots
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()));
        TemplateFile::compile("server.conf.j2", text)?.render(roots.collect())
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
    fn mistakes_have_their_place() {
        let missing = render("a\n  b = {{ nothing }}\n", &[]).unwrap_err();
        assert_eq!((missing.line, missing.column), (2, 10), "{missing}");
        assert!(
            missing.to_string().contains("`nothing` is not defined"),
            "{missing}"
        );
        let open = TemplateFile::compile("x", "{% if a %}\n").unwrap_err();
        assert_eq!(open.file, "x");
        assert!(
            render("{% if name is defined %}x{% endif %}", &[])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn an_endless_template_ends() {
        let text = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(render(text, &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"([{}'"\\ a-c.|()\[\]~+é]|\{\{|\}\}|\{%|%\}| for | in | if ){0,30}"#) {
            if let Ok(file) = TemplateFile::compile("x", &text) {
                let _ = file.render(BTreeMap::new());
            }
        }
    }
}
