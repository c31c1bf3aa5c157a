//! Renders the templates of a step for one host.

use std::collections::BTreeSet;
use std::time::Duration;

use reveille_account::SourceError;
use reveille_document::{Blocks, Expression, Template};

use crate::evaluation::{Evaluation, MAX_VAR_DEPTH};
use crate::job::Job;
use crate::looping::Item;
use crate::parse::action::port;
use crate::scope::{Mode, Scope, Var};
use crate::step::{Action, Condition, Placing, SkipIf, Step, WaitFrom};

/// A step rendered for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The action.
    pub action: RenderedAction,
    /// Environment variables of its commands, in order.
    pub env: Vec<(String, String)>,
    /// The working directory of its commands.
    pub cwd: Option<String>,
    /// The user that its commands become.
    pub become_user: Option<String>,
    /// The condition under which the step is skipped.
    pub skip_if: Option<RenderedSkipIf>,
    /// The host on which its commands run, if it is another one.
    pub run_on: Option<String>,
}

/// The action of a step on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderedAction {
    /// A command, given to a shell.
    Run {
        /// The text for the shell.
        command: String,
        /// The shell with its options, `sh -e`.
        shell: String,
    },
    /// A local script; its shebang decides how it runs.
    Script {
        /// Its path, relative to the job file.
        src: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// Uploads a local file to the host.
    Upload {
        /// Its local path, relative to the job file.
        src: String,
        /// Where it is put.
        to: Placing<String>,
    },
    /// Uploads a file that is rendered from a template.
    Template {
        /// The path of its template, as written.
        src: String,
        /// The content of the file; in a plan, as far as it is known.
        content: String,
        /// Whether it contains a secret of the job or the inventory.
        secret: bool,
        /// Where it is put.
        to: Placing<String>,
    },
    /// Downloads a file of the host.
    Download {
        /// Its path on the host.
        src: String,
        /// The local directory or file, relative to the job file.
        to: String,
        /// `to` is a file of its own for each host, because it is written with the host's name.
        per_host: bool,
    },
    /// Reboots the host.
    Reboot {
        /// How long to wait for it.
        within: Duration,
        /// A command that decides whether the reboot is needed.
        only_if: Option<String>,
    },
    /// Waits until a condition is met.
    WaitFor {
        /// The condition.
        condition: WaitCondition,
        /// How long to wait.
        within: Duration,
        /// How often to check.
        every: Duration,
    },
}

/// A condition to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitCondition {
    /// A TCP port accepts a connection.
    Port {
        /// Its number.
        port: u16,
        /// Where to check it from.
        from: WaitFrom,
    },
    /// A file exists.
    File(String),
    /// A command exits with 0.
    Command(String),
    /// A URL answers the host without an error.
    Http(String),
}

/// The condition under which a step is skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderedSkipIf {
    /// This command exits with 0.
    Command(String),
    /// This path exists.
    Exists(String),
}

/// What a step would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preview {
    /// Its condition is false, or its loop has no items.
    Skipped,
    /// Its condition needs the result of a step that did not run.
    Undecided,
    /// Its templates need such a result.
    Unknown,
    /// This.
    Known(Box<Rendered>),
}

impl Job {
    /// Renders the templates of a step for a host.
    pub fn render(&self, step: usize, scope: &Scope<'_>) -> Result<Rendered, SourceError> {
        let step = &self.steps[step];
        let evaluation = Evaluation::new(self, scope, Mode::Run);
        let item = evaluation.item(step)?;
        evaluation.with(&item).step(step)
    }

    /// Whether the step's `when` is true, also true without a `when`; false for a step of a loop without its item.
    pub fn when(&self, step: usize, scope: &Scope<'_>) -> Result<bool, SourceError> {
        Evaluation::new(self, scope, Mode::Run)
            .runs(&self.steps[step])
            .map(|runs| runs == Some(true))
    }

    /// What a step would do on a host where some of the steps before it did not run.
    pub fn preview(&self, step: usize, scope: &Scope<'_>) -> Result<Preview, SourceError> {
        let step = &self.steps[step];
        let evaluation = Evaluation::new(self, scope, Mode::Check);
        let item = evaluation.item(step);
        match evaluation.runs_for(step, item.clone())? {
            Some(false) => return Ok(Preview::Skipped),
            None => return Ok(Preview::Undecided),
            Some(true) => {}
        }
        let item = item?;
        let evaluation = evaluation.with(&item);
        for expression in step.templates().flat_map(Template::expressions) {
            if evaluation.value(expression)?.is_none() {
                return Ok(Preview::Unknown);
            }
        }
        if let Action::Template { src, .. } = &step.action
            && evaluation.file(src)?.is_none()
        {
            return Ok(Preview::Unknown);
        }
        evaluation
            .step(step)
            .map(|rendered| Preview::Known(Box::new(rendered)))
    }

