//! `cargo xtask docs`: writes the pages of `docs/` that are made from the source.
//!
//! A page that repeats a table by hand is wrong from the day the table changes. So `classes.rs` writes
//! `docs/classes.md` from the table of classes, `job_reference.rs` writes `docs/job-reference.md` from the JSON Schema
//! of jobs, and `limits.rs` writes `docs/limits.md` from the constants. A test fails if a page is not current. Other
//! tests check links, the names and layers in ARCHITECTURE.md, and the files that the guides of the crates name.

mod classes;
mod job_reference;
mod limits;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use xtask::failure::{Failure, Result};
use xtask::tell;
use xtask::workspace::Workspace;

/// Write the pages of docs/ that are made from the program's own tables
#[derive(Debug, Parser)]
#[command(name = "cargo xtask docs", bin_name = "cargo xtask docs")]
struct Arguments {
    /// Write nothing; fail if a page is not as it would be written
    #[arg(long)]
    check: bool,
}

/// A page, and what is written into it.
#[derive(Debug)]
struct Page {
    /// Where it is, from the root of the workspace.
    path: &'static str,
    text: String,
}

/// The second line of every page made here.
const NOTICE: &str = "<!-- Written by `cargo xtask docs`. Do not edit: change the table it is made from. -->";

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: &Arguments) -> Result {
    let root = Workspace::find()?.root;
    let stale = stale(&root)?;
    for page in &stale {
        if arguments.check {
            tell::line(&format!("{} is not current", page.path));
        } else {
            std::fs::write(root.join(page.path), &page.text)
                .map_err(|error| Failure::failed(format!("can't write {}: {error}", page.path)))?;
            tell::line(&format!("{} written", page.path));
        }
    }
    match stale.len() {
        0 => tell::line("all pages are current"),
        _ if arguments.check => return Err(Failure::failed("write the pages with `cargo xtask docs`")),
        _ => {}
    }
    Ok(())
}

fn pages(root: &Path) -> Result<Vec<Page>> {
    Ok(vec![
        Page {
            path: "docs/classes.md",
            text: classes::page(),
        },
        Page {
            path: "docs/job-reference.md",
            text: job_reference::page(&reveille_job::schema())?,
        },
        Page {
            path: "docs/limits.md",
            text: limits::page(root)?,
        },
    ])
}

/// The pages whose files are missing or say something else.
fn stale(root: &Path) -> Result<Vec<Page>> {
    let mut pages = pages(root)?;
    pages.retain(|page| !std::fs::read_to_string(root.join(page.path)).is_ok_and(|text| text == page.text));
    Ok(pages)
}

