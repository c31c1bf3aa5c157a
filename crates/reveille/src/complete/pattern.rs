//! Where the last name of a list or a pattern begins.

/// The separators of a text with several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Commas: `-w web1,db1`.
    List,
    /// Commas and colons, with `&` and `!` before names: `-l web:!db1`. The colon of `@last:failed` is none.
    Pattern,
}

/// The byte at which the last name begins. Commas and colons in brackets separate nothing.
pub(super) fn last_name(text: &str, names: Names) -> usize {
    let (mut start, mut depth, mut is_at_start) = (0, 0_u32, true);
    let mut is_run = false;
    for (index, character) in text.char_indices() {
        let separates = match character {
            '[' => {
                depth += 1;
                false
            }
            ']' => {
                depth = depth.saturating_sub(1);
                false
            }
            ',' => depth == 0,
            // The first colon of a run's hosts stands before the outcome.
            ':' if names == Names::Pattern && is_run => {
                is_run = false;
                false
            }
            ':' => names == Names::Pattern && depth == 0,
            _ => false,
        };
        let is_prefix = names == Names::Pattern && is_at_start && matches!(character, '!' | '&');
        if separates || is_prefix {
            start = index + character.len_utf8();
            is_at_start = separates;
            is_run = false;
        } else {
            is_run |= index == start && character == '@';
            is_at_start = false;
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_patterns_are_split_at_the_last_name() {
        let last = |text: &'static str, names| &text[last_name(text, names)..];
        assert_eq!(last("web1,db", Names::List), "db");
        assert_eq!(last("web[01,0", Names::List), "web[01,0");
        assert_eq!(last("web1,", Names::List), "");
        for (text, name) in [
            ("web", "web"),
            ("web:db", "db"),
            ("web:!db", "db"),
            ("web:&", ""),
            ("!db", "db"),
            ("web,db:x", "x"),
            ("web[1:2]:d", "d"),
            ("@last:fa", "@last:fa"),
            ("web:@last:fa", "@last:fa"),
            ("@last:failed:w", "w"),
            ("@la", "@la"),
        ] {
            assert_eq!(last(text, Names::Pattern), name, "{text}");
        }
    }
}
