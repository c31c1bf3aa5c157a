//! Events in words.

use reveille_account::{Chosen, EventKind, Status};
use reveille_text::counted;
use reveille_text::duration::{shown_millis, shown_seconds};

use crate::notes::connected;

/// What an event says; `None` if the events around it say the same. With `verbose`, tokens and process ids too.
pub fn of(kind: &EventKind, verbose: bool) -> Option<String> {
    Some(match kind {
        EventKind::RunOpened { planned } => format!("round began, {} planned", counted(*planned, "host")),
        EventKind::RunResumed { remaining } => format!("resumed, {} left", counted(*remaining, "host")),
        EventKind::SessionsLimited {
            sessions,
            queued,
            reason,
        } => match reason {
            Some(reason) => format!("{reason}; {queued} queued"),
            None => format!("{} at once, {queued} queued", counted(*sessions, "host")),
        },
        EventKind::BatchOpened { batch, of, hosts } => {
            format!("batch {batch} of {of}: {}", counted(*hosts, "host"))
        }
        EventKind::Stopping { grace_ms } => {
            format!(
                "stopping: no new hosts start, running ones have {}",
                shown_millis(*grace_ms)
            )
        }
        EventKind::RunStateChanged { state, reason } => {
            format!("run {}{}", state.as_str(), after(": ", reason.as_deref()))
        }
        EventKind::Dispatched => "dispatched".to_owned(),
        EventKind::Connecting { tries, address, .. } => format!("connecting to {address}, try {tries}"),
        EventKind::ConnectFailed {
            phase,
            class,
            message,
            retry_in_ms,
            ..
        } => {
            let next = after("; next try in ", retry_in_ms.map(shown_millis).as_deref());
            format!("{} failed, {class}: {message}{next}", phase.as_str())
        }
        EventKind::Connected { phases, .. } => connected(*phases),
        EventKind::StepStarted {
            step,
            attempt,
            token,
            chosen,
            ..
        } => {
            let token = token
                .filter(|_| verbose)
                .map(|token| format!(", token {token}"))
                .unwrap_or_default();
            let chosen = chosen.as_deref().map(deadlines).unwrap_or_default();
            format!("{}: attempt {attempt} starts{token}{chosen}", step.name)
        }
        EventKind::StepBegan { .. } if !verbose => return None,
        EventKind::StepBegan { step, pid, .. } => format!("{}: has begun, process {pid}", step.name),
        EventKind::StepLost { step, message, .. } => format!("{}: was lost: {message}", step.name),
        EventKind::StepLeft { step, message, .. } => {
            format!("{}: left where it may still run: {message}", step.name)
        }
        EventKind::RungFailed { rung, message } => format!("{} failed: {message}", rung.name()),
        EventKind::Healed { rung } => format!("{} succeeded", rung.name()),
        // The event before it has the message, and the outcome has it again.
        EventKind::HostFailed { .. } => return None,
        EventKind::GaveUp { class, gatekeeper } => {
            format!(
                "no further recovery from {class}{}",
                after(": ", Some(gatekeeper))
            )
        }
        EventKind::Halted { reason } => format!("dispatching stopped: {reason}"),
        EventKind::OnceSettled { step, failed, .. } => {
            let verb = if failed.is_some() { "failed" } else { "succeeded" };
            let why = after(": ", failed.as_deref());
            format!("{}: {verb}, once for all hosts{why}", step.name)
        }
        EventKind::StepSkipped { step, reason } => format!("{}: skipped: {reason}", step.name),
        EventKind::StepFinished {
            step,
            attempt,
            class,
            exit_status,
            signal,
            duration_ms,
            message,
            changed,
            ..
        } => {
            let changed = if *changed && class.status() == Status::Success {
                ", changed"
            } else {
                ""
            };
            let status = match (exit_status, signal) {
                (_, Some(signal)) => format!(", signal {signal}"),
                (Some(status), None) if class.status() != Status::Success => {
                    format!(", exit status {status}")
                }
                _ => String::new(),
            };
            let message = after(
                ": ",
                Some(message).filter(|message| !status.ends_with(&**message)),
            );
            format!(
                "{}: attempt {attempt}: {class}{status} after {}{changed}{message}",
                step.name,
                shown_millis(*duration_ms)
            )
        }
        EventKind::ConnectionLost { step, message } => {
            format!("{}: connection lost: {message}", step.name)
        }
        EventKind::Reattached { step, found, .. } => format!("{}: re-attached, {found}", step.name),
        EventKind::DeadlinePassed {
            step,
            class,
            deadline_ms,
            killed,
            evidence,
            lag_ms: _,
        } => {
            let killed = if *killed { "killed" } else { "kill not verified" };
            format!(
                "{}: {class} after {}, {killed}: {evidence}",
                step.name,
                shown_millis(*deadline_ms)
            )
        }
        EventKind::Looked {
            step,
            deadline,
            evidence,
            decision,
            ..
        } => format!(
            "{}: checked because of its {deadline}: {evidence}; {decision}",
            step.name
        ),
        EventKind::ControllerStalled { late_ms } => {
            format!(
                "the controller stalled for {}; all deadlines were moved by that time",
                shown_millis(*late_ms)
            )
        }
        EventKind::Replaced { address, port } => format!("replaced by another machine: {address}:{port}"),
        EventKind::Recovering {
            class, reason, in_ms, ..
        } => {
            format!("recovering from {class} in {}: {reason}", shown_millis(*in_ms))
        }
        EventKind::HandshakesLimited { endpoint, limit } => {
            format!(
                "limited to {} at once with {endpoint}",
                counted(*limit, "handshake")
            )
        }
        EventKind::OutcomeReached { outcome } => {
            let message = after(": ", Some(&outcome.message));
            format!("{} ({}){message}", outcome.status(), outcome.class)
        }
        EventKind::Cleaned => "the run's files were removed".to_owned(),
        EventKind::Warning { message } => format!("warning: {message}"),
    })
}

/// The text after a separator, if there is any.
fn after(separator: &str, text: Option<&(impl AsRef<str> + ?Sized)>) -> String {
    match text.map(AsRef::as_ref) {
        None | Some("") => String::new(),
        Some(text) => format!("{separator}{text}"),
    }
}

/// The deadlines that the watchdog chose, and their source.
fn deadlines(chosen: &Chosen) -> String {
    let silence = chosen
        .silence_s
        .map(|seconds| format!("{} of silence", shown_seconds(seconds)));
    let total = chosen
        .total_s
        .map(|seconds| format!("{} in total", shown_seconds(seconds)));
    let limits: Vec<String> = [silence, total].into_iter().flatten().collect();
    let source = format!("(class {}, {})", chosen.class, counted(chosen.samples, "sample"));
    if limits.is_empty() {
        return format!("; the watchdog has no deadline for it yet {source}");
    }
    format!("; the watchdog checks it after {} {source}", limits.join(" or "))
}
