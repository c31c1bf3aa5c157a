//! Templates put together with what a host knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use minijinja::value::Value;
use reveille_account::SourceError;

use crate::facts::{FACTS, Facts};
use crate::job::{Job, JobSource};
use crate::parse::action::port;
use crate::scope::{BUILT_IN, OF_THE_HOST, Registered, Scope, Var};
use crate::step::{Action, Condition, SkipIf, Step, WaitFrom};
use crate::template::{Expression, Part, Template, map_of};
use crate::template_file::TemplateFile;

/// Vars may name vars, to this depth.
pub(crate) const MAX_VAR_DEPTH: usize = 16;

/// A step with everything filled in for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What is done.
    pub action: RenderedAction,
    /// Environment variables of its commands, in order.
    pub env: Vec<(String, String)>,
    /// The working directory of its commands.
    pub cwd: Option<String>,
    /// The user its commands become.
    pub become_user: Option<String>,
    /// What says that the step has nothing to do.
    pub skip_if: Option<RenderedSkipIf>,
    /// The host that its commands run on, if it is not the host itself.
    pub run_on: Option<String>,
}

/// What a step does on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderedAction {
    /// A command, given to a shell.
    Run {
        /// The text for the shell.
        command: String,
        /// The shell with its options, `sh -e`.
        shell: String,
    },
    /// A script of this machine, whose shebang decides.
    Script {
        /// Its path, relative to the job file.
        src: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// A file of this machine goes to the host.
    Upload {
        /// Its path here, relative to the job file.
        src: String,
        /// Its path there.
        dest: String,
        /// Its permissions there.
        mode: Option<u32>,
        /// Its owner there.
        owner: Option<String>,
        /// Its group there.
        group: Option<String>,
    },
    /// A file that is made here goes to the host.
    Template {
        /// The path of its template, as written.
        src: String,
        /// What the file holds; in a plan as far as that is known.
        content: String,
        /// Its path there.
        dest: String,
        /// Its permissions there.
        mode: Option<u32>,
        /// Its owner there.
        owner: Option<String>,
        /// Its group there.
        group: Option<String>,
    },
    /// A file of the host comes to this machine.
    Download {
        /// Its path there.
        src: String,
        /// The directory or file here, relative to the job file.
        to: String,
    },
    /// The host is booted again.
    Reboot {
        /// For how long it is waited for.
        within: Duration,
        /// A command that says whether it is needed.
        only_if: Option<String>,
    },
    /// Waiting until something is so.
    WaitFor {
        /// What.
        condition: WaitCondition,
        /// For how long.
        within: Duration,
        /// How often it is looked at.
        every: Duration,
    },
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitCondition {
    /// A TCP port that accepts a connection.
    Port {
        /// Its number.
        port: u16,
        /// Where it is looked at from.
        from: WaitFrom,
    },
    /// A file that exists.
    File(String),
    /// A command that exits with 0.
    Command(String),
    /// A URL that the host gets an answer from, not an error.
    Http(String),
}

/// What says that a step has nothing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderedSkipIf {
    /// This command exits with 0.
    Command(String),
    /// This path exists.
    Exists(String),
}

/// How expressions that need later results are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Everything has its value.
    Run,
    /// Results of steps are not known; such expressions stay as they are written.
    Plan,
}

/// What a name means.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// This.
    Value(Value),
    /// What a plan can't know yet: it needs results or facts.
    Later,
    /// Nothing.
    Nothing,
}

impl Job {
    /// Fills in the templates of a step for a host.
    pub fn render(&self, step: usize, scope: &Scope<'_>) -> Result<Rendered, SourceError> {
        self.render_step(&self.steps[step], scope, Mode::Run)
    }

    /// Whether the step's `when` holds; true if it has none.
    pub fn when(&self, step: usize, scope: &Scope<'_>) -> Result<bool, SourceError> {
        match &self.steps[step].when {
            None => Ok(true),
            Some(expression) => self
                .evaluate(expression, scope, Mode::Run, 0)
                .map(|value| value.is_some_and(|value| value.is_true())),
        }
    }

