//! What the pages of `docs/` say of command lines, compared with the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::Reveille;

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    for directory in ["docs", "docs/examples"] {
        let entries = std::fs::read_dir(root.join(directory)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()));
    }
    pages.retain(|page| page.extension().is_some_and(|ending| ending == "md"));
    pages
}

/// The command lines of a page: what follows a prompt, and what is in backticks.
fn commands(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if code {
            commands.extend(line.strip_prefix("$ ").map(str::to_owned));
        } else {
            commands.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let ours = commands.into_iter().filter_map(|command| {
        let start = command.find("reveille ")?;
        let before = command[..start].trim_end();
        (before.is_empty() || before.ends_with(['|', '=']) || before.contains('='))
            .then(|| command[start..].to_owned())
    });
    ours.collect()
}

#[test]
fn every_option_in_the_pages_exists() {
    let reveille = Reveille::new();
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for command in commands(&text) {
            let mut words = command.split_whitespace().skip(1);
            let Some(sub) = words.next().filter(|word| word.chars().all(char::is_lowercase)) else {
                continue;
            };
            // They are other programs, with options of their own.
            if ["load", "mirrorlist"].contains(&sub) {
                continue;
            }
            let help = helps
                .entry(sub.to_owned())
                .or_insert_with(|| reveille.run(&[sub, "--help"]).expect(0).stdout);
            // Behind these is another command, or a comment.
            for word in words.take_while(|word| !["--", "|", "#", "&&", ";"].contains(word)) {
                let option = word.split(['=', '|', '\\', ']', '\'']).next().unwrap();
                let known = help
                    .split(|c: char| c.is_whitespace() || ",=[]".contains(c))
                    .any(|known| known.trim_end_matches("...") == option);
                if option.starts_with("--") && option.len() > 2 {
                    checked += 1;
                    if !known {
                        wrong.push(format!("{}: {option} in `{command}`", page.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 60, "only {checked} options were found");
}

#[test]
fn an_older_program_refuses_a_newer_ledger_in_the_words_of_the_pages() {
    let reveille = Reveille::new();
    reveille
        .run(&["exec", "-w", "a,", "--transport", "local", "--", "true"])
        .expect(0);
    let ledger = rusqlite::Connection::open(reveille.state().join("ledger.db")).unwrap();
    ledger.pragma_update(None, "user_version", 99).unwrap();
    drop(ledger);
    let said = reveille.run(&["runs"]).expect(2).stderr;
    let quoted = "… has schema version …, but this program supports up to …";
    for page in ["install.md", "troubleshooting.md"] {
        let page = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs")
            .join(page);
        let text = std::fs::read_to_string(page).unwrap();
        assert!(text.contains(quoted), "{text}");
    }
    for part in quoted.split('…').chain(["; use the newer program that wrote it"]) {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}
