//! `cargo xtask simulate`: the real engine under faults that follow from seeds.

use clap::Args;

use crate::failure::Result;
use crate::workspace::{self, Workspace};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How long fresh scenarios are played
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// The first seed; the time of day without it
    #[arg(long)]
    seed: Option<u64>,
    /// How many scenarios at most
    #[arg(long)]
    count: Option<u64>,
    /// Further arguments, for the simulator: files to play, --crossings, --mutants, --keep-going, --print
    #[arg(last = true, value_name = "ARGUMENT")]
    more: Vec<String>,
}

// === impl Arguments ===

impl Arguments {
    /// A minute of scenarios that nobody has seen before.
    pub(crate) fn a_minute() -> Self {
        Self {
            minutes: 1.0,
            seed: None,
            count: None,
            more: Vec::new(),
        }
    }
}

/// Builds the simulator and runs it.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let mut simulator = Workspace::find()?.cargo();
    // So that equal seeds give equal traces in all processes: tokio's own chance can be seeded only so.
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    simulator.env("RUSTFLAGS", format!("{flags} --cfg tokio_unstable").trim());
    simulator.args([
        "run",
        "--quiet",
        "--profile",
        "simulate",
        "--package",
        "reveille-simulate",
        "--locked",
        "--",
    ]);
    simulator.args(["--minutes", &arguments.minutes.to_string()]);
    if let Some(seed) = arguments.seed {
        simulator.args(["--seed", &seed.to_string()]);
    }
    if let Some(count) = arguments.count {
        simulator.args(["--count", &count.to_string()]);
    }
    simulator.args(&arguments.more);
    workspace::run(&mut simulator)
}