    /// The hosts on which this host's steps run. They must be known before anything is dispatched, so their names can't
    /// come from results.
    pub fn delegates(&self, scope: &Scope<'_>) -> Result<Vec<String>, SourceError> {
        let evaluation = Evaluation::new(self, scope, Mode::Plan);
        let mut names: Vec<String> = Vec::new();
        for step in &self.steps {
            let Some(template) = &step.run_on else { continue };
            // A wrong condition is reported with the other mistakes.
            if evaluation.runs(step).is_ok_and(|runs| runs == Some(false)) {
                continue;
            }
            let item = evaluation.item(step)?;
            let evaluation = evaluation.with(&item);
            if let Some(expression) = template
                .expressions()
                .find(|expression| evaluation.needs_results(expression))
            {
                let message = "`run_on` is evaluated before anything is dispatched, when there are no results and facts";
                return Err(self.mistake(expression.at(), message.to_owned()));
            }
            let name = evaluation.text(template)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The command that replaces the host by another machine.
    pub fn replacement(&self, scope: &Scope<'_>) -> Result<Option<String>, SourceError> {
        let replace = self.heal.replace.as_ref();
        replace
            .map(|template| Evaluation::new(self, scope, Mode::Run).text(template))
            .transpose()
    }

    /// Whether rendering the step for this host needs facts, which are requested only then.
    pub fn needs_facts(&self, step: usize, scope: &Scope<'_>) -> bool {
        let step = &self.steps[step];
        let of_file = match &step.action {
            Action::Template { src, .. } => self.template_files.get(src).map(Blocks::roots),
            _ => None,
        };
        let evaluation = Evaluation::new(self, scope, Mode::Run);
        step.expressions()
            .flat_map(Expression::roots)
            .chain(of_file.into_iter().flatten())
            .any(|root| evaluation.is_fact(root, &mut BTreeSet::new()))
    }
}

// === impl Evaluation ===

impl Evaluation<'_> {
    /// Whether a step runs on the host: it is not a step for an item that the host lacks, and its `when` is true. None if
    /// that needs results that a plan doesn't have.
    pub(crate) fn runs(self, step: &Step) -> Result<Option<bool>, SourceError> {
        self.runs_for(step, self.item(step))
    }

    /// Like [`runs`](Self::runs), with the item that the step is for.
    pub(crate) fn runs_for(
        self,
        step: &Step,
        item: Result<Item, SourceError>,
    ) -> Result<Option<bool>, SourceError> {
        let holds = |evaluation: Evaluation<'_>| match &step.when {
            None => Ok(Some(true)),
            Some(when) => evaluation.holds(when),
        };
        match item {
            Ok(Item::Absent) => Ok(Some(false)),
            Ok(item) => holds(self.with(&item)),
            // A host that skips the step may lack the variable with the items.
            Err(mistake) => match holds(self) {
                Ok(Some(false)) => Ok(Some(false)),
                _ => Err(mistake),
            },
        }
    }

    /// Renders the templates of a step.
    pub(crate) fn step(self, step: &Step) -> Result<Rendered, SourceError> {
        let text = |template: &Template| {
            let text = self.text(template)?;
            if text.contains('\0') {
                let at = template.expressions().next().map_or(0, Expression::at);
                let message = "this contains a NUL character, which is possible in no command, path or name";
                return Err(self.job.mistake(at, message.to_owned()));
            }
            Ok(text)
        };
        let maybe = |template: &Option<Template>| template.as_ref().map(text).transpose();
        let placed = |to: &Placing<Template>| {
            Ok::<_, SourceError>(Placing {
                dest: text(&to.dest)?,
                mode: to.mode,
                owner: maybe(&to.owner)?,
                group: maybe(&to.group)?,
            })
        };
        let action = match &step.action {
            Action::Run { command, shell } => RenderedAction::Run {
                command: text(command)?,
                shell: shell.clone(),
            },
            Action::Script { src, args } => RenderedAction::Script {
                src: text(src)?,
                args: args.iter().map(text).collect::<Result<_, _>>()?,
            },
            Action::Upload { src, to } => RenderedAction::Upload {
                src: text(src)?,
                to: placed(to)?,
            },
            Action::Template { src, to } => RenderedAction::Template {
                src: src.clone(),
                content: self.file(src)?.unwrap_or_default(),
                secret: self.file_uses_secrets(src),
                to: placed(to)?,
            },
            Action::Download { src, to } => RenderedAction::Download {
                src: text(src)?,
                per_host: !to.source().ends_with('/') && self.names_host(to, 0),
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
                    Condition::Port(template) => self.port(template, *from)?,
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

    /// Whether a template contains the whole name of the host, directly or by vars: its value then differs for every
    /// host.
    fn names_host(self, template: &Template, depth: usize) -> bool {
        depth <= MAX_VAR_DEPTH
            && template.expressions().any(|expression| {
                let name = expression.source();
                match self.job.var(name) {
                    _ if name == "inventory_hostname" => true,
                    Some(Var::Template(template)) if !self.job.extra.contains_key(name) => {
                        self.names_host(template, depth + 1)
                    }
                    _ => false,
                }
            })
    }

    fn port(self, template: &Template, from: WaitFrom) -> Result<WaitCondition, SourceError> {
        let text = self.text(template)?;
        let mut expressions = template.expressions();
        if self.mode != Mode::Run
            && expressions.any(|expression| {
                self.needs_results(expression) || expression.roots().iter().any(|root| self.is_masked(root))
            })
        {
            // The plan shows the template instead.
            return Ok(WaitCondition::Port { port: 0, from });
        }
        let port = port(&text).map_err(|message| self.not_a_port(template, message))?;
        Ok(WaitCondition::Port { port, from })
    }

    /// The mistake of a port that is none, without the value of a secret.
    pub(crate) fn not_a_port(self, template: &Template, message: String) -> SourceError {
        let at = template.expressions().next().map_or(0, Expression::at);
        let mut expressions = template.expressions();
        let message = if expressions.any(|expression| self.uses_secrets(expression)) {
            format!("`{}` is not a port (1 to 65535)", template.source())
        } else {
            message
        };
        self.job.mistake(at, message)
    }
}
