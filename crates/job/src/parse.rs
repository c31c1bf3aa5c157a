//! Parses the text of a job file to a [`Job`], or to all mistakes in it.

pub(crate) mod action;
pub(crate) mod step;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::OnceLock;

use reveille_account::{Fault, SourceError};
use reveille_document::{
    self as document, Blocks, Expression, Kind, Node, Reader, Template, Value, items, value_of,
};
use reveille_text::bounded;

use crate::job::{Heal, Job, MaxFail, Order};
use crate::parse::action::OF_PLAYS;
use crate::parse::step::Defaults;
use crate::quantity::Amount;
use crate::scope::{BUILT_IN, OF_LOOPS, REGISTERED, SecretSource, Var};
use crate::source::{COMMAND, JobSource, Selection};
use crate::step::{Looped, Step, Watchdog};

pub(crate) const JOB: &[&str] = &[
    "name",
    "hosts",
    "become",
    "become_user",
    "vars",
    "watchdog",
    "env",
    "serial",
    "max_fail",
    "order",
    "steps",
    "on_failed",
    "heal",
];
pub(crate) const HEAL: &[&str] = &["repair", "reboot", "replace"];
const ENV_ALONE: &str = "`env` alone is not a value; it contains the environment of Reveille itself";
const ENV_HINT: &str = "write `env.NAME`";
const SECRET: &[&str] = &["env", "file", "command", "prompt"];

/// The largest template file.
const MAX_TEMPLATE_BYTES: u64 = 4 << 20;
/// How many steps the evaluation of one template file may take on one host.
const FILE_FUEL: u64 = 5_000_000;

/// A job file that is being read.
pub(crate) struct Context<'a> {
    pub(crate) reader: Reader<'a>,
    /// The recorded texts of template files; without them, the files are read.
    recorded: Option<&'a BTreeMap<String, String>>,
    template_files: BTreeMap<String, Blocks>,
    /// The environment variables that templates use.
    environment: BTreeSet<String>,
    template_texts: BTreeMap<String, String>,
}

const KIND: Kind = Kind {
    name: "job file",
    one: "a job file",
};

/// Reads a job file.
pub(crate) fn job(
    text: &str,
    file: &str,
    extra: BTreeMap<String, serde_json::Value>,
    recorded: Option<&BTreeMap<String, String>>,
) -> Result<Job, Vec<SourceError>> {
    let taken = extra.keys().find(|name| BUILT_IN.contains(&name.as_str()));
    if let Some(name) = taken {
        let message = format!("`{name}` is a built-in name; choose another one");
        return Err(vec![SourceError::whole(message, "-e")]);
    }
    let root = document::read(text, file, &KIND).map_err(|mistake| vec![mistake])?;
    let mut context = Context {
        reader: Reader::new(file, text),
        recorded,
        template_files: BTreeMap::new(),
        environment: BTreeSet::new(),
        template_texts: BTreeMap::new(),
    };
    let job = context.job(&root, extra);
    match job {
        Some(job) if context.reader.mistakes.is_empty() => Ok(job),
        _ => {
            let mut mistakes = context.reader.mistakes;
            if mistakes.is_empty() {
                mistakes.push(SourceError::whole("the job file can't be read", file));
            }
            mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
            Err(mistakes)
        }
    }
}

/// Reads a command that is a template, with the environment variables that it uses.
pub(crate) fn command(text: &str) -> Result<(Template, BTreeSet<String>), Vec<SourceError>> {
    let mut context = Context {
        reader: Reader::new(COMMAND, text),
        recorded: None,
        template_files: BTreeMap::new(),
        environment: BTreeSet::new(),
        template_texts: BTreeMap::new(),
    };
    let template = Template::compile(text, text, 0)
        .map_err(|fault| context.fault(fault))
        .ok();
    for expression in template.iter().flat_map(Template::expressions) {
        context.check_built_in(expression);
    }
    match template {
        Some(template) if context.reader.mistakes.is_empty() => Ok((template, context.environment)),
        _ => Err(context.reader.mistakes),
    }
}

