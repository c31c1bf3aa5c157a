//! Reads jobs from files and from records.

use std::collections::BTreeMap;

use reveille_account::SourceError;
use reveille_document::{Template, position};

use crate::job::Job;
use crate::parse;
use crate::source::{CommandOptions, JobSource};

/// Whether a command that is no template reads like one: it has `{{ … }}` with names in them, and no others.
///
/// ```
/// assert!(reveille_job::reads_like_template("echo {{ inventory_hostname }}"));
/// assert!(!reveille_job::reads_like_template("docker ps --format '{{.Names}}'"));
/// ```
pub fn reads_like_template(command: &str) -> bool {
    Template::compile(command, command, 0).is_ok_and(|template| {
        template
            .expressions()
            .any(|expression| !expression.roots().is_empty())
    })
}

impl Job {
    /// Parses a job file; `file` is its name in messages. Returns all mistakes, up to a bound.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<SourceError>> {
        Self::parse_with(text, file, BTreeMap::new())
    }

    /// Like [`parse`](Self::parse), with vars from the command line, which win over all others.
    pub fn parse_with(
        text: &str,
        file: &str,
        vars: BTreeMap<String, serde_json::Value>,
    ) -> Result<Self, Vec<SourceError>> {
        parse::job(text, file, vars, None)
    }

    /// Like [`parse_with`](Self::parse_with), from the bytes of a file, which may not be text.
    pub fn parse_bytes(
        bytes: &[u8],
        file: &str,
        vars: BTreeMap<String, serde_json::Value>,
    ) -> Result<Self, Vec<SourceError>> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse_with(text.strip_prefix('\u{feff}').unwrap_or(text), file, vars),
            Err(error) => {
                let at = error.valid_up_to();
                let (line, column) = position(&String::from_utf8_lossy(&bytes[..at]), at);
                let message = format!("byte {at} (0x{:02x}) is not UTF-8", bytes[at]);
                let mistake = SourceError::at(message, file, "", line, column);
                Err(vec![mistake.hint("a job file must be a text file in UTF-8")])
            }
        }
    }

    /// Parses a job that the program wrote for the command `by`.
    pub fn written(text: &str, by: &str) -> Result<Self, Vec<SourceError>> {
        let mut job = Self::parse(text, by)?;
        job.source = JobSource::Written {
            by: by.to_owned(),
            text: text.to_owned(),
        };
        Ok(job)
    }

    /// A job with a single command, a template that is rendered for each host.
    pub fn command_template(command: String, options: CommandOptions) -> Result<Self, Vec<SourceError>> {
        let (text, environment) = parse::command(&command)?;
        let options = CommandOptions {
            template: true,
            ..options
        };
        Ok(Self::of_command(command, text, environment, options))
    }

    /// Recreates a job from its recorded source.
    pub fn from_source(source: &JobSource) -> Result<Self, Vec<SourceError>> {
        match source {
            JobSource::File {
                file,
                text,
                vars,
                files,
                selection,
                loops,
            } => {
                let mut job = parse::job(text, file, vars.clone(), Some(files))?;
                job.select(selection)
                    .map_err(|message| vec![SourceError::whole(message, file)])?;
                job.restore_loops(loops)?;
                Ok(job)
            }
            JobSource::Written { by, text } => Self::written(text, by),
            JobSource::Command { command, options } if options.template => {
                Self::command_template(command.clone(), options.clone())
            }
            JobSource::Command { command, options } => Ok(Self::command(command.clone(), options.clone())),
        }
    }
}
