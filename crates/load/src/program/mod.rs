//! The program: its command line, what it reads and writes, and its exit status.

mod arguments;
mod keys;
mod live;
mod once;
mod outputs;
mod plan;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::arguments::{Arguments, Order};
use self::keys::Keys;
use self::outputs::Outputs;
use crate::engine::{self, Ask, Halt};
use crate::report::{self, Summary};
use crate::scenario::Scenario;

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match &arguments.order {
        Some(Order::Worker) => engine::serve_worker().map(|()| 0).map_err(Problem::ours),
        Some(Order::Import(import)) => import.run(),
        None if arguments.schema => print(&pretty(&crate::scenario::schema())),
        None => test(&arguments),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            eprint(&format!("error: {}\n", problem.text));
            ExitCode::from(problem.code)
        }
    }
}

/// What ends the program early.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: u8,
    pub(crate) text: String,
}

// === impl Problem ===

impl Problem {
    /// Bad input: nothing was sent.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Self {
            code: 2,
            text: text.into(),
        }
    }

    /// It is not the user's fault.
    pub(crate) fn ours(text: impl Into<String>) -> Self {
        Self {
            code: 1,
            text: text.into(),
        }
    }
}

fn test(arguments: &Arguments) -> Result<u8, Problem> {
    let (scenario, source) = arguments.scenario()?;
    let baseline = arguments.baseline()?;
    if arguments.plan {
        return print(&plan::plan(&scenario));
    }
    if arguments.once {
        return on_runtime(async { once::once(&scenario).await })?;
    }
    if scenario.stages.is_empty() {
        return Err(Problem::input(
            "the scenario has no `stages`: say how many users, and for how long\n  hint: `--users 10 --duration 1m`, or `--rate 50/s --duration 1m`",
        ));
    }
    if scenario.schedule().is_empty() {
        return Err(Problem::input(
            "the stages send nothing: they have no users and no arrivals, or no time",
        ));
    }
    let (most, can) = raise_descriptors(scenario.schedule().most_users());
    if most > can && !arguments.quiet {
        eprint(&format!(
            "warning: {most} users may need a descriptor each, and this process has {can}; raise the limit with `ulimit -n`\n"
        ));
    }
    let options = arguments.options(&scenario, source)?;
    let scenario = Arc::new(scenario);
    let outputs = Outputs::open(arguments, &scenario)?;
    on_runtime(run(&scenario, &options, arguments, baseline.as_ref(), outputs))?
}

async fn run(
    scenario: &Arc<Scenario>,
    options: &engine::Options,
    arguments: &Arguments,
    baseline: Option<&Summary>,
    mut outputs: Outputs,
) -> Result<u8, Problem> {
    outputs.listen(arguments).await?;
    let (sender, mut asks) = mpsc::unbounded_channel();
    listen(&sender).map_err(|error| Problem::ours(format!("can't listen to signals: {error}")))?;
    let keys = (!arguments.quiet).then(|| Keys::listen(&sender)).flatten();
    if keys.is_some() {
        eprint("r zeroes the numbers, Ctrl-C ends the test\n");
    }
    let outcome = engine::conduct(scenario, options, &mut outputs, &mut asks)
        .await
        .map_err(|halt| match halt {
            Halt::Input(text) => Problem::input(text),
            Halt::Bootstrap(text) => Problem { code: 3, text },
            Halt::Interrupted(text) => Problem { code: 5, text },
            Halt::Defect(text) => Problem::ours(text),
        })?;
    drop(keys);
    let summary = Summary::new(scenario, &outcome);
    let takes = outputs.end(&summary, stopped(&mut asks)).await;
    // First the screen: whatever happens to files, the numbers were seen.
    let text = if arguments.json() {
        pretty(&serde_json::to_value(&summary).unwrap_or_default())
    } else {
        let compared = baseline.map(|baseline| report::compare(&summary, baseline));
        report::human(&summary) + compared.as_deref().unwrap_or_default()
    };
    let said = if takes || !arguments.tells_events_there() {
        say(text, &mut asks).await
    } else {
        Ok(())
    };
    let written = outputs.finish(&summary, &outcome.series);
    said.and(written)?;
    Ok(summary.exit_status())
}

/// Writes to standard output. A pager may read it slowly, and a signal ends that.
async fn say(text: String, asks: &mut mpsc::UnboundedReceiver<Ask>) -> Result<(), Problem> {
    let printed = tokio::task::spawn_blocking(move || print(&text).map(|_| ()));
    tokio::select! {
        printed = printed => printed.unwrap_or_else(|error| Err(Problem::ours(error.to_string()))),
        () = stopped(asks) => Err(Problem {
            code: 5,
            text: "interrupted, while nobody read the numbers from standard output".into(),
        }),
    }
}

/// Completes when somebody wants an end.
async fn stopped(asks: &mut mpsc::UnboundedReceiver<Ask>) {
    loop {
        match asks.recv().await {
            Some(Ask::Stop) => return,
            Some(Ask::Reset) => {}
            None => std::future::pending().await,
        }
    }
}

/// Signals: interrupt, terminate and hang-up end the test, the first user signal zeroes its numbers.
fn listen(asks: &mpsc::UnboundedSender<Ask>) -> std::io::Result<()> {
    let kinds = [
        (SignalKind::interrupt(), Ask::Stop),
        (SignalKind::terminate(), Ask::Stop),
        (SignalKind::hangup(), Ask::Stop),
        (SignalKind::user_defined1(), Ask::Reset),
    ];
    for (kind, ask) in kinds {
        let mut signals = signal(kind)?;
        let asks = asks.clone();
        tokio::task::spawn_local(async move {
            let mut last: Option<Instant> = None;
            while signals.recv().await.is_some() {
                // A terminal's hang-up often comes twice at once.
                let again = last.is_some_and(|at| at.elapsed() < Duration::from_millis(100));
                last = Some(Instant::now());
                if again {
                    continue;
                }
                let _ = asks.send(ask);
            }
        });
    }
    Ok(())
}

fn on_runtime<T>(future: impl Future<Output = T>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|error| Problem::ours(format!("can't start a runtime: {error}")))?;
    let done = runtime.block_on(future);
    // The system may still look for a name, for as long as it likes.
    runtime.shutdown_background();
    Ok(done)
}

/// Raises the soft limit of descriptors to the hard one; says how many users may need and how many there are.
fn raise_descriptors(users: u64) -> (u64, u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (users + 64, now)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

/// Writes to standard output; that nobody reads it any more is no failure.
pub(crate) fn print(text: &str) -> Result<u8, Problem> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Problem::ours(format!("can't write to standard output: {error}")))
        }
        _ => Ok(0),
    }
}

/// Writes to standard error.
pub(crate) fn eprint(text: &str) {
    use std::io::Write as _;
    // A closed standard error is no reason to fail.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
