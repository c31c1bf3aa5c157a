//! Asks a host small questions: a condition, facts, a boot id.

use std::time::Duration;

use reveille_account::Class;
use reveille_text::duration;
use reveille_transport::{Become, ExecError, Heard, Session};
use tokio::time::timeout;

/// How long a check such as `skip_if` may take.
const CHECK: Duration = Duration::from_mins(2);
/// Bytes kept of the answer to a small question.
const ANSWER_LIMIT: usize = 16 * 1024;

/// Returns the exit status of a small command, and the beginning of its output.
pub(crate) async fn ask(
    session: &Session,
    escalate: Option<&Become>,
    command: &str,
) -> Result<(Option<u32>, Vec<u8>), (Class, String)> {
    let lost = |message: String| (Class::ConnectionLost, message);
    let mut exec = Box::pin(session.run(escalate, &format!("{command}\n")))
        .await
        .map_err(|error| match error {
            ExecError::Refused { class, message } => (class, message),
            other => lost(other.to_string()),
        })?;
    // If the command is gone, it does not need the end of its input.
    let _ = exec.input().end().await;
    let mut status = None;
    let mut answer = Vec::new();
    let ending = async {
        loop {
            match exec.next().await {
                Heard::Stdout(bytes) => {
                    let room = ANSWER_LIMIT.saturating_sub(answer.len());
                    answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Heard::ExitStatus(number) => status = Some(number),
                Heard::Closed => return Ok(()),
                Heard::Lost => return Err(lost(session.why_closed())),
                Heard::Stderr(_) | Heard::ExitSignal(_) | Heard::Eof => {}
            }
        }
    };
    timeout(CHECK, ending).await.map_err(|_| {
        lost(format!(
            "`{command}` did not answer within {}",
            duration::shown(CHECK)
        ))
    })??;
    Ok((status, answer))
}
