//! `reveille show`: prints a run's result.

use reveille_account::{Event, Exit, RunState};
use reveille_ledger::Ledger;
use reveille_ledger::export::SummaryOptions;
use reveille_text::harmless;
use reveille_view::{Clock, Role, words};

use crate::cli::{Format, Globals, ShowArgs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::end;
use crate::render::events;
use crate::render::result::Screen;
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
    let held = ledger.holder(run)?.is_some();
    let view = end::view_of(&ledger, &summary)?;
    let clock = Clock::here();
    let rounds = match record.round {
        1 => String::new(),
        round => format!(", round {round}"),
    };
    printer.text(&format!(
        "{run}  {}  {} by {}@{}, began {}{rounds}",
        state::of_run(record.state, held),
        record.spec.kind.as_str(),
        record.spec.user,
        record.spec.node,
        clock.date_time(record.spec.started_ms)
    ))?;
    if let Some(comment) = &record.spec.comment {
        printer.text(&format!("comment     {}", harmless::block(comment)))?;
    }
    let screen = Screen {
        summary: &summary,
        view: &view,
        usage: None,
        held,
        state: state::option(ledger.state_directory()),
        allowed,
        artifacts: None,
        printer: *printer,
        on_stdout: true,
        typed: end::typed(&summary),
        folds: false,
    };
    printer.text(&screen.words(&ledger)?)?;
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
    let clock = Clock::here();
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
                    Format::Human => {
                        if let Some(line) = line(&event, &clock, printer) {
                            printer.text(&line)?;
                        }
                    }
                    Format::Json => printer.data(&events::line(&event)?)?,
                }
            }
        }
        if over || printer.is_closed() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An event as a line: `10:15:04  web-118  connected`; `None` if the events around it say the same.
fn line(event: &Event, clock: &Clock, printer: &Printer) -> Option<String> {
    let words = words::of(&event.kind, printer.verbose > 0)?;
    let host = event
        .host
        .as_ref()
        .map(|host| format!("{host}  "))
        .unwrap_or_default();
    let time = printer.tone_out(&clock.time(event.wall_ms), Role::Faint);
    Some(format!("{time}  {host}{}", harmless::line(&words)))
}
