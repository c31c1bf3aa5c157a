//! `group_vars/` and `host_vars/`: files of vars beside an inventory, named after groups and hosts.
//!
//! For the name `web`, the first existing one is read of: `web` (a file, or a directory whose files are all read in
//! name order), `web.yml`, `web.yaml`, `web.json`. The files are YAML, plain or encrypted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reveille_account::SourceError;

use super::builder::Builder;
use super::file;
use super::source::{MAX_DIRECTORY_DEPTH, MAX_FILES};
use super::yaml::inventory::{variable, warn_of_duplicates};
use super::yaml::{self, Data};
use crate::InventoryError;
use crate::model::Variable;

/// File endings in search order.
const ENDINGS: [&str; 4] = ["", ".yml", ".yaml", ".json"];

/// Reads the files beside all sources into `builder`; later directories win.
pub(crate) fn read(directories: &[PathBuf], builder: &mut Builder) -> Result<(), InventoryError> {
    for (index, directory) in directories.iter().enumerate() {
        // The directory of two sources is read once, at the later source.
        if directories[index + 1..].contains(directory) {
            continue;
        }
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        for (name, found) in entries(&directory.join("group_vars"), builder)? {
            if let Some(group) = builder.find_group(&name) {
                let variables = found.read(true, builder)?;
                builder.add_group_file(group, number, variables);
            }
        }
        for (name, found) in entries(&directory.join("host_vars"), builder)? {
            if let Some(host) = builder.find_host(&name) {
                let variables = found.read(false, builder)?;
                builder.add_host_file(host, variables);
            }
        }
    }
    Ok(())
}

/// The file or directory for a name.
struct Found {
    path: PathBuf,
    /// Others of the same name, which are ignored.
    shadowed: Vec<PathBuf>,
}

/// The names for which a directory has vars, sorted.
fn entries(directory: &Path, builder: &mut Builder) -> Result<Vec<(String, Found)>, InventoryError> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    if !directory.is_dir() {
        let shown = directory.display().to_string();
        builder.warn(&shown, || {
            SourceError::whole("this is not a directory and has no effect", &shown)
        });
        return Ok(Vec::new());
    }
    let mut best: HashMap<String, Vec<(usize, PathBuf)>> = HashMap::new();
    for name in file::names(directory)? {
        // Host and group names are always text.
        let Some(name) = name.to_str() else { continue };
        for (rank, ending) in ENDINGS.iter().enumerate() {
            if let Some(stem) = name.strip_suffix(ending)
                && !stem.is_empty()
            {
                let known = best.entry(stem.to_owned()).or_default();
                known.push((rank, directory.join(name)));
            }
        }
    }
    let mut found: Vec<(String, Found)> = best
        .into_iter()
        .map(|(name, mut paths)| {
            paths.sort_unstable();
            let mut paths = paths.into_iter().map(|(_, path)| path);
            let path = paths.next().unwrap_or_default();
            let shadowed = paths.collect();
            (name, Found { path, shadowed })
        })
        .collect();
    found.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    Ok(found)
}

// === impl Found ===

impl Found {
    fn read(&self, of_group: bool, builder: &mut Builder) -> Result<Vec<Variable>, InventoryError> {
        for path in &self.shadowed {
            let shown = path.display().to_string();
            let message = format!("this is ignored, because `{}` exists", self.path.display());
            builder.warn("shadowed vars", || SourceError::whole(message, shown));
        }
        let mut files = Vec::new();
        if self.path.is_dir() {
            collect(&self.path, 0, &mut files)?;
        } else {
            files.push(self.path.clone());
        }
        let mut merged: Vec<Variable> = Vec::new();
        for file in files {
            for variable in read_file(&file, builder)? {
                if of_group && &*variable.key == "ansible_group_priority" {
                    let shown = file.display().to_string();
                    let line = variable.line as usize;
                    builder.warn("priority in files", || SourceError {
                        line,
                        ..SourceError::whole("`ansible_group_priority` has no effect in `group_vars/`", shown)
                            .hint("as in Ansible; set it in the inventory itself")
                    });
                }
                match merged.iter_mut().find(|known| known.key == variable.key) {
                    Some(known) => *known = variable,
                    None => merged.push(variable),
                }
            }
        }
        Ok(merged)
    }
}

/// Collects the files of a directory and of its subdirectories, in name order.
fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), InventoryError> {
    if depth > MAX_DIRECTORY_DEPTH || files.len() > MAX_FILES {
        let shown = directory.display().to_string();
        let message = format!(
            "more than {MAX_FILES} files, or directories nested more than {MAX_DIRECTORY_DEPTH} deep"
        );
        return Err(SourceError::whole(message, shown).into());
    }
    for name in file::names(directory)? {
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = directory.join(name);
        let ending = match name.rfind('.') {
            Some(at) if at > 0 => &name[at..],
            _ => "",
        };
        if path.is_dir() && ending.is_empty() {
            collect(&path, depth + 1, files)?;
        } else if path.is_file() && ENDINGS.contains(&ending) {
            files.push(path);
        }
    }
    Ok(())
}

fn read_file(path: &Path, builder: &mut Builder) -> Result<Vec<Variable>, InventoryError> {
    let text = file::file_text(path, builder)?;
    let name = path.display().to_string();
    builder.begin(&name);
    let plain = text.text.strip_prefix('\u{feff}').unwrap_or(&text.text);
    let document = yaml::read(plain, &name, text.hidden, &mut builder.vault)?;
    warn_of_duplicates(&document.duplicates, &document.lines, builder);
    if document.root.is_empty() {
        return Ok(Vec::new());
    }
    let kind = document.root.kind();
    let Data::Map(entries) = document.root.data else {
        return Err(document
            .lines
            .mistake(
                &document.root,
                format!("a file of vars must be a mapping, not {kind}"),
            )
            .into());
    };
    let mut variables = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        variables.extend(variable(&document.lines, &key, value, builder));
    }
    Ok(variables)
}
