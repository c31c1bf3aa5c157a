//! Evaluates the templates of a job for one host: looks up names and computes values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};
use reveille_account::SourceError;
use reveille_document::{Blocks, EvaluationError, Expression, Part, Template, write_value};
use reveille_text::is_secret;

use crate::facts::{FACTS, Facts};
use crate::job::Job;
use crate::scope::{BUILT_IN, Found, Mode, Registered, Scope, Var};
use crate::step::Looped;

/// Names that Ansible defines, and what to write instead.
const FOREIGN: &[(&str, &str)] = &[
    ("ansible_distribution", "use the fact `os.name`"),
    (
        "ansible_facts",
        "use the facts `os.family`, `os.name`, `os.version`, `arch`, `cpus`, `mem_mb`",
    ),
    ("ansible_hostname", "use `inventory_hostname_short`"),
    ("ansible_os_family", "use the fact `os.family`"),
    ("ansible_play_hosts", "use `groups`, such as `groups.all`"),
    ("hostvars", "a template sees the variables of its own host only"),
    (
        "lookup",
        "use `env.NAME`, or a variable with `{secret: {file: PATH}}` or `{secret: {command: LINE}}`",
    ),
    (
        "playbook_dir",
        "omit it: `src` and `to` are relative to the job file",
    ),
];

/// The name of a loop's item.
pub(crate) const ITEM: &str = "item";
/// What a plan shows of a secret.
const MASK: &str = "(secret)";
/// How deep vars may refer to vars.
pub(crate) const MAX_VAR_DEPTH: usize = 16;

/// One evaluation; cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Evaluation<'a> {
    pub(crate) job: &'a Job,
    pub(crate) scope: &'a Scope<'a>,
    pub(crate) mode: Mode,
    /// How many vars, each referring to the next, are being evaluated.
    pub(crate) depth: usize,
    /// The item of a loop.
    pub(crate) item: Option<&'a Value>,
}

// === impl Evaluation ===

impl<'a> Evaluation<'a> {
    pub(crate) fn new(job: &'a Job, scope: &'a Scope<'a>, mode: Mode) -> Self {
        Self {
            job,
            scope,
            mode,
            depth: 0,
            item: None,
        }
    }

    /// The evaluation of a var that this evaluation refers to.
    fn deeper(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }

