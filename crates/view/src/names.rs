//! Folds lists of host names: `db1,web[01-40]`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::paint::cells;

/// A list that is too wide is not cut before this many ranges.
const LEAST_RANGES: usize = 20;

/// A prefix, a number with its padded width, and a suffix.
type Parts<'a> = (&'a str, Option<(u64, usize)>, &'a str);
/// A prefix, a suffix, and the width of the numbers between them.
type Key<'a> = (&'a str, &'a str, Option<usize>);

/// Names that differ in one number.
struct Series<'a> {
    prefix: &'a str,
    suffix: &'a str,
    /// The ranges, each with the number of names in it; none if there is no number.
    ranges: Vec<(String, usize)>,
}

/// All names, folded, in natural order.
pub fn fold<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let series = series(names);
    let all: Vec<String> = series.iter().map(|series| series.text(usize::MAX)).collect();
    all.join(",")
}

/// The names, folded. A list of more than `width` cells and 20 ranges is cut, and the number of the others is added.
pub fn fold_up_to<'a>(names: impl IntoIterator<Item = &'a str>, width: usize) -> String {
    let series = series(names);
    let total: usize = series.iter().map(Series::names).sum();
    let mut text = String::new();
    let mut shown = 0;
    let mut ranges = 0;
    for series in &series {
        let before = text.clone();
        let mut taken = 0;
        let mut fits = true;
        for count in 1..=series.ranges.len().max(1) {
            let comma = if before.is_empty() { "" } else { "," };
            let longer = format!("{before}{comma}{}", series.text(count));
            if ranges >= LEAST_RANGES && cells(&longer) > width {
                fits = false;
                break;
            }
            text = longer;
            taken = count;
            ranges += 1;
        }
        shown += series.names_of(taken);
        if !fits {
            break;
        }
    }
    text + &and_more(total - shown)
}

/// Breaks a folded list after its commas, into lines of at most `width` cells where that is possible.
pub fn wrap(list: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut add = |piece: &str| {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && cells(line) + cells(piece.trim_end()) > width {
            line.truncate(line.trim_end().len());
            lines.push(piece.trim_start().to_owned());
        } else {
            line.push_str(piece);
        }
    };
    let mut depth = 0;
    let of_names = list.split_inclusive(|c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        c == ' ' || (c == ',' && depth <= 0)
    });
    for piece in of_names {
        if cells(piece) <= width {
            add(piece);
        } else {
            piece.split_inclusive(',').for_each(&mut add);
        }
    }
    lines
}

/// ` and 3 more`; nothing for 0.
pub fn and_more(left: usize) -> String {
    match left {
        0 => String::new(),
        left => format!(" and {} more", reveille_text::grouped(left as u64)),
    }
}

// === impl Series ===

impl Series<'_> {
    /// The names of the first `count` ranges.
    fn text(&self, count: usize) -> String {
        let ranges: Vec<&str> = self
            .ranges
            .iter()
            .take(count)
            .map(|(range, _)| range.as_str())
            .collect();
        let (prefix, suffix) = (self.prefix, self.suffix);
        match ranges.as_slice() {
            [] => format!("{prefix}{suffix}"),
            [one] if self.names() == 1 => format!("{prefix}{one}{suffix}"),
            ranges => format!("{prefix}[{}]{suffix}", ranges.join(",")),
        }
    }

    fn names(&self) -> usize {
        self.names_of(usize::MAX)
    }

    /// The number of names in the first `count` ranges.
    fn names_of(&self, count: usize) -> usize {
        if self.ranges.is_empty() {
            return usize::from(count > 0);
        }
        self.ranges.iter().take(count).map(|(_, names)| names).sum()
    }
}

