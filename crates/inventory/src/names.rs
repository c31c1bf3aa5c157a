//! Ranges in names: `web[01:50]`, `web[01-50]`, `[1,3,7-9]`, `[0:10:2]`, `[a:f]`, several per name.

use std::net::Ipv6Addr;

use reveille_account::Fault;

/// How many names all ranges of an inventory may produce together.
pub const MAX_NAMES: u64 = 1_000_000;

/// A name whose ranges are parsed and not yet expanded.
#[derive(Debug, Clone)]
pub(crate) struct Names<'a> {
    pieces: Vec<Piece<'a>>,
}

#[derive(Debug, Clone)]
enum Piece<'a> {
    Text(&'a str),
    Set(Vec<Item<'a>>),
}

#[derive(Debug, Clone)]
enum Item<'a> {
    Word(&'a str),
    Numbers {
        first: u64,
        last: u64,
        step: u64,
        width: usize,
    },
    Letters {
        first: usize,
        last: usize,
        step: usize,
    },
}

/// Ansible's order of letters.
const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

// === impl Names ===

impl<'a> Names<'a> {
    /// Parses the ranges of `text`.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Fault> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['[', ']']) {
            let offset = text.len() - rest.len();
            if rest.as_bytes()[at] == b']' {
                return Err(Fault::new(offset + at, "`]` without `[`"));
            }
            let inside = &rest[at + 1..];
            let Some(end) = inside
                .find(['[', ']'])
                .filter(|end| inside.as_bytes()[*end] == b']')
            else {
                return Err(Fault::new(offset + at, "the range's `[` is never closed"));
            };
            if at > 0 {
                pieces.push(Piece::Text(&rest[..at]));
            }
            pieces.push(Piece::Set(set(&inside[..end], offset + at + 1)?));
            rest = &inside[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest));
        }
        Ok(Self { pieces })
    }

    /// The number of names.
    pub(crate) fn count(&self) -> u64 {
        self.pieces.iter().fold(1, |product: u64, piece| match piece {
            Piece::Text(_) => product,
            Piece::Set(items) => product.saturating_mul(
                items
                    .iter()
                    .fold(0, |sum: u64, item| sum.saturating_add(item.count())),
            ),
        })
    }

    /// Expands every name; the first range changes slowest. The caller has checked [`Names::count`].
    pub(crate) fn each(&self, visit: &mut impl FnMut(&str)) {
        write_out(&self.pieces, &mut String::new(), visit);
    }
}

// === impl Item ===

impl Item<'_> {
    fn count(&self) -> u64 {
        match self {
            Item::Word(_) => 1,
            Item::Numbers {
                first, last, step, ..
            } => (last - first) / step + 1,
            Item::Letters { first, last, step } => ((last - first) / step + 1) as u64,
        }
    }
}

fn write_out(pieces: &[Piece<'_>], name: &mut String, visit: &mut impl FnMut(&str)) {
    let Some((piece, rest)) = pieces.split_first() else {
        visit(name);
        return;
    };
    let length = name.len();
    let mut with = |part: &str| {
        name.push_str(part);
        write_out(rest, name, visit);
        name.truncate(length);
    };
    match piece {
        Piece::Text(text) => with(text),
        Piece::Set(items) => {
            for item in items {
                match *item {
                    Item::Word(word) => with(word),
                    Item::Numbers {
                        first,
                        last,
                        step,
                        width,
                    } => {
                        let mut number = first;
                        loop {
                            with(&format!("{number:0width$}"));
                            match number.checked_add(step) {
                                Some(next) if next <= last => number = next,
                                _ => break,
                            }
                        }
                    }
                    Item::Letters { first, last, step } => {
                        for index in (first..=last).step_by(step) {
                            with(char::from(LETTERS[index]).encode_utf8(&mut [0; 4]));
                        }
                    }
                }
            }
        }
    }
}

/// Parses the text between brackets, which starts at `offset`.
fn set(text: &str, offset: usize) -> Result<Vec<Item<'_>>, Fault> {
    let mut items = Vec::new();
    let mut at = offset;
    for part in text.split(',') {
        items.push(item(part, at)?);
        at += part.len() + 1;
    }
    Ok(items)
}

