//! Where moments take place: sshd on this machine, and Debian machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reveille_testbed::Testbed;
use reveille_testbed::machines::{Machine, Machines};

use super::chance::Chance;
use super::job::{self, Fate, Host, Kind};

/// Where moments take place.
pub(crate) trait Field {
    const NAME: &'static str;

    fn kind(&self) -> Kind;

    /// The hosts with their fates.
    fn hosts(&self, chance: &mut Chance) -> Vec<Host>;

    /// The machine on which `run_on` steps run.
    fn aside(&self) -> SocketAddr;

    /// The key for all machines.
    fn key(&self) -> PathBuf;

    /// About how long a run takes if it is not killed.
    fn span(&self) -> Duration;

    /// About how many events such a run has.
    fn events(&self) -> usize;

    /// Makes a directory for a moment on all machines, and returns its path.
    fn begin(&self, number: u64, hosts: &[Host]) -> String;

    /// From now on, nothing fails.
    fn fix(&self, place: &str);

    /// The files of the machines about what ran, one text for each machine.
    fn truth(&self, place: &str) -> Vec<String>;

    /// Checks the machines after a moment, of which `well` should be well. Returns what is wrong.
    fn look(&self, well: &[&Host]) -> Vec<String>;

    /// Cleans up after a moment.
    fn end(&self, place: &str);
}

/// Several names of this machine, each with an address of its own.
pub(crate) struct Servers(Testbed);

/// Debian machines, on which a package is installed.
pub(crate) struct Packages {
    machines: Machines,
    _directory: tempfile::TempDir,
}

/// Number of servers; one more is for `run_on` steps.
const SERVERS: usize = 10;

/// Number of machines; one more is for `run_on` steps.
const MACHINES: usize = 4;

/// The package to install; it has dependencies.
const PACKAGE: &str = "logrotate";

// === impl Servers ===

impl Servers {
    pub(crate) fn up() -> Self {
        Self(Testbed::start(SERVERS + 1, "").unwrap())
    }

    fn address(&self, index: usize) -> SocketAddr {
        (self.0.address(index), self.0.port()).into()
    }
}

impl Field for Servers {
    const NAME: &'static str = "everything at once";

    fn kind(&self) -> Kind {
        Kind {
            serial: &[2, 3, 5],
            max_fail: 2,
            install: "case {{ fate }} in sick|hopeless)\n  test -e PLACE/$host.ok || test -e PLACE/fixed || \
                      { echo 'E: dpkg was interrupted'; exit 100; };;\nesac",
            mend: "touch PLACE/$host.ok",
        }
    }

    fn hosts(&self, chance: &mut Chance) -> Vec<Host> {
        let fates = Fate::draw(chance, SERVERS, 2);
        fates
            .into_iter()
            .enumerate()
            .map(|(index, fate)| Host {
                name: format!("h{index}"),
                fate,
                address: self.address(index),
                proxy: None,
                pause: u64::try_from(chance.below(20)).unwrap(),
            })
            .collect()
    }

    fn aside(&self) -> SocketAddr {
        self.address(SERVERS)
    }

    fn key(&self) -> PathBuf {
        self.0.key()
    }

    fn span(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn events(&self) -> usize {
        350
    }

    fn begin(&self, number: u64, _: &[Host]) -> String {
        let place = self.0.home().join(format!("moment-{number}"));
        std::fs::create_dir(&place).unwrap();
        let text = place.to_str().unwrap().to_owned();
        std::fs::write(place.join("begin"), job::begin(&text)).unwrap();
        text
    }

    fn fix(&self, place: &str) {
        std::fs::write(PathBuf::from(place).join("fixed"), "").unwrap();
    }

    fn truth(&self, place: &str) -> Vec<String> {
        vec![std::fs::read_to_string(PathBuf::from(place).join("truth")).unwrap_or_default()]
    }

    fn look(&self, _: &[&Host]) -> Vec<String> {
        Vec::new()
    }

    fn end(&self, place: &str) {
        std::fs::remove_dir_all(place).unwrap();
    }
}

// === impl Packages ===

impl Packages {
    pub(crate) fn up() -> Self {
        // All tests share the base image.
        let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("machines");
        let directory = tempfile::tempdir().unwrap();
        let machines = Machines::up(
            &shared,
            &directory.path().join("machines"),
            MACHINES + 1,
            &|line| {
                eprintln!("{line}");
            },
        );
        let packages = Self {
            machines: machines.unwrap_or_else(|error| panic!("can't bring up machines: {error}")),
            _directory: directory,
        };
        packages.everywhere("apt-get update -q");
        packages
    }

