//! The configuration as a whole: read once, asked for each host.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use reveille_account::{Origin, SourceError};

use crate::Error;
use crate::block::{Block, Place};
use crate::file::Reader;

/// The configuration of `ssh`, to be asked about hosts.
#[derive(Debug, Default)]
pub struct SshConfig {
    pub(crate) blocks: Vec<Block>,
    /// Blocks that can only apply to hosts of these names.
    pub(crate) by_name: HashMap<Box<str>, Vec<u32>>,
    /// Blocks that any host may match.
    pub(crate) for_all: Vec<u32>,
    pub(crate) files: Vec<Arc<str>>,
    /// Some `Match` asks for the second pass.
    pub(crate) wants_final: bool,
    pub(crate) warnings: Vec<SourceError>,
    /// Answers of `Match exec`, by command line.
    pub(crate) answers: Mutex<HashMap<String, bool>>,
}

// === impl SshConfig ===

impl SshConfig {
    /// Reads the user's file and, after it, the system's. A file that isn't there says nothing.
    ///
    /// Without `user_file` it is `~/.ssh/config`; the system's is `/etc/ssh/ssh_config` unless said otherwise. As `ssh` does
    /// it, a user's file that others may write to is refused.
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

    /// Reads text in the form of a user's configuration; `name` stands for the file in messages.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let mut reader = Reader::new();
        reader.text(text, name)?;
        reader.finish()
    }

    /// What has no effect although it was written, whatever the host.
    pub fn warnings(&self) -> &[SourceError] {
        &self.warnings
    }

    /// Whether there is no option at all.
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
