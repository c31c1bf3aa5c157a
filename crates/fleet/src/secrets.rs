//! Reads the values of a job's secret vars from their sources, at each run and resume.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reveille_job::{Job, SecretSource};
use reveille_text::duration;
use reveille_way::Operator;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::RecipeError;

/// How long a command that prints a secret may take.
const COMMAND_WITHIN: Duration = Duration::from_mins(1);
/// The size limit of a secret.
const LIMIT: usize = 64 * 1024;

/// Reads the values of all secret vars of a job.
///
/// # Errors
///
/// Names the first secret that can't be read.
pub fn secrets(job: &Job, operator: &dyn Operator) -> Result<BTreeMap<String, String>, RecipeError> {
    job.secrets()
        .map(|(name, source)| {
            let value = one(job, name, source, operator)?;
            if value.len() > LIMIT {
                return Err(RecipeError::Input(format!(
                    "the secret `{name}` has more than {LIMIT} bytes"
                )));
            }
            if value.contains('\0') {
                return Err(RecipeError::Input(format!(
                    "the secret `{name}` contains a zero byte, which an environment variable can't hold"
                )));
            }
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn one(job: &Job, name: &str, source: &SecretSource, operator: &dyn Operator) -> Result<String, RecipeError> {
    let refused = |why: String| RecipeError::Input(format!("the secret `{name}`: {why}"));
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
            let text = std::fs::File::open(&path)
                .and_then(bounded)
                .map_err(|error| refused(format!("can't read {}: {error}", path.display())))?;
            Ok(without_line_end(text))
        }
        SecretSource::Command(command) => {
            let text = output(command, &job.directory())
                .map_err(|why| refused(format!("the command `{command}` {why}")))?;
            Ok(without_line_end(text))
        }
        SecretSource::Prompt(words) => {
            Ok(operator.secret(words, "set the secret with `env`, `file` or `command`")?)
        }
    }
}

fn output(command: &str, directory: &Path) -> Result<String, String> {
    let mut process = tokio::process::Command::new("sh");
    // Its standard error goes to the operator.
    process
        .args(["-c", command])
        .current_dir(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    // Started inside the runtime, which reports its exit.
    let asking = async {
        let mut child = process
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't be started: {error}"))?;
        let mut written = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // Dropped if there is more, so that the command ends.
            let read = stdout.take(LIMIT as u64 + 1).read_to_end(&mut written).await;
            read.map_err(|error| error.to_string())?;
        }
        if written.len() > LIMIT {
            return Err(format!("wrote more than {LIMIT} bytes"));
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if status.success() {
            String::from_utf8(written).map_err(|_| "wrote output that is not UTF-8".to_owned())
        } else {
            Err(format!("failed: {status}"))
        }
    };
    runtime
        .block_on(async { timeout(COMMAND_WITHIN, asking).await })
        .unwrap_or_else(|_| Err(format!("did not end within {}", duration::shown(COMMAND_WITHIN))))
}

/// Reads a file, and of an endless one only enough to show that it is too long.
fn bounded(file: std::fs::File) -> std::io::Result<String> {
    let mut text = String::new();
    std::io::Read::take(file, LIMIT as u64 + 2).read_to_string(&mut text)?;
    Ok(text)
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
