//! `docs/limits.md`, from the constants of the crates that are published.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use xtask::failure::{Failure, Result};

use super::{NOTICE, cell};

const INTRODUCTION: &str = "\
Every documented constant that is a number or a duration, by crate. Values are written as in the source; files are relative
to the crate's `src`. Sizes are in bytes unless the text names another unit.
";

/// Returns the whole page.
pub(super) fn page(root: &Path) -> Result<String> {
    let mut page = format!("# Limits\n{NOTICE}\n\n{INTRODUCTION}");
    for krate in entries(&root.join("crates"))? {
        if read(&krate.join("Cargo.toml"))?.contains("publish = false") {
            continue;
        }
        let source = krate.join("src");
        let mut rows = String::new();
        for file in sources(&source)? {
            let place = file.strip_prefix(&source).unwrap_or(&file).display();
            for [what, value, name] in limits(&read(&file)?) {
                let _ = writeln!(rows, "| {} | `{value}` | `{name}` | `{place}` |", cell(&what));
            }
        }
        if !rows.is_empty() {
            let name = krate.file_name().unwrap_or_default().display();
            let _ = write!(
                page,
                "\n## {name}\n\n| what | value | constant | file |\n|---|---|---|---|\n{rows}"
            );
        }
    }
    Ok(page)
}

/// Returns the Rust files below `directory` in order, without those of tests.
pub(super) fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(directory)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Returns the first sentence, the value and the name of each documented number or duration before the tests of a file.
fn limits(text: &str) -> Vec<[String; 3]> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut limits = Vec::new();
    let mut documentation = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            documentation.push_str(more);
        } else if !line.starts_with("#[") {
            limits.extend(limit(line, &documentation));
            documentation.clear();
        }
    }
    limits
}

fn limit(line: &str, documentation: &str) -> Option<[String; 3]> {
    let (_, constant) = line.split_once("const ")?;
    let (name, rest) = constant.split_once(": ")?;
    let (kind, value) = rest.strip_suffix(';')?.split_once(" = ")?;
    let is_number = matches!(kind, "Duration" | "usize") || kind.get(1..)?.parse::<u8>().is_ok();
    if documentation.is_empty() || !is_number {
        return None;
    }
    let sentence = documentation.split(". ").next()?;
    let what = without_links(sentence.trim().trim_end_matches('.'));
    Some([what, value.to_owned(), name.to_owned()])
}

/// Turns links to items into plain code, because such links work in rustdoc only.
fn without_links(text: &str) -> String {
    let mut parts = text.split("`](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push('`');
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    plain.replace("[`", "`").replace("`]", "`")
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |error| Failure::failed(format!("can't read {}: {error}", directory.display()));
    let entries = std::fs::read_dir(directory).map_err(wrong)?;
    let paths: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(wrong)?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(format!("can't read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_read_with_their_documentation() {
        let text = "\
            /// The least of [`Thing`](crate::Thing). More follows\n\
            /// here.\n\
            #[cfg(unix)]\n\
            pub(crate) const LEAST: u64 = 4 << 20;\n\
            const UNDOCUMENTED: u64 = 1;\n\
            /// Not a number.\n\
            const NAME: &str = \"a\";\n\
            #[cfg(test)]\nmod tests {\n\
            /// Of a test.\n\
            const TEST: u64 = 1;\n";
        let least = ["The least of `Thing`", "4 << 20", "LEAST"].map(str::to_owned);
        assert_eq!(limits(text), [least]);
    }
}
