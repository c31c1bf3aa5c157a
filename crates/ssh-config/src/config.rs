//! The configuration as a whole: read once, resolved for each host.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use reveille_account::{Origin, SourceError};

use crate::Error;
use crate::block::{Block, Place};
use crate::file::Reader;

/// The configuration of `ssh`.
#[derive(Debug, Default)]
pub struct SshConfig {
    pub(crate) blocks: Vec<Block>,
    /// Blocks that can only apply to hosts with these names.
    pub(crate) by_name: HashMap<Box<str>, Vec<u32>>,
    /// Blocks that any host may match.
    pub(crate) for_all: Vec<u32>,
    pub(crate) files: Vec<Arc<str>>,
    /// Some `Match` needs the second pass.
    pub(crate) wants_final: bool,
    pub(crate) warnings: Vec<SourceError>,
    /// Results of `Match exec`, by command line.
    pub(crate) answers: Mutex<HashMap<String, bool>>,
}

// === impl SshConfig ===

impl SshConfig {
    /// Reads the user's file and then the system's. Missing files count as empty.
    ///
    /// The defaults are `~/.ssh/config` and `/etc/ssh/ssh_config`. Like `ssh`, refuses a user's file that others can
    /// write to.
    pub fn load(user_file: Option<&Path>, system_file: Option<&Path>) -> Result<Self, Error> {
        let mut reader = Reader::new();
        let own = std::env::home_dir().map(|home| home.join(".ssh/config"));
        if let Some(path) = user_file.or(own.as_deref()) {
            reader.optional(path, true)?;
        }
        reader.optional(system_file.unwrap_or(Path::new("/etc/ssh/ssh_config")), false)?;
        reader.finish()
    }

    /// Reads one file and no other, as `ssh -F FILE` does; `none` is an empty configuration.
    pub fn only(path: &Path) -> Result<Self, Error> {
        let mut reader = Reader::new();
        if !path.as_os_str().eq_ignore_ascii_case("none") {
            reader.required(path)?;
        }
        reader.finish()
    }

    /// Parses text as a user's configuration; `name` is the file in messages.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let mut reader = Reader::new();
        reader.text(text, name)?;
        reader.finish()
    }

    /// Options and conditions without effect, whatever the host.
    pub fn warnings(&self) -> &[SourceError] {
        &self.warnings
    }

    /// Whether the configuration sets no option.
    pub fn is_empty(&self) -> bool {
        self.blocks.iter().all(|block| block.settings.is_empty())
    }

    pub(crate) fn mistake(&self, place: Place, message: impl Into<String>) -> SourceError {
        let file = self.files.get(place.file as usize);
        let mut mistake = SourceError::whole(message, file.map_or("ssh_config", |file| &**file));
        mistake.line = place.line as usize;
        mistake
    }

    pub(crate) fn origin(&self, keyword: &str, place: Place) -> Origin {
        Origin::File {
            key: keyword.into(),
            file: self.files[place.file as usize].clone(),
            line: place.line,
        }
    }
}
