//! A step with its templates filled in for one host.

use std::collections::BTreeSet;
use std::time::Duration;

use reveille_account::SourceError;
use reveille_document::{Blocks, Expression, Template};

use crate::evaluation::Evaluation;
use crate::job::Job;
use crate::parse::action::port;
use crate::scope::{Mode, Scope};
use crate::step::{Action, Condition, SkipIf, Step, WaitFrom};

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

impl Job {
    /// Fills in the templates of a step for a host.
    pub fn render(&self, step: usize, scope: &Scope<'_>) -> Result<Rendered, SourceError> {
        Evaluation::new(self, scope, Mode::Run).step(&self.steps[step])
    }

    /// Whether the step's `when` holds; true if it has none.
    pub fn when(&self, step: usize, scope: &Scope<'_>) -> Result<bool, SourceError> {
        match &self.steps[step].when {
            None => Ok(true),
            Some(expression) => Evaluation::new(self, scope, Mode::Run)
                .value(expression)
                .map(|value| value.is_some_and(|value| value.is_true())),
        }
    }

    /// The hosts that steps run on for this one: what they need is found before anything is dispatched, so that their
    /// names can't come from results.
    pub fn delegates(&self, scope: &Scope<'_>) -> Result<Vec<String>, SourceError> {
        let evaluation = Evaluation::new(self, scope, Mode::Plan);
        let mut names: Vec<String> = Vec::new();
        for template in self.steps.iter().filter_map(|step| step.run_on.as_ref()) {
            if let Some(expression) = template
                .expressions()
                .find(|expression| evaluation.needs_results(expression))
            {
                let message =
                    "`run_on` is settled before anything is dispatched; results and facts are not there yet";
                return Err(self.mistake(expression.at(), message.to_owned()));
            }
            let name = evaluation.text(template)?;
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
            .map(|template| Evaluation::new(self, scope, Mode::Run).text(template))
            .transpose()
    }

    /// Whether filling in the step for this host takes facts, which are asked for only then.
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
    /// A step with its templates filled in.
    pub(crate) fn step(self, step: &Step) -> Result<Rendered, SourceError> {
        let text = |template: &Template| self.text(template);
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
                mode,
                owner,
                group,
            } => RenderedAction::Template {
                src: src.clone(),
                content: self.file(src)?.unwrap_or_default(),
                dest: text(dest)?,
                mode: *mode,
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

    fn port(self, template: &Template, from: WaitFrom) -> Result<WaitCondition, SourceError> {
        let text = self.text(template)?;
        let mut expressions = template.expressions();
        if self.mode == Mode::Plan && expressions.any(|expression| self.needs_results(expression)) {
            // The plan shows the template instead.
            return Ok(WaitCondition::Port { port: 0, from });
        }
        let port = port(&text).map_err(|message| {
            let at = template.expressions().next().map_or(0, Expression::at);
            self.job.mistake(at, message)
        })?;
        Ok(WaitCondition::Port { port, from })
    }
}
