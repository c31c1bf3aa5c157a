//! Reads the options of steps.

use regex::bytes::Regex;
use reveille_account::{Class, SourceError, Status};
use reveille_document::{Expression, Fields, Node, Template, Value, items};

use std::sync::Arc;

use crate::parse::action::{FOREIGN, KINDS};
use crate::parse::{Context, entry};
use crate::scope::Var;
use crate::step::{Action, Limit, Looped, OnStuck, Role, Rules, SkipIf, StderrRule, Step, Watchdog};

pub(crate) const OPTIONS: &[&str] = &[
    "name",
    "when",
    "loop",
    "skip_if",
    "shell",
    "env",
    "cwd",
    "become",
    "become_user",
    "attempts",
    "backoff",
    "watchdog",
    "ok_codes",
    "expect",
    "fatal",
    "fail_on_stderr",
    "ignore_stderr",
    "ignore_errors",
    "register",
    "once",
    "idempotent",
    "durable",
    "pty",
    "check",
    "settle",
    "class",
    "tags",
    "on_stuck",
    "run_on",
];
/// The additional options of a repair.
const REPAIR: &[&str] = &["on"];
/// How often an idempotent step is tried.
const IDEMPOTENT_ATTEMPTS: u32 = 3;

/// The job's defaults for its steps.
pub(crate) struct Defaults {
    pub(crate) becomes: Option<bool>,
    pub(crate) become_user: Option<Template>,
    pub(crate) env: Vec<(String, Template)>,
    pub(crate) watchdog: Watchdog,
}

