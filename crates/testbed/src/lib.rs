//! Testbeds: real OpenSSH servers on loopback addresses, for tests and benchmarks.
//!
//! A [`Testbed`] is a temporary directory with keys and configuration, and as many `sshd` processes as its hosts need:
//! one server listens on at most 16 addresses. Everything is on 127.0.0.0/8, runs as the calling user, and ends when
//! the testbed is dropped. [`machines`] are whole Debian systems, for what needs root or a package manager: a
//! [`machines::Machines`] set shares one root file system (`machines/base.rs`, made by debootstrap once);
//! `machines/process.rs` finds its processes again.
//!
//! ```no_run
//! let testbed = reveille_testbed::Testbed::start(20, "MaxStartups 2\n")?;
//! let inventory = testbed.write_inventory()?;
//! assert_eq!(testbed.inventory().lines().count(), 20);
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod machines;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Addresses that one sshd listens on; its own limit is 16.
const ADDRESSES: usize = 16;

/// A fleet of real servers.
#[derive(Debug)]
pub struct Testbed {
    directory: tempfile::TempDir,
    servers: Vec<Server>,
    port: u16,
    hosts: usize,
}

#[derive(Debug)]
struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
}

// === impl Testbed ===

impl Testbed {
    /// Starts servers for `hosts` addresses, with `extra` lines at the beginning of the configuration, which override
    /// the rest.
    ///
    /// # Errors
    ///
    /// `sshd` or `ssh-keygen` is missing, or a server does not start.
    pub fn start(hosts: usize, extra: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("reveille-testbed-").tempdir()?;
        let root = directory.path();
        for name in ["host_key", "id_ed25519"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f"])
                .arg(root.join(name))
                .status()?;
            if !made.success() {
                return Err(io::Error::other("ssh-keygen failed"));
            }
        }
        fs::copy(root.join("id_ed25519.pub"), root.join("authorized_keys"))?;
        fs::create_dir(root.join("home"))?;
        if rustix::process::geteuid().is_root() {
            // sshd, as root, insists on its privilege separation directory.
            fs::create_dir_all("/run/sshd")?;
        }
        let port = free_port()?;
        let mut testbed = Self {
            directory,
            servers: Vec::new(),
            port,
            hosts,
        };
        for first in (0..hosts).step_by(ADDRESSES) {
            let last = hosts.min(first + ADDRESSES);
            let server = testbed.start_server(first, last, extra)?;
            testbed.servers.push(server);
        }
        Ok(testbed)
    }

    /// The address of host `index`, from 0.
    pub fn address(&self, index: usize) -> Ipv4Addr {
        assert!(index < self.hosts, "the testbed has {} hosts", self.hosts);
        // 127.64/10 does not collide with addresses in common use (127.0.0.1, 127.0.0.53, 127.0.1.1).
        let number = u32::try_from(index).expect("hosts fit into 22 bits") + 1;
        Ipv4Addr::from(0x7f40_0000 + number)
    }

    /// The port that all servers listen on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private key to log in with.
    pub fn key(&self) -> PathBuf {
        self.directory.path().join("id_ed25519")
    }

    /// The directory of keys and configuration, removed with the testbed.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The home directory of commands.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// An INI inventory of all hosts: `host-001` and so on.
    pub fn inventory(&self) -> String {
        let mut text = String::new();
        for index in 0..self.hosts {
            let _ = writeln!(text, "host-{:03} ansible_host={}", index + 1, self.address(index));
        }
        let _ = write!(
            text,
            "\n[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}\n",
            self.port,
            self.key().display()
        );
        text
    }

    /// Writes the inventory into the testbed's directory.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn write_inventory(&self) -> io::Result<PathBuf> {
        let path = self.directory.path().join("inventory.ini");
        fs::write(&path, self.inventory())?;
        Ok(path)
    }

    /// The servers' log so far.
    pub fn log(&self) -> String {
        self.servers
            .iter()
            .map(|server| server.log.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// Process ids of the servers.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(|server| server.child.id()).collect()
    }

    fn start_server(&self, first: usize, last: usize, extra: &str) -> io::Result<Server> {
        let root = self.directory.path();
        let mut config = String::new();
        for index in first..last {
            let _ = writeln!(config, "ListenAddress {}:{}", self.address(index), self.port);
        }
        // sshd uses the first value of each option, but the last one of this.
        if !extra.contains("MaxStartups") {
            config.push_str("MaxStartups 1000:30:2000\n");
        }
        let _ = write!(
            config,
            "{extra}\n\
             HostKey {root}/host_key\nAuthorizedKeysFile {root}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\n\
             MaxSessions 20\nUseDNS no\nSetEnv HOME={root}/home\n",
            root = root.display()
        );
        let path = root.join(format!("sshd_config.{first}"));
        fs::write(&path, config)?;
        let mut child = Command::new(sshd_path())
            .args(["-D", "-e", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("can't start sshd (openssh-server): {error}"),
                )
            })?;
        let stderr = child
            .stderr
            .take()
            .ok_or_else(|| io::Error::other("sshd has no standard error"))?;
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(stderr);
        let mut listening = 0;
        while listening < last - first {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                let said = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
                return Err(io::Error::other(format!("sshd did not start: {said}")));
            }
            listening += usize::from(line.starts_with("Server listening on"));
            log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
        }
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        Ok(Server { child, log })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sshd_path() -> &'static str {
    ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("sshd")
}

/// A port on the first address that was free a moment ago.
fn free_port() -> io::Result<u16> {
    TcpListener::bind((Ipv4Addr::new(127, 64, 0, 1), 0))?
        .local_addr()
        .map(|address| address.port())
}