/// Text as it is written into a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', r"\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::PathBuf;

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .unwrap()
            .to_owned()
    }

    /// Files of a directory whose names end so.
    fn files(directory: &str, endings: &[&str]) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(root().join(directory)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| endings.iter().any(|end| path.to_string_lossy().ends_with(end)));
        files.sort();
        files
    }

    #[test]
    fn the_pages_are_current() {
        let stale: Vec<_> = stale(&root())
            .unwrap()
            .into_iter()
            .map(|page| page.path)
            .collect();
        assert!(stale.is_empty(), "{stale:?}: run `cargo xtask docs`");
    }

    #[test]
    fn cells_stay_cells() {
        assert_eq!(cell("a | b\nc"), r"a \| b c");
    }

    #[test]
    fn the_examples_for_ci_are_yaml() {
        let files = files("docs/ci", &[".yml", ".yaml"]);
        assert!(!files.is_empty());
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let parsed = serde_saphyr::from_str::<serde_json::Value>(&text);
            let value = parsed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(value.is_object(), "{}", path.display());
        }
    }

    /// The anchor that a heading of Markdown gets.
    fn anchor(heading: &str) -> String {
        let letters = heading.trim().to_lowercase();
        letters
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    }

    /// The lines of a page that are not in a block of code.
    fn prose(text: &str) -> impl Iterator<Item = &str> {
        let mut code = false;
        text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
    }

    #[test]
    fn links_lead_somewhere() {
        let mut broken = Vec::new();
        for page in ["", "docs", "docs/examples"]
            .map(|directory| files(directory, &[".md"]))
            .concat()
        {
            let text = std::fs::read_to_string(&page).unwrap();
            for part in prose(&text).flat_map(|line| line.split("](").skip(1)) {
                let link = part.split(')').next().unwrap();
                if link.contains("://") || link.starts_with("mailto:") {
                    continue;
                }
                let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => page.clone(),
                    _ => page.parent().unwrap().join(file),
                };
                let leads = if fragment.is_empty() {
                    target.exists()
                } else {
                    let text = std::fs::read_to_string(&target).unwrap_or_default();
                    let anchors: BTreeSet<String> = prose(&text)
                        .filter(|line| line.starts_with('#'))
                        .map(|line| anchor(line.trim_start_matches('#')))
                        .collect();
                    anchors.contains(fragment)
                };
                if !leads {
                    broken.push(format!("{}: {link}", page.display()));
                }
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// What is in backticks, outside of blocks of code.
    fn code(text: &str) -> Vec<&str> {
        prose(text)
            .flat_map(|line| line.split('`').skip(1).step_by(2))
            .collect()
    }

    fn is_file(name: &str) -> bool {
        let endings = ["rs", "sh", "md", "toml", "svg"];
        name.contains('/')
            || name
                .rsplit_once('.')
                .is_some_and(|(_, ending)| endings.contains(&ending))
    }

    /// The directories of all crates, by name.
    fn crates() -> Vec<(String, PathBuf)> {
        let entries = std::fs::read_dir(root().join("crates")).unwrap();
        let directories = entries.map(|entry| entry.unwrap().path());
        directories
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
            .collect()
    }

    #[test]
    fn architecture_names_what_exists() {
        let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        let mut words = BTreeSet::new();
        for (name, directory) in crates() {
            assert!(
                text.contains(&format!("| `crates/{name}` |")),
                "{name} is not in the table"
            );
            words.insert(name);
            for file in limits::sources(&directory).unwrap() {
                let source = std::fs::read_to_string(file).unwrap();
                let parts = source.split(|c: char| !c.is_alphanumeric() && c != '_');
                words.extend(parts.map(str::to_owned));
            }
        }
        let mut missing = code(&text);
        missing.retain(|name| {
            let word = name.rsplit("::").next().unwrap().trim_start_matches('-');
            let is_word = word.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
            if is_file(name) {
                !root().join(name).exists() && !root().join("crates").join(name).exists()
            } else {
                is_word && !words.contains(word) && !words.contains(&word.replace('-', "_"))
            }
        });
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn guides_name_files_that_exist() {
        let mut missing = Vec::new();
        for (name, directory) in crates() {
            let source = directory.join("src");
            for guide in ["lib.rs", "main.rs"] {
                let text = std::fs::read_to_string(source.join(guide)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
                assert!(
                    lines.len() <= 60,
                    "{name}/src/{guide} has {} lines of guide",
                    lines.len()
                );
                for file in code(&lines.join("\n")) {
                    let ours = Path::new(file)
                        .extension()
                        .is_some_and(|ending| ending == "rs" || ending == "sh");
                    if ours && !source.join(file).exists() && !root().join("crates").join(file).exists() {
                        missing.push(format!("{name}: {file}"));
                    }
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn dependencies_point_to_lower_layers() {
        let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
        let mut layers = BTreeMap::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let Some(layer) = words.next().and_then(|word| word.parse::<u32>().ok()) {
                layers.extend(words.map(|word| (word.to_owned(), layer)));
            }
        }
        let mut wrong = Vec::new();
        for (name, directory) in crates() {
            let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
            let dependencies = manifest
                .lines()
                .skip_while(|line| *line != "[dependencies]")
                .skip(1);
            for line in dependencies.take_while(|line| !line.starts_with('[')) {
                let dependency = line.split(['.', ' ']).next().unwrap();
                let dependency = dependency.strip_prefix("reveille-").unwrap_or(dependency);
                if layers
                    .get(dependency)
                    .is_some_and(|layer| *layer >= layers[&name])
                {
                    wrong.push(format!("{name} depends on {dependency}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
