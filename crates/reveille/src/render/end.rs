//! The reports at the end of a run: the screen, JSON, files, and the operator's command.

use std::collections::BTreeMap;

use reveille_account::{Exit, HostName, RunId};
use reveille_fleet::{Judged, RunRecipe, Typed};
use reveille_ledger::export::{Summary, SummaryOptions, write_junit};
use reveille_ledger::{Ledger, RunKind};
use reveille_text::counted;
use reveille_view::RunView;
use serde_json::{Map, json};

use crate::cli::{Format, Report};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::result::Screen;
use crate::render::{artifacts, fold, github, notify, view};
use crate::state;
use crate::usage::{self, Usage};

/// A run that has ended, or that its controller has left.
pub(crate) struct Ended<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) run: RunId,
    /// Like outputs are printed once.
    pub(crate) folded: bool,
    /// The number of hosts that this process worked on.
    pub(crate) worked_on: usize,
    /// The view of the newest round, if this process has it.
    pub(crate) view: Option<RunView>,
}

/// What a command adds to the end of its run.
pub(crate) struct Extra {
    /// The exit status, which the account does not decide.
    pub(crate) exit: Exit,
    /// Printed after the end.
    pub(crate) words: String,
    /// A field of the JSON object, with its name.
    pub(crate) json: (&'static str, serde_json::Value),
}

impl Ended<'_> {
    /// Writes all reports that the options ask for. Returns the exit status.
    pub(crate) fn report(
        mut self,
        extra: Option<&Extra>,
        report: &Report,
        printer: &Printer,
    ) -> Result<Exit, Failure> {
        let usage = usage::usage(self.worked_on);
        let options = options(usage, extra.map(|extra| extra.exit));
        let mut summary = self.ledger.summary(self.run, options.clone())?;
        let allowed = allowance(&mut summary, extra.is_some())?;
        let options = SummaryOptions {
            exit: Some(summary.exit),
            ..options
        };
        let exit = summary.exit;
        let written = write_files(self.ledger, &summary, options, report);
        // If standard output can't be written, the other reports are made nevertheless.
        let said = self.say(&summary, usage, allowed, written.is_ok(), extra, report, printer);
        if github::is_here() {
            let name = RunRecipe::restore(&summary.record)?.name();
            github::summarise(&summary, &name, printer)?;
        }
        if let Some(command) = &report.notify {
            notify::tell(command, &json(&summary, extra)?, printer);
        }
        written?;
        said?;
        Ok(exit)
    }

    #[expect(clippy::too_many_arguments, reason = "the screen depends on all of them")]
    fn say(
        &mut self,
        summary: &Summary,
        usage: Usage,
        allowed: Option<String>,
        is_written: bool,
        extra: Option<&Extra>,
        report: &Report,
        printer: &Printer,
    ) -> Result<(), Failure> {
        if report.format == Format::Json {
            return printer.data(&json(summary, extra)?);
        }
        let data = printer.of_data(report);
        let outputs = self.print_outputs(summary, &data)?;
        let all_well = summary.account.success == summary.account.planned;
        if !(all_well && printer.quiet) {
            let view = match self.view.take() {
                Some(view) => view,
                None => view_of(self.ledger, summary)?,
            };
            let screen = Screen {
                summary,
                view: &view,
                usage: Some(usage),
                held: false,
                state: state::option(self.ledger.state_directory()),
                allowed,
                artifacts: report.export_to.as_deref().filter(|_| is_written),
                printer: *printer,
                on_stdout: false,
                typed: typed(summary),
                folds: github::is_here(),
            };
            let words = screen.words(self.ledger)?;
            // Below the lines that stayed.
            printer.say("");
            printer.note(&words);
            if github::is_here() {
                github::annotate(summary, printer)?;
            }
        }
        if let Some(extra) = extra.filter(|extra| !extra.words.is_empty()) {
            printer.note(&format!("\n{}", extra.words));
        }
        outputs
    }

