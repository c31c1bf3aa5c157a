//! What is written while a test runs and when it is over. A file that can't be written ends nothing: the test goes on, and
//! the end says what is missing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reveille_text::replace::Replacement;

use super::arguments::{Arguments, OutputOptions};
use super::live::Live;
use super::writer::{Finished, Taken, Writer};
use super::{Problem, eprint};
use crate::engine::{Observer, Point};
use crate::report::{self, Exporter, Summary};
use crate::scenario::Scenario;
use crate::stats::{Second, Totals};

pub(crate) struct Outputs {
    scenario: Arc<Scenario>,
    events: Option<Writer>,
    live: Option<Live>,
    exporter: Option<Exporter>,
    files: Files,
    /// What could not be written.
    broken: Vec<String>,
    quiet: bool,
}

/// Files that are written at the end; opened before anything is sent.
#[derive(Debug, Default)]
struct Files {
    save: Option<Replacement>,
    csv: Option<Replacement>,
    junit: Option<Replacement>,
    html: Option<Replacement>,
}

// === impl Outputs ===

impl Outputs {
    pub(crate) fn open(arguments: &Arguments, scenario: &Arc<Scenario>) -> Result<Self, Problem> {
        let OutputOptions {
            events,
            save,
            csv,
            junit,
            html,
            ..
        } = &arguments.outputs;
        let open = |path: &Option<std::path::PathBuf>| {
            let path = path.as_deref();
            path.map(|path| Replacement::begin(path).map_err(|error| wrong(path, &error)))
                .transpose()
        };
        let files = Files {
            save: open(save)?,
            csv: open(csv)?,
            junit: open(junit)?,
            html: open(html)?,
        };
        files.differ()?;
        let events: Option<Box<dyn Write + Send>> = match events.as_deref() {
            None => None,
            Some(path) if path == Path::new("-") => Some(Box::new(io::stdout())),
            Some(path) => {
                let file = File::create(path).map_err(|error| wrong(path, &error))?;
                Some(Box::new(BufWriter::new(file)))
            }
        };
        let thread = |error| Problem::ours(format!("can't start a thread: {error}"));
        Ok(Self {
            scenario: Arc::clone(scenario),
            events: events.map(Writer::start).transpose().map_err(thread)?,
            live: (!arguments.quiet).then(Live::new).transpose().map_err(thread)?,
            exporter: None,
            files,
            broken: Vec::new(),
            quiet: arguments.quiet,
        })
    }

    /// Begins to serve Prometheus, if that was asked for.
    pub(crate) async fn listen(&mut self, arguments: &Arguments) -> Result<(), Problem> {
        let Some(address) = arguments.outputs.prometheus else {
            return Ok(());
        };
        let (exporter, bound) = Exporter::start(address)
            .await
            .map_err(|error| Problem::input(format!("can't listen on {address}: {error}")))?;
        if !self.quiet {
            eprint(&format!("numbers for Prometheus: http://{bound}/metrics\n"));
        }
        self.exporter = Some(exporter);
        Ok(())
    }

    fn event(&mut self, value: &serde_json::Value) {
        let Some(writer) = &self.events else { return };
        match writer.write(format!("{value}\n")) {
            Taken::Yes | Taken::Dropped { first: false } => {}
            Taken::Dropped { first: true } => {
                self.warn("nobody reads the events, and no more of them are kept; the test goes on");
            }
            Taken::Broken(error) => {
                self.events = None;
                if let Some(error) = error {
                    self.events_broken(&error);
                }
            }
        }
    }

    fn events_broken(&mut self, error: &io::Error) {
        // Nobody wants them any more.
        if error.kind() != io::ErrorKind::BrokenPipe {
            let text = format!("events can't be written any more: {error}");
            self.warn(&format!("{text}; the test goes on"));
            self.broken.push(text);
        }
    }

    fn warn(&mut self, text: &str) {
        if let Some(live) = &mut self.live {
            live.line(&format!("warning: {text}"));
        }
    }

    /// Writes the last event and what of the others still waits, and ends the live view. False if standard output was to
    /// have events and takes nothing.
    pub(crate) async fn end(&mut self, summary: &Summary, enough: impl Future<Output = ()>) -> bool {
        let mut enough = std::pin::pin!(enough);
        let mut takes = true;
        if let Some(writer) = self.events.take() {
            let event = serde_json::json!({"schema": 1, "event": "summary", "summary": summary});
            match writer.finish(Some(format!("{event}\n")), &mut enough).await {
                Ok(Finished { dropped: 0, .. }) => {}
                Ok(Finished { dropped, stalled }) => {
                    takes = !stalled;
                    self.broken.push(format!(
                        "{dropped} events were dropped, because whoever reads them stood still"
                    ));
                }
                Err(error) => self.events_broken(&error),
            }
        }
        if let Some(live) = self.live.take() {
            live.end(enough).await;
        }
        takes
    }

    /// Writes all files that were asked for.
    pub(crate) fn finish(mut self, summary: &Summary, series: &[Point]) -> Result<(), Problem> {
        let files = std::mem::take(&mut self.files);
        if let Some(file) = files.save {
            let value = serde_json::to_value(summary).unwrap_or_default();
            self.write(file, &format!("{value:#}\n"));
        }
        if let Some(file) = files.csv {
            match report::csv(summary) {
                Ok(text) => self.write(file, &text),
                Err(error) => self.broken.push(error),
            }
        }
        if let Some(file) = files.junit {
            self.write(file, &report::junit(summary));
        }
        if let Some(file) = files.html {
            self.write(file, &report::html(summary, series));
        }
        if self.broken.is_empty() {
            return Ok(());
        }
        Err(Problem::ours(format!(
            "{}\n  hint: the numbers are complete where they were written; make room, or use `--save` with another path next time",
            self.broken.join("\n")
        )))
    }

    fn write(&mut self, mut file: Replacement, text: &str) {
        let name = file.path().display().to_string();
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.commit()) {
            self.broken.push(format!("{name} can't be written: {error}"));
        }
    }
}

impl Files {
    /// No two of them are the same.
    fn differ(&self) -> Result<(), Problem> {
        let drafts = [&self.save, &self.csv, &self.junit, &self.html];
        let mut seen: Vec<&Path> = Vec::new();
        for draft in drafts.into_iter().flatten() {
            let Some(target) = draft.target() else { continue };
            if seen.contains(&target) {
                return Err(Problem::input(format!(
                    "two reports can't both be written to {}",
                    draft.path().display()
                )));
            }
            seen.push(target);
        }
        Ok(())
    }
}

fn wrong(path: &Path, error: &io::Error) -> Problem {
    Problem::input(format!("can't write {}: {error}", path.display()))
}

impl Observer for Outputs {
    fn second(&mut self, at: Duration, second: &Second, totals: &Totals) {
        if self.events.is_some() {
            let sample = report::sample(&self.scenario, at, second);
            self.event(&sample);
        }
        if let Some(exporter) = &self.exporter {
            exporter.update(&self.scenario, second, totals);
        }
        if let Some(live) = &mut self.live {
            live.show(&self.scenario, at, second, totals);
        }
    }

    fn note(&mut self, at: Duration, text: &str) {
        self.event(&serde_json::json!({"schema": 1, "event": "note", "at": at.as_secs_f64(), "text": text}));
        if let Some(live) = &mut self.live {
            live.line(text);
        }
    }
}
