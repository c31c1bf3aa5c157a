//! Real Debian machines, each with its own root file system, process tree, host name and sshd.
//!
//! All share one base that debootstrap creates once, and write to their own overlays, so that four machines are up in
//! less than a second and packages can really be installed. They use this machine's network: each has an address in
//! 127.65.0.0/24. All mounts are in the machine's namespace and end with its processes.
//!
//! ```no_run
//! let machines = reveille_testbed::machines::Machines::up("target/machines".as_ref(), "test".as_ref(), 4, &|_| ())?;
//! println!("reveille ping -i {}", machines.inventory().display());
//! # std::io::Result::Ok(())
//! ```

mod base;
mod files;
mod inside;
mod process;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use self::process::Process;

/// The most machines of one set.
pub const LIMIT: usize = 16;

/// How long a machine may take until its sshd answers.
const UP_WITHIN: Duration = Duration::from_secs(30);

/// The port to use if it is free.
const USUAL_PORT: u16 = 2222;

const INIT: &str = include_str!("machines/init.sh");

/// A set of machines, which are ended when it is dropped, unless they were [kept](Machines::keep).
#[derive(Debug)]
pub struct Machines {
    directory: PathBuf,
    port: u16,
    all: Vec<Machine>,
    kept: bool,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    name: String,
    address: Ipv4Addr,
    /// Its first process, with which all others end.
    init: Process,
}

// === impl Machines ===

