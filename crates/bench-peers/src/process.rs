//! Servers that are measured, or measured against.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use xtask::failure::{Failure, Result};

/// Between two attempts to connect.
const EVERY: Duration = Duration::from_millis(5);

/// A process that ends with its value.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    program: String,
}

// === impl Process ===

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().display().to_string();
        match command.spawn() {
            Ok(child) => Ok(Self { child, program }),
            Err(error) => Err(Failure::failed(format!("can't start {program}: {error}"))),
        }
    }

    /// Waits until the process accepts connections; it has so long.
    pub(crate) fn wait_for(&mut self, address: SocketAddr, within: Duration) -> Result {
        let started = Instant::now();
        while let Err(error) = TcpStream::connect(address) {
            if let Some(status) = self.child.try_wait()? {
                return Err(Failure::failed(format!("{} ended ({status})", self.program)));
            }
            if started.elapsed() > within {
                return Err(Failure::failed(format!(
                    "{} does not answer: {error}",
                    self.program
                )));
            }
            std::thread::park_timeout(EVERY);
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address of this machine that nobody uses now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_is_not_waited_for() {
        let mut process = Process::start(&mut Command::new("false")).unwrap();
        let failure = process
            .wait_for(free_address().unwrap(), Duration::from_mins(1))
            .unwrap_err();
        assert_eq!(failure.to_string(), "false ended (exit status: 1)");
    }
}
