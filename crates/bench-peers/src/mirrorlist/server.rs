//! Servers that are measured.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reveille_mirrorlist::synthetic::{CACHE, COUNTRIES, GEOIP, NETBLOCKS};
use xtask::failure::{Failure, Result};

use super::Lab;
use crate::proc::{self, Memory, megabytes};

/// Loading may take so long.
const START: Duration = Duration::from_mins(2);

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    /// Until the first answer: processor time, wall time.
    pub(super) start: (Duration, Duration),
}

// === impl Server ===

impl Server {
    /// Ours.
    pub(super) fn ours(lab: &Lab, data: &Path, more: &[&str]) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(&lab.ours);
        command.arg("serve");
        for (option, file) in [
            ("--cache", CACHE),
            ("--netblocks", NETBLOCKS),
            ("--countries", COUNTRIES),
            ("--geoip", GEOIP),
        ] {
            command.arg(option).arg(data.join(file));
        }
        command.arg("--log").arg(lab.scratch.path().join("ours.log"));
        command.args(["--listen", &address.to_string(), "--admin", &admin.to_string()]);
        command.args(["--watch", "0"]).args(more);
        Self::start(command, lab, address, Some(admin))
    }

    /// MirrorManager's.
    pub(super) fn reference(lab: &Lab, program: &Path, data: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(program);
        for (option, file) in [
            ("--cache", CACHE),
            ("--global_netblocks", NETBLOCKS),
            ("--cccsv", COUNTRIES),
            ("--geoip", GEOIP),
        ] {
            command.arg(option).arg(data.join(file));
        }
        command.arg("--log").arg(lab.scratch.path().join("reference.log"));
        command.args(["--listen", "127.0.0.1", "--port", &address.port().to_string()]);
        Self::start(command, lab, address, None)
    }

    fn start(
        mut command: Command,
        lab: &Lab,
        address: SocketAddr,
        admin: Option<SocketAddr>,
    ) -> Result<Self> {
        let messages = lab.scratch.path().join("messages");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&messages)?);
        let started = Instant::now();
        let child = command.spawn().map_err(|error| {
            Failure::failed(format!(
                "can't start {}: {error}",
                command.get_program().display()
            ))
        })?;
        let mut server = Self {
            child,
            address,
            admin,
            start: Default::default(),
        };
        while TcpStream::connect(address).is_err() {
            if started.elapsed() > START || server.child.try_wait()?.is_some() {
                let mut text = String::new();
                let _ = File::open(&messages)?.read_to_string(&mut text);
                return Err(Failure::failed(format!(
                    "{} does not answer: {text}",
                    command.get_program().display()
                )));
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        server.start = (server.cpu(), started.elapsed());
        Ok(server)
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> Duration {
        let ticks = proc::stat(self.pid()).map_or(0, |stat| stat.ticks);
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
    }

    /// Resident memory now and at most, in MB.
    pub(super) fn memory(&self) -> (f64, f64) {
        Memory::alone(self.pid()).map_or((0.0, 0.0), |(now, most)| {
            (megabytes(now.resident), megabytes(most))
        })
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
