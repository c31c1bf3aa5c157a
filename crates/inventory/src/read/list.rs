//! Host lists on the command line: `web[01-40],db1`.

use reveille_account::Line;

use super::builder::Builder;
use crate::model::UNGROUPED;
use crate::{InventoryError, names};

/// Whether an `-i` argument that is not a file is a list, which has a comma or a range.
pub(super) fn is_list(argument: &str) -> bool {
    argument.contains(',')
        || argument.split('[').skip(1).any(|after| {
            after
                .split_once(']')
                .is_some_and(|(inside, _)| inside.contains([':', '-']) && !names::is_ipv6(inside))
        })
}

/// Reads a list of hosts; `option` is the option that contained it.
pub(super) fn read(list: &str, option: &str, builder: &mut Builder) -> Result<(), InventoryError> {
    builder.begin(option);
    let before = builder.host_count();
    let line = Line {
        file: option,
        number: 1,
        text: list,
        hidden: false,
    };
    let mut failed = false;
    for part in split_list(list) {
        let entry = part.trim();
        if entry.is_empty() {
            continue;
        }
        let offset = entry.as_ptr() as usize - list.as_ptr() as usize;
        if let Err(fault) = builder.add_entry(entry, UNGROUPED, Vec::new(), &line, offset) {
            builder.mistake(line.error(fault.shifted(offset)));
            failed = true;
        }
    }
    if builder.host_count() == before && !failed && split_list(list).all(|part| part.trim().is_empty()) {
        return Err(InventoryError::NoHosts {
            name: list.to_owned(),
        });
    }
    Ok(())
}

/// Splits at commas outside brackets.
fn split_list(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    list.split(move |character| {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (character == ',' && depth == 0) || character == '\n'
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadOptions;

    #[test]
    fn lists_are_told_from_single_names() {
        for list in [
            "web1,",
            "a,b",
            "web[1:3]",
            "web[01-40].x",
            "u@web[1-2]:22",
            "[::1],",
        ] {
            assert!(is_list(list), "{list}");
        }
        for name in ["web1", "hosts.ini", "[::1]", "[::1]:22", "web[1"] {
            assert!(!is_list(name), "{name}");
        }
    }

    #[test]
    fn commas_in_brackets_do_not_split() {
        let parts: Vec<&str> = split_list("a[1,2],b, c").collect();
        assert_eq!(parts, ["a[1,2]", "b", " c"]);
    }

    #[test]
    fn faults_are_shown_in_the_list() {
        let mut builder = Builder::new(LoadOptions::default());
        read("web1, web[5:1]", "-w", &mut builder).expect("mistakes are collected");
        let error = builder.finish().expect_err("a bad range");
        assert!(error.to_string().contains("-w:1:11"), "{error}");
    }
}
