//! What all benchmarks share: options, scratch files, and BENCHMARKS.md, in which each table stands between markers of
//! its own and is replaced when it is measured again.

use std::fs;
use std::process::Command;

use clap::ValueEnum;
use tempfile::TempDir;
use xtask::failure::Result;
use xtask::packages::{self, Package};
use xtask::tell;
use xtask::workspace::Workspace;

use crate::proc;

/// One run of this program.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) workspace: Workspace,
    /// Missing packages are installed.
    pub(crate) install: bool,
    /// BENCHMARKS.md stays as it is.
    pub(crate) print: bool,
    /// The load average before: the results include whatever else runs.
    load: String,
}

// === impl Bench ===

impl Bench {
    pub(crate) fn open(install: bool, print: bool) -> Result<Self> {
        let workspace = Workspace::find()?;
        let load = proc::load();
        Ok(Self {
            workspace,
            install,
            print,
            load,
        })
    }

    /// Makes sure that packages are installed, or names those that are missing.
    pub(crate) fn provide(&self, packages: &[Package]) -> Result {
        packages::provide(packages, "the benchmark", self.install)
    }

    /// A directory on the disk of the target directory; /tmp may be in memory.
    pub(crate) fn scratch(&self) -> Result<TempDir> {
        fs::create_dir_all(&self.workspace.target)?;
        let mut builder = tempfile::Builder::new();
        Ok(builder.prefix("bench-").tempdir_in(&self.workspace.target)?)
    }

    /// Prints a table, and puts it into BENCHMARKS.md with what is needed to repeat it.
    pub(crate) fn publish(&self, name: &str, title: &str, versions: &[String], body: &str) -> Result {
        println!("{body}");
        if self.print {
            return Ok(());
        }
        let versions = match versions {
            [] => String::new(),
            versions => format!("{}.\n", versions.join(", ")),
        };
        let section = format!(
            "## {title}\n\n`{}`, {}; {}, load average {} before.\n{versions}\n{body}",
            shown(std::env::args().skip(1)),
            first_line(Command::new("date").args(["-u", "+%Y-%m-%d"])),
            machine(),
            self.load
        );
        let path = self.workspace.root.join("BENCHMARKS.md");
        fs::write(&path, replace(&fs::read_to_string(&path)?, name, &section))?;
        tell::line(&format!("wrote {}", path.display()));
        Ok(())
    }
}

/// The tables that were asked for, or else `usual`.
pub(crate) fn wanted<T: ValueEnum>(asked: &[T], usual: &[T]) -> Vec<T> {
    if asked.is_empty() { usual } else { asked }.to_vec()
}

/// A Debian package that a benchmark needs.
pub(crate) const fn package(
    name: &'static str,
    programs: &'static [&'static str],
    reason: &'static str,
) -> Package {
    Package {
        name,
        programs,
        reason,
    }
}

/// `text` with the section `name` replaced, or added at the end.
fn replace(text: &str, name: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- bench: {name} -->"), format!("<!-- end: {name} -->"));
    let section = format!("{open}\n{}\n{close}", section.trim_end());
    match (text.find(&open), text.find(&close)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{section}{}", &text[..from], &text[to + close.len()..])
        }
        _ => format!("{}\n\n{section}\n", text.trim_end()),
    }
}

/// The command to repeat, without the directories of the person who measured.
fn shown(words: impl Iterator<Item = String>) -> String {
    let names = words.map(|word| word.rsplit('/').next().unwrap_or_default().to_owned());
    format!("cargo xtask bench {}", names.collect::<Vec<_>>().join(" "))
}

/// The first line that a command prints, on either stream.
pub(crate) fn first_line(command: &mut Command) -> String {
    let both = command
        .output()
        .map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&both.unwrap_or_default()).into_owned();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("processor unknown", |(_, model)| model.trim());
    // The part after the first hyphen names one machine's build of the kernel.
    let release = first_line(Command::new("uname").arg("-r"));
    let kernel = release.split('-').next().unwrap_or_default();
    let memory = proc::megabytes(proc::total()) / 1000.0;
    format!("{cpus} cores ({model}), {memory:.0} GB, Linux {kernel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_replaces_its_earlier_self_and_nothing_else() {
        let first = replace("# Title\n", "a", "one\n");
        let second = replace(&first, "b", "two\n");
        let third = replace(&second, "a", "three\n");
        assert_eq!(
            third,
            "# Title\n\n<!-- bench: a -->\nthree\n<!-- end: a -->\n\n<!-- bench: b -->\ntwo\n<!-- end: b -->\n"
        );
    }

    #[test]
    fn a_command_is_shown_without_directories() {
        let words = ["mirrorlist", "--reference", "/home/me/mirrorlist-server"];
        assert_eq!(
            shown(words.map(str::to_owned).into_iter()),
            "cargo xtask bench mirrorlist --reference mirrorlist-server"
        );
    }
}
