//! What is known about mirrors, kept beside the list.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{BadFile, Reason};

/// Findings about all mirrors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub(super) schema: u32,
    /// Unix time of the last look, in seconds; 0 for never.
    pub checked: u64,
    /// What the origins have, by directory.
    pub(super) origins: BTreeMap<String, Original>,
    /// By mirror and directory.
    pub mirrors: BTreeMap<String, BTreeMap<String, Finding>>,
}

/// The file at the origin that mirrors are held against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Original {
    pub(super) sha256: String,
    pub(super) sha512: String,
    pub(super) size: u64,
    /// When it was first seen, in seconds.
    pub(super) since: u64,
}

/// What is known about one mirror's copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Times in a row that it could not be reached.
    pub failures: u32,
    /// Unix time since when its origin has something newer, in seconds.
    pub behind_since: Option<u64>,
    /// What was wrong the last time.
    pub problem: Option<String>,
}

const SCHEMA: u32 = 1;

// === impl State ===

impl State {
    /// Nothing is known without a file.
    pub(super) fn read(path: &Path) -> Result<Self, BadFile> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let bad = |what: String| BadFile::new(path, Reason::Mirrors(what));
                let state: Self = serde_json::from_str(&text).map_err(|error| {
                    bad(format!(
                        "not what `check` writes: {error}; remove it and check again"
                    ))
                })?;
                if state.schema > SCHEMA {
                    return Err(bad(format!("schema {} is of a newer version", state.schema)));
                }
                Ok(state)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(BadFile::new(path, error)),
        }
    }

    /// Writes the file as a whole, in one step.
    pub(super) fn write(&mut self, path: &Path) -> std::io::Result<()> {
        self.schema = SCHEMA;
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut file = std::fs::File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    }

    pub(super) fn finding(&self, mirror: &str, directory: &str) -> Option<&Finding> {
        self.mirrors.get(mirror)?.get(directory)
    }
}
