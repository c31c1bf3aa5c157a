//! Man pages of a program, made from the definition of its command line.
//!
//! The text at the end of a command's help consists of parts that empty lines divide. Each begins with a heading:
//! `Examples:`, `Signals:` or `Exit status:`. They become sections of the command's page; [`Manual`] holds what the
//! definition does not contain.
//!
//! ```
//! use clap::Command;
//! use reveille_manual::Manual;
//!
//! let program = Command::new("greet").about("Greet people").after_help("Examples:\n  greet web1");
//! let manual = Manual {
//!     files: &[("~/.greet", "Whom to greet")],
//!     environment: &[],
//!     statuses: &[("0", "greeted"), ("2", "bad usage")],
//!     see_also: &["hello(1)"],
//! };
//! let directory = tempfile::tempdir()?;
//! manual.write(program, directory.path())?;
//! assert!(std::fs::read_to_string(directory.path().join("greet.1"))?.contains("greet web1"));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The heading of exit statuses in the help.
const STATUSES: &str = "Exit status:\n";

/// Names, each with its meaning.
pub type Rows = &'static [(&'static str, &'static str)];

/// The sections that all pages of a program share.
#[derive(Debug, Clone, Copy)]
pub struct Manual {
    /// Files that the program reads or writes.
    pub files: Rows,
    /// Environment variables that it reads.
    pub environment: Rows,
    /// Exit statuses, for commands whose help lists none; empty for the program's.
    pub statuses: Rows,
    /// Related pages, besides those of the command's parent and of its subcommands.
    pub see_also: &'static [&'static str],
}

// === impl Manual ===

impl Manual {
    /// Writes a page for the program and for each command that its help lists into `directory`, which is created if
    /// there is none.
    ///
    /// # Errors
    ///
    /// The directory or a page can't be written.
    pub fn write(&self, program: Command, directory: &Path) -> io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let mut program = complete(program.disable_help_subcommand(true));
        program.build();
        let listed = part(&program, STATUSES);
        let statuses = if self.statuses.is_empty() {
            rows(&listed)
        } else {
            self.statuses.to_vec()
        };
        self.pages(&program, None, &statuses, directory)
    }

    fn pages(
        &self,
        command: &Command,
        parent: Option<&Command>,
        statuses: &[(&str, &str)],
        directory: &Path,
    ) -> io::Result<()> {
        let man = Man::new(command.clone());
        let mut text = Vec::new();
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        let usage = command.clone().render_usage().to_string();
        lines("SYNOPSIS", usage.trim_start_matches("Usage: "), &mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut text)?;
        }
        let examples = part(command, "Examples:\n");
        if !examples.is_empty() {
            lines("EXAMPLES", &examples, &mut text)?;
        }
        table("SIGNALS", &rows(&part(command, "Signals:\n")), &mut text)?;
        table("FILES", self.files, &mut text)?;
        table("ENVIRONMENT", self.environment, &mut text)?;
        let listed = part(command, STATUSES);
        let own = rows(&listed);
        table(
            "EXIT STATUS",
            if own.is_empty() { statuses } else { &own },
            &mut text,
        )?;
        let subcommands = || command.get_subcommands().filter(|command| !command.is_hide_set());
        let page = |command: &Command| {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name());
            format!("{name}(1)")
        };
        let related = parent.into_iter().chain(subcommands()).map(page);
        let others = self.see_also.iter().map(|page| (*page).to_owned());
        let related: Vec<String> = related.chain(others).collect();
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]).text([roman(related.join(", "))]);
        roff.to_writer(&mut text)?;
        if command.get_version().is_some() {
            man.render_version_section(&mut text)?;
        }
        std::fs::write(directory.join(man.get_filename()), text)?;
        subcommands().try_for_each(|subcommand| self.pages(subcommand, Some(command), statuses, directory))
    }
}

/// The command with the options that its short help hides: a page has the text of an option only where that does.
fn complete(command: Command) -> Command {
    command
        .mut_args(|argument| argument.hide_short_help(false))
        .mut_subcommands(complete)
}

/// The part of the text at the end of the help that begins with `heading`.
fn part(command: &Command, heading: &str) -> String {
    let text = command.get_after_help().map(ToString::to_string);
    let text = text.unwrap_or_default();
    let mut parts = text.split("\n\n");
    parts
        .find_map(|part| part.strip_prefix(heading))
        .unwrap_or_default()
        .to_owned()
}

/// The rows of a part of the help.
fn rows(part: &str) -> Vec<(&str, &str)> {
    let rows = part.lines().filter_map(|line| line.trim().split_once("  "));
    rows.map(|(name, meaning)| (name, meaning.trim())).collect()
}

/// Writes a section whose lines stay as they are.
fn lines(heading: &str, lines: &str, text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [heading]).control("nf", []);
    roff.text([roman(lines)]).control("fi", []);
    roff.to_writer(text)
}

/// Writes a section of names with their meanings, if there are any.
fn table(heading: &str, rows: &[(&str, &str)], text: &mut Vec<u8>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (name, meaning) in rows {
        roff.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
    }
    roff.to_writer(text)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn a_page_has_all_sections() {
        let program = Command::new("greet")
            .about("Greet people")
            .arg(Arg::new("loud").long("loud").help("Shout").hide_short_help(true))
            .after_help("Examples:\n  greet web1\n\nExit status:\n  7  nobody answered")
            .subcommand(
                Command::new("twice")
                    .about("Greet twice")
                    .after_help("Signals:\n  SIGHUP  greet once more"),
            )
            .subcommand(Command::new("secret").hide(true));
        let manual = Manual {
            files: &[("~/.greet", "Whom to greet")],
            environment: &[],
            statuses: &[("0", "greeted")],
            see_also: &["hello(1)"],
        };
        let directory = tempfile::tempdir().expect("a directory");
        manual.write(program, directory.path()).expect("pages");
        let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect(name);
        let (program, twice) = (page("greet.1"), page("greet-twice.1"));
        for words in [
            "Shout",
            "greet web1",
            "\\fB7\\fR\nnobody answered",
            "greet\\-twice(1), hello(1)",
            "Whom to greet",
        ] {
            assert!(program.contains(words), "{words}: {program}");
        }
        for words in [
            "\\fBSIGHUP\\fR\ngreet once more",
            "\\fB0\\fR\ngreeted",
            "greet(1), hello(1)",
        ] {
            assert!(twice.contains(words), "{words}: {twice}");
        }
        assert!(!program.contains("ENVIRONMENT") && !directory.path().join("greet-secret.1").exists());
    }
}