impl Context<'_> {
    fn job(&mut self, root: &Node, extra: BTreeMap<String, serde_json::Value>) -> Option<Job> {
        if matches!(root.value, Value::List(_)) {
            let hint = "a job is one mapping with `steps`; playbooks of Ansible have to be rewritten";
            self.reader
                .mistake_with_hint(&root.place, "expected a job, a mapping, found a list", hint);
            return None;
        }
        let fields = self.reader.fields_or_hints(root, "a job", JOB, OF_PLAYS)?;
        let name = fields.get("name").and_then(|node| self.reader.filled(node));
        let hosts = fields.get("hosts").and_then(|node| self.reader.filled(node));
        let hosts_at = fields.get("hosts").map_or(0, |node| {
            let is_quoted = self.reader.raw(node).starts_with(['"', '\'']);
            node.place.bytes.start + usize::from(is_quoted)
        });
        let defaults = Defaults {
            becomes: fields.get("become").and_then(|node| self.reader.truth(node)),
            become_user: fields.get("become_user").and_then(|node| self.template(node)),
            env: fields.get("env").map(|node| self.env(node)).unwrap_or_default(),
            watchdog: fields
                .get("watchdog")
                .map(|node| self.watchdog(node, Watchdog::default()))
                .unwrap_or_default(),
        };
        let vars = fields.get("vars").map(|node| self.vars(node)).unwrap_or_default();
        let serial = fields
            .get("serial")
            .map(|node| self.serial(node))
            .unwrap_or_default();
        let max_fail = fields
            .get("max_fail")
            .map(|node| self.max_fail(node))
            .unwrap_or_default();
        let order = fields.get("order").and_then(|node| {
            let words = [
                ("inventory", Order::Inventory),
                ("sorted", Order::Sorted),
                ("reverse", Order::Reverse),
                ("shuffled", Order::Shuffled),
            ];
            self.reader.word(node, &words)
        });
        let steps_node = fields.need("steps", "a job", &mut self.reader)?;
        let Value::List(nodes) = &steps_node.value else {
            self.reader.expected(steps_node, "a list of steps");
            return None;
        };
        if nodes.is_empty() {
            self.reader
                .mistake(&steps_node.place, "a job needs at least one step");
        }
        let mut steps: Vec<Option<Step>> = nodes.iter().map(|node| self.step(node, &defaults)).collect();
        let mut nodes: Vec<&Node> = nodes.iter().collect();
        for node in fields.get("on_failed").map(items).unwrap_or_default() {
            steps.push(self.step_on_failed(node, &defaults));
            nodes.push(node);
        }
        let mut heal = Heal::default();
        if let Some(node) = fields.get("heal")
            && let Some(fields) = self.reader.fields(node, "`heal`", HEAL)
        {
            for node in fields.get("repair").map(items).unwrap_or_default() {
                steps.push(self.repair(node, &defaults));
                nodes.push(node);
            }
            heal.reboot = fields
                .get("reboot")
                .and_then(|node| self.reader.truth(node))
                .unwrap_or(false);
            heal.replace = fields.get("replace").and_then(|node| self.template(node));
        }
        let registers = self.registers(&nodes, &steps, &vars);
        for expression in heal.replace.iter().flat_map(Template::expressions) {
            self.check_names(expression, 0, &registers, &steps);
        }
        for (index, step) in steps.iter().enumerate() {
            for expression in step.iter().flat_map(Step::expressions) {
                self.check_names(expression, index, &registers, &steps);
            }
            let items = step.iter().filter_map(|step| step.looped.as_ref());
            for expression in items.flat_map(Looped::expressions) {
                if let Some(name) = expression
                    .roots()
                    .iter()
                    .find(|root| registers.contains_key(*root))
                {
                    let message = format!(
                        "the items of `loop` must be known before anything is dispatched, and `{name}` is a result"
                    );
                    let hint = "loop in the shell, or run the step for all items with `when`".to_owned();
                    self.at_byte(expression.at(), message, Some(hint));
                }
            }
        }
        self.check_secrets(&steps, &vars);
        for expression in vars.iter().flat_map(|(_, var)| var.expressions()) {
            for root in expression.roots() {
                if registers.contains_key(root) {
                    let message = format!("vars are set before any step; `{root}` is registered by one");
                    self.at_byte(expression.at(), message, None);
                }
            }
            self.check_built_in(expression);
        }
        let complete = steps.iter().all(Option::is_some);
        complete.then(|| Job {
            name: name.unwrap_or_else(|| default_name(self.reader.file)),
            hosts,
            hosts_at,
            serial,
            max_fail,
            order: order.unwrap_or_default(),
            steps: steps.into_iter().flatten().collect(),
            heal,
            vars,
            extra: extra.clone(),
            registers,
            template_files: std::mem::take(&mut self.template_files),
            environment: std::mem::take(&mut self.environment),
            constant_items: OnceLock::new(),
            source: JobSource::File {
                file: self.reader.file.to_owned(),
                text: self.reader.text.to_owned(),
                vars: extra,
                files: std::mem::take(&mut self.template_texts),
                selection: Selection::default(),
                loops: Vec::new(),
            },
        })
    }

    /// Reads a text that may contain templates.
    pub(crate) fn template(&mut self, node: &Node) -> Option<Template> {
        let text = self.reader.filled(node)?;
        self.compile(&text, node)
    }

    fn compile(&mut self, text: &str, node: &Node) -> Option<Template> {
        let compiled = Template::compile(text, self.reader.raw(node), node.place.bytes.start);
        compiled.map_err(|fault| self.fault(fault)).ok()
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.at_byte(fault.offset, fault.message, fault.hint);
    }

    fn at_byte(&mut self, byte: usize, message: String, hint: Option<String>) {
        let (line, column) = reveille_document::position(self.reader.text, byte);
        let mistake = SourceError::at(message, self.reader.file, self.reader.text, line, column);
        self.reader.note(SourceError { hint, ..mistake });
    }

    /// Reads environment variables: names and templates.
    pub(crate) fn env(&mut self, node: &Node) -> Vec<(String, Template)> {
        let Value::Map(entries) = &node.value else {
            self.reader.expected(node, "`env`, a mapping of names to values");
            return Vec::new();
        };
        let mut env = Vec::new();
        for (key, value) in entries {
            let Some(name) = self.reader.scalar(key) else {
                continue;
            };
            if !is_identifier(&name) {
                self.reader.mistake(
                    &key.place,
                    format!("`{name}` is not a valid name for an environment variable"),
                );
                continue;
            }
            if self.is_secret(value) {
                continue;
            }
            // An empty value is a value here.
            let text = match &value.value {
                Value::Null => Some(String::new()),
                _ => self.reader.scalar(value),
            };
            if let Some(template) = text.and_then(|text| self.compile(&text, value)) {
                env.push((name, template));
            }
        }
        env
    }

    /// Reads and compiles the file of a template step, and records its mistakes.
    pub(crate) fn read_template(&mut self, path: &str, node: &Node) -> Option<()> {
        if self.template_files.contains_key(path) {
            return Some(());
        }
        let text = match self.recorded.map(|recorded| recorded.get(path)) {
            Some(Some(text)) => text.clone(),
            Some(None) => {
                let message = format!("the run's record does not contain {path}");
                self.reader.mistake(&node.place, message);
                return None;
            }
            None => {
                let place = Path::new(self.reader.file)
                    .parent()
                    .map_or_else(|| path.into(), |directory| directory.join(path));
                let read = bounded::text(&place, MAX_TEMPLATE_BYTES)
                    .map_err(|why| format!("can't read the template {}: {why}", place.display()));
                read.map_err(|message| self.reader.mistake(&node.place, message))
                    .ok()?
            }
        };
        match Blocks::compile(document::language(FILE_FUEL), path, &text) {
            Ok(file) if !self.take_environment(file.paths()) => {
                self.reader
                    .note(SourceError::whole(ENV_ALONE, path).hint(ENV_HINT));
                None
            }
            Ok(file) => {
                self.template_files.insert(path.to_owned(), file);
                self.template_texts.insert(path.to_owned(), text);
                Some(())
            }
            Err(mistake) => {
                self.reader.note(mistake);
                None
            }
        }
    }

    /// Reports secrets in places where others could see their values: everywhere but in environment variables of
    /// durable commands, which travel on standard input, and in template files.
    fn check_secrets(&mut self, steps: &[Option<Step>], vars: &[(String, Var)]) {
        let mut secret: BTreeSet<&str> = BTreeSet::new();
        // Vars may refer to vars before or after them.
        loop {
            let more: Vec<&str> = vars
                .iter()
                .filter(|(name, var)| {
                    !secret.contains(name.as_str())
                        && (matches!(var, Var::Secret(_)) || takes(var.expressions(), &secret).is_some())
                })
                .map(|(name, _)| name.as_str())
                .collect();
            if more.is_empty() {
                break;
            }
            secret.extend(more);
        }
        if secret.is_empty() {
            return;
        }
        for step in steps.iter().flatten() {
            let open = step
                .when
                .iter()
                .map(|when| &**when)
                .chain(step.looped.iter().flat_map(Looped::expressions))
                .chain(step.open_templates().flat_map(Template::expressions));
            if let Some((expression, name)) = takes(open, &secret) {
                let message = format!("`{name}` is a secret, and process lists and logs would show it here");
                let hint = format!(
                    "give it to the command as an environment variable: `env: {{{}: \"{{{{ {name} }}}}\"}}`",
                    name.to_uppercase()
                );
                self.at_byte(expression.at(), message, Some(hint));
            }
            let in_env = step.env.iter().flat_map(|(_, template)| template.expressions());
            // Copies and reboots run no command that sees the environment.
            let hint = match step.kind() {
                _ if step.durable => continue,
                "run" | "script" if step.pty => "leave out `pty`",
                "run" | "script" => "leave out `durable: false`",
                "wait_for" => "give it to the steps that need it, not to the whole job",
                _ => continue,
            };
            if let Some((expression, name)) = takes(in_env, &secret) {
                let message = format!(
                    "`{name}` is a secret, and a step that is not durable passes its environment as an argument"
                );
                self.at_byte(expression.at(), message, Some(hint.into()));
            }
        }
    }

    /// Reads a `{secret: …}`.
    fn secret(&mut self, node: &Node) -> Option<SecretSource> {
        let fields = self.reader.fields(node, "a secret", &["secret"])?;
        let inner = fields.need("secret", "a secret", &mut self.reader)?;
        let fields = self.reader.fields(inner, "`secret`", SECRET)?;
        let mut found = SECRET.iter().filter_map(|name| Some((*name, fields.get(name)?)));
        let Some((name, value)) = found.next() else {
            self.reader.mistake_with_hint(
                fields.place,
                "the source of this secret is missing",
                "write one of env, file, command, prompt",
            );
            return None;
        };
        if found.next().is_some() {
            self.reader
                .mistake(fields.place, "a secret can have only one source");
            return None;
        }
        let text = self.reader.filled(value)?;
        Some(match name {
            "env" => SecretSource::Env(text),
            "file" => SecretSource::File(text),
            "command" => SecretSource::Command(text),
            _ => SecretSource::Prompt(text),
        })
    }

    /// Reports a `{secret: …}` in the wrong place, if `node` is one.
    fn is_secret(&mut self, node: &Node) -> bool {
        let secret = entry(node, "secret");
        if let Some((key, _)) = secret {
            self.reader.mistake_with_hint(
                &key.place,
                "a secret must be a var by itself",
                "put it under `vars` and use its name here",
            );
        }
        secret.is_some()
    }

    fn vars(&mut self, node: &Node) -> Vec<(String, Var)> {
        let Value::Map(entries) = &node.value else {
            self.reader.expected(node, "`vars`, a mapping of names to values");
            return Vec::new();
        };
        let mut vars = Vec::new();
        for (key, value) in entries {
            let Some(name) = self.reader.scalar(key) else {
                continue;
            };
            let name_is_good = self.variable_name(&name, key);
            let var = if entry(value, "secret").is_some() {
                self.secret(value).map(Var::Secret)
            } else {
                self.var(value)
            };
            if name_is_good && let Some(var) = var {
                vars.push((name, var));
            }
        }
        vars
    }

    pub(crate) fn var(&mut self, node: &Node) -> Option<Var> {
        let var = match &node.value {
            Value::Null => Var::Plain(().into()),
            Value::Truth(truth) => Var::Plain((*truth).into()),
            Value::Number(number) => {
                let json = as_written(number, self.reader.raw(node));
                Var::Plain(value_of(&json))
            }
            Value::Text(text) if text.contains("{{") => Var::Template(self.compile(text, node)?),
            Value::Text(text) => Var::Plain(text.as_str().into()),
            Value::List(items) => Var::List(items.iter().filter_map(|item| self.var(item)).collect()),
            Value::Map(_) if self.is_secret(node) => return None,
            Value::Map(_) if self.reader.text[node.place.bytes.start..].starts_with("{{") => {
                self.reader.expected(node, "a value");
                return None;
            }
            Value::Map(entries) => Var::Map(
                entries
                    .iter()
                    .filter_map(|(key, value)| Some((self.reader.scalar(key)?, self.var(value)?)))
                    .collect(),
            ),
        };
        Some(var)
    }

    /// Whether templates can use the name; reports why not.
    pub(crate) fn variable_name(&mut self, name: &str, node: &Node) -> bool {
        if !is_identifier(name) {
            self.reader.mistake_with_hint(
                &node.place,
                format!("templates can't use the name `{name}`"),
                "a name can contain letters, digits and underscores",
            );
            return false;
        }
        if BUILT_IN.contains(&name) {
            self.reader.mistake(
                &node.place,
                format!("`{name}` is a built-in name; choose another one"),
            );
            return false;
        }
        true
    }

    fn serial(&mut self, node: &Node) -> Vec<Amount> {
        let items = items(node);
        if items.is_empty() {
            self.reader
                .mistake(&node.place, "`serial` needs at least one batch");
        }
        let mut batches = Vec::new();
        for item in items {
            if let Some(amount) = self.reader.parsed(item, Amount::parse) {
                if matches!(amount, Amount::Hosts(0)) || amount == Amount::Percent(0.0) {
                    self.reader
                        .mistake(&item.place, "a batch needs at least one host");
                }
                batches.push(amount);
            }
        }
        batches
    }

    fn max_fail(&mut self, node: &Node) -> MaxFail {
        if !matches!(node.value, Value::Map(_)) {
            let raw = self.reader.raw(node).to_owned();
            let hint = format!("write `max_fail: {{total: {raw}}}`, or `batch` for each batch");
            let message = "`max_fail` must say of what: of all hosts or of a batch";
            self.reader.mistake_with_hint(&node.place, message, hint);
            return MaxFail::default();
        }
        let Some(fields) = self.reader.fields(node, "`max_fail`", &["total", "batch"]) else {
            return MaxFail::default();
        };
        let mut amount = |name: &str| {
            let node = fields.get(name)?;
            self.reader.parsed(node, Amount::parse)
        };
        MaxFail {
            total: amount("total"),
            batch: amount("batch"),
        }
    }

    /// Finds the step that registers each name.
    fn registers(
        &mut self,
        nodes: &[&Node],
        steps: &[Option<Step>],
        vars: &[(String, Var)],
    ) -> HashMap<String, usize> {
        let mut registers = HashMap::new();
        for (index, step) in steps.iter().enumerate() {
            let Some(name) = step.as_ref().and_then(|step| step.register.as_ref()) else {
                continue;
            };
            let node = nodes[index];
            let place = entry(node, "register").map_or(&node.place, |(_, value)| &value.place);
            if let Some(first) = registers.insert(name.clone(), index) {
                registers.insert(name.clone(), first);
                let message = format!(
                    "`{name}` is registered by two steps, the {} and the {}",
                    nth(first),
                    nth(index)
                );
                self.reader.mistake(place, message);
            } else if vars.iter().any(|(var, _)| var == name) {
                self.reader
                    .mistake(place, format!("`{name}` is one of the job's vars already"));
            }
        }
        registers
    }

    /// Checks the results of earlier steps that an expression of step `index` uses.
    fn check_names(
        &mut self,
        expression: &Expression,
        index: usize,
        registers: &HashMap<String, usize>,
        steps: &[Option<Step>],
    ) {
        for path in expression.paths() {
            let (root, rest) = path.split_once('.').unwrap_or((path, ""));
            let Some(by) = registers.get(root) else {
                continue;
            };
            if *by >= index {
                let whose = if *by == index {
                    "this step itself".to_owned()
                } else {
                    let name = steps[*by].as_ref().map_or("", |step| &step.name);
                    format!("the later step `{name}`")
                };
                let message = format!("`{root}` has no value here: {whose} registers it");
                self.at_byte(expression.at(), message, None);
                continue;
            }
            let part = rest.split('.').next().unwrap_or_default();
            let looped = steps[*by].as_ref().is_some_and(|step| step.looped.is_some());
            let known = if looped { OF_LOOPS } else { REGISTERED };
            if !part.is_empty() && !known.contains(&part) {
                let hint = SourceError::nearest(part, known.iter().copied()).map_or_else(
                    || format!("available: {}", known.join(", ")),
                    |near| format!("did you mean `{root}.{near}`?"),
                );
                self.at_byte(
                    expression.at(),
                    format!(
                        "{} has no `{part}`",
                        if looped {
                            "the result of a loop"
                        } else {
                            "a registered result"
                        }
                    ),
                    Some(hint),
                );
            }
        }
        self.check_built_in(expression);
    }

    fn check_built_in(&mut self, expression: &Expression) {
        if !self.take_environment(expression.paths()) {
            self.at_byte(expression.at(), ENV_ALONE.into(), Some(ENV_HINT.into()));
        }
    }

    /// Takes the environment variables among the paths of a template; false if it uses the environment as a whole.
    fn take_environment(&mut self, paths: &BTreeSet<String>) -> bool {
        let names = paths.iter().filter_map(|path| path.strip_prefix("env."));
        let names = names.map(|name| name.split('.').next().unwrap_or(name).to_owned());
        self.environment.extend(names);
        !paths.contains("env")
    }
}

