//! Sources: the arguments of `-i` and `-w`, and which reader each needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reveille_account::SourceError;
use zeroize::Zeroizing;

use super::builder::Builder;
use super::file::{self, Text};
use super::{ini, list, script, yaml};
use crate::InventoryError;

/// How many files an inventory directory may have.
pub(super) const MAX_FILES: usize = 10_000;
/// How deep directories may be nested.
pub(super) const MAX_DIRECTORY_DEPTH: usize = 8;
/// Files in a directory that are not inventories: Ansible's own list, which lost `.ini` in version 2.18.
const IGNORED_ENDINGS: [&str; 12] = [
    ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry",
];

/// A source of hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An `-i` argument: an existing file or directory, or a list of hosts if it has a comma or a range.
    Argument(String),
    /// A `-w` argument: always a list of hosts, never a file.
    List(String),
    /// A file or a directory.
    File(PathBuf),
    /// Text in the form of an inventory file, read from elsewhere.
    Text {
        /// Its name in messages.
        name: String,
        /// The text.
        text: String,
    },
}

// === impl Source ===

impl Source {
    /// The source as the user gave it.
    pub fn name(&self) -> String {
        match self {
            Source::Argument(text) | Source::List(text) => text.clone(),
            Source::File(path) => path.display().to_string(),
            Source::Text { name, .. } => name.clone(),
        }
    }
}

/// The directory with the source's `group_vars/` and `host_vars/`; none for lists.
pub(super) fn vars_directory(source: &Source) -> Option<PathBuf> {
    let path = match source {
        Source::Argument(argument) => Path::new(argument),
        Source::File(path) => path,
        Source::List(_) | Source::Text { .. } => return None,
    };
    if path.is_dir() {
        Some(path.to_owned())
    } else if path.exists() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Some(parent.unwrap_or(Path::new(".")).to_owned())
    } else {
        None
    }
}

/// Reads a source.
pub(super) fn read(source: &Source, builder: &mut Builder) -> Result<(), InventoryError> {
    match source {
        Source::Argument(argument) => {
            let path = Path::new(argument);
            if path.exists() {
                read_path(path, builder)
            } else if list::is_list(argument) {
                list::read(argument, "-i", builder)
            } else {
                Err(InventoryError::NoSuchFile {
                    argument: argument.clone(),
                })
            }
        }
        Source::List(list) => list::read(list, "-w", builder),
        Source::File(path) => read_path(path, builder),
        Source::Text { name, text } => {
            let text = file::decrypted(Zeroizing::new(text.clone()), name, builder)?;
            read_text(&text, name, is_yaml(Path::new(name)), builder)
        }
    }
}

/// Reads a file or a directory.
fn read_path(path: &Path, builder: &mut Builder) -> Result<(), InventoryError> {
    let metadata = fs::metadata(path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            InventoryError::NoSuchFile {
                argument: path.display().to_string(),
            }
        } else {
            InventoryError::read(path, source)
        }
    })?;
    if metadata.is_dir() {
        let mut directory = Directory { builder, files: 0 };
        directory.read(path, 0)?;
        if directory.files == 0 {
            let name = path.display().to_string();
            return Err(InventoryError::NoHosts { name });
        }
        return Ok(());
    }
    read_file(path, builder)
}

/// An inventory directory that is being read.
struct Directory<'a> {
    builder: &'a mut Builder,
    files: usize,
}

// === impl Directory ===

impl Directory<'_> {
    fn read(&mut self, path: &Path, depth: usize) -> Result<(), InventoryError> {
        let shown = path.display().to_string();
        if depth > MAX_DIRECTORY_DEPTH {
            let message = format!("directories are nested more than {MAX_DIRECTORY_DEPTH} deep");
            return Err(SourceError::whole(message, shown).into());
        }
        for name in file::names(path)? {
            let lossy = name.to_string_lossy();
            let full = path.join(&name);
            if lossy.starts_with('.') || matches!(&*lossy, "host_vars" | "group_vars" | "vars_plugins") {
                continue;
            }
            if IGNORED_ENDINGS.iter().any(|ending| lossy.ends_with(ending)) {
                continue;
            }
            let metadata = fs::metadata(&full).map_err(|source| InventoryError::read(&full, source))?;
            if metadata.is_dir() {
                self.read(&full, depth + 1)?;
            } else if metadata.is_file() {
                self.files += 1;
                if self.files > MAX_FILES {
                    let message = format!("the directory has more than {MAX_FILES} files");
                    return Err(SourceError::whole(message, shown).into());
                }
                match read_file(&full, self.builder) {
                    Err(InventoryError::NoHosts { name }) => {
                        self.builder.warn(&format!("nothing {name}"), || {
                            SourceError::whole("this file names no host", &name)
                        });
                    }
                    other => other?,
                }
            }
        }
        Ok(())
    }
}

fn read_file(path: &Path, builder: &mut Builder) -> Result<(), InventoryError> {
    let name = path.display().to_string();
    let extension = path.extension().and_then(|extension| extension.to_str());
    if extension.is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        return Err(InventoryError::NotYet {
            what: "TOML inventories",
            name,
            hint: "convert it with `ansible-inventory -i FILE --list --yaml`",
        });
    }
    let bytes = file::read_bytes(path)?;
    let is_program = bytes.starts_with(b"#!") || bytes.starts_with(b"\x7fELF");
    if is_program && builder.names_only {
        return Ok(());
    }
    if is_program {
        if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() {
            return Err(
                SourceError::whole("this is a program, but it is not executable", name)
                    .hint("run `chmod +x`, or remove its first line if it is a text")
                    .into(),
            );
        }
        return script::read(path, builder);
    }
    let text = file::decrypted(file::decode(bytes, &name)?, &name, builder)?;
    read_text(&text, &name, is_yaml(path), builder)
}

/// Whether a file's name says that it is YAML; none if the name does not decide.
fn is_yaml(path: &Path) -> Option<bool> {
    let extension = path.extension()?.to_str()?;
    ["yml", "yaml", "json"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
        .then_some(true)
}

/// Reads an inventory's text; `yaml` is its form, if its name decides that.
fn read_text(
    text: &Text,
    name: &str,
    yaml: Option<bool>,
    builder: &mut Builder,
) -> Result<(), InventoryError> {
    let hidden = text.hidden;
    let text = text.text.strip_prefix('\u{feff}').unwrap_or(&text.text);
    if text.starts_with("#!") {
        return Err(SourceError::whole("this is a program, not an inventory", name).into());
    }
    let before = (builder.host_count(), builder.group_count());
    builder.begin(name);
    if yaml.unwrap_or_else(|| yaml::inventory::is_likely(text)) {
        return yaml::inventory::read(text, name, hidden, builder);
    }
    let declared = ini::read(text, name, hidden, builder);
    if !declared && before == (builder.host_count(), builder.group_count()) {
        return Err(InventoryError::NoHosts {
            name: name.to_owned(),
        });
    }
    Ok(())
}