fn item(part: &str, offset: usize) -> Result<Item<'_>, Fault> {
    let Some(separator) = part.find([':', '-']) else {
        if part.is_empty() {
            return Err(
                Fault::new(offset, "the range is empty").hint("write it like `[01:50]` or `[1,3,7-9]`")
            );
        }
        if let Some(at) = part.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')) {
            return Err(Fault::new(
                offset + at,
                format!("`{part}` is neither a number nor a range"),
            ));
        }
        return Ok(Item::Word(part));
    };
    let (first, rest) = (&part[..separator], &part[separator + 1..]);
    let (last, step) = rest.split_once(':').unwrap_or((rest, "1"));
    let Some(step_size) = step.parse::<u32>().ok().filter(|step| *step > 0) else {
        return Err(Fault::new(
            offset + part.len() - step.len(),
            format!("the step `{step}` is not a positive number"),
        ));
    };
    // Ansible reads `[:5]` as `[0:5]`.
    let first = if first.is_empty() { "0" } else { first };
    if let (Some(from), Some(to)) = (letter(first), letter(last)) {
        if from > to {
            return Err(descending(first, last, offset));
        }
        return Ok(Item::Letters {
            first: from,
            last: to,
            step: step_size as usize,
        });
    }
    let (Some(from), Some(to)) = (number(first), number(last)) else {
        return Err(Fault::new(offset, format!("`[{part}]` is not a range"))
            .hint("a range goes from number to number, `[01:50]`, or from letter to letter, `[a:f]`"));
    };
    if from > to {
        return Err(descending(first, last, offset));
    }
    let padded = first.len() > 1 && first.starts_with('0');
    if padded && first.len() != last.len() {
        let width = first.len().max(last.len());
        return Err(Fault::new(
            offset,
            format!("`{first}` and `{last}` are padded to different widths"),
        )
        .hint(format!("write `{from:0width$}` and `{to:0width$}`")));
    }
    Ok(Item::Numbers {
        first: from,
        last: to,
        step: u64::from(step_size),
        width: if padded { first.len() } else { 0 },
    })
}

fn descending(first: &str, last: &str, offset: usize) -> Fault {
    Fault::new(offset, format!("the range goes down from {first} to {last}"))
        .hint(format!("write `{last}` first"))
}

fn letter(text: &str) -> Option<usize> {
    let &[byte] = text.as_bytes() else {
        return None;
    };
    LETTERS.iter().position(|letter| *letter == byte)
}

fn number(text: &str) -> Option<u64> {
    let digits = (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Whether `text` is an IPv6 address, with or without a zone (`fe80::1%eth0`).
pub(crate) fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    address.contains(':')
        && address.parse::<Ipv6Addr>().is_ok()
        && !zone.is_empty()
        && zone
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        let parsed = Names::parse(text).expect("a good range");
        let mut all = Vec::new();
        parsed.each(&mut |name| all.push(name.to_owned()));
        assert_eq!(all.len() as u64, parsed.count());
        all
    }

    #[test]
    fn every_form_is_written_out() {
        assert_eq!(names("web1"), ["web1"]);
        assert_eq!(
            names("web[08:11].x"),
            ["web08.x", "web09.x", "web10.x", "web11.x"]
        );
        assert_eq!(names("web[8-11]"), ["web8", "web9", "web10", "web11"]);
        assert_eq!(names("n[0:10:5]"), ["n0", "n5", "n10"]);
        assert_eq!(names("n[1,3,7-9]"), ["n1", "n3", "n7", "n8", "n9"]);
        assert_eq!(
            names("[a:b]-[x,yy][1:2]"),
            ["a-x1", "a-x2", "a-yy1", "a-yy2", "b-x1", "b-x2", "b-yy1", "b-yy2"]
        );
        assert_eq!(names("n[:2]"), ["n0", "n1", "n2"]);
    }

    #[test]
    fn huge_ranges_are_counted_without_being_written() {
        let parsed = Names::parse("a[0:999999999][0:999999999][0:999999999]").expect("a good range");
        assert_eq!(parsed.count(), u64::MAX);
    }

    #[test]
    fn bad_ranges_are_placed() {
        for (text, offset) in [
            ("web[5:1]", 4),
            ("web[", 3),
            ("web[1:2", 3),
            ("web]", 3),
            ("web[]", 4),
            ("web[01:100]", 4),
            ("web[1:5:0]", 8),
            ("web[1,a:3]", 6),
            ("web[[1:2]]", 3),
            ("web[1:99999999999999999999]", 4),
        ] {
            assert_eq!(Names::parse(text).expect_err(text).offset, offset, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_range_makes_its_numbers(first in 0u64..2000, length in 0u64..300, step in 1u64..7, width in 1usize..6) {
            let last = first + length;
            let text = format!("h[{first:0width$}:{last:0width$}:{step}]");
            prop_assume!(first.to_string().len().max(width) == last.to_string().len().max(width));
            let padded = format!("{first:0width$}").starts_with('0') && width > 1;
            let expected: Vec<String> = (first..=last)
                .step_by(usize::try_from(step).expect("small"))
                .map(|n| if padded { format!("h{n:0width$}") } else { format!("h{n}") })
                .collect();
            prop_assert_eq!(names(&text), expected);
        }

        #[test]
        fn no_text_panics(text in "[a-c\\[\\]:,0-9é-]{0,24}") {
            if let Ok(names) = Names::parse(&text) && names.count() < 10_000 {
                names.each(&mut |_| ());
            }
        }
    }
}