    pub(crate) fn render_step(
        &self,
        step: &Step,
        scope: &Scope<'_>,
        mode: Mode,
    ) -> Result<Rendered, SourceError> {
        let text = |template: &Template| self.text(template, scope, mode, 0);
        let maybe = |template: &Option<Template>| template.as_ref().map(text).transpose();
        let action = match &step.action {
            Action::Run { command, shell } => RenderedAction::Run {
                command: text(command)?,
                shell: shell.clone(),
            },
            Action::Script { src, args } => RenderedAction::Script {
                src: text(src)?,
                args: args.iter().map(text).collect::<Result<_, _>>()?,
            },
            Action::Upload {
                src,
                dest,
                mode,
                owner,
                group,
            } => RenderedAction::Upload {
                src: text(src)?,
                dest: text(dest)?,
                mode: *mode,
                owner: maybe(owner)?,
                group: maybe(group)?,
            },
            Action::Template {
                src,
                dest,
                mode: permissions,
                owner,
                group,
            } => RenderedAction::Template {
                src: src.clone(),
                content: self.template_file(src, scope, mode)?.unwrap_or_default(),
                dest: text(dest)?,
                mode: *permissions,
                owner: maybe(owner)?,
                group: maybe(group)?,
            },
            Action::Download { src, to } => RenderedAction::Download {
                src: text(src)?,
                to: text(to)?,
            },
            Action::Reboot { within, only_if } => RenderedAction::Reboot {
                within: *within,
                only_if: maybe(only_if)?,
            },
            Action::WaitFor {
                condition,
                from,
                within,
                every,
            } => RenderedAction::WaitFor {
                condition: match condition {
                    Condition::Port(template) => self.port(template, *from, scope, mode)?,
                    Condition::File(template) => WaitCondition::File(text(template)?),
                    Condition::Command(template) => WaitCondition::Command(text(template)?),
                    Condition::Http(template) => WaitCondition::Http(text(template)?),
                },
                within: *within,
                every: *every,
            },
        };
        let env = step
            .env
            .iter()
            .map(|(name, template)| Ok((name.clone(), text(template)?)));
        Ok(Rendered {
            action,
            env: env.collect::<Result<_, SourceError>>()?,
            cwd: maybe(&step.cwd)?,
            become_user: maybe(&step.become_user)?,
            skip_if: match &step.skip_if {
                None => None,
                Some(SkipIf::Command(template)) => Some(RenderedSkipIf::Command(text(template)?)),
                Some(SkipIf::Exists(template)) => Some(RenderedSkipIf::Exists(text(template)?)),
            },
            run_on: maybe(&step.run_on)?,
        })
    }

