//! `man`: man pages from the definition of the command line.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::arguments::Arguments;
use super::printer::eprint;
use super::problem::Problem;

/// Files that are read or written.
const FILES: &[(&str, &str)] = &[
    (
        "SCENARIO",
        "Scenario in YAML; the files that it names are looked for in its directory",
    ),
    ("FILE", "Report; replaces an earlier one only when it is complete"),
];
/// Variables that are read.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "NAME",
        "Any variable that a scenario reads as {{ env.NAME }}; it is a mistake if it is not set",
    ),
    (
        "SSL_CERT_FILE, SSL_CERT_DIR",
        "Certificate authorities instead of those of the system",
    ),
];
/// Pages on related programs.
const SEE_ALSO: &str = "reveille(1), reveille-mirrorlist(1)";

/// Writes a page of each command to a directory.
pub(crate) fn man(directory: &Path) -> Result<u8, Problem> {
    // The pages have the text of an option only where the short help does.
    let mut program = Arguments::command().disable_help_subcommand(true);
    program = program.mut_args(|argument| argument.hide_short_help(false));
    program.build();
    let mut all = vec![&program];
    all.extend(program.get_subcommands().filter(|command| !command.is_hide_set()));
    std::fs::create_dir_all(directory)
        .and_then(|()| all.into_iter().try_for_each(|command| page(command, directory)))
        .map_err(|error| {
            Problem::input(format!(
                "can't write man pages to {}: {error}",
                directory.display()
            ))
        })?;
    eprint(&format!("man pages are in {}\n", directory.display()));
    Ok(0)
}

fn page(command: &Command, directory: &Path) -> io::Result<()> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let after = command.get_after_help().map(ToString::to_string);
    let after = after.unwrap_or_default();
    let part = |title: &str| after.split("\n\n").find_map(|part| part.strip_prefix(title));
    if let Some(examples) = part("Examples:\n") {
        let mut roff = Roff::new();
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        roff.text([roman(examples)]).control("fi", []);
        roff.to_writer(&mut text)?;
    }
    table("FILES", FILES.iter().copied(), &mut text)?;
    table("ENVIRONMENT", ENVIRONMENT.iter().copied(), &mut text)?;
    let statuses = part("Exit status:\n").unwrap_or("  0  success\n  2  bad usage or input");
    let rows = statuses.lines().filter_map(|line| line.trim().split_once("  "));
    table("EXIT STATUS", rows, &mut text)?;
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]).text([roman(SEE_ALSO)]);
    roff.to_writer(&mut text)?;
    man.render_version_section(&mut text)?;
    std::fs::write(directory.join(man.get_filename()), text)
}

fn table<'t>(
    heading: &str,
    rows: impl Iterator<Item = (&'t str, &'t str)>,
    text: &mut Vec<u8>,
) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [heading]);
    for (name, meaning) in rows {
        roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
    }
    roff.to_writer(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_all_sections() {
        let directory = tempfile::tempdir().expect("a directory");
        man(directory.path()).expect("pages");
        for (name, own) in [
            ("reveille-load.1", "reveille\\-load shop.yaml \\-\\-plan"),
            ("reveille-load.1", "Write a table of all tasks to FILE"),
            ("reveille-load-import.1", "import har recording.har"),
            ("reveille-load-man.1", "directory"),
        ] {
            let page = std::fs::read_to_string(directory.path().join(name)).expect(name);
            assert!(page.contains(own), "{name}: {page}");
            for section in [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "FILES",
                "ENVIRONMENT",
                "\"EXIT STATUS\"",
                "\"SEE ALSO\"",
            ] {
                assert!(
                    page.contains(&format!(".SH {section}\n")),
                    "{name} has no {section}: {page}"
                );
            }
        }
    }
}
