//! BENCHMARKS.md: each table stands between markers of its own and is replaced when it is measured again.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use xtask::failure::Result;
use xtask::tell;
use xtask::workspace::Workspace;

use crate::proc;

const HEAD: &str = "\
# Benchmarks

Measured by `cargo xtask bench`, which replaces what stands between the markers. Everything runs on one machine, against
real `sshd` processes (or the drill) on loopback addresses; servers share the processors with what is measured, and most
of the wall time is theirs. CPU and memory are those of the whole process tree of the controller.
";

/// One table with its title and what was done to get it.
#[derive(Debug)]
pub(crate) struct Section {
    /// The marker's name.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// The command that makes it again.
    pub(crate) command: String,
    /// Versions of everything that took part.
    pub(crate) versions: Vec<String>,
    /// The load average before.
    pub(crate) load: String,
    pub(crate) body: String,
}

// === impl Section ===

impl Section {
    /// Prints the table, and puts it into BENCHMARKS.md unless it is only to be printed.
    pub(crate) fn publish(&self, workspace: &Workspace, only_print: bool) -> Result {
        println!("{}", self.body);
        if only_print {
            return Ok(());
        }
        let path = workspace.root.join("BENCHMARKS.md");
        let text = fs::read_to_string(&path).unwrap_or_else(|_| HEAD.to_owned());
        fs::write(&path, replace(&text, self.name, &self.render()))?;
        tell::line(&format!("wrote {}", path.display()));
        Ok(())
    }

    fn render(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        let _ = writeln!(
            text,
            "`{}`, {}; {}, load average {} before.",
            self.command,
            date(),
            machine(),
            self.load
        );
        if !self.versions.is_empty() {
            let _ = writeln!(text, "{}.", self.versions.join(", "));
        }
        let _ = write!(text, "\n{}", self.body);
        text
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

/// How this was called, for those who want to repeat it.
pub(crate) fn command_line() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask bench {}", words.join(" "))
}

/// The first line that a command prints, on whichever stream.
pub(crate) fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return "unknown".to_owned();
    };
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&both)
        .lines()
        .next()
        .unwrap_or("unknown")
        .trim()
        .to_owned()
}

fn date() -> String {
    first_line(Command::new("date").args(["-u", "+%Y-%m-%d"]))
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("processor unknown", |(_, model)| model.trim());
    // How the kernel was built for one machine is nobody's business elsewhere.
    let release = first_line(Command::new("uname").arg("-r"));
    let kernel = release.split('-').next().unwrap_or_default();
    format!(
        "{cpus} cores ({model}), {:.0} GB, Linux {kernel}",
        proc::total() as f64 * 1024.0 / 1e9
    )
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
}