    /// The hosts that steps run on for this one: what they need is found before anything is dispatched, so that their
    /// names can't come from results.
    pub fn delegates(&self, scope: &Scope<'_>) -> Result<Vec<String>, SourceError> {
        let mut names: Vec<String> = Vec::new();
        for template in self.steps.iter().filter_map(|step| step.run_on.as_ref()) {
            if let Some(expression) = template
                .expressions()
                .find(|expression| self.needs_results(expression, scope))
            {
                let message =
                    "`run_on` is settled before anything is dispatched; results and facts are not there yet";
                return Err(self.mistake(expression.at, message.to_owned()));
            }
            let name = self.text(template, scope, Mode::Plan, 0)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The command that puts another machine in the host's place.
    pub fn replacement(&self, scope: &Scope<'_>) -> Result<Option<String>, SourceError> {
        let replace = self.heal.replace.as_ref();
        replace
            .map(|template| self.text(template, scope, Mode::Run, 0))
            .transpose()
    }

    /// A template file filled in; nothing if that needs results or facts that a plan doesn't have.
    pub(crate) fn template_file(
        &self,
        path: &str,
        scope: &Scope<'_>,
        mode: Mode,
    ) -> Result<Option<String>, SourceError> {
        let Some(file) = self.template_files.get(path) else {
            return Err(SourceError::whole("this template was not read", path));
        };
        self.filled_file(file, scope, mode, 0)
    }

    pub(crate) fn filled_file(
        &self,
        file: &TemplateFile,
        scope: &Scope<'_>,
        mode: Mode,
        depth: usize,
    ) -> Result<Option<String>, SourceError> {
        let mut roots = BTreeMap::new();
        for root in &file.roots {
            match self.look_up(root, scope, mode, depth)? {
                Found::Value(value) => drop(roots.insert(root.clone(), value)),
                Found::Later => return Ok(None),
                Found::Nothing if mode == Mode::Plan && self.comes_later(root) => return Ok(None),
                // The file may ask whether it is defined.
                Found::Nothing => {}
            }
        }
        file.render(roots).map(Some).map_err(|mistake| {
            let missing = file
                .roots
                .iter()
                .find(|root| mistake.message.starts_with(&format!("`{root}` ")));
            match missing.and_then(|root| SourceError::nearest(root, self.known_names(scope))) {
                Some(near) => mistake.hint(format!("did you mean `{near}`?")),
                None => mistake,
            }
        })
    }

    /// Whether the name has a value only while the job runs.
    fn comes_later(&self, root: &str) -> bool {
        self.registers.contains_key(root) || FACTS.contains(&root)
    }

    /// Whether filling in the step for this host takes facts, which are asked for only then.
    pub fn needs_facts(&self, step: usize, scope: &Scope<'_>) -> bool {
        let step = &self.steps[step];
        let of_file = match &step.action {
            Action::Template { src, .. } => self.template_files.get(src).map(|file| &file.roots),
            _ => None,
        };
        step.expressions()
            .flat_map(|expression| &expression.roots)
            .chain(of_file.into_iter().flatten())
            .any(|root| self.is_fact(root, scope, &mut BTreeSet::new()))
    }

    /// `seen` are the names that were looked at.
    fn is_fact(&self, root: &str, scope: &Scope<'_>, seen: &mut BTreeSet<String>) -> bool {
        if BUILT_IN.contains(&root)
            || self.extra.contains_key(root)
            || self.registers.contains_key(root)
            || !seen.insert(root.to_owned())
        {
            return false;
        }
        if let Some((_, var)) = self.vars.iter().rev().find(|(name, _)| name == root) {
            return var
                .expressions()
                .iter()
                .flat_map(|expression| &expression.roots)
                .any(|root| self.is_fact(root, scope, seen));
        }
        if scope.vars.contains_key(root) {
            return Self::host_var_roots(root, scope)
                .iter()
                .any(|root| self.is_fact(root, scope, seen));
        }
        FACTS.contains(&root)
    }

    fn port(
        &self,
        template: &Template,
        from: WaitFrom,
        scope: &Scope<'_>,
        mode: Mode,
    ) -> Result<WaitCondition, SourceError> {
        let text = self.text(template, scope, mode, 0)?;
        if mode == Mode::Plan
            && template
                .expressions()
                .any(|expression| self.needs_results(expression, scope))
        {
            // The plan shows the template instead.
            return Ok(WaitCondition::Port { port: 0, from });
        }
        let port = port(&text).map_err(|message| {
            let at = template
                .expressions()
                .next()
                .map_or(0, |expression| expression.at);
            self.mistake(at, message)
        })?;
        Ok(WaitCondition::Port { port, from })
    }

    pub(crate) fn text(
        &self,
        template: &Template,
        scope: &Scope<'_>,
        mode: Mode,
        depth: usize,
    ) -> Result<String, SourceError> {
        let mut text = String::with_capacity(template.text.len());
        for part in template.parts.iter() {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Expression(expression) => match self.evaluate(expression, scope, mode, depth)? {
                    Some(value) => write_value(&mut text, &value),
                    None => {
                        let _ = write!(text, "{{{{ {} }}}}", expression.source);
                    }
                },
            }
        }
        Ok(text)
    }

    /// An expression's value; none if it needs results that a plan doesn't have.
    pub(crate) fn evaluate(
        &self,
        expression: &Expression,
        scope: &Scope<'_>,
        mode: Mode,
        depth: usize,
    ) -> Result<Option<Value>, SourceError> {
        let mut roots = BTreeMap::new();
        let mut needs_results = false;
        for root in &expression.roots {
            match self.look_up(root, scope, mode, depth)? {
                Found::Value(value) => drop(roots.insert(root.clone(), value)),
                Found::Later => return Ok(None),
                Found::Nothing if mode == Mode::Plan && self.registers.contains_key(root) => {
                    needs_results = true;
                    roots.insert(root.clone(), Registered::default().value());
                }
                Found::Nothing if mode == Mode::Plan && FACTS.contains(&root.as_str()) => {
                    self.check_fact(expression, root)?;
                    return Ok(None);
                }
                Found::Nothing => {}
            }
        }
        let missing: Vec<&String> = expression
            .roots
            .iter()
            .filter(|root| !roots.contains_key(*root))
            .collect();
        let result = expression.evaluate(Value::from_object(roots));
        match result {
            Ok(_) if needs_results => Ok(None),
            Ok(value) => Ok(Some(value)),
            // With placeholders for results only what is wrong whatever they are is a mistake.
            Err(error)
                if needs_results && !error.unknown_name && (missing.is_empty() || !error.undefined) =>
            {
                Ok(None)
            }
            Err(error) if error.undefined => Err(self.undefined(expression, &missing, scope)),
            Err(error) => Err(self.mistake(
                expression.at,
                format!("`{}` has no value: {}", expression.source, error.message),
            )),
        }
    }

    /// What a name means: command line, built-in names, results, the job's vars, the host's, the strongest first.
    fn look_up(&self, name: &str, scope: &Scope<'_>, mode: Mode, depth: usize) -> Result<Found, SourceError> {
        if let Some(value) = scope.built_in(name) {
            return Ok(Found::Value(value));
        }
        if let Some(value) = self.extra.get(name) {
            return Ok(Found::Value(value.clone()));
        }
        if self.registers.contains_key(name) {
            return Ok(scope.registered(name).into());
        }
        if let Some((_, var)) = self.vars.iter().rev().find(|(var, _)| var == name) {
            if let Var::Secret(_) = var {
                return Ok(match mode {
                    Mode::Plan => Found::Value(Value::from("(secret)")),
                    Mode::Run => scope.secret(name).into(),
                });
            }
            return self.var(var, scope, mode, depth + 1);
        }
        match self.host_var(name, scope, mode, depth + 1)? {
            Found::Nothing => Ok(scope.facts.and_then(|facts| facts.value(name)).into()),
            found => Ok(found),
        }
    }

    fn var(&self, var: &Var, scope: &Scope<'_>, mode: Mode, depth: usize) -> Result<Found, SourceError> {
        match var {
            Var::Plain(value) => Ok(Found::Value(value.clone())),
            Var::Secret(_) => Ok(Found::Value(Value::UNDEFINED)),
            Var::Template(template) => {
                if depth > MAX_VAR_DEPTH {
                    let at = template
                        .expressions()
                        .next()
                        .map_or(0, |expression| expression.at);
                    return Err(self.mistake(at, "this var needs its own value".into()));
                }
                self.filled_template(template, scope, mode, depth)
            }
            Var::List(items) => {
                let items = items.iter().map(|item| self.var(item, scope, mode, depth));
                Found::all(items, Value::from_iter)
            }
            Var::Map(entries) => {
                let values = entries.iter().map(|(_, var)| self.var(var, scope, mode, depth));
                let names = entries.iter().map(|(name, _)| name.clone());
                Found::all(values, |values| map_of(names.zip(values)))
            }
        }
    }

    /// What a template of a var comes to. One expression alone keeps its type: a list remains one.
    pub(crate) fn filled_template(
        &self,
        template: &Template,
        scope: &Scope<'_>,
        mode: Mode,
        depth: usize,
    ) -> Result<Found, SourceError> {
        if let [Part::Expression(expression)] = &template.parts[..] {
            let value = self.evaluate(expression, scope, mode, depth)?;
            return Ok(value.map_or(Found::Later, Found::Value));
        }
        let mut text = String::new();
        for part in template.parts.iter() {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Expression(expression) => match self.evaluate(expression, scope, mode, depth)? {
                    Some(value) => write_value(&mut text, &value),
                    None => return Ok(Found::Later),
                },
            }
        }
        Ok(Found::Value(text.into()))
    }

