//! Sources: what `-i` and `-w` were given.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use reveille_account::SourceError;
use zeroize::Zeroizing;

use crate::builder::Builder;
use crate::inventory::UNGROUPED;
use crate::place::Line;
use crate::{InventoryError, entry, ini, script, vault, yaml_inventory};

/// The most that is read of one file, bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Files that are read of a directory of inventories.
pub(crate) const MAX_FILES: usize = 10_000;
/// Directories within directories.
pub(crate) const MAX_DIRECTORY_DEPTH: usize = 8;
/// Files of a directory that are no inventories: Ansible's own list, which has lost `.ini` with version 2.18.
const IGNORED_ENDINGS: [&str; 12] = [
    ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry",
];

/// Something that names hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An `-i` argument: an existing file or directory is read, something with a comma or a range is a list of hosts.
    Argument(String),
    /// A `-w` argument: always a list of hosts, never a file.
    List(String),
    /// A file or a directory.
    File(PathBuf),
    /// Text in the form of an inventory file, read from elsewhere.
    Text {
        /// How to name it in messages.
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

    /// The directory whose `group_vars/` and `host_vars/` belong to the source; none for lists.
    pub(crate) fn vars_directory(&self) -> Option<PathBuf> {
        let path = match self {
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

    pub(crate) fn read(&self, builder: &mut Builder) -> Result<(), InventoryError> {
        match self {
            Source::Argument(argument) => {
                let path = Path::new(argument);
                if path.exists() {
                    read_path(path, builder)
                } else if is_list(argument) {
                    read_list(argument, "-i", builder)
                } else {
                    Err(InventoryError::NoSuchFile {
                        argument: argument.clone(),
                    })
                }
            }
            Source::List(list) => read_list(list, "-w", builder),
            Source::File(path) => read_path(path, builder),
            Source::Text { name, text } => {
                let text = decrypted(Zeroizing::new(text.clone()), name, builder)?;
                read_text(&text, name, is_yaml(Path::new(name)), builder)
            }
        }
    }
}

/// Whether an `-i` argument that is no file is a list: it has a comma or a range.
fn is_list(argument: &str) -> bool {
    argument.contains(',')
        || argument.split('[').skip(1).any(|after| {
            after
                .split_once(']')
                .is_some_and(|(inside, _)| inside.contains([':', '-']) && !entry::is_ipv6(inside))
        })
}

fn read_list(list: &str, option: &str, builder: &mut Builder) -> Result<(), InventoryError> {
    builder.begin(option);
    let before = builder.host_count();
    let line = Line {
        file: option,
        number: 1,
        text: list,
        hidden: false,
    };
    let mut failed = false;
    for part in split_list(list) {
        let entry = part.trim();
        if entry.is_empty() {
            continue;
        }
        let offset = entry.as_ptr() as usize - list.as_ptr() as usize;
        if let Err(fault) = builder.add_entry(entry, UNGROUPED, Vec::new(), &line, offset) {
            builder.mistake(line.error(fault.shifted(offset)));
            failed = true;
        }
    }
    if builder.host_count() == before && !failed && split_list(list).all(|part| part.trim().is_empty()) {
        return Err(InventoryError::NoHosts {
            name: list.to_owned(),
        });
    }
    Ok(())
}

/// Splits at commas outside brackets.
fn split_list(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    list.split(move |character| {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (character == ',' && depth == 0) || character == '\n'
    })
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

/// A directory of inventories being read.
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
        for name in names(path)? {
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
                    let message =
                        format!("more than {MAX_FILES} files, the most that is read of a directory");
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

/// The names in a directory, sorted.
pub(crate) fn names(path: &Path) -> Result<Vec<OsString>, InventoryError> {
    let fail = |source| InventoryError::read(path, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(fail)? {
        names.push(entry.map_err(fail)?.file_name());
    }
    names.sort_unstable();
    Ok(names)
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
    let bytes = read_bytes(path)?;
    let is_program = bytes.starts_with(b"#!") || bytes.starts_with(b"\x7fELF");
    if is_program {
        if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() {
            return Err(
                SourceError::whole("this is a program, and it is not executable", name)
                    .hint("make it so with `chmod +x`, or take away its first line if it is a text")
                    .into(),
            );
        }
        return script::read(path, builder);
    }
    let text = decrypted(decode(bytes, &name)?, &name, builder)?;
    read_text(&text, &name, is_yaml(path), builder)
}

/// Whether a file is YAML by its name; none if the name doesn't say.
fn is_yaml(path: &Path) -> Option<bool> {
    let extension = path.extension()?.to_str()?;
    ["yml", "yaml", "json"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
        .then_some(true)
}

/// A file's bytes, if they are not too many.
fn read_bytes(path: &Path) -> Result<Vec<u8>, InventoryError> {
    let fail = |source| InventoryError::read(path, source);
    let too_large = || InventoryError::TooLarge {
        path: path.to_owned(),
        bound: MAX_FILE_BYTES,
    };
    let file = File::open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    if length > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // Devices and pipes tell no size; the bound holds for them too.
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The text of a file, whether or not it is encrypted.
pub(crate) fn file_text(path: &Path, builder: &mut Builder) -> Result<Text, InventoryError> {
    let name = path.display().to_string();
    decrypted(decode(read_bytes(path)?, &name)?, &name, builder)
}

/// A file's text.
pub(crate) struct Text {
    pub(crate) text: Zeroizing<String>,
    /// It came from a vault.
    pub(crate) hidden: bool,
}

fn decrypted(text: Zeroizing<String>, name: &str, builder: &mut Builder) -> Result<Text, InventoryError> {
    if !text.starts_with(vault::HEADER) {
        return Ok(Text { text, hidden: false });
    }
    let opened = builder.vault.open(&text).map_err(|closed| {
        let (message, hint) = closed.message();
        let mistake = SourceError::whole(message, name);
        match hint {
            Some(hint) => mistake.hint(hint),
            None => mistake,
        }
    })?;
    let text = std::str::from_utf8(&opened)
        .map_err(|_| SourceError::whole("what this vault holds is not text in UTF-8", name))?;
    Ok(Text {
        text: Zeroizing::new(text.to_owned()),
        hidden: true,
    })
}

/// The bytes as text, or where they stop being text.
fn decode(bytes: Vec<u8>, name: &str) -> Result<Zeroizing<String>, SourceError> {
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let message = format!("this is a binary file: byte {at} is NUL");
        return Err(at_byte(&bytes, at, message, name));
    }
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let message = format!("byte {at} (0x{:02x}) is not UTF-8", bytes[at]);
        at_byte(bytes, at, message, name)
    })
}

fn at_byte(bytes: &[u8], at: usize, message: String, name: &str) -> SourceError {
    let before = &bytes[..at];
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let mut mistake = SourceError::whole(message, name);
    mistake.line = before.split(|byte| *byte == b'\n').count();
    mistake.column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    mistake.hint("an inventory is a text file in UTF-8")
}

/// Reads an inventory's text; `yaml` says what it is, if its file's name does.
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
    if yaml.unwrap_or_else(|| yaml_inventory::is_likely(text)) {
        return yaml_inventory::read(text, name, hidden, builder);
    }
    let declared = ini::read(text, name, hidden, builder);
    if !declared && before == (builder.host_count(), builder.group_count()) {
        return Err(InventoryError::NoHosts {
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadOptions;

    #[test]
    fn lists_are_told_from_single_names() {
        for list in [
            "web1,",
            "a,b",
            "web[1:3]",
            "web[01-40].x",
            "u@web[1-2]:22",
            "[::1],",
        ] {
            assert!(is_list(list), "{list}");
        }
        for name in ["web1", "hosts.ini", "[::1]", "[::1]:22", "web[1"] {
            assert!(!is_list(name), "{name}");
        }
    }

    #[test]
    fn commas_in_brackets_do_not_split() {
        let parts: Vec<&str> = split_list("a[1,2],b, c").collect();
        assert_eq!(parts, ["a[1,2]", "b", " c"]);
    }

    #[test]
    fn lines_of_a_binary_file_are_counted() {
        let mistake = decode(b"web1\nweb\xff2".to_vec(), "h").expect_err("not UTF-8");
        assert_eq!((mistake.line, mistake.column), (2, 4));
        let mistake = decode(b"web1\n\0".to_vec(), "h").expect_err("NUL");
        assert_eq!((mistake.line, mistake.column), (2, 1));
    }

    #[test]
    fn faults_are_shown_in_the_list() {
        let mut builder = Builder::new(LoadOptions::default());
        read_list("web1, web[5:1]", "-w", &mut builder).expect("mistakes are collected");
        let error = builder.finish().expect_err("a bad range");
        assert!(error.to_string().contains("-w:1:11"), "{error}");
    }
}
