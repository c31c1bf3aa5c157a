//! What GitHub's CI shows of a run: folded groups, annotations, and a summary of the job.
//!
//! Its runner reads lines that begin with `::` on both streams as commands; texts of hosts never begin a line there.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use reveille_account::HostName;
use reveille_ledger::RunKind;
use reveille_ledger::export::Summary;
use reveille_text::harmless::{self, shortened};
use reveille_text::{counted, grouped};
use reveille_view::names;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::render::groups::{Group, groups};

/// Annotations of a run: GitHub shows ten of a step.
const MAX_ANNOTATIONS: usize = 10;
/// Rows of the summary's table.
const MAX_ROWS: usize = 50;
/// The largest summary that GitHub takes, in bytes.
const MAX_SUMMARY_BYTES: u64 = 1 << 20;
/// Characters of a story in an annotation or a row.
const STORY: usize = 300;
/// Cells of a list of hosts.
const HOSTS: usize = 120;

/// Whether a job of GitHub's CI runs this program.
pub(crate) fn is_here() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Folds the lines below the first one.
pub(crate) fn folded(lines: &str) -> String {
    let (title, rest) = lines.split_once('\n').unwrap_or((lines, ""));
    let end = if rest.is_empty() || rest.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("::group::{}\n{rest}{end}::endgroup::\n", data(title))
}

/// Prints an annotation for each of the largest groups of failed hosts.
pub(crate) fn annotate(summary: &Summary, printer: &Printer) -> Result<(), Failure> {
    let (groups, _) = groups(summary)?;
    for group in groups.iter().take(MAX_ANNOTATIONS) {
        let title = property(&heading(group, summary));
        let message = data(&format!("{}: {}", hosts(group), story(group)));
        printer.note(&format!("::error title={title}::{message}"));
    }
    Ok(())
}

/// Appends the run to the summary of the CI job, if there is one. A summary that can't be written is a warning.
pub(crate) fn summarise(summary: &Summary, name: &str, printer: &Printer) -> Result<(), Failure> {
    let path = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    let Some(path) = path.map(PathBuf::from) else {
        return Ok(());
    };
    let (groups, _) = groups(summary)?;
    if let Err(error) = append(&path, &markdown(summary, name, &groups)) {
        printer.warning(&format!(
            "can't write the summary of the CI job to {}: {error}",
            path.display()
        ));
    }
    Ok(())
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    if file.metadata()?.len() + text.len() as u64 > MAX_SUMMARY_BYTES {
        return Err(io::Error::other(
            "it would have more than 1 MiB, which GitHub refuses",
        ));
    }
    file.write_all(text.as_bytes())
}

fn markdown(summary: &Summary, name: &str, groups: &[Group]) -> String {
    let account = &summary.account;
    let mut text = format!(
        "### {} {}\n\n{}\n\n",
        plain(&shortened(name, 100)),
        summary.record.run,
        plain(&account.to_string())
    );
    if groups.is_empty() {
        return text;
    }
    text += "| hosts | failure | names | message |\n|---:|---|---|---|\n";
    for group in groups.iter().take(MAX_ROWS) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            grouped(group.hosts.len() as u64),
            plain(&reason(group, summary)),
            plain(&hosts(group)),
            plain(&story(group))
        );
    }
    if groups.len() > MAX_ROWS {
        let _ = writeln!(text, "\n{} more groups are not shown", groups.len() - MAX_ROWS);
    }
    text.push('\n');
    text
}

/// `3 hosts: command_failed in restart, exit status 1`
fn heading(group: &Group, summary: &Summary) -> String {
    format!(
        "{}: {}",
        counted(group.hosts.len(), "host"),
        reason(group, summary)
    )
}

fn reason(group: &Group, summary: &Summary) -> String {
    // The only step of a command is named like the run.
    let has_steps = !matches!(summary.record.spec.kind, RunKind::Exec | RunKind::Ping);
    let step = group.step.as_ref().filter(|_| has_steps);
    let step = step.map(|step| format!(" in {}", shortened(&harmless::line(step), 40)));
    let status = Some(&group.status).filter(|status| !status.is_empty());
    let status = status.map(|status| format!(", {status}"));
    format!(
        "{}{}{}",
        group.class,
        step.unwrap_or_default(),
        status.unwrap_or_default()
    )
}

fn hosts(group: &Group) -> String {
    names::fold_up_to(group.hosts.iter().map(|(host, _)| HostName::as_str(host)), HOSTS)
}

fn story(group: &Group) -> String {
    // The reason has it.
    let rest = group.story.strip_prefix(&group.status);
    let rest = rest.map_or(&*group.story, |rest| {
        rest.strip_prefix(':').unwrap_or(rest).trim_start()
    });
    shortened(&harmless::line(rest), STORY)
}

/// The message of a command for the runner.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a command for the runner.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text in Markdown that means nothing but itself: no markup, no HTML, no mention.
fn plain(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() && !".,()/=%+-".contains(character) || character.is_control() {
            let _ = write!(escaped, "&#{};", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_markdown_are_escaped() {
        assert_eq!(property("a: 50%, b\n"), "a%3A 50%25%2C b%0A");
        assert_eq!(data("a: 50%, b\r\n"), "a: 50%25, b%0D%0A");
        assert_eq!(plain("<b>|`*@me"), "&#60;b&#62;&#124;&#96;&#42;&#64;me");
        assert_eq!(
            folded("1 host: dns\n  no\n  such\n"),
            "::group::1 host: dns\n  no\n  such\n::endgroup::\n"
        );
        assert_eq!(folded("100 %"), "::group::100 %25\n::endgroup::\n");
    }
}