impl Machines {
    /// Starts `count` machines in `directory`, with the base in `shared` (created if needed). Slow steps are reported
    /// to `say`.
    ///
    /// # Errors
    ///
    /// The caller is not root, a program is missing, or a machine does not start.
    pub fn up(shared: &Path, directory: &Path, count: usize, say: &dyn Fn(&str)) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "machines need root for mounts and namespaces; run this as root",
            ));
        }
        if !(1..=LIMIT).contains(&count) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("1 to {LIMIT} machines, not {count}"),
            ));
        }
        if let Some(there) = Self::find(directory)? {
            there.down()?;
        }
        let base = fs::canonicalize(base::ensure(shared, say)?)?;
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        files::clear(&directory)?;
        files::key(&directory.join("id_ed25519"))?;
        // Between the search for a free port and the last machine's answer, no other set may take the same port.
        let turn = fs::File::create(shared.join("up.lock"))?;
        turn.lock()?;
        let mut set = Self {
            port: free_port()?,
            all: Vec::new(),
            kept: false,
            directory,
        };
        for number in 1..=count {
            let machine = set.start(&base, number)?;
            set.all.push(machine);
            // Written after each machine, so that the others can be found whatever happens next.
            set.write_state()?;
        }
        for machine in &set.all {
            set.wait_until_it_answers(machine, set.port)?;
        }
        drop(turn);
        files::write_lists(&set)?;
        Ok(set)
    }

    /// The set that was kept in `directory`, with the machines that are still up.
    ///
    /// # Errors
    ///
    /// Its record can't be read.
    pub fn find(directory: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read_to_string(directory.join("state")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let wrong = || io::Error::other(format!("{} is damaged", directory.join("state").display()));
        let mut set = Self {
            directory: directory.to_owned(),
            port: 0,
            all: Vec::new(),
            kept: true,
        };
        for line in text.lines() {
            let [name, address, port, init] = line.split(' ').collect::<Vec<_>>()[..] else {
                return Err(wrong());
            };
            set.port = port.parse().map_err(|_| wrong())?;
            let init: Process = init.parse()?;
            if init.is_running() {
                let address = address.parse().map_err(|_| wrong())?;
                set.all.push(Machine {
                    name: name.to_owned(),
                    address,
                    init,
                });
            }
        }
        Ok(Some(set))
    }

    /// Ends every machine of the set and removes their files.
    ///
    /// # Errors
    ///
    /// A process does not end, or a file can't be removed.
    pub fn down(mut self) -> io::Result<()> {
        self.kept = true;
        self.end()
    }

    /// Keeps the machines up; [`Machines::find`] finds them again.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// The machines in order: m1, m2 and so on.
    pub fn machines(&self) -> &[Machine] {
        &self.all
    }

    /// An INI inventory with the address, port, user and key of each machine.
    pub fn inventory(&self) -> PathBuf {
        self.directory.join("inventory.ini")
    }

    /// The machines' host keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// The private key to log in as root.
    pub fn key(&self) -> PathBuf {
        self.directory.join("id_ed25519")
    }

    /// The port of every machine's sshd.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A command on a machine through OpenSSH's own client, for checking results.
    pub fn ssh(&self, machine: &Machine, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
        ])
        .arg(format!("UserKnownHostsFile={}", self.known_hosts().display()))
        .arg("-i")
        .arg(self.key())
        .args([
            "-p",
            &self.port.to_string(),
            "-l",
            "root",
            &machine.address.to_string(),
            command,
        ])
        .stdin(Stdio::null());
        ssh
    }

    fn start(&self, base: &Path, number: usize) -> io::Result<Machine> {
        let name = format!("m{number}");
        let last = u8::try_from(number).expect("at most 16");
        let address = Ipv4Addr::new(127, 65, 0, last);
        let directory = self.directory.join(&name);
        files::fill(&directory.join("upper"), &name, &self.key().with_extension("pub"))?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        let log = fs::File::create(directory.join("log"))?;
        // `--kill-child` ties the machine to unshare, which ignores every signal but KILL while it waits.
        let child = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--uts",
                "--fork",
                "--kill-child",
                "--propagation",
                "private",
            ])
            .args(["--", "sh", "-c", INIT, "init.sh", &name])
            .arg(base)
            .arg(&directory)
            .args([boot_id.trim(), &address.to_string(), &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Outside the terminal's process group, so that Ctrl-C does not end machines.
            .process_group(0)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("can't start unshare (Debian package util-linux): {error}"),
                )
            })?;
        let gone = || io::Error::other(format!("{name} ended at once"));
        let unshare =
            Process::running(i32::try_from(child.id()).map_err(io::Error::other)?).ok_or_else(gone)?;
        reap(child);
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            if let Some(init) = unshare.child() {
                return Ok(Machine { name, address, init });
            }
            if unshare.wait(Duration::from_millis(5))? || Instant::now() > deadline {
                let said = fs::read_to_string(directory.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("{name} did not start: {}", said.trim())));
            }
        }
    }

    fn wait_until_it_answers(&self, machine: &Machine, port: u16) -> io::Result<()> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            let mut banner = [0; 4];
            if let Ok(mut stream) = TcpStream::connect((machine.address, port)) {
                stream.set_read_timeout(Some(UP_WITHIN))?;
                if stream.read_exact(&mut banner).is_ok() && &banner == b"SSH-" {
                    return Ok(());
                }
            }
            let ended = machine.init.wait(Duration::from_millis(20))?;
            if ended || Instant::now() > deadline {
                let log = self.directory.join(&machine.name).join("log");
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{} does not answer: {}",
                    machine.name,
                    said.trim()
                )));
            }
        }
    }

    fn write_state(&self) -> io::Result<()> {
        let mut text = String::new();
        for machine in &self.all {
            let _ = writeln!(
                text,
                "{} {} {} {}",
                machine.name, machine.address, self.port, machine.init
            );
        }
        let unfinished = self.directory.join("state.new");
        fs::write(&unfinished, text)?;
        fs::rename(unfinished, self.directory.join("state"))
    }

    fn end(&mut self) -> io::Result<()> {
        for machine in self.all.drain(..) {
            machine.init.kill()?;
        }
        files::clear(&self.directory)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to report an error to; `down` reports errors.
            let _ = self.end();
        }
    }
}

// === impl Machine ===

impl Machine {
    /// m1, m2 and so on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of its sshd.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

/// Waits for unshare on a thread, so that the caller does not keep a zombie.
fn reap(mut child: std::process::Child) {
    std::thread::spawn(move || child.wait());
}

fn free_port() -> io::Result<u16> {
    let first = Ipv4Addr::new(127, 65, 0, 1);
    TcpListener::bind((first, USUAL_PORT))
        .or_else(|_| TcpListener::bind((first, 0)))?
        .local_addr()
        .map(|address| address.port())
}
