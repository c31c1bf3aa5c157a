//! Checks every template for every host before anything is dispatched, and prints the plan.

use std::collections::HashMap;
use std::fmt::Write as _;

use reveille_account::SourceError;
use reveille_document::Template;
use reveille_text::duration;

use crate::constant::is_constant;
use crate::evaluation::Evaluation;
use crate::job::Job;
use crate::looping::Item;
use crate::parse::action::port;
use crate::render::{Rendered, RenderedAction, RenderedSkipIf, WaitCondition};
use crate::scope::{Mode, Scope};
use crate::step::{Action, Condition, Looped, Role, Step, WaitFrom};

/// Whom commands become on a host.
#[derive(Debug, Clone)]
pub struct Becoming {
    /// The user that they become without being told to.
    pub always: Option<String>,
    /// The user that they become if a step names none.
    pub on_request: String,
}

// === impl Becoming ===

impl Default for Becoming {
    /// Only steps with `become` become root.
    fn default() -> Self {
        Self {
            always: None,
            on_request: "root".to_owned(),
        }
    }
}

impl Becoming {
    /// The user that a step becomes; `user` is the one that it names.
    fn user<'u>(&'u self, step: &Step, user: Option<&'u str>) -> Option<&'u str> {
        let always = self.always.as_deref();
        let wanted = step.becomes.unwrap_or(always.is_some() || user.is_some());
        wanted.then(|| user.or(always).unwrap_or(&self.on_request))
    }
}

// === impl Job ===

impl Job {
    /// Checks every template of the job for one host, as far as possible before anything has run.
    pub fn check(&self, scope: &Scope<'_>) -> Vec<SourceError> {
        let mut mistakes = self.check_expressions(scope, true);
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes
    }

    /// Checks every template for every host; templates that don't depend on the host are checked once.
    ///
    /// The same mistake on several hosts is reported once, with the first host and the number of others.
    pub fn check_all<'a>(&self, scopes: impl IntoIterator<Item = Scope<'a>>) -> Vec<SourceError> {
        let mut mistakes: Vec<(SourceError, String, usize)> = Vec::new();
        let mut seen: HashMap<(usize, usize, String), usize> = HashMap::new();
        for (index, scope) in scopes.into_iter().enumerate() {
            for mistake in self.check_expressions(&scope, index == 0) {
                let key = (mistake.line, mistake.column, mistake.message.clone());
                if let Some(at) = seen.get(&key) {
                    mistakes[*at].2 += 1;
                } else {
                    seen.insert(key, mistakes.len());
                    mistakes.push((mistake, scope.host.to_owned(), 0));
                }
            }
        }
        mistakes.sort_by_key(|(mistake, _, _)| (mistake.line, mistake.column));
        let named = mistakes.into_iter().map(|(mut mistake, host, more)| {
            let _ = match more {
                0 => write!(mistake.message, " (on {host})"),
                1 => write!(mistake.message, " (on {host} and 1 more host)"),
                more => write!(mistake.message, " (on {host} and {more} more hosts)"),
            };
            mistake
        });
        named.collect()
    }

    /// Prints what would be done on a host, step by step, without connecting to anything. `becoming` tells whom commands
    /// become on a host, by its name.
    pub fn plan(
        &self,
        scope: &Scope<'_>,
        becoming: impl Fn(&str) -> Becoming,
    ) -> Result<String, SourceError> {
        let evaluation = Evaluation::new(self, scope, Mode::Show);
        let mut plan = format!("{}\n", scope.host);
        let absent = self.absent(scope);
        for (index, step) in (0u32..).zip(&self.steps) {
            if absent.contains(&index) {
                continue;
            }
            let when = match &step.role {
                Role::Main => String::new(),
                Role::OnFailed => " (if the host fails)".to_owned(),
                Role::Repair(classes) => {
                    let names: Vec<&str> = classes.iter().map(|class| class.as_str()).collect();
                    format!(" (repairs {})", names.join(", "))
                }
            };
            let _ = writeln!(plan, "  {}. {}{when}", index + 1, step.name);
            if let Some(why) = &step.left_out {
                let _ = writeln!(plan, "     {why}");
                continue;
            }
            let runs = evaluation.runs(step)?;
            if let Some(when) = &step.when {
                let known = match runs {
                    Some(true) => " (holds)",
                    Some(false) => " (does not hold: skipped)",
                    None => "",
                };
                let _ = writeln!(plan, "     when: {}{known}", when.source());
            }
            let item = if runs == Some(false) {
                Item::Absent
            } else {
                evaluation.item(step)?
            };
            if let Item::Absent = item {
                if step.when.is_none() {
                    let _ = writeln!(plan, "     no items: skipped");
                }
                continue;
            }
            let rendered = evaluation.with(&item).step(step)?;
            let becoming = becoming(rendered.run_on.as_deref().unwrap_or(scope.host));
            write_plan(&mut plan, step, &rendered, &becoming);
        }
        Ok(plan)
    }

    fn check_expressions(&self, scope: &Scope<'_>, with_constant: bool) -> Vec<SourceError> {
        let evaluation = Evaluation::new(self, scope, Mode::Plan);
        let mut mistakes = Vec::new();
        let replace = self.heal.replace.iter().flat_map(Template::expressions);
        for expression in replace {
            if let Err(mistake) = evaluation.value(expression) {
                mistakes.push(mistake);
            }
        }
        let mut items_of_loop = None;
        for step in &self.steps {
            let mut take = |mistake: SourceError| {
                if !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
            };
            // A step that does not run on this host may use what only others have.
            let mut with_constant = with_constant;
            let mut deciding = step.when.iter().map(|when| &**when);
            let items = step.looped.iter().flat_map(Looped::expressions);
            with_constant |= !deciding.all(|when| is_constant(self, when, 0))
                || !items.into_iter().all(|items| is_constant(self, items, 0));
            let item = evaluation.item_again(step, &mut items_of_loop);
            match evaluation.runs_for(step, item.clone()) {
                Ok(Some(false)) => continue,
                Err(mistake) if with_constant => take(mistake),
                Ok(_) | Err(_) => {}
            }
            // Items that can't be read are reported above.
            let Ok(item) = item else { continue };
            let evaluation = evaluation.with(&item);
            for expression in step.templates().flat_map(Template::expressions) {
                if (with_constant || !is_constant(self, expression, 0))
                    && let Err(mistake) = evaluation.value(expression)
                {
                    take(mistake);
                }
            }
            if let Action::Template { src, .. } = &step.action
                && let Err(mistake) = evaluation.file(src)
            {
                take(mistake);
            }
            // The value of a var may not be a port.
            if let Action::WaitFor {
                condition: Condition::Port(template),
                ..
            } = &step.action
                && template.expressions().next().is_some()
                && template
                    .expressions()
                    .all(|expression| !evaluation.needs_results(expression))
                && let Ok(text) = evaluation.text(template)
                && let Err(message) = port(&text)
            {
                take(evaluation.not_a_port(template, message));
            }
        }
        mistakes
    }
}