    /// Whether the value is the same on every host.
    pub(crate) fn is_constant(&self, expression: &Expression, depth: usize) -> bool {
        depth <= MAX_VAR_DEPTH
            && expression.roots.iter().all(|root| {
                if OF_THE_HOST.contains(&root.as_str()) {
                    return false;
                }
                if BUILT_IN.contains(&root.as_str())
                    || self.extra.contains_key(root)
                    || self.registers.contains_key(root)
                {
                    return true;
                }
                self.vars
                    .iter()
                    .rev()
                    .find(|(name, _)| name == root)
                    .is_some_and(|(_, var)| {
                        var.expressions()
                            .iter()
                            .all(|expression| self.is_constant(expression, depth + 1))
                    })
            })
    }

    /// Whether the expression uses what a step registers, or facts.
    pub(crate) fn needs_results(&self, expression: &Expression, scope: &Scope<'_>) -> bool {
        expression
            .roots
            .iter()
            .any(|root| self.registers.contains_key(root) || self.is_fact(root, scope, &mut BTreeSet::new()))
    }

    /// Whether an expression takes what a fact has.
    fn check_fact(&self, expression: &Expression, root: &str) -> Result<(), SourceError> {
        for path in &expression.paths {
            if path.split('.').next() == Some(root)
                && let Some(hint) = Facts::wrong_path(path)
            {
                return Err(self
                    .mistake(expression.at, format!("`{path}` is no fact"))
                    .hint(hint));
            }
        }
        Ok(())
    }

