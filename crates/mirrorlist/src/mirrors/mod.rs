//! Mirrors without MirrorManager: a list in YAML, and the results of `check` for its mirrors.

mod compile;
mod list;
mod probe;
mod state;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

pub use self::probe::probe;
pub(crate) use self::state::state_path;
pub use self::state::{Finding, Origin, State};

use self::list::MirrorFile;
use crate::catalog::Catalog;
use crate::error::{BadFile, Reason};

/// How often a list's mirrors are to be checked.
pub fn every(path: &Path) -> Result<Duration, BadFile> {
    Ok(MirrorFile::read(path)?.freshness.every.0)
}

/// Compiles a list and its results into MirrorManager's format.
pub fn compile(path: &Path) -> Result<Vec<u8>, BadFile> {
    let file = MirrorFile::read(path)?;
    let state = State::read(&state_path(path))?;
    let modified = std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok();
    let time = modified
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |age| age.as_secs());
    compile::compile(&file, &state, time.max(state.checked))
        .map_err(|what| BadFile::new(path, Reason::Mirrors(what)))
}

/// The mirrors of a directory that are left out by the results of `check`, with the reasons.
pub fn excluded(path: &Path, directory: &str) -> Result<BTreeMap<String, String>, BadFile> {
    let (file, state) = (MirrorFile::read(path)?, State::read(&state_path(path))?);
    Ok(compile::excluded(&file, &state, directory))
}

pub(crate) fn read(path: &Path) -> Result<Catalog, BadFile> {
    let bytes = compile(path)?;
    Catalog::read(BufReader::new(bytes.as_slice())).map_err(|reason| BadFile::new(path, reason))
}
