//! `import`: a scenario from a recording or a description.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::program::{Problem, print};

/// The most that is read.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// What the file is
    #[arg(value_enum)]
    from: From,
    /// The file, JSON
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// A recording of a browser: one sequence of its requests
    Har,
    /// An OpenAPI 3 description: a task for each operation, as a skeleton
    Openapi,
}

// === impl Import ===

impl Import {
    pub(crate) fn run(&self) -> Result<u8, Problem> {
        let wrong = |error: &dyn std::fmt::Display| {
            Problem::input(format!("can't import {}: {error}", self.file.display()))
        };
        let length = std::fs::metadata(&self.file)
            .map_err(|error| wrong(&error))?
            .len();
        if length > MAX_BYTES {
            return Err(wrong(&format!("it has more than {} MiB", MAX_BYTES >> 20)));
        }
        let text = std::fs::read_to_string(&self.file).map_err(|error| wrong(&error))?;
        let scenario = match self.from {
            From::Har => crate::import::har(&text),
            From::Openapi => crate::import::openapi(&text),
        };
        print(&scenario.map_err(|error| wrong(&error))?)
    }
}
