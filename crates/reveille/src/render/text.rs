//! Text that is fit for a screen: remote output made harmless, names folded, times readable.

use std::fmt::Write as _;
use std::time::Duration;

/// Remote output for a terminal: escape sequences and control characters go, invalid UTF-8 is replaced, tabs and
/// newlines stay.
pub(crate) fn harmless(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_sequence(&mut characters),
            // The one-character form of the same introducer.
            '\u{9b}' => skip_until_final(&mut characters),
            '\n' | '\t' => clean.push(character),
            // Carriage returns of progress bars: what comes later stays on a line of its own.
            '\r' => {
                if characters.peek().is_some_and(|next| *next != '\n') {
                    clean.push('\n');
                }
            }
            // Bidirectional controls can make a line read as something else.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            other if other.is_control() => {}
            other => clean.push(other),
        }
    }
    clean
}

fn skip_sequence(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match characters.next() {
        Some('[') => skip_until_final(characters),
        // Operating system command, device control and the like: up to BEL or ESC \.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == '\u{7}' {
                    return;
                }
                if character == '\u{1b}' {
                    if characters.peek() == Some(&'\\') {
                        characters.next();
                    }
                    return;
                }
            }
        }
        // Charset designations have one more character.
        Some('(' | ')' | '*' | '+' | '#' | '%' | ' ') => {
            characters.next();
        }
        _ => {}
    }
}

fn skip_until_final(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    for character in characters.by_ref() {
        if ('\u{40}'..='\u{7e}').contains(&character) {
            return;
        }
    }
}

/// What is before a number, the number with its padded width, and what is after it.
type Parts<'a> = (&'a str, Option<(u64, usize)>, &'a str);

/// `web[01-03],db1`: names that differ in one number are folded, in their natural order.
pub(crate) fn fold_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut parts: Vec<Parts<'_>> = names.into_iter().map(split_number).collect();
    // `web099` and `web100` are of one series: a number that fills the width needs no padding to belong to it.
    let padded: std::collections::HashSet<(&str, usize, &str)> = parts
        .iter()
        .filter_map(|(prefix, number, suffix)| {
            number
                .filter(|(_, width)| *width > 0)
                .map(|(_, width)| (*prefix, width, *suffix))
        })
        .collect();
    for (prefix, number, suffix) in &mut parts {
        if let Some((value, width)) = number.as_mut().filter(|(_, width)| *width == 0) {
            let digits = value.checked_ilog10().map_or(1, |log| log as usize + 1);
            if padded.contains(&(*prefix, digits, *suffix)) {
                *width = digits;
            }
        }
    }
    parts.sort_unstable();
    parts.dedup();
    let mut folded = String::new();
    let mut index = 0;
    while index < parts.len() {
        let (prefix, number, suffix) = parts[index];
        let mut ranges: Vec<(u64, u64, usize)> = Vec::new();
        let mut next = index;
        while let Some((prefix_here, Some((value, width)), suffix_here)) = parts.get(next).copied() {
            let same = ranges
                .first()
                .is_none_or(|(.., first_width)| *first_width == width);
            if (prefix_here, suffix_here) != (prefix, suffix) || !same {
                break;
            }
            match ranges.last_mut() {
                Some((_, end, _)) if *end + 1 == value => *end = value,
                _ => ranges.push((value, value, width)),
            }
            next += 1;
        }
        if !folded.is_empty() {
            folded.push(',');
        }
        match (number, next - index) {
            (None, _) => {
                folded.push_str(prefix);
                next = index + 1;
            }
            (Some((value, width)), 1) => {
                let _ = write!(folded, "{prefix}{value:0width$}{suffix}");
            }
            _ => {
                let ranges: Vec<String> = ranges
                    .iter()
                    .map(|(first, last, width)| {
                        if first == last {
                            format!("{first:0width$}")
                        } else {
                            format!("{first:0width$}-{last:0width$}")
                        }
                    })
                    .collect();
                let _ = write!(folded, "{prefix}[{}]{suffix}", ranges.join(","));
            }
        }
        index = next;
    }
    folded
}

/// A name as what is before its last number, the number with its width (0 when it is not padded), and the rest.
///
/// The rest sorts before the number only within one prefix, which is all that folding needs.
fn split_number(name: &str) -> Parts<'_> {
    // An address is no name with a number in it.
    if name.parse::<std::net::Ipv6Addr>().is_ok() {
        return (name, None, "");
    }
    let Some(end) = name.rfind(|c: char| c.is_ascii_digit()).map(|index| index + 1) else {
        return (name, None, "");
    };
    let start = name[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |index| {
            index + name[index..].chars().next().map_or(1, char::len_utf8)
        });
    let digits = &name[start..end];
    let Ok(number) = digits.parse() else {
        return (name, None, "");
    };
    let width = if digits.starts_with('0') && digits.len() > 1 {
        digits.len()
    } else {
        0
    };
    (&name[..start], Some((number, width)), &name[end..])
}

/// `8.2 s`, `3 m 04 s`, `2 h 05 m`: as precise as it is useful.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() < 100 => format!("{} ms", duration.as_millis()),
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `1 host`, `12 hosts`.
pub(crate) fn hosts(count: usize) -> String {
    if count == 1 {
        "1 host".to_owned()
    } else {
        format!("{count} hosts")
    }
}

/// At most `width` characters of a line, the cut marked.
pub(crate) fn shorten(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_do_nothing() {
        assert_eq!(
            harmless(b"\x1b[31mred\x1b[0m \x1b]0;title\x07x\x1b]2;t\x1b\\y\xff\x00\x07"),
            "red xy\u{fffd}"
        );
        assert_eq!(harmless("\u{9b}2Ja\u{202e}b\r\nc\rd".as_bytes()), "ab\nc\nd");
        assert_eq!(harmless(b"\x1bPq#0\x1b\\ok\x1b(0"), "ok");
    }

    #[test]
    fn names_fold() {
        assert_eq!(
            fold_names(["web2", "web1", "web3", "db1", "web10"]),
            "db1,web[1-3,10]"
        );
        assert_eq!(fold_names(["n01", "n02", "n1"]), "n1,n[01-02]");
        assert_eq!(fold_names(["n099", "n100", "n098"]), "n[098-100]");
        assert_eq!(fold_names(["a1.x", "a2.x", "a3.y"]), "a[1-2].x,a3.y");
        assert_eq!(fold_names(["10.0.0.1", "10.0.0.2", "::1"]), "10.0.0.[1-2],::1");
        assert_eq!(fold_names(["b", "a"]), "a,b");
    }

    #[test]
    fn times_are_short() {
        let shown =
            [0.004, 8.24, 59.0, 184.0, 7500.0].map(|seconds| duration(Duration::from_secs_f64(seconds)));
        assert_eq!(shown, ["4 ms", "8.2 s", "59 s", "3 m 04 s", "2 h 05 m"]);
    }
}
