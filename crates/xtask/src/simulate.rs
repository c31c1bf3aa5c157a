//! `cargo xtask simulate`: the real engine under faults that follow from seeds.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use xtask::failure::{Failure, Result};
use xtask::tell;
use xtask::workspace::{self, Workspace};

/// The simulator, which cargo builds first.
pub(crate) fn command(arguments: &[String]) -> Command {
    let mut simulator = workspace::program("reveille-simulate", "simulate", arguments);
    // So that equal seeds give equal traces in all processes: tokio's own randomness can only be seeded with this.
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    simulator.env("RUSTFLAGS", format!("{flags} --cfg tokio_unstable").trim());
    simulator
}

/// Plays new scenarios for a minute on every core. It takes a debug build, whose dependencies the tests need anyway:
/// building the optimised one takes more CPU time than it saves here.
pub(crate) fn a_minute(workspace: &Workspace) -> Result {
    let simulator = workspace.build("reveille-simulate", "dev")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut running = Vec::new();
    for core in 0..cores {
        let mut command = Command::new(&simulator);
        let seed = now.as_secs() * 1_000_000 + core as u64 * 100_000;
        command.args(["--seed", &seed.to_string()]);
        tell::command(&command);
        let started = command.spawn();
        running
            .push(started.map_err(|error| Failure::failed(format!("can't start the simulator: {error}")))?);
    }
    let mut failed = 0;
    for mut simulator in running {
        failed += u8::from(!simulator.wait()?.success());
    }
    if failed > 0 {
        return Err(Failure::failed("a scenario broke a rule: see above"));
    }
    Ok(())
}
