//! Folds lists of host names.

use std::fmt::Write as _;

/// A prefix, a number with its padded width, and a suffix.
type Parts<'a> = (&'a str, Option<(u64, usize)>, &'a str);

/// Folds names that differ in one number, in natural order: `web[01-03],db1`.
pub(crate) fn fold_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut parts: Vec<Parts<'_>> = names.into_iter().map(split_number).collect();
    // `web099` and `web100` belong to one series: a number that fills the width needs no padding.
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

/// Splits a name at its last number. The width is 0 if the number is not padded.
fn split_number(name: &str) -> Parts<'_> {
    // An IPv6 address is not a numbered name.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