fn write_plan(plan: &mut String, step: &Step, rendered: &Rendered, becoming: &Becoming) {
    let mut line = |name: &str, value: &str| {
        let value = value.trim_end();
        if value.contains('\n') {
            let _ = writeln!(plan, "     {name}: |");
            for text in value.lines() {
                let _ = writeln!(plan, "       {text}");
            }
        } else {
            let _ = writeln!(plan, "     {name}: {value}");
        }
    };
    match &rendered.skip_if {
        None => {}
        Some(RenderedSkipIf::Command(command)) => line("skipped if it succeeds", command),
        Some(RenderedSkipIf::Exists(path)) => line("skipped if it exists", path),
    }
    match &rendered.action {
        RenderedAction::Run { command, shell } => line(shell, command),
        RenderedAction::Script { src, args } => {
            line("script", &format!("{src} {}", args.join(" ")));
        }
        RenderedAction::Upload { src, to } | RenderedAction::Template { src, to, .. } => {
            let mut text = format!("{src} to {}", to.dest);
            if let Some(mode) = to.mode {
                let _ = write!(text, ", mode {mode:04o}");
            }
            for (what, name) in [("owner", &to.owner), ("group", &to.group)] {
                if let Some(name) = name {
                    let _ = write!(text, ", {what} {name}");
                }
            }
            line(step.kind(), &text);
        }
        RenderedAction::Download { src, to, .. } => line("download", &format!("{src} to {to}")),
        RenderedAction::Reboot { within, only_if } => {
            line("reboot", &format!("within {}", duration::shown(*within)));
            if let Some(command) = only_if {
                line("only if it succeeds", command);
            }
        }
        RenderedAction::WaitFor {
            condition, within, ..
        } => {
            let what = match condition {
                WaitCondition::Port { port, from } => {
                    let from = match from {
                        WaitFrom::Host => "the host",
                        WaitFrom::Controller => "the controller",
                    };
                    match &step.action {
                        Action::WaitFor {
                            condition: Condition::Port(template),
                            ..
                        } if *port == 0 => format!("port {} from {from}", template.source()),
                        _ => format!("port {port} from {from}"),
                    }
                }
                WaitCondition::File(path) => format!("file {path}"),
                WaitCondition::Command(command) => format!("command {command}"),
                WaitCondition::Http(url) => url.clone(),
            };
            line(
                "wait for",
                &format!("{what}, within {}", duration::shown(*within)),
            );
        }
    }
    let user = becoming.user(step, rendered.become_user.as_deref());
    let places = [
        ("on", rendered.run_on.as_deref()),
        ("as", user),
        ("in", rendered.cwd.as_deref()),
    ];
    for (name, value) in places {
        if let Some(value) = value {
            line(name, value);
        }
    }
    for (name, value) in &rendered.env {
        line("env", &format!("{name}={value}"));
    }
    if step.once {
        line("once", "on the first host");
    }
}
