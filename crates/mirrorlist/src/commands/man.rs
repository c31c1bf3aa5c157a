//! `reveille-mirrorlist man`

use std::path::PathBuf;

use clap::{Args, Command};
use reveille_manual::Manual;

use super::failure::Failure;
use super::printer::say;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The directory; it is made if there is none
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// What the pages contain besides the definition of the command line.
const MANUAL: Manual = Manual {
    files: &[
        ("FILE.proto", "Snapshot in MirrorManager's format"),
        (
            "FILE.yaml",
            "List of repositories and mirrors, described in docs/mirrorlist.md",
        ),
        (
            "FILE.yaml.state.json",
            "Results of `check`, beside the list: `check` writes them, `serve` and `build` read them",
        ),
    ],
    environment: &[
        (
            "REVEILLE_LOG",
            "Filter of `serve`'s log on standard error, such as debug; info by default",
        ),
        (
            "LISTEN_FDS, LISTEN_PID, NOTIFY_SOCKET",
            "Sockets that systemd passes to `serve`, and where it waits for the message that `serve` is ready",
        ),
        (
            "SSL_CERT_FILE, SSL_CERT_DIR",
            "Certificate authorities that `check` trusts, instead of those of the system",
        ),
    ],
    statuses: &[
        ("0", "success"),
        ("1", "internal error"),
        ("2", "bad usage or bad input"),
    ],
    see_also: &[
        "reveille(1)",
        "reveille-load(1)",
        "dnf.conf(5)",
        "apt-transport-mirror(1)",
        "systemd.socket(5)",
    ],
};

/// Writes a page for each command into a directory.
pub(crate) fn run(arguments: &Arguments, program: Command) -> Result<(), Failure> {
    let directory = arguments.to.display();
    MANUAL
        .write(program, &arguments.to)
        .map_err(|error| Failure::Input(format!("can't write man pages to {directory}: {error}")))?;
    say(&format!("man pages are in {directory}"));
    Ok(())
}
