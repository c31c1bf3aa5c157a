//! The values of a job's secret vars, taken from where the job says, at every run and resume anew.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use reveille_job::{Job, SecretSource};
use tokio::time::timeout;

use crate::failure::Failure;
use crate::launch::runtime;
use crate::prompt;

/// How long a command that gives a secret may take.
const COMMAND_WITHIN: Duration = Duration::from_mins(1);
/// Longest secret.
const LIMIT: usize = 64 * 1024;

/// Finds all of them, or says which one can't be had.
pub(crate) fn find(job: &Job) -> Result<BTreeMap<String, String>, Failure> {
    job.secrets()
        .map(|(name, source)| {
            let value = one(job, name, source)?;
            if value.len() > LIMIT {
                return Err(Failure::usage(format!(
                    "the secret `{name}` has {} bytes, more than {LIMIT}",
                    value.len()
                )));
            }
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn one(job: &Job, name: &str, source: &SecretSource) -> Result<String, Failure> {
    let refused = |why: String| Failure::usage(format!("the secret `{name}`: {why}"));
    match source {
        SecretSource::Env(variable) => std::env::var(variable).map_err(|error| {
            refused(match error {
                std::env::VarError::NotPresent => {
                    format!("the environment variable {variable} is not set; set it and start again")
                }
                std::env::VarError::NotUnicode(_) => {
                    format!("the environment variable {variable} is not UTF-8")
                }
            })
        }),
        SecretSource::File(path) => {
            let path = job.resolve(path);
            let text = std::fs::read_to_string(&path)
                .map_err(|error| refused(format!("can't read {}: {error}", path.display())))?;
            Ok(without_line_end(text))
        }
        SecretSource::Command(command) => {
            let text = output(command).map_err(|why| refused(format!("the command `{command}` {why}")))?;
            Ok(without_line_end(text))
        }
        SecretSource::Prompt(words) => prompt::hidden(words, "give the secret by `env`, `file` or `command`"),
    }
}

fn output(command: &str) -> Result<String, String> {
    let mut process = tokio::process::Command::new("sh");
    // What it says on standard error is for the operator.
    process
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let runtime = runtime(1).map_err(|error| error.to_string())?;
    let output = runtime
        .block_on(async { timeout(COMMAND_WITHIN, process.output()).await })
        .map_err(|_| format!("did not end within {COMMAND_WITHIN:?}"))?
        .map_err(|error| format!("can't be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("failed: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| "wrote what is not UTF-8".to_owned())
}

fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