    /// Renders a template. Expressions that need results which a plan doesn't have stay as written.
    pub(crate) fn text(self, template: &Template) -> Result<String, SourceError> {
        let mut text = String::with_capacity(template.source().len());
        for part in template.parts() {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Expression(expression) => match self.value(expression)? {
                    Some(value) => write_value(&mut text, &value),
                    None => {
                        let _ = write!(text, "{{{{ {} }}}}", expression.source());
                    }
                },
            }
        }
        Ok(text)
    }

    /// Evaluates an expression; none if it needs results that a plan doesn't have.
    pub(crate) fn value(self, expression: &Expression) -> Result<Option<Value>, SourceError> {
        let mut roots = BTreeMap::new();
        let mut needs_results = false;
        for root in expression.roots() {
            match self.look_up(root)? {
                Found::Value(value) => drop(roots.insert(root.as_str(), value)),
                Found::Later => return Ok(None),
                Found::Nothing if self.mode != Mode::Run && self.job.registers.contains_key(root) => {
                    needs_results = true;
                    roots.insert(root, Registered::default().value());
                }
                Found::Nothing if self.mode != Mode::Run && FACTS.contains(&root.as_str()) => {
                    self.check_fact(expression, root)?;
                    return Ok(None);
                }
                Found::Nothing => {}
            }
        }
        let missing: Vec<&String> = expression
            .roots()
            .iter()
            .filter(|root| !roots.contains_key(root.as_str()))
            .collect();
        let masked = || expression.roots().iter().any(|root| self.is_masked(root));
        let is_name = roots.contains_key(expression.source());
        match expression.evaluate(&roots) {
            // What becomes of a secret is not known from its mask, which a filter may not even accept.
            Ok(_) | Err(_) if !is_name && masked() => Ok(None),
            // With placeholders for results, only errors that no value could avoid are mistakes.
            Ok(_) | Err(EvaluationError::Other(_)) if needs_results => Ok(None),
            Err(EvaluationError::Undefined(_)) if needs_results && missing.is_empty() => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(EvaluationError::Undefined(part)) => {
                Err(self.undefined(expression, &missing, part.as_deref()))
            }
            // The text of such an error may contain parts of values.
            Err(EvaluationError::Other(_)) if self.uses_secrets(expression) => {
                let message = format!(
                    "`{}` has no value, and uses a secret, so that the reason is not shown",
                    expression.source()
                );
                Err(self.job.mistake(expression.at(), message))
            }
            Err(error) => {
                let message = format!("`{}` has no value: {error}", expression.source());
                let mistake = self.job.mistake(expression.at(), message);
                // Such a text nearly always looks like a number, which the error does not say.
                Err(if error.to_string().contains("unsupported types string") {
                    mistake.hint(
                        "a value of `-e NAME=VALUE` or of an INI inventory may be text: write `(NAME | int)`",
                    )
                } else {
                    mistake
                })
            }
        }
    }

    /// Whether a condition holds; none if it needs results that a plan doesn't have. As in Ansible, only true and false
    /// are answers, because the text `false` is not empty; none counts as false.
    pub(crate) fn holds(self, condition: &Expression) -> Result<Option<bool>, SourceError> {
        let kind = match self.value(condition)? {
            Some(value) if value.is_none() => return Ok(Some(false)),
            Some(value) if value.kind() == ValueKind::Bool => return Ok(Some(value.is_true())),
            Some(_) if condition.roots().iter().any(|root| self.is_masked(root)) => return Ok(None),
            Some(value) => value.kind(),
            // Some fields of a result are known never to be true or false.
            None => match self.kind_of_result(condition.source()) {
                Some(kind) => kind,
                None => return Ok(None),
            },
        };
        let source = condition.source();
        let whole = if source.contains(|c: char| c.is_whitespace() || "|(".contains(c)) {
            format!("({source})")
        } else {
            source.to_owned()
        };
        let (what, hint) = match kind {
            ValueKind::String => ("text", format!("write `{whole} | bool`, or compare it")),
            ValueKind::Number => ("a number", format!("write `{whole} != 0`")),
            ValueKind::Seq | ValueKind::Iterable => ("a list", format!("write `{whole} | length > 0`")),
            ValueKind::Map => ("a mapping", format!("write `{whole} | length > 0`")),
            _ => ("neither true nor false", "compare it with a value".to_owned()),
        };
        let message = format!("`when` must be true or false, and `{source}` is {what}");
        Err(self.job.mistake(condition.at(), message).hint(hint))
    }

    /// The kind of a registered result, or of a field of one, that is never true or false.
    fn kind_of_result(self, path: &str) -> Option<ValueKind> {
        let (root, field) = path.split_once('.').unwrap_or((path, ""));
        self.job.registers.get(root)?;
        match field {
            "" => Some(ValueKind::Map),
            "results" => Some(ValueKind::Seq),
            "stdout" | "stderr" => Some(ValueKind::String),
            "exit_status" => Some(ValueKind::Number),
            _ => None,
        }
    }

    /// Evaluates the template of a var. A single expression keeps its type: a list remains a list.
    pub(crate) fn template(self, template: &Template) -> Result<Found, SourceError> {
        if let Some(expression) = template.single() {
            let value = self.value(expression)?;
            return Ok(value.map_or(Found::Later, Found::Value));
        }
        let mut text = String::new();
        for part in template.parts() {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Expression(expression) => match self.value(expression)? {
                    Some(value) => write_value(&mut text, &value),
                    None => return Ok(Found::Later),
                },
            }
        }
        Ok(Found::Value(text.into()))
    }

    /// Renders a template file; none if it needs results or facts that a plan doesn't have.
    pub(crate) fn blocks(self, blocks: &Blocks) -> Result<Option<String>, SourceError> {
        let mut roots = BTreeMap::new();
        for root in blocks.roots() {
            match self.look_up(root)? {
                Found::Value(value) => drop(roots.insert(root.clone(), value)),
                Found::Later => return Ok(None),
                Found::Nothing if self.mode != Mode::Run && self.job.comes_later(root) => return Ok(None),
                // The file may test whether the name is defined.
                Found::Nothing => {}
            }
        }
        let rendered = blocks.render(&roots).map(Some);
        if rendered.is_err() && blocks.roots().iter().any(|root| self.is_masked(root)) {
            return Ok(None);
        }
        rendered.map_err(|mistake| {
            let missing = blocks
                .roots()
                .iter()
                .find(|root| mistake.message.starts_with(&format!("`{root}` ")));
            SourceError {
                hint: missing.and_then(|root| self.suggestion(root)).or(mistake.hint),
                ..mistake
            }
        })
    }

    /// Renders the template file that the job refers to by this path.
    pub(crate) fn file(self, path: &str) -> Result<Option<String>, SourceError> {
        match self.job.template_files.get(path) {
            Some(file) => self.blocks(file),
            None => Err(SourceError::whole("this template was not read", path)),
        }
    }

    /// Looks up a name. The strongest first: the command line, built-in names, results, the job's vars, the host's.
    fn look_up(self, name: &str) -> Result<Found, SourceError> {
        let Self { job, scope, .. } = self;
        if let Some(item) = self.item.filter(|_| name == ITEM) {
            return Ok(Found::Value(item.clone()));
        }
        if let Some(value) = scope.built_in(name) {
            return Ok(Found::Value(value));
        }
        if job.extra.contains_key(name) {
            return self.deeper().outer(name);
        }
        if let Some(index) = job.registers.get(name) {
            return match job.steps.get(*index).and_then(|step| step.looped.as_ref()) {
                Some(looped) => Ok(self.results(name, looped)),
                None => Ok(scope.registered(name).into()),
            };
        }
        if let Some(var) = job.var(name) {
            if let Var::Secret(_) = var {
                return Ok(match self.mode {
                    Mode::Run | Mode::Check => scope.secret(name).into(),
                    Mode::Plan | Mode::Show => Found::Value(Value::from(MASK)),
                });
            }
            return self.deeper().var(var);
        }
        if self.mode == Mode::Show && self.is_masked(name) {
            return Ok(Found::Value(Value::from(MASK)));
        }
        match self.deeper().outer(name)? {
            Found::Nothing => Ok(scope.facts.and_then(|facts| facts.value(name)).into()),
            found => Ok(found),
        }
    }

    /// The result of a loop.
    fn results(self, name: &str, looped: &Looped) -> Found {
        let Some(results) = self.scope.results.get(name) else {
            return Found::Nothing;
        };
        // What skips a loop may be that it has no items on this host.
        let items = self.items(looped).unwrap_or_default();
        let results = results
            .iter()
            .filter_map(|(number, result)| Some((items.get(*number)?.clone(), result)));
        Found::Value(Registered::of_loop(results))
    }

    pub(crate) fn var(self, var: &Var) -> Result<Found, SourceError> {
        match var {
            Var::Plain(value) => Ok(Found::Value(value.clone())),
            Var::Secret(_) => Ok(Found::Value(Value::UNDEFINED)),
            Var::Template(template) => {
                if self.depth > MAX_VAR_DEPTH {
                    let at = template.expressions().next().map_or(0, Expression::at);
                    return Err(self.job.mistake(at, "this var refers to itself".into()));
                }
                self.template(template)
            }
            Var::List(items) => {
                let items = items.iter().map(|item| self.var(item));
                Found::all(items, Value::from_iter)
            }
            Var::Map(entries) => {
                let values = entries.iter().map(|(_, var)| self.var(var));
                let names = entries.iter().map(|(name, _)| name.clone());
                Found::all(values, |values| Value::from_pairs(names.zip(values)))
            }
        }
    }

    /// Whether a name is a secret that is masked, or needs one.
    pub(crate) fn is_masked(self, name: &str) -> bool {
        let Self { job, scope, .. } = self;
        if matches!(self.mode, Mode::Run | Mode::Check)
            || self.depth > MAX_VAR_DEPTH
            || job.registers.contains_key(name)
        {
            return false;
        }
        let roots = || self.outer_roots(name);
        if job.extra.contains_key(name) {
            return roots().iter().any(|root| self.deeper().is_masked(root));
        }
        if let Some(var) = job.var(name) {
            let expressions = var.expressions();
            let mut roots = expressions.iter().flat_map(|expression| expression.roots());
            return matches!(var, Var::Secret(_)) || roots.any(|root| self.deeper().is_masked(root));
        }
        let is_secret = || is_secret(name) || scope.hidden.iter().any(|hidden| hidden == name);
        self.mode == Mode::Show
            && scope.vars.contains_key(name)
            && (is_secret() || roots().iter().any(|root| self.deeper().is_masked(root)))
    }

    /// Whether the expression uses a secret of the job or the inventory.
    pub(crate) fn uses_secrets(self, expression: &Expression) -> bool {
        let shown = Self {
            mode: Mode::Show,
            ..self
        };
        expression.roots().iter().any(|root| shown.is_masked(root))
    }

    /// Whether a template file uses a secret of the job or the inventory.
    pub(crate) fn file_uses_secrets(self, path: &str) -> bool {
        let shown = Self {
            mode: Mode::Show,
            ..self
        };
        let file = self.job.template_files.get(path);
        file.is_some_and(|file| file.roots().iter().any(|root| shown.is_masked(root)))
    }

    /// Whether the expression uses facts or registered results.
    pub(crate) fn needs_results(self, expression: &Expression) -> bool {
        let mut roots = expression.roots().iter();
        roots.any(|root| self.job.registers.contains_key(root) || self.is_fact(root, &mut BTreeSet::new()))
    }

    /// Whether a name refers to a fact. `seen` contains the names that were already checked.
    pub(crate) fn is_fact(self, root: &str, seen: &mut BTreeSet<String>) -> bool {
        let Self { job, scope, .. } = self;
        if BUILT_IN.contains(&root) || job.registers.contains_key(root) || !seen.insert(root.to_owned()) {
            return false;
        }
        if let Some(var) = job.var(root).filter(|_| !job.extra.contains_key(root)) {
            return var
                .expressions()
                .iter()
                .flat_map(|expression| expression.roots())
                .any(|root| self.is_fact(root, seen));
        }
        if job.extra.contains_key(root) || scope.vars.contains_key(root) {
            let roots = self.outer_roots(root);
            return roots.iter().any(|root| self.is_fact(root, seen));
        }
        FACTS.contains(&root)
    }

    /// Checks that an expression uses only existing parts of a fact.
    fn check_fact(self, expression: &Expression, root: &str) -> Result<(), SourceError> {
        for path in expression.paths() {
            if path.split('.').next() == Some(root)
                && let Some(hint) = Facts::wrong_path(path)
            {
                let mistake = self
                    .job
                    .mistake(expression.at(), format!("`{path}` is not a fact"));
                return Err(mistake.hint(hint));
            }
        }
        Ok(())
    }

    fn undefined(self, expression: &Expression, missing: &[&String], part: Option<&str>) -> SourceError {
        let name = missing.first().map(|name| name.as_str());
        let part = name.or(part).unwrap_or(expression.source());
        let offset = expression.source().find(part).unwrap_or(0);
        let mistake = self
            .job
            .mistake(expression.at() + offset, format!("`{part}` is undefined"));
        if name.is_some_and(|name| FACTS.contains(&name)) {
            return mistake.hint("the host did not report this fact");
        }
        let root = part.split('.').next().unwrap_or(part);
        if name.is_none()
            && self
                .scope
                .registered(root)
                .is_some_and(|value| is_skipped(&value))
        {
            return mistake.hint(format!(
                "the step with `register: {root}` was skipped; write `{part} | default('')`, or add `when: not \
                 {root}.skipped`"
            ));
        }
        SourceError {
            hint: name.and_then(|name| self.suggestion(name)),
            ..mistake
        }
    }

    /// The hint for a name of Ansible's, or a misspelled one.
    fn suggestion(self, name: &str) -> Option<String> {
        if let Some((_, hint)) = FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
            return Some((*hint).to_owned());
        }
        let Self { job, scope, .. } = self;
        let known = BUILT_IN
            .iter()
            .chain(FACTS)
            .copied()
            .chain(job.extra.keys().map(String::as_str))
            .chain(job.registers.keys().map(String::as_str))
            .chain(job.vars.iter().map(|(name, _)| name.as_str()))
            .chain(scope.vars.keys().map(String::as_str));
        SourceError::nearest(name, known).map(|near| format!("did you mean `{near}`?"))
    }
}

fn is_skipped(result: &Value) -> bool {
    result.get_attr("skipped").is_ok_and(|skipped| skipped.is_true())
}