/// The first expression that uses one of the names, and that name.
fn takes<'e, 'n>(
    expressions: impl IntoIterator<Item = &'e Expression>,
    names: &BTreeSet<&'n str>,
) -> Option<(&'e Expression, &'n str)> {
    expressions.into_iter().find_map(|expression| {
        let name = names.iter().find(|name| expression.roots().contains(**name))?;
        Some((expression, *name))
    })
}

/// The key and the value of this name, if the node is a mapping with it.
pub(crate) fn entry<'n>(node: &'n Node, name: &str) -> Option<&'n (Node, Node)> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    entries
        .iter()
        .find(|(key, _)| matches!(&key.value, Value::Text(text) if text == name))
}

fn nth(index: usize) -> String {
    match index {
        0 => "first".into(),
        1 => "second".into(),
        2 => "third".into(),
        _ => format!("{}th", index + 1),
    }
}

pub(crate) fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The file's name without directories and extension.
fn default_name(file: &str) -> String {
    std::path::Path::new(file)
        .file_stem()
        .map_or_else(|| "job".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// A number of a var, or its text if YAML would read another one: `1.10` is a version and `0640` a mode.
pub(crate) fn as_written(number: &serde_json::Number, raw: &str) -> serde_json::Value {
    if number.to_string() == raw || raw.contains(['x', 'o']) {
        serde_json::Value::Number(number.clone())
    } else {
        raw.into()
    }
}