    fn undefined(&self, expression: &Expression, missing: &[&String], scope: &Scope<'_>) -> SourceError {
        let Some(name) = missing.first() else {
            return self.mistake(
                expression.at,
                format!("`{}` takes something that is not defined", expression.source),
            );
        };
        let offset = expression.source.find(name.as_str()).unwrap_or(0);
        let mistake = self.mistake(expression.at + offset, format!("`{name}` is not defined"));
        if FACTS.contains(&name.as_str()) {
            return mistake.hint("the host did not tell this fact");
        }
        match SourceError::nearest(name, self.known_names(scope)) {
            Some(near) => mistake.hint(format!("did you mean `{near}`?")),
            None => mistake,
        }
    }

    fn known_names<'n>(&'n self, scope: &'n Scope<'_>) -> impl Iterator<Item = &'n str> {
        BUILT_IN
            .iter()
            .chain(FACTS)
            .copied()
            .chain(self.extra.keys().map(String::as_str))
            .chain(self.registers.keys().map(String::as_str))
            .chain(self.vars.iter().map(|(name, _)| name.as_str()))
            .chain(scope.vars.keys().map(String::as_str))
    }

    pub(crate) fn mistake(&self, byte: usize, message: String) -> SourceError {
        match &self.source {
            JobSource::File { file, text, .. } => {
                let (line, column) = reveille_document::position(text, byte);
                SourceError::at(message, file, text, line, column)
            }
            JobSource::Command { .. } => SourceError::whole(message, "command"),
        }
    }
}

/// What is none is nothing in a text.
fn write_value(text: &mut String, value: &Value) {
    if !value.is_none() {
        let _ = write!(text, "{value}");
    }
}

// === impl Found ===

impl Found {
    /// All values put together; later, if one of them is.
    pub(crate) fn all(
        found: impl Iterator<Item = Result<Found, SourceError>>,
        together: impl FnOnce(Vec<Value>) -> Value,
    ) -> Result<Self, SourceError> {
        let mut values = Vec::new();
        for found in found {
            match found? {
                Found::Value(value) => values.push(value),
                Found::Later => return Ok(Found::Later),
                Found::Nothing => values.push(Value::UNDEFINED),
            }
        }
        Ok(Found::Value(together(values)))
    }
}

impl From<Option<Value>> for Found {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Nothing, Self::Value)
    }
}
