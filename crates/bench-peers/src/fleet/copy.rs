//! A large file, and a directory of many small ones, to real servers: Reveille beside scp, rsync and Ansible.
//!
//! All servers write to one disk, each below a directory of its own. What is timed is the command alone; what it wrote is
//! compared with the original afterwards.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use xtask::failure::Result;
use xtask::tell;
use xtask::workspace::Workspace;

use super::contestant::{Contestant, ssh_options, user};
use super::lab::Lab;
use super::peers;
use crate::proc::{self, megabytes};

/// Hosts that are copied to.
const HOSTS: usize = 8;

/// Bytes of a block of the large file.
const BLOCK: usize = 1 << 20;
/// Files of a directory.
const EACH: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Size of the large file, in MB
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    megabytes: u32,
    /// Number of small files
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    files: u32,
    /// Number of small files when Ansible takes part
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ansible_files: u32,
    /// Install missing Debian packages, and Python packages below the target directory
    #[arg(long)]
    install: bool,
    /// Print the tables, and leave BENCHMARKS.md alone
    #[arg(long)]
    print: bool,
}

/// A way to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Reveille,
    Scp,
    Rsync,
    Ansible,
}

/// What is copied.
#[derive(Debug, Clone)]
struct Original {
    name: &'static str,
    path: PathBuf,
    title: String,
}

pub(crate) fn run(arguments: &Arguments, workspace: &Workspace) -> Result {
    peers::prepare(workspace, &[Contestant::Ansible], arguments.install)?;
    peers::prepare_rsync(arguments.install)?;
    let lab = Lab::open(workspace, HOSTS)?;
    let versions = peers::versions(workspace, &lab.reveille, &[Contestant::Ansible]);
    let body = table(&lab, arguments)?;
    lab.section("copy", format!("Copies to {HOSTS} hosts"), versions, body)
        .publish(workspace, arguments.print)
}

/// Measures everything and makes the table.
fn table(lab: &Lab, load: &Arguments) -> Result<String> {
    let large = Original {
        name: "large",
        path: lab.path("large"),
        title: format!("one file of {} MB", load.megabytes),
    };
    make_large(&large.path, load.megabytes)?;
    let many = directory(lab, "many", load.files)?;
    let few = directory(lab, "few", load.ansible_files)?;
    let mut text = String::from(
        "| | | CPU of the controller, s | CPU of the machine, servers included, s | peak memory, MB | wall, s | right on |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (original, ways) in [
        (&large, &[Way::Reveille, Way::Scp, Way::Rsync, Way::Ansible][..]),
        (&many, &[Way::Reveille, Way::Scp, Way::Rsync]),
        (&few, &[Way::Reveille, Way::Scp, Way::Rsync, Way::Ansible]),
    ] {
        for way in ways {
            let there = lab.fresh("there")?;
            for index in 0..lab.hosts {
                fs::create_dir(there.join(host(index)))?;
            }
            // The second time there is nothing to do, for those who look.
            let times = if *way == Way::Scp { 1 } else { 2 };
            for again in 0..times {
                let row = measured(lab, *way, original, &there, again > 0)?;
                tell::line(&row);
                let _ = writeln!(text, "{row}");
            }
            fs::remove_dir_all(&there)?;
        }
    }
    let _ = write!(
        text,
        "\n{} servers, all copied to at once; \"again\" is the same copy a second time. Peak memory is the copier's, \
         its processes added up.\n\n\
         - Reveille: `reveille run JOB -i INV` with one `upload` step\n\
         - scp: `scp -r -p`, one process a server\n\
         - rsync: `rsync -a`, one process a server, over ssh\n\
         - ansible: `ansible all -f {} -m copy`\n",
        lab.hosts, lab.hosts
    );
    Ok(text)
}

fn measured(lab: &Lab, way: Way, original: &Original, there: &Path, again: bool) -> Result<String> {
    let command = way.command(lab, original, there)?;
    rustix::fs::sync();
    let before = proc::busy();
    let measured = lab.measure(&command)?;
    let machine = proc::busy().saturating_sub(before);
    let right = (0..lab.hosts)
        .filter(|index| same(&original.path, &there.join(host(*index)).join(original.name)))
        .count();
    if right < lab.hosts {
        tell::line(measured.errors().lines().next_back().unwrap_or_default());
    }
    Ok(format!(
        "| {}{} | {} | {:.2} | {:.2} | {:.1} | {:.2}{} | {right} of {} |",
        way.title(),
        if again { ", again" } else { "" },
        original.title,
        measured.cpu.as_secs_f64(),
        machine.as_secs_f64(),
        megabytes(measured.peak.resident),
        measured.wall.as_secs_f64(),
        if measured.ended { " (ended)" } else { "" },
        lab.hosts,
    ))
}