impl Context<'_> {
    pub(crate) fn step(&mut self, node: &Node, defaults: &Defaults) -> Option<Step> {
        let known: Vec<&str> = KINDS.iter().chain(OPTIONS).copied().collect();
        let fields = self.reader.fields_or_hints(node, "a step", &known, FOREIGN)?;
        self.step_of(&fields, defaults)
    }

    /// Reads a step for failed hosts.
    pub(crate) fn step_on_failed(&mut self, node: &Node, defaults: &Defaults) -> Option<Step> {
        let step = self.step(node, defaults)?;
        self.refuse_loop(node, &step, "a step of `on_failed`");
        if step.once {
            self.reader.mistake(
                &node.place,
                "a step of `on_failed` runs on every failed host, so it can't be `once`",
            );
        }
        Some(Step {
            role: Role::OnFailed,
            ..step
        })
    }

    /// Reads a repair: a step and the classes of failure that it is for.
    pub(crate) fn repair(&mut self, node: &Node, defaults: &Defaults) -> Option<Step> {
        let known: Vec<&str> = KINDS.iter().chain(OPTIONS).chain(REPAIR).copied().collect();
        let fields = self.reader.fields_or_hints(node, "a repair", &known, FOREIGN)?;
        let step = self.step_of(&fields, defaults);
        let on = fields.need("on", "a repair", &mut self.reader)?;
        let classes: Vec<Class> = items(on)
            .into_iter()
            .filter_map(|item| self.class(item))
            .collect();
        let step = step?;
        self.refuse_loop(node, &step, "a repair");
        if step.once {
            self.reader.mistake(
                &node.place,
                "a repair runs on every host that needs it, so it can't be `once`",
            );
        }
        Some(Step {
            role: Role::Repair(classes),
            ..step
        })
    }

    fn refuse_loop(&mut self, node: &Node, step: &Step, what: &str) {
        if step.looped.is_some() {
            let place = entry(node, "loop").map_or(&node.place, |(key, _)| &key.place);
            self.reader
                .mistake_with_hint(place, format!("{what} can't have `loop`"), "loop in the shell");
        }
    }

    /// Reads a class of failure that can be repaired.
    fn class(&mut self, node: &Node) -> Option<Class> {
        let name = self.reader.filled(node)?;
        match name.parse::<Class>() {
            Ok(class) if class.status() == Status::Failed => Some(class),
            Ok(class) => {
                let message = format!("`{class}` is not a failure");
                self.reader.mistake(&node.place, message);
                None
            }
            Err(_) => {
                let failures = Class::ALL.iter().filter(|class| class.status() == Status::Failed);
                let all = failures.map(|class| class.as_str());
                let hint = SourceError::nearest(&name, all).map_or_else(
                    || "`reveille explain` lists them".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("there is no class of failure `{name}`");
                self.reader.mistake_with_hint(&node.place, message, hint);
                None
            }
        }
    }

    fn step_of(&mut self, fields: &Fields<'_>, defaults: &Defaults) -> Option<Step> {
        let action = self.action(fields);
        let name = fields.get("name").and_then(|node| self.reader.filled(node));
        let when = fields.get("when").and_then(|node| self.condition(node));
        let of_loop = fields.get("loop").and_then(|node| self.loop_items(node));
        let skip_if = fields.get("skip_if").and_then(|node| self.skip_if(node));
        let mut env = defaults.env.clone();
        if let Some(node) = fields.get("env") {
            for (name, value) in self.env(node) {
                env.retain(|(old, _)| *old != name);
                env.push((name, value));
            }
        }
        let cwd = fields.get("cwd").and_then(|node| self.template(node));
        let become_user = fields.get("become_user").and_then(|node| self.template(node));
        let run_on = fields.get("run_on").and_then(|node| self.template(node));
        let attempts = fields
            .get("attempts")
            .and_then(|node| self.reader.whole(node, 1..=100))
            .and_then(|attempts| u32::try_from(attempts).ok());
        let backoff = fields.get("backoff").and_then(|node| self.reader.duration(node));
        let settle = fields.get("settle").and_then(|node| self.reader.duration(node));
        let mut watchdog = defaults.watchdog;
        if let Some(node) = fields.get("watchdog") {
            watchdog = self.watchdog(node, watchdog);
        }
        let rules = self.rules(fields);
        let register = fields.get("register").and_then(|node| self.register(node));
        let on_stuck = fields.get("on_stuck").and_then(|node| {
            let words = [("warn", OnStuck::Warn), ("kill", OnStuck::Kill)];
            self.reader.word(node, &words)
        });
        let class = fields.get("class").and_then(|node| self.reader.filled(node));
        let tags = fields.get("tags").map(items).unwrap_or_default();
        let tags = tags
            .into_iter()
            .filter_map(|item| self.reader.filled(item))
            .collect();
        let mut truth = |name: &str| fields.get(name).and_then(|node| self.reader.truth(node));
        let (becomes, idempotent, durable) = (truth("become"), truth("idempotent"), truth("durable"));
        let once = truth("once").unwrap_or(false);
        let ignore_errors = truth("ignore_errors").unwrap_or(false);
        let pty = truth("pty").unwrap_or(false);
        let check = truth("check").unwrap_or(false);
        let action = action?;
        if let (Action::Reboot { .. }, Some((key, _))) = (&action, fields.entry("run_on")) {
            self.reader.mistake(
                &key.place,
                "`reboot` reboots the host itself; it can't use `run_on`",
            );
        }
        let name = name.unwrap_or_else(|| action.words());
        let looped = of_loop.map(|(items, at)| Looped {
            items,
            at,
            name: name.clone(),
            number: 0,
        });
        let repeats = !matches!(action, Action::Run { .. } | Action::Script { .. });
        let is_reboot = matches!(action, Action::Reboot { .. });
        let idempotent = idempotent.unwrap_or(repeats && !is_reboot);
        let attempts = attempts.unwrap_or(match action {
            // It checks again by itself until its time is over.
            Action::WaitFor { .. } => 1,
            _ if idempotent => IDEMPOTENT_ATTEMPTS,
            _ => 1,
        });
        if repeats {
            for name in ["ok_codes", "expect", "fatal", "fail_on_stderr", "ignore_stderr"] {
                if let Some((key, _)) = fields.entry(name) {
                    let message = format!(
                        "`{name}` checks a command's output, and `{}` has none",
                        action.kind()
                    );
                    self.reader.mistake(&key.place, message);
                }
            }
        }
        if let Some((key, _)) = fields.entry("check").filter(|_| check && repeats) {
            let message = format!(
                "`check` belongs to `run` and `script`, not to `{}`",
                action.kind()
            );
            self.reader.mistake(&key.place, message);
        }
        if let Some((key, _)) = fields.entry("pty").filter(|_| pty) {
            if repeats {
                let message = format!(
                    "only commands can run on a terminal, and `{}` has none",
                    action.kind()
                );
                self.reader.mistake(&key.place, message);
            }
            if durable == Some(true) {
                self.reader.mistake_with_hint(
                    &key.place,
                    "a step on a terminal can't be durable, because the terminal ends with the connection",
                    "remove `pty` or `durable`",
                );
            }
        }
        Some(Step {
            name,
            becomes: becomes.or(defaults.becomes),
            attempts,
            backoff,
            watchdog,
            register,
            once,
            idempotent,
            durable: durable.unwrap_or(!repeats && !pty),
            pty,
            check,
            ignore_errors,
            settle: settle.unwrap_or_default(),
            on_stuck: on_stuck.unwrap_or_default(),
            class: class.unwrap_or_else(|| action.class()),
            tags,
            left_out: None,
            role: Role::Main,
            rules,
            action,
            when: when.map(Arc::new),
            looped,
            skip_if,
            env,
            cwd,
            become_user: become_user.or_else(|| defaults.become_user.clone()),
            run_on,
        })
    }

    fn rules(&mut self, fields: &Fields<'_>) -> Rules {
        let mut rules = Rules::default();
        if let Some(node) = fields.get("ok_codes") {
            let items = items(node);
            if items.is_empty() {
                self.reader
                    .mistake(&node.place, "`ok_codes` needs at least one exit status");
            }
            rules.ok_codes = items
                .into_iter()
                .filter_map(|item| self.reader.whole(item, 0..=255))
                .filter_map(|code| i32::try_from(code).ok())
                .collect();
        }
        rules.fatal = fields.get("fatal").and_then(|node| self.reader.regexes(node));
        rules.ignore_stderr = fields
            .get("ignore_stderr")
            .and_then(|node| self.reader.regexes(node));
        rules.expect = fields
            .get("expect")
            .and_then(|node| self.reader.regex(node, Regex::new));
        match fields.get("fail_on_stderr") {
            None => {}
            Some(node) if matches!(node.value, Value::List(_)) => {
                if let Some(set) = self.reader.regexes(node) {
                    rules.stderr = StderrRule::Without(set);
                }
            }
            Some(node) => match &node.value {
                Value::Text(word) if word == "never" => {}
                Value::Text(word) if word == "any" => rules.stderr = StderrRule::Nothing,
                _ => self
                    .reader
                    .expected(node, "`never`, `any` or a list of regular expressions"),
            },
        }
        rules
    }

    /// Reads the items of a loop and where they stand.
    fn loop_items(&mut self, node: &Node) -> Option<(Arc<Var>, usize)> {
        Some((Arc::new(self.var(node)?), node.place.bytes.start))
    }

    /// Reads an expression without braces.
    fn condition(&mut self, node: &Node) -> Option<Expression> {
        if let Value::List(_) = node.value {
            self.reader.mistake_with_hint(
                &node.place,
                "`when` must be a single expression",
                "join conditions with `and`",
            );
            return None;
        }
        let text = self.reader.filled(node)?;
        let raw = self.reader.raw(node);
        let at = node.place.bytes.start + raw.find(text.trim()).unwrap_or(0);
        if text.contains("{{") {
            let bare = text.replace("{{", "").replace("}}", "");
            self.reader.mistake_with_hint(
                &node.place,
                "`when` is already an expression",
                format!("write it without braces: `{}`", bare.trim()),
            );
            return None;
        }
        Expression::compile(text.trim(), at)
            .map_err(|fault| self.fault(fault))
            .ok()
    }

    fn skip_if(&mut self, node: &Node) -> Option<SkipIf> {
        let fields = self.reader.fields(node, "`skip_if`", &["command", "exists"])?;
        match (fields.get("command"), fields.get("exists")) {
            (Some(command), None) => self.template(command).map(SkipIf::Command),
            (None, Some(path)) => self.template(path).map(SkipIf::Exists),
            (Some(_), Some(_)) => {
                self.reader.mistake(
                    fields.place,
                    "`skip_if` can check only one thing: `command` or `exists`",
                );
                None
            }
            (None, None) => {
                self.reader
                    .mistake(fields.place, "`skip_if` needs `command` or `exists`");
                None
            }
        }
    }

    pub(crate) fn watchdog(&mut self, node: &Node, defaults: Watchdog) -> Watchdog {
        let mut watchdog = defaults;
        if let Some(fields) = self.reader.fields(node, "`watchdog`", &["idle", "total"]) {
            if let Some(node) = fields.get("idle") {
                watchdog.idle = self.limit(node).unwrap_or(watchdog.idle);
            }
            if let Some(node) = fields.get("total") {
                watchdog.total = self.limit(node).unwrap_or(watchdog.total);
            }
        }
        watchdog
    }

    fn limit(&mut self, node: &Node) -> Option<Limit> {
        // YAML reads an unquoted `off` as false.
        if let Value::Truth(false) = node.value {
            return Some(Limit::Off);
        }
        match self.reader.scalar(node)?.as_str() {
            "auto" => Some(Limit::Auto),
            "off" => Some(Limit::Off),
            _ => self.reader.duration(node).map(Limit::After),
        }
    }

    /// Reads a name that templates can use.
    fn register(&mut self, node: &Node) -> Option<String> {
        let name = self.reader.filled(node)?;
        self.variable_name(&name, node).then_some(name)
    }
}
