//! Everything that is written during and after a test. If a file can't be written, the test continues, and the end
//! reports what is missing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reveille_text::counted;
use reveille_text::replace::Replacement;

use super::arguments::Arguments;
use super::live::Live;
use super::printer::eprint;
use super::problem::Problem;
use super::writer::{Finished, Taken, Writer};
use crate::engine::{Observer, Point};
use crate::report::{self, Exporter, Summary};
use crate::scenario::Scenario;
use crate::stats::{Second, Totals};

pub(crate) struct Outputs {
    scenario: Arc<Scenario>,
    events: Option<Writer>,
    live: Option<Live>,
    exporter: Option<Exporter>,
    /// Reports that are written at the end. Their files are opened before anything is sent.
    reports: Vec<(Replacement, Report)>,
    /// Failures to write.
    broken: Vec<String>,
}

/// Makes the text of a report.
type Report = fn(&Summary, &[Point]) -> Result<String, String>;

// === impl Outputs ===

impl Outputs {
    pub(crate) fn open(arguments: &Arguments, scenario: &Arc<Scenario>) -> Result<Self, Problem> {
        let options = &arguments.outputs;
        let wanted: [(_, Report); 4] = [
            (&options.save, |summary, _| report::json(summary)),
            (&options.csv, |summary, _| report::csv(summary)),
            (&options.junit, |summary, _| Ok(report::junit(summary))),
            (&options.html, report::html),
        ];
        let mut reports: Vec<(Replacement, Report)> = Vec::new();
        for (path, report) in wanted {
            let Some(path) = path else { continue };
            let file = Replacement::begin(path).map_err(|error| wrong(path, &error))?;
            let is_same = |(other, _): &(Replacement, Report)| {
                file.target().is_some() && other.target() == file.target()
            };
            if reports.iter().any(is_same) {
                let path = path.display();
                return Err(Problem::input(format!("two reports can't be written to {path}")));
            }
            reports.push((file, report));
        }
        let events: Option<Box<dyn Write + Send>> = match options.events.as_deref() {
            None => None,
            Some(_) if arguments.prints_events() => Some(Box::new(io::stdout())),
            Some(path) => {
                let file = File::create(path).map_err(|error| wrong(path, &error))?;
                Some(Box::new(BufWriter::new(file)))
            }
        };
        let thread = |error| Problem::ours(format!("can't start a thread: {error}"));
        Ok(Self {
            scenario: Arc::clone(scenario),
            events: events.map(Writer::start).transpose().map_err(thread)?,
            live: (!options.quiet).then(Live::new).transpose().map_err(thread)?,
            exporter: None,
            reports,
            broken: Vec::new(),
        })
    }

    /// Begins to serve Prometheus, if the command line asks for it.
    pub(crate) async fn listen(&mut self, arguments: &Arguments) -> Result<(), Problem> {
        let Some(address) = arguments.outputs.prometheus else {
            return Ok(());
        };
        let (exporter, bound) = Exporter::start(address)
            .await
            .map_err(|error| Problem::input(format!("can't listen on {address}: {error}")))?;
        if !arguments.outputs.quiet {
            eprint(&format!(
                "serving the numbers to Prometheus at http://{bound}/metrics\n"
            ));
        }
        self.exporter = Some(exporter);
        Ok(())
    }

    fn event(&mut self, value: &serde_json::Value) {
        let Some(writer) = &self.events else { return };
        match writer.write(format!("{value}\n")) {
            Taken::Yes | Taken::Dropped { first: false } => {}
            Taken::Dropped { first: true } => {
                self.warn("events are not read and further ones are dropped; the test continues");
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
        // The reader has left.
        if error.kind() != io::ErrorKind::BrokenPipe {
            let text = format!("can't write events: {error}");
            self.warn(&format!("{text}; the test continues"));
            self.broken.push(text);
        }
    }

    fn warn(&mut self, text: &str) {
        if let Some(live) = &mut self.live {
            live.line(&format!("warning: {text}"));
        }
    }

    /// Writes the last event and those that still wait, and ends the live view. Returns whether the events were read.
    pub(crate) async fn end(&mut self, summary: &Summary, enough: impl Future<Output = ()>) -> bool {
        let mut enough = std::pin::pin!(enough);
        let mut is_read = true;
        if let Some(writer) = self.events.take() {
            let event = serde_json::json!({"schema": 1, "event": "summary", "summary": summary});
            match writer.finish(Some(format!("{event}\n")), &mut enough).await {
                Ok(Finished { dropped: 0, .. }) => {}
                Ok(Finished { dropped, stalled }) => {
                    is_read = !stalled;
                    let events = counted(dropped, "event");
                    self.broken
                        .push(format!("dropped {events} because the reader stopped reading"));
                }
                Err(error) => self.events_broken(&error),
            }
        }
        if let Some(live) = self.live.take() {
            live.end(enough).await;
        }
        is_read
    }

    /// Writes the reports.
    pub(crate) fn finish(mut self, summary: &Summary, series: &[Point]) -> Result<(), Problem> {
        for (mut file, report) in self.reports {
            let name = file.path().display().to_string();
            let written = report(summary, series).and_then(|text| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.commit())
                    .map_err(|error| error.to_string())
            });
            if let Err(error) = written {
                self.broken.push(format!("can't write {name}: {error}"));
            }
        }
        if self.broken.is_empty() {
            return Ok(());
        }
        Err(Problem::ours(format!(
            "{}\n  hint: free disk space or choose another path; the other outputs are complete",
            self.broken.join("\n")
        )))
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
