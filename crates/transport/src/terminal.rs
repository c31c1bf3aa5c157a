//! A terminal on this machine for a local command.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{InputModes, LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};
use tokio::net::unix::pipe::{Receiver, Sender};

/// A new terminal: both directions of our end, and the command's end.
pub(crate) struct Terminal {
    pub(crate) input: Sender,
    pub(crate) output: Receiver,
    theirs: File,
}

// === impl Terminal ===

impl Terminal {
    /// Opens a raw terminal without echo.
    pub(crate) fn open() -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let theirs = OpenOptions::new().read(true).write(true).open(path)?;
        let mut modes = tcgetattr(&theirs)?;
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG | LocalModes::IEXTEN;
        modes.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IXON;
        modes.output_modes -= OutputModes::OPOST;
        tcsetattr(&theirs, OptionalActions::Now, &modes)?;
        let ours = File::from(ours);
        // Not a pipe, but this does not check, and it can be waited for like one.
        Ok(Self {
            input: Sender::from_file_unchecked(ours.try_clone()?)?,
            output: Receiver::from_file_unchecked(ours)?,
            theirs,
        })
    }

    /// The command's end, for one of its standard streams.
    pub(crate) fn stdio(&self) -> io::Result<Stdio> {
        Ok(self.theirs.try_clone()?.into())
    }
}