    /// Prints the outputs of a command, or the changes of files that a job or a copy told. The inner error is that of
    /// writing them, after which the end of the run is printed nevertheless.
    fn print_outputs(&self, summary: &Summary, data: &Printer) -> Result<Result<(), Failure>, Failure> {
        let spec = &summary.record.spec;
        let is_command = matches!(spec.kind, RunKind::Exec | RunKind::Copy | RunKind::Fetch);
        let preview = !spec.options["preview"].is_null();
        if !self.folded || !(is_command || preview) {
            return Ok(Ok(()));
        }
        let hosts = summary.hosts_without_steps().filter_map(|host| {
            host.map(|host| (host.class.is_some()).then_some((host.host, host.round)))
                .transpose()
        });
        let hosts: Vec<(HostName, u32)> = hosts.collect::<Result<_, _>>()?;
        if !preview {
            return Ok(fold::print(self.ledger, self.run, &hosts, data));
        }
        // A retry leaves the files of the other hosts alone.
        let round = summary.record.round;
        let hosts: Vec<(HostName, u32)> = hosts.into_iter().filter(|(_, of)| *of == round).collect();
        let job = RunRecipe::restore(&summary.record)?.job;
        let steps = (0..).zip(&job.steps).filter(|(_, step)| step.sends_files());
        let steps: BTreeMap<u32, String> = steps.map(|(index, step)| (index, step.name.clone())).collect();
        Ok(fold::print_changes(self.ledger, self.run, &hosts, &steps, data))
    }
}

/// How a run was typed, if that is known.
pub(crate) fn typed(summary: &Summary) -> Option<Typed> {
    let typed = summary.record.spec.options.get("typed")?;
    serde_json::from_value(typed.clone()).ok()
}

/// The view of a recorded run.
pub(crate) fn view_of(ledger: &Ledger, summary: &Summary) -> Result<RunView, Failure> {
    let record = &summary.record;
    let recipe = RunRecipe::restore(record)?;
    view::of(ledger, record.run, &recipe)
}

/// Writes the files that the options ask for.
fn write_files(
    ledger: &Ledger,
    summary: &Summary,
    options: SummaryOptions,
    report: &Report,
) -> Result<(), Failure> {
    let junit = match &report.junit {
        Some(path) => write_junit(summary, path).map_err(Failure::from),
        None => Ok(()),
    };
    if let Some(directory) = &report.export_to {
        artifacts::write(ledger, summary.record.run, directory, options)?;
    }
    junit
}

/// Compares the failures with the allowance, unless the exit status is `settled`. Returns what to print about it.
pub(crate) fn allowance(summary: &mut Summary, settled: bool) -> Result<Option<String>, Failure> {
    if settled {
        return Ok(None);
    }
    let allowance = RunRecipe::allowance(&summary.record)?;
    if allowance.is_none() {
        return Ok(None);
    }
    let Judged { exit, failed, within } = allowance.judge(summary)?;
    summary.exit = exit;
    let hosts = counted(failed, "host");
    let within = if within { "within" } else { "more than" };
    Ok((failed > 0).then(|| format!("{hosts} did not succeed, {within} {allowance}")))
}

/// The summary as one line of JSON.
fn json(summary: &Summary, extra: Option<&Extra>) -> Result<String, Failure> {
    let json = match extra {
        None => serde_json::to_string(summary),
        Some(Extra {
            json: (name, value), ..
        }) => serde_json::to_value(summary).and_then(|mut json| {
            json[*name] = value.clone();
            serde_json::to_string(&json)
        }),
    };
    json.map_err(|error| Failure::System(format!("the summary can't be written as JSON: {error}")))
}

fn options(usage: Usage, exit: Option<Exit>) -> SummaryOptions {
    let mut controller = Map::new();
    controller.insert("cpu_s".to_owned(), json!(usage.cpu_s));
    controller.insert("peak_bytes".to_owned(), json!(usage.peak_bytes));
    SummaryOptions { exit, controller }
}
