//! `cargo xtask simulate`: the real engine under faults that follow from seeds.

use std::process::Command;

use xtask::workspace;

/// The simulator, which cargo builds first.
pub(crate) fn command(arguments: &[String]) -> Command {
    let mut simulator = workspace::program("reveille-simulate", "simulate", arguments);
    // So that equal seeds give equal traces in all processes: tokio's own randomness can only be seeded with this.
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    simulator.env("RUSTFLAGS", format!("{flags} --cfg tokio_unstable").trim());
    simulator
}
