//! `import`: a scenario from a recording or a description.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use reveille_text::bounded;

use crate::program::printer::{eprint, print};
use crate::program::problem::Problem;

/// The longest file that is imported, in bytes.
const MAX_BYTES: u64 = 256 << 20;

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Format of the file
    #[arg(value_enum)]
    from: From,
    /// The file: JSON, or YAML for a description
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum From {
    /// Recording of a browser; becomes one sequence of its requests
    Har,
    /// OpenAPI 3 description; each operation becomes a task to complete
    Openapi,
}

// === impl Import ===

impl Import {
    pub(crate) fn run(&self) -> Result<u8, Problem> {
        let wrong = |error: &dyn std::fmt::Display| {
            Problem::input(format!("can't import {}: {error}", self.file.display()))
        };
        let text = bounded::text(&self.file, MAX_BYTES).map_err(|error| wrong(&error))?;
        let imported = match self.from {
            From::Har => crate::import::har(&text),
            From::Openapi => crate::import::openapi(&text),
        }
        .map_err(|error| wrong(&error))?;
        let mut head = String::new();
        for remark in &imported.remarks {
            eprint(&format!("{remark}\n"));
            head.push_str(&format!("# {remark}\n"));
        }
        print(&(head + imported.text.as_str()))
    }
}
