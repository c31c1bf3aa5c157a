//! `man`: man pages from the definition of the command line.

use std::path::Path;

use clap::CommandFactory as _;
use reveille_manual::Manual;

use super::arguments::Arguments;
use super::printer::eprint;
use super::problem::Problem;

/// What the pages contain besides the definition of the command line.
const MANUAL: Manual = Manual {
    files: &[
        (
            "SCENARIO",
            "Scenario in YAML; the files that it names are looked for in its directory",
        ),
        ("FILE", "Report; replaces an earlier one only when it is complete"),
    ],
    environment: &[
        (
            "NAME",
            "Any variable that a scenario reads as {{ env.NAME }}; it is a mistake if it is not set",
        ),
        (
            "SSL_CERT_FILE, SSL_CERT_DIR",
            "Certificate authorities instead of those of the system",
        ),
    ],
    statuses: &[("0", "success"), ("2", "bad usage or input")],
    see_also: &["reveille(1)", "reveille-mirrorlist(1)"],
};

/// Writes a page for each command to a directory.
pub(crate) fn man(directory: &Path) -> Result<u8, Problem> {
    let shown = directory.display();
    MANUAL
        .write(Arguments::command(), directory)
        .map_err(|error| Problem::input(format!("can't write man pages to {shown}: {error}")))?;
    eprint(&format!("man pages are in {shown}\n"));
    Ok(0)
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
