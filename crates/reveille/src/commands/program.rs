//! `reveille load` and `reveille mirrorlist`: replace this process by the programs `reveille-load` and
//! `reveille-mirrorlist`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reveille_account::Exit;

use crate::failure::Failure;

/// The commands that are programs of their own.
const PROGRAMS: [&str; 2] = ["load", "mirrorlist"];

/// The program that the first word of a command line names, and its arguments. They are not parsed here.
pub(crate) fn asked_for(
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<(&'static str, Vec<OsString>)> {
    let first = arguments.nth(1)?;
    let name = PROGRAMS.into_iter().find(|name| first == OsStr::new(name))?;
    Some((name, arguments.collect()))
}

/// Replaces this process by the program.
pub(crate) fn run(name: &str, arguments: &[OsString]) -> Result<Exit, Failure> {
    let program = format!("reveille-{name}");
    let beside = beside(&program);
    // The program beside this one has the same version.
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
        "{program} is neither {directory} nor in PATH; it is a separate program: install it, or build it with \
         `cargo build --release -p {program}`"
    )))
}

fn beside(program: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(program))
}
