//! Sources: what `-i` and `-w` were given.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use reveille_account::SourceError;

use crate::builder::Builder;
use crate::inventory::UNGROUPED;
use crate::place::Line;
use crate::{InventoryError, entry, ini};

/// The most that is read of one file, bytes.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Something that names hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An `-i` argument: an existing file is read, something with a comma or a range is a list of hosts.
    Argument(String),
    /// A `-w` argument: always a list of hosts, never a file.
    List(String),
    /// A file.
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

    pub(crate) fn read(&self, builder: &mut Builder) -> Result<(), InventoryError> {
        match self {
            Source::Argument(argument) => {
                let path = Path::new(argument);
                if path.exists() {
                    read_file(path, builder)
                } else if is_list(argument) {
                    read_list(argument, "-i", builder)
                } else {
                    Err(InventoryError::NoSuchFile {
                        argument: argument.clone(),
                    })
                }
            }
            Source::List(list) => read_list(list, "-w", builder),
            Source::File(path) => read_file(path, builder),
            Source::Text { name, text } => read_text(text, name, builder),
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

fn read_file(path: &Path, builder: &mut Builder) -> Result<(), InventoryError> {
    let name = path.display().to_string();
    let fail = |source: io::Error| InventoryError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            InventoryError::NoSuchFile {
                argument: name.clone(),
            }
        } else {
            fail(source)
        }
    })?;
    if metadata.is_dir() {
        return Err(InventoryError::NotYet {
            what: "inventory directories",
            name,
            hint: "name its files, each with its own `-i`",
        });
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("yml" | "yaml") => {
            return Err(InventoryError::NotYet {
                what: "YAML inventories",
                name,
                hint: "write it in the INI form",
            });
        }
        Some("json") => {
            return Err(InventoryError::NotYet {
                what: "JSON inventories",
                name,
                hint: "write it in the INI form",
            });
        }
        _ => {}
    }
    let too_large = || InventoryError::TooLarge {
        path: path.to_owned(),
        bound: MAX_FILE_BYTES,
    };
    if metadata.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // Devices and pipes tell no size; the bound holds for them too.
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let text = decode(bytes, &name)?;
    warn_of_neighbours(path, builder);
    read_text(&text, &name, builder)
}

/// The bytes as text, or where they stop being text.
fn decode(bytes: Vec<u8>, name: &str) -> Result<String, SourceError> {
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let message = format!("this is a binary file: byte {at} is NUL");
        return Err(at_byte(&bytes, at, message, name));
    }
    String::from_utf8(bytes).map_err(|error| {
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

fn read_text(text: &str, name: &str, builder: &mut Builder) -> Result<(), InventoryError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.starts_with("$ANSIBLE_VAULT;") {
        return Err(InventoryError::NotYet {
            what: "vault-encrypted inventories",
            name: name.to_owned(),
            hint: "decrypt it with `ansible-vault view` and name the result",
        });
    }
    if text.starts_with("#!") {
        return Err(InventoryError::NotYet {
            what: "executable inventories",
            name: name.to_owned(),
            hint: "run it yourself and name a file with the hosts",
        });
    }
    let before = (builder.host_count(), builder.group_count());
    builder.begin(name);
    let declared = ini::read(text, name, builder);
    if !declared && before == (builder.host_count(), builder.group_count()) {
        return Err(InventoryError::NoHosts {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Ansible reads `group_vars/` and `host_vars/` beside an inventory.
fn warn_of_neighbours(path: &Path, builder: &mut Builder) {
    for name in ["group_vars", "host_vars"] {
        let neighbour = path.with_file_name(name);
        if neighbour.is_dir() {
            let shown = neighbour.display().to_string();
            builder.warn(&shown, || {
                SourceError::whole(format!("`{name}/` is not read yet; its vars are missing"), &shown)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut builder = Builder::new();
        read_list("web1, web[5:1]", "-w", &mut builder).expect("mistakes are collected");
        let error = builder.finish().expect_err("a bad range");
        assert!(error.to_string().contains("-w:1:11"), "{error}");
    }
}
