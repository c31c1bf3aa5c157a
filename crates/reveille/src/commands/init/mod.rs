//! `reveille init`: writes the first files of a project.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use reveille_account::Exit;
use reveille_transport::sh_quote;

use crate::commands::explain::schema_text;
use crate::config;
use crate::failure::Failure;
use crate::printer::Printer;

/// The name of the schema's file, which the job's first line names.
const SCHEMA: &str = "job.schema.json";
/// What to do next, in the directory.
const NEXT: [&str; 3] = [
    "reveille run job.yaml --check --diff",
    "reveille run job.yaml",
    "reveille logs this-machine",
];

pub(crate) fn run(directory: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let files = [
        ("hosts.ini", include_str!("hosts.ini").to_owned()),
        ("job.yaml", include_str!("job.yaml").to_owned()),
        ("hello.txt.j2", include_str!("hello.txt.j2").to_owned()),
        ("reveille.toml", include_str!("reveille.toml").to_owned()),
        (SCHEMA, schema_text()? + "\n"),
    ];
    let existing: Vec<String> = files
        .iter()
        .map(|(name, _)| directory.join(name))
        // A link to nothing is there, too.
        .filter(|path| fs::symlink_metadata(path).is_ok())
        .map(|path| shown(&path))
        .collect();
    if !existing.is_empty() {
        return Err(Failure::usage(format!(
            "nothing is written, because there is already: {}; name another directory, `reveille init DIR`",
            existing.join(", ")
        )));
    }
    let wrong =
        |path: &Path, error: &io::Error| Failure::usage(format!("can't write {}: {error}", shown(path)));
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|error| wrong(directory, &error))?;
    if let Some(who) = config::who_else_replaces(directory).map_err(|error| wrong(directory, &error))? {
        return Err(Failure::usage(format!(
            "nothing is written, because {who} can write to {}, and Reveille reads no reveille.toml there; correct owner \
             and mode (`chmod go-w`), or name another directory",
            shown(directory)
        )));
    }
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, text) in &files {
        let path = directory.join(name);
        if let Err(error) = write(&path, text) {
            if error.kind() != io::ErrorKind::AlreadyExists {
                written.push(path.clone());
            }
            for path in &written {
                // The first error is the one to report.
                let _ = fs::remove_file(path);
            }
            return Err(wrong(&path, &error));
        }
        written.push(path);
    }
    for (path, what) in written.iter().zip([
        "the hosts: this machine; add yours",
        "a first job",
        "a template of the job",
        "options for commands in this directory",
        "for editors: completes and checks the keys of jobs",
    ]) {
        printer.say(&format!("wrote {:<24} {what}", shown(path)));
    }
    let mut next: Vec<String> = Vec::new();
    if !is_here(directory) {
        // `cd` would read a name such as `-x` as an option.
        let name = directory.display().to_string();
        let prefix = if name.starts_with('-') { "./" } else { "" };
        next.push(format!("cd {}", sh_quote(&format!("{prefix}{name}"))));
    }
    next.extend(NEXT.map(str::to_owned));
    printer.say("next:");
    for line in next {
        printer.data(&line)?;
    }
    Ok(Exit::Success)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn is_here(directory: &Path) -> bool {
    let here = fs::canonicalize(".");
    here.is_ok_and(|here| fs::canonicalize(directory).is_ok_and(|there| here == there))
}

/// A path without `./` before it.
fn shown(path: &Path) -> String {
    path.strip_prefix(".")
        .ok()
        .filter(|rest| rest.as_os_str() != "")
        .unwrap_or(path)
        .display()
        .to_string()
}
