//! Templates in connection vars: Jinja expressions with the methods of Python's strings.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use minijinja::value::{Rest, Value};
use minijinja::{Environment, Error};
use reveille_document::ansible::Compiled;
use reveille_document::{EvaluationError, language, refusal};

/// The longest value of a template, in bytes.
const LONGEST: usize = 64 << 10;
/// How many steps the evaluation of one template may take.
const FUEL: u64 = 50_000;
/// How many compiled templates are kept.
const KEPT: usize = 10_000;

/// Templates in the operator's own files may use `lookup`.
static TRUSTED: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = language(FUEL);
    environment.add_function("lookup", |plugin: String, names: Rest<String>| {
        lookup(&plugin, &names)
    });
    environment
});

/// The output of a program may come from anywhere, such as the tags of a cloud.
static UNTRUSTED: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = language(FUEL);
    environment.add_function("lookup", |_: Rest<Value>| -> Result<Value, Error> {
        Err(refusal("a template from an inventory program can't use `lookup`"))
    });
    environment
});

/// Ansible's `lookup`, for environment variables only.
fn lookup(plugin: &str, names: &[String]) -> Result<String, Error> {
    match (plugin.trim_start_matches("ansible.builtin."), names) {
        // As in Ansible, a variable that is not set is empty.
        ("env", [name]) => Ok(std::env::var(name).unwrap_or_default()),
        ("env", _) => Err(refusal("`lookup('env', …)` takes the name of one variable")),
        _ => Err(refusal(format!(
            "the only supported lookup is `env`, not `{plugin}`"
        ))),
    }
}

/// Compiled templates: the hosts of a group share theirs.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    trusted: Kept,
    untrusted: Kept,
}

type Kept = Mutex<HashMap<Box<str>, Arc<Compiled>>>;

// === impl Templates ===

impl Templates {
    /// Compiles a template once; a `trusted` one may use `lookup`.
    pub(crate) fn compile(&self, text: &str, trusted: bool) -> Result<Arc<Compiled>, Wrong> {
        let (kept, language): (_, &'static Environment<'static>) = if trusted {
            (&self.trusted, &TRUSTED)
        } else {
            (&self.untrusted, &UNTRUSTED)
        };
        let mut known = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = known.get(text) {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Compiled::compile(language, text).map_err(|fault| {
            let hint = fault.hint.map_or_else(String::new, |hint| format!("; {hint}"));
            Wrong::Text(format!("its template can't be read: {}{hint}", fault.message))
        })?;
        let compiled = Arc::new(compiled);
        if known.len() < KEPT {
            known.insert(text.into(), Arc::clone(&compiled));
        }
        Ok(compiled)
    }
}

/// Renders a template with the `known` values. A single expression keeps its type.
pub(crate) fn fill(template: &Compiled, known: &BTreeMap<String, Value>) -> Result<Value, Wrong> {
    let filled = match template {
        Compiled::Text(text) => match text.single() {
            Some(expression) => expression.evaluate(known),
            None => text.render(known).map(Value::from).map_err(|(_, error)| error),
        },
        Compiled::Blocks(blocks) => blocks
            .try_render(known)
            .map(Value::from)
            .map_err(|error| EvaluationError::from(&error)),
    };
    let value = filled.map_err(|error| match error {
        EvaluationError::Refused(why) => Wrong::Text(format!("its template can't be rendered: {why}")),
        EvaluationError::Undefined(_)
            if let Some(name) = template.roots().iter().find(|name| !known.contains_key(*name)) =>
        {
            Wrong::Text(format!("its template uses `{name}`, which is undefined"))
        }
        error => Wrong::Values(format!("its template can't be rendered: {error}")),
    })?;
    if value.as_str().is_some_and(|text| text.len() > LONGEST) {
        let message = format!("the value of its template is longer than {} KiB", LONGEST >> 10);
        return Err(Wrong::Text(message));
    }
    Ok(value)
}

/// What is wrong with a template, by what the message may contain.
#[derive(Debug, Clone)]
pub(crate) enum Wrong {
    /// Parts of the template's text.
    Text(String),
    /// Parts of values.
    Values(String),
}

impl Wrong {
    /// The message, or a general one if the text or the values that it may contain are secret.
    pub(crate) fn words(self, text: bool, values: bool) -> String {
        match self {
            Self::Text(message) if !text => message,
            Self::Values(message) if !text && !values => message,
            _ => "its template, which is or contains a secret, can't be rendered".to_owned(),
        }
    }
}
