//! `--notify`: runs a command when a run has ended.

use std::process::Stdio;
use std::time::Duration;

use reveille_text::duration;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::printer::Printer;
use crate::runtime::runtime;

/// How long the command may take.
const WITHIN: Duration = Duration::from_mins(1);

/// Runs a command with the summary on its standard input. If it fails, only a warning is printed.
pub(crate) fn tell(command: &str, summary: &str, printer: &Printer) {
    let told = runtime(1)
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(run(command, summary)));
    if let Err(why) = told {
        printer.warning(&format!("--notify: `{command}` {why}"));
    }
}

async fn run(command: &str, summary: &str) -> Result<(), String> {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        // Standard output is for the data of the run.
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("can't be started: {error}"))?;
    let mut input = child.stdin.take();
    let telling = async {
        if let Some(input) = &mut input {
            // A command may succeed without reading all of it.
            let _ = input.write_all(summary.as_bytes()).await;
            let _ = input.write_all(b"\n").await;
        }
        drop(input);
        child.wait().await
    };
    match timeout(WITHIN, telling).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("failed: {status}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "did not end within {} and was killed",
            duration::shown(WITHIN)
        )),
    }
}
