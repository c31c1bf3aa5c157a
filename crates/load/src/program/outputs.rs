//! What is written while a test runs and when it is over. A file that can't be written ends nothing: the test goes on, and
//! the end says what is missing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::arguments::{Arguments, OutputOptions};
use super::live::Live;
use super::{Problem, eprint};
use crate::engine::{Observer, Point};
use crate::report::{self, Exporter, Summary};
use crate::scenario::Scenario;
use crate::stats::{Second, Totals};

pub(crate) struct Outputs {
    scenario: Arc<Scenario>,
    events: Option<Box<dyn Write>>,
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
    save: Option<(String, File)>,
    csv: Option<(String, File)>,
    junit: Option<(String, File)>,
    html: Option<(String, File)>,
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
            path.as_deref()
                .map(|path| Ok((path.display().to_string(), create(path, false)?)))
                .transpose()
        };
        let events: Option<Box<dyn Write>> = match events.as_deref() {
            None => None,
            Some(path) if path == Path::new("-") => Some(Box::new(io::stdout())),
            Some(path) => Some(Box::new(BufWriter::new(create(path, true)?))),
        };
        Ok(Self {
            scenario: Arc::clone(scenario),
            events,
            live: (!arguments.quiet).then(Live::new),
            exporter: None,
            files: Files {
                save: open(save)?,
                csv: open(csv)?,
                junit: open(junit)?,
                html: open(html)?,
            },
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
        let Some(writer) = &mut self.events else { return };
        let written = writeln!(writer, "{value}").and_then(|()| writer.flush());
        if let Err(error) = written {
            self.events = None;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.note_broken("events", &error);
            }
        }
    }

    fn note_broken(&mut self, what: &str, error: &io::Error) {
        let text = format!("{what} can't be written any more: {error}");
        if let Some(live) = &mut self.live {
            live.line(&format!("warning: {text}; the test goes on"));
        }
        self.broken.push(text);
    }

    /// Writes everything that was asked for.
    pub(crate) fn finish(mut self, summary: &Summary, series: &[Point]) -> Result<(), Problem> {
        let value = serde_json::to_value(summary).unwrap_or_default();
        let mut event = serde_json::json!({"schema": 1, "event": "summary"});
        event["summary"] = value.clone();
        self.event(&event);
        let files = std::mem::take(&mut self.files);
        if let Some(file) = files.save {
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
            "{}\n  hint: the numbers above are complete; make room and use `--save` with another path next time",
            self.broken.join("\n")
        )))
    }

    fn write(&mut self, (name, mut file): (String, File), text: &str) {
        // An earlier report stays until there is one to take its place; a device has no length.
        let _ = file.set_len(0);
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.flush()) {
            self.note_broken(&name, &error);
        }
    }
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

fn create(path: &Path, empty: bool) -> Result<File, Problem> {
    let opened = File::options()
        .write(true)
        .create(true)
        .truncate(empty)
        .open(path);
    opened.map_err(|error| Problem::input(format!("can't write {}: {error}", path.display())))
}
