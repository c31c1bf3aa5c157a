//! What a copy would change, in words, and the difference of two texts.

use std::time::Duration;

use bytes::Bytes;
use reveille_text::harmless;
use reveille_transport::transfer::{Comparison, SHOWN_BYTES};
use serde::{Deserialize, Serialize};
use similar::TextDiff;

/// How much of a difference is recorded, in bytes.
const MOST: usize = 64 << 10;
/// How long to look for the shortest difference; afterwards a longer one is taken.
const SEARCH: Duration = Duration::from_millis(200);

/// How a step's changes are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preview {
    /// Nothing is changed: the changes that steps would make are told instead.
    pub check: bool,
    /// The difference of text files is told.
    pub diff: bool,
}

// === impl Preview ===

impl Preview {
    /// Whether it is a run as usual.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How a check's words about a file or directory end that would stay as it is.
pub const UNCHANGED: &str = " would not change";

/// Says what would change, with the difference if it is wanted.
pub(crate) fn words(found: &Comparison, preview: Preview, hidden: bool) -> String {
    let path = harmless::line(&found.path);
    let mut words = if !preview.check {
        String::new()
    } else if found.changes.is_empty() {
        format!("{path}{UNCHANGED}\n")
    } else {
        format!("{path} would change: {}\n", found.changes.join(", "))
    };
    if preview.diff && !found.changes.is_empty() {
        words += &difference(&path, found, hidden);
    }
    words
}

fn difference(path: &str, found: &Comparison, hidden: bool) -> String {
    if hidden {
        return "the difference is not shown: the template uses secrets\n".to_owned();
    }
    let is_new = found.before.is_none() && found.changes.iter().any(|change| change.starts_with("it is new"));
    let Some(after) = &found.after else {
        return format!("the difference is not shown: the file has more than {SHOWN_BYTES} bytes\n");
    };
    let before = match &found.before {
        Some(before) => before.clone(),
        None if is_new => Bytes::new(),
        None => {
            return format!(
                "the difference is not shown: the file on the host has more than {SHOWN_BYTES} bytes\n"
            );
        }
    };
    if before == *after {
        return String::new();
    }
    let (Some(before), Some(after)) = (text(&before), text(after)) else {
        return "the difference is not shown: it is no text\n".to_owned();
    };
    // Only `\n` ends a line, and a carriage return must not hide what stands before it.
    let (before, after) = (before.replace('\r', "^M"), after.replace('\r', "^M"));
    let diff = TextDiff::configure().timeout(SEARCH).diff_lines(&before, &after);
    let from = if is_new { "/dev/null" } else { path };
    bounded(diff.unified_diff().header(from, path).to_string())
}

fn text(bytes: &Bytes) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// Cuts a text at the end of a line.
fn bounded(mut text: String) -> String {
    if text.len() <= MOST {
        return text;
    }
    let lines = text.lines().count();
    let end = text.as_bytes()[..MOST]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    text.truncate(end);
    let left = lines - text.lines().count();
    text + &format!("… {left} more lines are not shown\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(changes: &[&str], before: Option<&[u8]>, after: Option<&[u8]>, hidden: bool) -> String {
        let found = Comparison {
            path: "/etc/x".to_owned(),
            changes: changes.iter().map(|change| (*change).to_owned()).collect(),
            before: before.map(Bytes::copy_from_slice),
            after: after.map(Bytes::copy_from_slice),
        };
        let preview = Preview {
            check: true,
            diff: true,
        };
        words(&found, preview, hidden)
    }

    #[test]
    fn a_change_is_told_with_its_difference() {
        assert_eq!(
            told(
                &["content", "mode 0644 to 0600"],
                Some(b"a\nb\n"),
                Some(b"a\nc\n"),
                false
            ),
            "/etc/x would change: content, mode 0644 to 0600\n--- /etc/x\n+++ /etc/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
        assert_eq!(
            told(&["it is new"], None, Some(b"a\n"), false),
            "/etc/x would change: it is new\n--- /dev/null\n+++ /etc/x\n@@ -0,0 +1 @@\n+a\n"
        );
        assert_eq!(
            told(&[], Some(b"a"), Some(b"a"), false),
            "/etc/x would not change\n"
        );
    }

    #[test]
    fn a_carriage_return_hides_nothing() {
        assert_eq!(
            told(
                &["content"],
                Some(b"k1=safe\nk2=v\n"),
                Some(b"k1=evil\rk1=safe\nk2=v\r\n"),
                false
            ),
            "/etc/x would change: content\n--- /etc/x\n+++ /etc/x\n@@ -1,2 +1,2 @@\n-k1=safe\n-k2=v\n\
             +k1=evil^Mk1=safe\n+k2=v^M\n"
        );
    }

    #[test]
    fn a_difference_that_can_not_be_shown_says_why() {
        for (before, after, hidden, why) in [
            (
                Some(&b"a"[..]),
                Some(&b"b"[..]),
                true,
                "the template uses secrets",
            ),
            (Some(b"a"), Some(b"\xff"), false, "it is no text"),
            (Some(b"a\0"), Some(b"b"), false, "it is no text"),
            (None, Some(b"b"), false, "the file on the host has more than"),
            (Some(b"a"), None, false, "the file has more than"),
        ] {
            let told = told(&["content"], before, after, hidden);
            assert!(told.contains(why), "{told}");
            assert!(!told.contains("\n+"), "{told}");
        }
        let long = "x\n".repeat(100_000);
        let told = told(&["content"], Some(b""), Some(long.as_bytes()), false);
        assert!(told.len() < MOST + 200 && told.ends_with(" more lines are not shown\n"));
    }
}
