//! Servers that are measured.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reveille_mirrorlist::synthetic::{CACHE, COUNTRIES, GEOIP, NETBLOCKS};
use xtask::failure::{Failure, Result};

use super::Lab;
use crate::proc::{self, Memory, megabytes};
use crate::process::{Process, free_address};

/// How long a server may take to start.
const START: Duration = Duration::from_mins(2);

/// The options of both servers' files: ours, theirs, and the file.
const FILES: [(&str, &str, &str); 4] = [
    ("--cache", "--cache", CACHE),
    ("--netblocks", "--global_netblocks", NETBLOCKS),
    ("--countries", "--cccsv", COUNTRIES),
    ("--geoip", "--geoip", GEOIP),
];

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    /// Processor time and wall time until it accepts connections.
    pub(super) start: (Duration, Duration),
}

// === impl Server ===

impl Server {
    /// Starts ours.
    pub(super) fn ours(lab: &Lab, data: &Path, more: &[&str]) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(&lab.ours);
        command.arg("serve");
        for (option, _, file) in FILES {
            command.arg(option).arg(data.join(file));
        }
        command.arg("--log").arg(lab.scratch.path().join("ours.log"));
        command.args(["--listen", &address.to_string(), "--admin", &admin.to_string()]);
        command.args(["--watch", "0"]).args(more);
        Self::start(command, lab, address, admin)
    }

    /// Starts MirrorManager's, which has no admin address.
    pub(super) fn reference(lab: &Lab, program: &Path, data: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(program);
        for (_, option, file) in FILES {
            command.arg(option).arg(data.join(file));
        }
        command.arg("--log").arg(lab.scratch.path().join("reference.log"));
        command.args(["--listen", "127.0.0.1", "--port", &address.port().to_string()]);
        Self::start(command, lab, address, address)
    }

    fn start(mut command: Command, lab: &Lab, address: SocketAddr, admin: SocketAddr) -> Result<Self> {
        let messages = lab.scratch.path().join("messages");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = Instant::now();
        let mut process = Process::start(command.stderr(File::create(&messages)?))?;
        process.wait_for(address, START).map_err(|failure| {
            let messages = fs::read_to_string(&messages).unwrap_or_default();
            Failure::failed(format!("{failure}: {messages}"))
        })?;
        let mut server = Self {
            process,
            address,
            admin,
            start: Default::default(),
        };
        server.start = (server.cpu(), started.elapsed());
        Ok(server)
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> Duration {
        proc::stat(self.pid()).map_or(Duration::ZERO, |stat| stat.cpu)
    }

    /// Resident memory now and its peak, in MB.
    pub(super) fn memory(&self) -> (f64, f64) {
        Memory::alone(self.pid()).map_or((0.0, 0.0), |(now, most)| {
            (megabytes(now.resident), megabytes(most))
        })
    }

    fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }
}
