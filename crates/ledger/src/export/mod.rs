//! Exports: artifacts made from the ledger, for people, CI servers and pipelines.
//!
//! An export is written to a directory beside its target, which it then replaces, so that no reader sees half of one.
//! An earlier export is replaced; anything else is refused.

mod files;
mod junit;
mod summary;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{Error, Result};

pub use files::{write_files, write_junit};
pub use summary::{
    HostSummary, Phases, Slow, Spread, StepSummary, Summary, SummaryOptions, Timing, account_json,
};

/// The file that marks an export.
const MARKER: &str = ".reveille-export";

/// An export that is being written.
#[derive(Debug)]
pub struct Export {
    target: PathBuf,
    temporary: PathBuf,
}

// === impl Export ===

impl Export {
    /// Begins an export to `target`, which must be missing, empty or an earlier export.
    pub fn begin(target: &Path) -> Result<Self> {
        let target = std::path::absolute(target).map_err(Error::io("find", target))?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::ForeignTarget { path: target });
        };
        if target.exists() && !is_replaceable(&target) {
            return Err(Error::ForeignTarget { path: target });
        }
        fs::create_dir_all(parent).map_err(Error::io("make", parent))?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = parent.join(temporary);
        if temporary.exists() {
            // Left by a killed process with the same process id.
            fs::remove_dir_all(&temporary).map_err(Error::io("remove", &temporary))?;
        }
        fs::create_dir(&temporary).map_err(Error::io("make", &temporary))?;
        let marker = temporary.join(MARKER);
        let export = Self { target, temporary };
        fs::write(&marker, "{\"schema\":1}\n").map_err(Error::io("write", &marker))?;
        Ok(export)
    }

    /// The directory for the files until the export is finished.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Moves the export to its target and returns the target's path.
    pub fn finish(self) -> Result<PathBuf> {
        let target = self.target.clone();
        if !target.exists() {
            fs::rename(&self.temporary, &target).map_err(Error::io("make", &target))?;
            return Ok(target);
        }
        if !is_replaceable(&target) {
            return Err(Error::ForeignTarget { path: target });
        }
        if renameat_with(CWD, &self.temporary, CWD, &target, RenameFlags::EXCHANGE).is_err() {
            // The filesystem can't exchange directories: for a moment there is neither.
            fs::remove_dir_all(&target).map_err(Error::io("replace", &target))?;
            fs::rename(&self.temporary, &target).map_err(Error::io("make", &target))?;
        }
        // The earlier export, now under the temporary name, is removed with `self`.
        Ok(target)
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if self.temporary.exists()
            && let Err(error) = fs::remove_dir_all(&self.temporary)
        {
            tracing::warn!(path = %self.temporary.display(), %error, "can't remove a temporary directory");
        }
    }
}

fn is_replaceable(target: &Path) -> bool {
    target.join(MARKER).is_file()
        || fs::read_dir(target).is_ok_and(|mut directory| directory.next().is_none())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