// === impl Way ===

impl Way {
    fn title(self) -> &'static str {
        match self {
            Way::Reveille => "**Reveille**",
            Way::Scp => "scp",
            Way::Rsync => "rsync",
            Way::Ansible => "ansible `copy`",
        }
    }

    fn command(self, lab: &Lab, original: &Original, there: &Path) -> Result<Command> {
        let source = original.path.display();
        let target = |host: &str| there.join(host).display().to_string();
        match self {
            Way::Reveille => {
                let dest = target("{{ inventory_hostname }}");
                let step = if original.path.is_dir() {
                    format!("{{src: \"{source}\", dest: \"{dest}\"}}")
                } else {
                    format!("{{src: \"{source}\", dest: \"{dest}/{}\"}}", original.name)
                };
                let job = format!("name: bench\nhosts: all\nsteps:\n  - upload: {step}\n");
                let job = lab.write("copy.yaml", &job)?;
                let mut command = lab.reveille(&lab.fresh("state")?);
                command
                    .arg("run")
                    .arg(job)
                    .arg("-i")
                    .arg(lab.inventory(lab.hosts)?);
                Ok(command)
            }
            Way::Scp | Way::Rsync => {
                let mut script = String::new();
                for index in 0..lab.hosts {
                    let (address, to) = (lab.testbed.address(index), target(&host(index)));
                    let options = ssh_options(lab);
                    let _ = if self == Way::Scp {
                        let options = options.replace(" -p ", " -P ");
                        writeln!(
                            script,
                            "scp -q -r -p {options} {source} {}@{address}:{to}/ &",
                            user()
                        )
                    } else {
                        writeln!(
                            script,
                            "rsync -a -e 'ssh {options}' {source} {}@{address}:{to}/ &",
                            user()
                        )
                    };
                }
                script.push_str("wait\n");
                let mut command = Command::new("sh");
                command.arg(lab.write("copy.sh", &script)?);
                Ok(command)
            }
            Way::Ansible => {
                let dest = target("{{ inventory_hostname }}");
                let mut command = Command::new(lab.python.join("bin/ansible"));
                command
                    .args(["all", "-f", &lab.hosts.to_string(), "-m", "copy", "-i"])
                    .arg(lab.inventory(lab.hosts)?)
                    .args(["-a", &format!("src={source} dest={dest}/ mode=preserve")]);
                command
                    .env("ANSIBLE_HOST_KEY_CHECKING", "False")
                    .env("ANSIBLE_CONFIG", lab.write("ansible.cfg", "")?)
                    .env("ANSIBLE_HOME", lab.fresh("ansible")?)
                    .env("LC_ALL", "C.UTF-8");
                Ok(command)
            }
        }
    }
}

/// The name of a host in the inventory.
fn host(index: usize) -> String {
    format!("host-{:03}", index + 1)
}

/// A file that can't be compressed, the same each time.
fn make_large(path: &Path, megabytes: u32) -> Result {
    let mut random = fastrand::Rng::with_seed(1);
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    let mut block = vec![0; BLOCK];
    for _ in 0..u64::from(megabytes) * 1_000_000 / BLOCK as u64 {
        random.fill(&mut block);
        file.write_all(&block)?;
    }
    file.flush()?;
    Ok(())
}

/// Directories of small files, 1 to 8 KB each.
fn directory(lab: &Lab, name: &'static str, files: u32) -> Result<Original> {
    let path = lab.path(name);
    let mut random = fastrand::Rng::with_seed(2);
    for number in 0..files {
        let directory = path.join(format!("d{}", number / EACH));
        if number % EACH == 0 {
            fs::create_dir_all(&directory)?;
        }
        let mut content = vec![0; random.usize(1_000..8_000)];
        random.fill(&mut content);
        fs::write(directory.join(format!("f{number}")), content)?;
    }
    Ok(Original {
        name,
        path,
        title: format!("{files} files of 1 to 8 KB"),
    })
}

fn same(one: &Path, other: &Path) -> bool {
    Command::new("diff")
        .arg("-rq")
        .args([one, other])
        .output()
        .is_ok_and(|output| output.status.success())
}
