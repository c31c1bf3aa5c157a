//! nginx with one worker on a core of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use xtask::failure::Result;
use xtask::packages;

use crate::process::{Process, free_address};

/// How long nginx may take to start.
const START: Duration = Duration::from_secs(10);

/// nginx; ended when dropped.
pub(super) struct Server {
    process: Process,
    address: SocketAddr,
}

// === impl Server ===

impl Server {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let address = free_address()?;
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
        let path = directory.join("nginx.conf");
        fs::write(&path, configuration)?;
        let mut nginx = Command::new("taskset");
        nginx.args(["-c", "0", "nginx", "-p"]).arg(directory);
        nginx.arg("-c").arg(path).env("PATH", packages::search_path());
        let mut process = Process::start(nginx.stdin(Stdio::null()).stderr(Stdio::null()))?;
        process.wait_for(address, START)?;
        Ok(Self { process, address })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Stops the server for `length`, `after` a time. The server continues before the thread ends.
    pub(super) fn stop_in(&self, after: Duration, length: Duration) -> JoinHandle<()> {
        let pid = self.process.pid();
        std::thread::spawn(move || {
            pause(after);
            let _ = kill_process(pid, Signal::STOP);
            pause(length);
            let _ = kill_process(pid, Signal::CONT);
        })
    }
}

/// Waits, because the measurement defines when the server stops, and for how long.
fn pause(time: Duration) {
    let (_held, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}
