//! A file that takes the place of an earlier one when it is whole, and not before.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file to be written at the end; that it can be was seen before anything was sent.
#[derive(Debug)]
pub(crate) struct Draft {
    /// As it was given.
    pub(crate) name: String,
    file: File,
    /// Where it is written and what it becomes; none for devices and pipes, and where there is no room beside it.
    becomes: Option<(PathBuf, PathBuf)>,
}

// === impl Draft ===

impl Draft {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let name = path.display().to_string();
        let there = match fs::metadata(path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // What may not be written is not replaced either.
        let earlier = there
            .as_ref()
            .map(|_| File::options().write(true).open(path))
            .transpose()?;
        if let (Some(there), Some(file)) = (&there, earlier) {
            if !there.is_file() {
                let becomes = None;
                return Ok(Self { name, file, becomes });
            }
            // Where a link leads.
            let target = path.canonicalize()?;
            return Ok(match beside(&target) {
                Ok((draft, place)) => {
                    let _ = draft.set_permissions(there.permissions());
                    let becomes = Some((place, target));
                    Self {
                        name,
                        file: draft,
                        becomes,
                    }
                }
                // A single file of somebody else's directory.
                Err(_) => Self {
                    name,
                    file,
                    becomes: None,
                },
            });
        }
        let (file, place) = beside(path)?;
        let becomes = Some((place, path.to_owned()));
        Ok(Self { name, file, becomes })
    }

    /// What it becomes, if that is a file.
    pub(crate) fn target(&self) -> Option<&Path> {
        self.becomes.as_ref().map(|(_, target)| target.as_path())
    }

    pub(crate) fn write(mut self, text: &str) -> io::Result<()> {
        if self.becomes.is_none() {
            // A device has no length.
            let _ = self.file.set_len(0);
        }
        self.file.write_all(text.as_bytes())?;
        let Some((place, target)) = &self.becomes else {
            return self.file.flush();
        };
        self.file.sync_all()?;
        match fs::rename(place, target) {
            // A file that is mounted by itself, as into a container, can't be replaced.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => fs::write(target, text),
            renamed => renamed,
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some((place, _)) = &self.becomes {
            // Nothing is there once it has become what it is to be.
            let _ = fs::remove_file(place);
        }
    }
}

/// A new file beside `target`, with the name of nothing else.
fn beside(target: &Path) -> io::Result<(File, PathBuf)> {
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::other("it names no file"))?;
    for number in 0u32.. {
        let mut draft = OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}-{number}", std::process::id()));
        let place = target.with_file_name(draft);
        match File::options().write(true).create_new(true).open(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((opened?, place)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_becomes_what_a_link_leads_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("monday"), "earlier").expect("written");
        std::os::unix::fs::symlink("monday", at("latest")).expect("linked");
        let names = || fs::read_dir(directory.path()).expect("readable").count();

        drop(Draft::open(&at("latest")).expect("opened"));
        assert_eq!(fs::read_to_string(at("monday")).expect("there"), "earlier");
        assert_eq!(names(), 2);

        Draft::open(&at("latest"))
            .and_then(|draft| draft.write("later"))
            .expect("written");
        assert_eq!(fs::read_to_string(at("monday")).expect("there"), "later");
        assert!(at("latest").is_symlink());
        assert_eq!(names(), 2);

        assert!(Draft::open(&at("nowhere/report")).is_err());
        assert!(Draft::open(directory.path()).is_err());
        Draft::open(Path::new("/dev/null"))
            .and_then(|draft| draft.write("x"))
            .expect("written");
    }
}
