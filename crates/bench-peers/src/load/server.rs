//! nginx with one worker on a core of its own.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use xtask::failure::{Failure, Result};
use xtask::packages;

use super::write;

/// It has this long to begin.
const BEGIN: Duration = Duration::from_secs(10);

/// Ends with its value.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
}

/// A stop that is going to come.
pub(super) struct Stop(JoinHandle<()>);

// === impl Server ===

impl Server {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let root = directory.display();
        // One process: no master, so that stopping it stops the service.
        let configuration = format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/nginx.log;\n\
             worker_rlimit_nofile 65536;\n\
             events {{ worker_connections 32768; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
             client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root}; uwsgi_temp_path {root};\n\
             scgi_temp_path {root};\n\
             server {{ listen {address} backlog=16384; location / {{ return 200 \"{}\"; }} }} }}\n",
            "x".repeat(100)
        );
        let path = write(directory, "nginx.conf", &configuration)?;
        let child = Command::new("taskset")
            .args(["-c", "0", "nginx", "-p"])
            .arg(directory)
            .arg("-c")
            .arg(path)
            .env("PATH", packages::search_path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let this = Self { child, address };
        let until = Instant::now() + BEGIN;
        loop {
            match TcpStream::connect(address) {
                Ok(_) => return Ok(this),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < until => {
                    pause(Duration::from_millis(20));
                }
                Err(error) => return Err(Failure::failed(format!("nginx does not answer: {error}"))),
            }
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Stops the server for `length`, `after` a time.
    pub(super) fn stop_in(&self, after: Duration, length: Duration) -> Stop {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Stop(std::thread::spawn(move || {
            let Some(pid) = pid else { return };
            pause(after);
            let _ = kill_process(pid, Signal::STOP);
            pause(length);
            let _ = kill_process(pid, Signal::CONT);
        }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stop {
    pub(super) fn join(self) {
        let _ = self.0.join();
    }
}

/// Time is the thing itself here: when the server stops, and for how long.
fn pause(time: Duration) {
    let (_held, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}