fn series<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Series<'a>> {
    let parts: Vec<Parts<'_>> = names.into_iter().map(split_number).collect();
    let padded: HashSet<Key<'_>> = parts
        .iter()
        .filter_map(|(prefix, number, suffix)| {
            Some((*prefix, *suffix, Some(number.filter(|it| it.1 > 0)?.1)))
        })
        .collect();
    let mut series: BTreeMap<Key<'_>, BTreeSet<u64>> = BTreeMap::new();
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
    series
        .into_iter()
        .map(|((prefix, suffix, width), numbers)| Series {
            prefix,
            suffix,
            ranges: width.map_or_else(Vec::new, |width| ranges(numbers, width)),
        })
        .collect()
}

/// Ascending numbers as `01-03` and `10`, each with the number of its members.
fn ranges(numbers: BTreeSet<u64>, width: usize) -> Vec<(String, usize)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.into_iter().map(|(first, last)| {
        let members = usize::try_from(last - first)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let text = if first == last {
            format!("{first:0width$}")
        } else {
            format!("{first:0width$}-{last:0width$}")
        };
        (text, members)
    });
    shown.collect()
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
        assert_eq!(fold(["web2", "web1", "web3", "db1", "web10"]), "db1,web[1-3,10]");
        assert_eq!(fold(["n01", "n02", "n1"]), "n1,n[01-02]");
        assert_eq!(fold(["n099", "n100", "n098"]), "n[098-100]");
        assert_eq!(fold(["a1.x", "a2.x", "a3.y"]), "a[1-2].x,a3.y");
        assert_eq!(fold(["10.0.0.1", "10.0.0.2", "::1"]), "10.0.0.[1-2],::1");
        assert_eq!(fold(["b", "a"]), "a,b");
        assert_eq!(fold(["a1.x", "a1.y", "a2.x", "a2.y"]), "a[1-2].x,a[1-2].y");
    }

    #[test]
    fn as_many_names_are_shown_as_fit() {
        let web: Vec<String> = (1..=40).map(|n| format!("web{n:02}")).collect();
        let fold_up_to = |names: &[String], width| fold_up_to(names.iter().map(String::as_str), width);
        assert_eq!(fold_up_to(&web, 10), "web[01-40]");
        let odd: Vec<String> = (0..40).map(|n| format!("n{}", 2 * n + 1)).collect();
        assert_eq!(fold_up_to(&odd, 500), fold(odd.iter().map(String::as_str)));
        let cut = fold_up_to(&odd, 40);
        assert_eq!(
            cut,
            "n[1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37,39] and 20 more"
        );
        let names: Vec<String> = ('a'..='z').map(String::from).collect();
        assert_eq!(
            fold_up_to(&names, 5),
            "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t and 6 more"
        );
        assert_eq!(fold_up_to(&["web7".to_owned()], 1), "web7");
    }

    #[test]
    fn lists_break_after_commas() {
        assert_eq!(
            wrap("db1,web[1-3,10] and 5 more", 12),
            ["db1,", "web[1-3,10]", "and 5 more"]
        );
        assert_eq!(wrap("a", 12), ["a"]);
        assert_eq!(wrap("web[1-3,10,12,14]", 12), ["web[1-3,10,", "12,14]"]);
    }

    proptest::proptest! {
        #[test]
        fn no_name_is_lost(numbers in proptest::collection::btree_set(0u32..400, 1..120), width in 1usize..200) {
            let names: Vec<String> = numbers.iter().map(|number| format!("h{number}")).collect();
            let text = fold_up_to(names.iter().map(String::as_str), width);
            let more: usize = text
                .split_once(" and ")
                .map_or(0, |(_, more)| more.trim_end_matches(" more").parse().unwrap());
            let list = text.split(" and ").next().unwrap();
            let inner = list.trim_start_matches(['h', '[']).trim_end_matches(']');
            let shown: usize = inner
                .split(',')
                .map(|range| match range.split_once('-') {
                    Some((first, last)) => last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1,
                    None => 1,
                })
                .sum();
            proptest::prop_assert_eq!(shown + more, names.len(), "{}", text);
        }
    }
}
