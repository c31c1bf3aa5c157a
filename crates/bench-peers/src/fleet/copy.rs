//! A large file, and a directory of many small ones, to real servers: Reveille beside scp, rsync and Ansible.
//!
//! All servers write to one disk, each below a directory of its own. Only the command is timed; afterwards its copies
//! are compared with the original.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use xtask::failure::Result;
use xtask::tell;

use super::contestant::{Contestant, ssh_options, user};
use super::lab::Lab;
use super::peers;
use crate::bench::Bench;
use crate::proc::{self, megabytes};
use crate::table::Table;

/// Hosts to copy to.
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

pub(crate) fn run(arguments: &Arguments, bench: &Bench) -> Result {
    peers::prepare(bench, &[Contestant::Ansible])?;
    bench.provide(&[peers::RSYNC])?;
    let lab = Lab::open(bench, HOSTS)?;
    let versions = lab.versions(&[Contestant::Ansible]);
    let body = measure(&lab, arguments)?;
    bench.publish("copy", &format!("Copies to {HOSTS} hosts"), &versions, &body)
}

/// Measures everything and makes the table.
fn measure(lab: &Lab, load: &Arguments) -> Result<String> {
    let large = Original {
        name: "large",
        path: lab.path("large"),
        title: format!("one file of {} MB", load.megabytes),
    };
    make_large(&large.path, load.megabytes)?;
    let many = directory(lab, "many", load.files)?;
    let few = directory(lab, "few", load.ansible_files)?;
    let mut table = Table::new(
        " |  | CPU of the controller, s | CPU of the machine, servers included, s | peak memory, MB | wall, s | right on",
    );
    let all = [Way::Reveille, Way::Scp, Way::Rsync, Way::Ansible];
    for (original, ways) in [(&large, &all[..]), (&many, &all[..3]), (&few, &all)] {
        for way in ways {
            let there = lab.fresh("there")?;
            for index in 0..lab.hosts {
                fs::create_dir(there.join(host(index)))?;
            }
            // The second time there is nothing to do, for tools that check.
            let times: &[&str] = if *way == Way::Scp { &[""] } else { &["", ", again"] };
            for again in times {
                copy(lab, *way, original, &there, again, &mut table)?;
            }
            fs::remove_dir_all(&there)?;
        }
    }
    let hosts = lab.hosts;
    Ok(format!(
        "{table}\n{hosts} servers, all copied to at once; \"again\" is the same copy a second time. Peak memory is the \
         sum of the copying processes.\n\n\
         - Reveille: `reveille run JOB -i INV` with one `upload` step\n\
         - scp: `scp -r -p`, one process a server\n\
         - rsync: `rsync -a`, one process a server, over ssh\n\
         - ansible: `ansible all -f {hosts} -m copy`\n"
    ))
}

fn copy(lab: &Lab, way: Way, original: &Original, there: &Path, again: &str, table: &mut Table) -> Result {
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
    table.row(format_args!(
        "{}{again} | {} | {:.2} | {:.2} | {:.1} | {:.2}{} | {right} of {}",
        way.title(),
        original.title,
        measured.cpu.as_secs_f64(),
        machine.as_secs_f64(),
        megabytes(measured.peak.resident),
        measured.wall.as_secs_f64(),
        if measured.ended { " (ended)" } else { "" },
        lab.hosts,
    ));
    Ok(())
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
        let dest = target("{{ inventory_hostname }}");
        let (options, user) = (ssh_options(lab), user());
        let mut command;
        match self {
            Way::Reveille => {
                let name = if original.path.is_dir() {
                    String::new()
                } else {
                    format!("/{}", original.name)
                };
                let job = format!(
                    "name: bench\nhosts: all\nsteps:\n  - upload: {{src: \"{source}\", dest: \"{dest}{name}\"}}\n"
                );
                command = lab.reveille(&lab.fresh("state")?);
                command.arg("run").arg(lab.write("copy.yaml", &job)?);
                command.arg("-i").arg(lab.inventory(lab.hosts)?);
            }
            Way::Scp | Way::Rsync => {
                let program = match self {
                    Way::Scp => format!("scp -q -r -p {}", options.replace(" -p ", " -P ")),
                    _ => format!("rsync -a -e 'ssh {options}'"),
                };
                let mut script = String::new();
                for index in 0..lab.hosts {
                    let (address, to) = (lab.testbed.address(index), target(&host(index)));
                    let _ = writeln!(script, "{program} {source} {user}@{address}:{to}/ &");
                }
                script.push_str("wait\n");
                command = Command::new("sh");
                command.arg(lab.write("copy.sh", &script)?);
            }
            Way::Ansible => {
                command = lab.ansible(lab.hosts)?;
                let words = format!("src={source} dest={dest}/ mode=preserve");
                command.args(["-m", "copy", "-a", &words]);
            }
        }
        Ok(command)
    }
}

/// The name of a host in the inventory.
fn host(index: usize) -> String {
    format!("host-{:03}", index + 1)
}

/// A file that can't be compressed. Each call writes the same bytes.
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
