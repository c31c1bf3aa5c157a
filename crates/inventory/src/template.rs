//! Templates in the vars that say how a host is reached: expressions of Jinja, with the methods that Python's texts have.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::sync::LazyLock;

use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error, ErrorKind};
use reveille_document::ansible::too_long;
use reveille_document::language;

/// Longest text that a template comes to, in bytes.
const LONGEST: usize = 64 << 10;
/// Steps of evaluation that one template may take.
const FUEL: u64 = 50_000;

/// What a file of the operator's says may look around on this machine.
static TRUSTED: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = language(FUEL);
    environment.add_function("lookup", |plugin: String, names: Rest<String>| {
        lookup(&plugin, &names)
    });
    environment
});

/// What a program says may come from anywhere, such as a cloud's tags.
static UNTRUSTED: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = language(FUEL);
    environment.add_function("lookup", |_: Rest<Value>| -> Result<Value, Error> {
        Err(wrong("a template from an inventory program can't use `lookup`"))
    });
    environment
});

/// A template.
pub(crate) struct Template<'a> {
    environment: &'a Environment<'a>,
    compiled: minijinja::Template<'a, 'a>,
}

/// Ansible's `lookup`, as far as the environment goes.
fn lookup(plugin: &str, names: &[String]) -> Result<String, Error> {
    match (plugin.trim_start_matches("ansible.builtin."), names) {
        // What is not set is empty, as it is to Ansible.
        ("env", [name]) => Ok(std::env::var(name).unwrap_or_default()),
        ("env", _) => Err(wrong("`lookup('env', …)` takes the name of one variable")),
        _ => Err(wrong(&format!(
            "of Ansible's lookups `env` is known, and `{plugin}` is not"
        ))),
    }
}

/// Why nothing is looked up, in words without any value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

fn wrong(message: &str) -> Error {
    Error::from(ErrorKind::InvalidOperation).with_source(Refused(message.to_owned()))
}

// === impl Template ===

impl<'a> Template<'a> {
    /// Reads a template; what is `trusted` may look things up.
    pub(crate) fn compile(text: &'a str, trusted: bool) -> Result<Self, Wrong> {
        if let Some(why) = too_long(text) {
            return Err(Wrong::Text(format!("its template is not read: {why}")));
        }
        let environment: &Environment<'a> = if trusted { &TRUSTED } else { &UNTRUSTED };
        let compiled = environment.template_from_str(text);
        let compiled =
            compiled.map_err(|error| Wrong::Text(format!("its template can't be read: {}", said(&error))))?;
        Ok(Self {
            environment,
            compiled,
        })
    }

    /// The names that it needs, without what comes with the language.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.compiled.undeclared_variables(false).into_iter().collect();
        for (global, _) in self.environment.globals() {
            names.remove(global);
        }
        names
    }

    /// Fills it in with what is `known`.
    pub(crate) fn fill(&self, known: &BTreeMap<String, Value>) -> Result<String, Wrong> {
        let rendered = self.compiled.render(known).map_err(|error| {
            if let Some(refused) = error.source().and_then(|source| source.downcast_ref::<Refused>()) {
                return Wrong::Text(format!("its template can't be filled in: {refused}"));
            }
            let names = self.names();
            match names.iter().find(|name| !known.contains_key(*name)) {
                Some(name) if error.kind() == ErrorKind::UndefinedError => {
                    Wrong::Text(format!("its template names `{name}`, which is not set"))
                }
                _ => Wrong::Values(format!("its template can't be filled in: {}", said(&error))),
            }
        })?;
        if rendered.len() > LONGEST {
            let message = format!("what its template comes to is longer than {} KiB", LONGEST >> 10);
            return Err(Wrong::Text(message));
        }
        Ok(rendered)
    }
}

/// What is wrong with a template, by what the words may hold.
#[derive(Debug, Clone)]
pub(crate) enum Wrong {
    /// Parts of its text.
    Text(String),
    /// Parts of values.
    Values(String),
}

impl Wrong {
    /// In words, if neither text nor values are secret.
    pub(crate) fn words(self, text: bool, values: bool) -> String {
        match self {
            Self::Text(message) if !text => message,
            Self::Values(message) if !text && !values => message,
            _ => "its template, which is or holds a secret, can't be filled in".to_owned(),
        }
    }
}

/// What is wrong, without the template's name, which it has not.
fn said(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}
