//! The program: its command line, what it reads and writes, and its exit status.

mod arguments;
mod keys;
mod live;
mod man;
mod once;
mod outputs;
mod plan;
mod printer;
mod problem;
mod writer;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::arguments::{Arguments, Command};
use self::keys::Keys;
use self::outputs::Outputs;
use self::printer::{eprint, print};
use self::problem::Problem;
use crate::engine::{self, Ask, Asks, Halt};
use crate::report::{self, Summary};
use crate::scenario::Scenario;

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are not mistakes.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let done = match &arguments.command {
        Some(Command::Worker) => engine::serve_worker().map(|()| 0).map_err(Problem::ours),
        Some(Command::Import(import)) => import.run(),
        Some(Command::Man { to }) => man::man(to),
        None if arguments.scenario.schema => print(&format!("{:#}\n", crate::scenario::schema())),
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

fn test(arguments: &Arguments) -> Result<u8, Problem> {
    let (scenario, source) = arguments.scenario()?;
    let baseline = arguments.baseline()?;
    if arguments.scenario.plan {
        return print(&plan::plan(&scenario));
    }
    if arguments.scenario.once {
        return on_runtime(once::once(&scenario))?;
    }
    if scenario.stages.is_empty() {
        return Err(Problem::input(
            "the scenario has no `stages`\n  hint: add `--users 10 --duration 1m` or `--rate 50/s --duration 1m`",
        ));
    }
    if scenario.schedule().is_empty() {
        return Err(Problem::input(
            "the stages send nothing: they have no users and no arrivals, or no duration",
        ));
    }
    let (needed, limit) = raise_descriptors(scenario.schedule().most_users());
    if needed > limit && !arguments.outputs.quiet {
        eprint(&format!(
            "warning: the users may need {needed} file descriptors, and the limit is {limit}; raise it with `ulimit -n`\n"
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
    let (sender, mut asks) = Asks::channel();
    listen(&sender).map_err(|error| Problem::ours(format!("can't handle signals: {error}")))?;
    let keys = (!arguments.outputs.quiet)
        .then(|| Keys::listen(&sender))
        .flatten();
    if keys.is_some() {
        eprint("press r to reset the numbers, Ctrl-C to stop the test\n");
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
    let is_read = outputs.end(&summary, asks.stopped()).await;
    // The screen comes before the files, so that the user sees the numbers even if a file can't be written.
    let text = if arguments.json() {
        report::json(&summary).map_err(Problem::ours)?
    } else {
        let compared = baseline.map(|baseline| report::compare(&summary, baseline));
        report::human(&summary, width()) + compared.as_deref().unwrap_or_default()
    };
    let said = if is_read || !arguments.prints_events() {
        say(text, &mut asks).await
    } else {
        Ok(())
    };
    let written = outputs.finish(&summary, &outcome.series);
    said.and(written)?;
    Ok(summary.exit_status())
}

/// Writes to standard output. A pager may read slowly; a signal ends the wait.
async fn say(text: String, asks: &mut Asks) -> Result<(), Problem> {
    let printed = tokio::task::spawn_blocking(move || print(&text).map(|_| ()));
    tokio::select! {
        printed = printed => printed.unwrap_or_else(|error| Err(Problem::ours(error.to_string()))),
        () = asks.stopped() => Err(Problem {
            code: 5,
            text: "interrupted before standard output was read".into(),
        }),
    }
}

/// SIGINT, SIGTERM and SIGHUP stop the test; SIGUSR1 resets its numbers.
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
                // A terminal that hangs up often sends the signal twice.
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
    // A name lookup by the system may still run and can't be cancelled.
    runtime.shutdown_background();
    Ok(done)
}

/// Raises the soft limit of file descriptors to the hard one. Returns how many the users may need, and the limit.
fn raise_descriptors(users: u64) -> (u64, u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (users + 64, now)
}

/// The width of the terminal on standard output. Without one, lines are not broken.
fn width() -> usize {
    tcgetwinsize(std::io::stdout())
        .ok()
        .filter(|size| size.ws_col > 0)
        .map_or(usize::MAX, |size| usize::from(size.ws_col))
}
