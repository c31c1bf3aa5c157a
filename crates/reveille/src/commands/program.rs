//! `reveille load` and `reveille mirrorlist`: programs of their own, which this one starts and becomes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reveille_account::Exit;

use crate::failure::Failure;

/// The commands that are programs.
const PROGRAMS: [&str; 2] = ["load", "mirrorlist"];

/// The program that a command line asks for by its first word, and its arguments as they are: all options are its own.
pub(crate) fn asked_for(
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<(&'static str, Vec<OsString>)> {
    let first = arguments.nth(1)?;
    let name = PROGRAMS.into_iter().find(|name| first == OsStr::new(name))?;
    Some((name, arguments.collect()))
}

/// Becomes the program: it has this one's place, signals and terminal from here on.
pub(crate) fn run(name: &str, arguments: &[OsString]) -> Result<Exit, Failure> {
    let program = format!("reveille-{name}");
    let beside = beside(&program);
    // One that was built or unpacked together with this one is of the same version.
    let chosen = beside.as_deref().filter(|path| path.exists());
    let error = Command::new(chosen.unwrap_or(Path::new(&program)))
        .args(arguments)
        .exec();
    if error.kind() != io::ErrorKind::NotFound {
        return Err(Failure::System(format!("can't start {program}: {error}")));
    }
    let directory = beside.as_deref().and_then(Path::parent).map_or_else(
        || "beside reveille".to_owned(),
        |path| format!("in {}", path.display()),
    );
    Err(Failure::usage(format!(
        "{program} is a program of its own, and neither {directory} nor in PATH; \
         `cargo build --release -p {program}` builds it"
    )))
}

fn beside(program: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(program))
}
