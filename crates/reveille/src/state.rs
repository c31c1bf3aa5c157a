//! The state directory, the home directory, and the names of this machine and user.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use reveille_account::RunState;
use reveille_ledger::Ledger;
use reveille_ssh_config::Local;

use crate::cli::Globals;
use crate::failure::Failure;

/// Cached, because the user is needed for every host.
static LOCAL: LazyLock<Local> = LazyLock::new(Local::current);

/// The state directory of the option, or the default one. The path is absolute, so that the commands that the screen
/// suggests work from any directory.
pub(crate) fn directory(globals: &Globals) -> Result<PathBuf, Failure> {
    if let Some(directory) = &globals.state_dir {
        return std::path::absolute(directory)
            .map_err(|error| Failure::usage(format!("--state-dir {}: {error}", directory.display())));
    }
    base().map(|base| base.join("reveille")).ok_or_else(|| {
        Failure::usage("no state directory: neither HOME nor XDG_STATE_HOME is set; use --state-dir DIR")
    })
}

/// The ledger, for reading. Creates none if there is none.
pub(crate) fn ledger(globals: &Globals) -> Result<Ledger, Failure> {
    Ok(Ledger::open_existing(&directory(globals)?)?)
}

/// The directory in which programs keep their state.
fn base() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    named.or_else(|| home().map(|home| home.join(".local/state")))
}

/// ` --state-dir DIR`, if a command that the screen suggests needs it to find this directory.
pub(crate) fn option(directory: &Path) -> String {
    let named = std::env::var_os("REVEILLE_STATE_DIR")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        // A relative one names another directory elsewhere.
        .filter(|path| path.is_absolute());
    let usual = named.or_else(|| base().map(|base| base.join("reveille")));
    let same =
        |usual: PathBuf| usual == directory || usual.canonicalize().is_ok_and(|usual| usual == directory);
    if usual.is_some_and(same) {
        return String::new();
    }
    format!(
        " --state-dir {}",
        reveille_transport::sh_quote(&directory.display().to_string())
    )
}

/// The state of a run in words; `held` means that a controller works on it.
pub(crate) fn of_run(state: RunState, held: bool) -> &'static str {
    match state {
        RunState::Open if held => "running",
        RunState::Open | RunState::Interrupted => "interrupted",
        RunState::Closed => "closed",
    }
}

/// The user's home directory.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// The name of this machine.
pub(crate) fn node() -> String {
    LOCAL.host_name.clone()
}

/// The name of the user who runs the program.
pub(crate) fn user() -> String {
    LOCAL.user.clone()
}
