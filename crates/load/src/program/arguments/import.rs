//! `import`: a scenario from a recording or a description.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reveille_text::bounded;

use crate::program::{Problem, eprint, print};

/// The most that is read.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// What the file is
    #[arg(value_enum)]
    from: From,
    /// The file: JSON; descriptions also YAML
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
        let text = bounded::text(&self.file, MAX_BYTES).map_err(|error| wrong(&error))?;
        let scenario = match self.from {
            From::Har => crate::import::har(&text),
            From::Openapi => crate::import::openapi(&text),
        };
        let imported = scenario.map_err(|error| wrong(&error))?;
        let mut text = String::new();
        for remark in &imported.remarks {
            eprint(&format!("{remark}\n"));
            text.push_str(&format!("# {remark}\n"));
        }
        print(&(text + imported.text.as_str()))
    }
}
