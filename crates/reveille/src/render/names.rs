//! Folds lists of host names.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A prefix, a number with its padded width, and a suffix.
type Parts<'a> = (&'a str, Option<(u64, usize)>, &'a str);
/// A prefix, a suffix, and the width of the numbers between them.
type Series<'a> = (&'a str, &'a str, Option<usize>);

/// Folds names that differ in one number, in natural order: `web[01-03],db1`.
pub(crate) fn fold_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let parts: Vec<Parts<'_>> = names.into_iter().map(split_number).collect();
    let padded: HashSet<Series<'_>> = parts
        .iter()
        .filter_map(|(prefix, number, suffix)| {
            Some((*prefix, *suffix, Some(number.filter(|it| it.1 > 0)?.1)))
        })
        .collect();
    let mut series: BTreeMap<Series<'_>, BTreeSet<u64>> = BTreeMap::new();
    for (prefix, number, suffix) in parts {
        let width = number.map(|(value, width)| {
            // `web099` and `web100` belong to one series: a number that fills the width needs no padding.
            let digits = value.checked_ilog10().map_or(1, |log| log as usize + 1);
            if padded.contains(&(prefix, suffix, Some(digits))) {
                digits
            } else {
                width
            }
        });
        let numbers = series.entry((prefix, suffix, width)).or_default();
        numbers.extend(number.map(|(value, _)| value));
    }
    let folded: Vec<String> = series
        .into_iter()
        .map(|((prefix, suffix, width), numbers)| match width {
            None => prefix.to_owned(),
            Some(width) if numbers.len() > 1 => format!("{prefix}[{}]{suffix}", ranges(numbers, width)),
            Some(width) => format!("{prefix}{}{suffix}", ranges(numbers, width)),
        })
        .collect();
    folded.join(",")
}

/// Ascending numbers as `01-03,10`.
fn ranges(numbers: BTreeSet<u64>, width: usize) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.into_iter().map(|(first, last)| {
        if first == last {
            format!("{first:0width$}")
        } else {
            format!("{first:0width$}-{last:0width$}")
        }
    });
    shown.collect::<Vec<_>>().join(",")
}

/// ` and 3 more`; nothing for 0.
pub(crate) fn and_more(left: usize) -> String {
    match left {
        0 => String::new(),
        left => format!(" and {left} more"),
    }
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
        assert_eq!(fold_names(["a1.x", "a1.y", "a2.x", "a2.y"]), "a[1-2].x,a[1-2].y");
    }
}