    fn hosts_of(&self) -> &[Machine] {
        &self.machines.machines()[..MACHINES]
    }

    fn shell(&self, machine: &Machine, script: &str) -> String {
        self.machines.shell(machine, script).unwrap()
    }

    /// Runs a script on all machines at once.
    fn everywhere(&self, script: &str) {
        std::thread::scope(|scope| {
            for machine in self.machines.machines() {
                scope.spawn(|| self.shell(machine, script));
            }
        });
    }
}

impl Field for Packages {
    const NAME: &'static str = "an install";

    fn kind(&self) -> Kind {
        Kind {
            serial: &[1, 1, 2],
            max_fail: 1,
            install: "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends logrotate",
            mend: "dpkg --configure -a",
        }
    }

    fn hosts(&self, chance: &mut Chance) -> Vec<Host> {
        let fates = Fate::draw(chance, MACHINES, 1);
        let hosts = self.hosts_of().iter().zip(fates).map(|(machine, fate)| Host {
            name: machine.name().to_owned(),
            fate,
            address: (machine.address(), self.machines.port()).into(),
            proxy: None,
            pause: u64::try_from(chance.below(20)).unwrap(),
        });
        hosts.collect()
    }

    fn aside(&self) -> SocketAddr {
        let last = &self.machines.machines()[MACHINES];
        (last.address(), self.machines.port()).into()
    }

    fn key(&self) -> PathBuf {
        self.machines.key()
    }

    fn span(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn events(&self) -> usize {
        150
    }

    fn begin(&self, number: u64, hosts: &[Host]) -> String {
        let place = format!("/root/moment-{number}");
        let begin = job::begin(&place);
        self.everywhere(&format!(
            "mkdir {place}\ncat >{place}/begin <<'END'\n{begin}END\n\
             apt-get purge -q -y --auto-remove {PACKAGE} >/dev/null\n\
             : >/var/log/apt/history.log\n: >/var/log/dpkg.log\n"
        ));
        for (machine, host) in self.hosts_of().iter().zip(hosts) {
            if matches!(host.fate, Fate::Sick | Fate::Hopeless) {
                // Files that dpkg leaves if it is killed.
                self.shell(machine, "cp /var/lib/dpkg/status /var/lib/dpkg/updates/0000");
            }
        }
        place
    }

    fn fix(&self, place: &str) {
        self.everywhere(&format!("dpkg --configure -a\ntouch {place}/fixed"));
    }

    fn truth(&self, place: &str) -> Vec<String> {
        let read = format!("cat {place}/truth 2>/dev/null || true");
        let machines = self.machines.machines().iter();
        machines.map(|machine| self.shell(machine, &read)).collect()
    }

    fn look(&self, well: &[&Host]) -> Vec<String> {
        let mut wrong = Vec::new();
        for machine in self.hosts_of() {
            let times = usize::from(well.iter().any(|host| host.name == machine.name()));
            let log = self.shell(machine, "cat /var/log/apt/history.log /var/log/dpkg.log");
            for what in [
                " apt-get install ".to_owned(),
                format!(" install {PACKAGE}:"),
                format!(" status installed {PACKAGE}:"),
            ] {
                let found = log.matches(&what).count();
                if found != times {
                    wrong.push(format!("{}:{what}: {found} times, not {times}", machine.name()));
                }
            }
        }
        wrong
    }

    fn end(&self, place: &str) {
        self.everywhere(&format!("dpkg --configure -a\nrm -r {place}"));
    }
}
