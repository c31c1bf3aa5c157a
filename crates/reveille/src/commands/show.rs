//! `reveille show`: prints a run's result.

use reveille_account::{Chosen, Event, EventKind, Exit, PhaseTimings, RunState};
use reveille_ledger::Ledger;
use reveille_ledger::export::SummaryOptions;
use reveille_text::duration::{shown_millis, shown_seconds};
use reveille_text::{counted, harmless};

use crate::cli::{Format, Globals, ShowArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::end;
use crate::runtime::runtime;
use crate::state;

/// How often `--follow` reads new events.
const LOOK: std::time::Duration = std::time::Duration::from_millis(500);

pub(crate) fn run(args: &ShowArgs, globals: &Globals, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = state::ledger(globals)?;
    let run = ledger.resolve_run(&args.which.run)?;
    if args.follow {
        runtime(1)?.block_on(follow(&ledger, run, args.format, printer))?;
    }
    let mut summary = ledger.summary(run, SummaryOptions::default())?;
    let allowed = end::allowance(&mut summary, false)?;
    if args.format == Format::Json {
        let json = serde_json::to_string(&summary)
            .map_err(|error| Failure::System(format!("the summary can't be written as JSON: {error}")))?;
        printer.data(&json)?;
        return Ok(Exit::Success);
    }
    let record = &summary.record;
    let who = format!("{}@{}", record.spec.user, record.spec.node);
    let held = ledger.holder(run)?.is_some();
    let state = state::of_run(record.state, held);
    printer.data(&format!(
        "{run}  {state}  {} by {who}  round {}",
        record.spec.kind.as_str(),
        record.round
    ))?;
    if let Some(comment) = &record.spec.comment {
        printer.data(&format!("comment     {}", harmless::block(comment)))?;
    }
    printer.data(&end::words(
        &summary,
        None,
        held,
        &state::option(ledger.state_directory()),
        allowed.as_deref(),
        None,
        |text, tone| printer.tone_out(text, tone),
    )?)?;
    Ok(Exit::Success)
}

/// Prints events until the run is closed or interrupted.
async fn follow(
    ledger: &Ledger,
    run: reveille_account::RunId,
    format: Format,
    printer: &Printer,
) -> Result<(), Failure> {
    let mut seen = 0;
    loop {
        // Checked first, so that the last events are still read below.
        let over = ledger.run(run)?.state == RunState::Closed || ledger.holder(run)?.is_none();
        loop {
            let events = ledger.events_after(run, seen, None)?;
            if events.is_empty() {
                break;
            }
            for event in events {
                seen = event.seq;
                match format {
                    Format::Human => line(&event).map_or(Ok(()), |line| printer.data(&line))?,
                    Format::Json => printer.data(&serde_json::to_string(&event).unwrap_or_default())?,
                }
            }
        }
        if over || printer.is_closed() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An event as a line; `None` if the events around it say the same.
pub(crate) fn line(event: &Event) -> Option<String> {
    let words = words(&event.kind)?;
    let host = event
        .host
        .as_ref()
        .map(|host| format!("{host}: "))
        .unwrap_or_default();
    let seconds = event.mono_ms as f64 / 1000.0;
    Some(format!("{seconds:9.3} s  {host}{}", harmless::line(&words)))
}

fn words(kind: &EventKind) -> Option<String> {
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
        EventKind::Connected { phases, .. } if *phases == PhaseTimings::default() => "connected".to_owned(),
        EventKind::Connected { phases, .. } => format!(
            "connected: tcp {}, banner {}, key exchange {}, authentication {}",
            shown_millis(phases.tcp_ms),
            shown_millis(phases.banner_ms),
            shown_millis(phases.key_exchange_ms),
            shown_millis(phases.authentication_ms)
        ),
        EventKind::StepStarted {
            step,
            attempt,
            token,
            chosen,
            ..
        } => {
            let token = token.map(|token| format!(", token {token}")).unwrap_or_default();
            let chosen = chosen.as_deref().map(deadlines).unwrap_or_default();
            format!("`{}` attempt {attempt} starts{token}{chosen}", step.name)
        }
        EventKind::StepBegan { step, pid, .. } => {
            format!("`{}` has begun, process {pid}", step.name)
        }
        EventKind::StepLost { step, message, .. } => format!("`{}` was lost: {message}", step.name),
        EventKind::StepLeft { step, message, .. } => {
            format!("`{}` was left where it may still run: {message}", step.name)
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
            format!("`{}` {verb}, once for all hosts{why}", step.name)
        }
        EventKind::StepSkipped { step, reason } => format!("`{}` skipped: {reason}", step.name),
        EventKind::StepFinished {
            step,
            attempt,
            class,
            exit_status,
            signal,
            duration_ms,
            message,
            ..
        } => {
            let status = match (exit_status, signal) {
                (_, Some(signal)) => format!(", signal {signal}"),
                (Some(status), None) => format!(", exit status {status}"),
                (None, None) => String::new(),
            };
            let message = after(
                ": ",
                Some(message).filter(|message| !status.ends_with(&**message)),
            );
            format!(
                "`{}` attempt {attempt}: {class}{status} after {}{message}",
                step.name,
                shown_millis(*duration_ms)
            )
        }
        EventKind::ConnectionLost { step, message } => {
            format!("connection lost in `{}`: {message}", step.name)
        }
        EventKind::Reattached { step, found, .. } => format!("re-attached to `{}`: {found}", step.name),
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
                "`{}`: {class} after {}, {killed}: {evidence}",
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
            "`{}`: checked because of its {deadline}: {evidence}; {decision}",
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
