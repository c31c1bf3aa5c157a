//! Splits lines as OpenSSH does: keywords at blanks or one `=`, arguments with quotes and backslashes.

use std::borrow::Cow;

/// What separates words.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Takes the next word of `rest`, up to a blank, a quote or one `=`; none at the end or if a quote is never closed.
///
/// OpenSSH reads keywords and the conditions of `Match` like this.
pub(crate) fn delimited<'a>(rest: &mut Option<&'a str>) -> Option<Cow<'a, str>> {
    let text = (*rest)?;
    let Some(at) = text.find([' ', '\t', '\r', '\n', '"', '=']) else {
        *rest = None;
        return Some(Cow::Borrowed(text));
    };
    let (before, from) = text.split_at(at);
    if let Some(quoted) = from.strip_prefix('"') {
        let Some((inside, after)) = quoted.split_once('"') else {
            *rest = None;
            return None;
        };
        *rest = Some(after.trim_start_matches(BLANKS));
        return Some(if before.is_empty() {
            Cow::Borrowed(inside)
        } else {
            Cow::Owned(format!("{before}{inside}"))
        });
    }
    let mut after = from[1..].trim_start_matches(BLANKS);
    if !from.starts_with('=')
        && let Some(value) = after.strip_prefix('=')
    {
        after = value.trim_start_matches(BLANKS);
    }
    *rest = Some(after);
    Some(Cow::Borrowed(before))
}

/// Splits the arguments of a line; a `#` at the start of a word ends them. None if a quote is never closed.
pub(crate) fn arguments(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.peek() {
        match first {
            ' ' | '\t' => {
                characters.next();
                continue;
            }
            '#' => break,
            _ => {}
        }
        let mut word = String::new();
        let mut quote: Option<char> = None;
        while let Some(character) = characters.next() {
            match character {
                '\\' => match characters.peek() {
                    Some(next @ ('\'' | '"' | '\\')) => {
                        word.push(*next);
                        characters.next();
                    }
                    Some(' ') if quote.is_none() => {
                        word.push(' ');
                        characters.next();
                    }
                    _ => word.push('\\'),
                },
                ' ' | '\t' if quote.is_none() => break,
                '"' | '\'' if quote.is_none() => quote = Some(character),
                _ if quote == Some(character) => quote = None,
                _ => word.push(character),
            }
        }
        if quote.is_some() {
            return None;
        }
        words.push(word);
    }
    Some(words)
}

/// Parses a time such as `90`, `1m30s` or `2h` to seconds.
pub fn seconds(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next();
        let factor = match unit.map(|unit| unit.to_ascii_lowercase()) {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(factor)?)?;
        rest = &rest[(end + unit.map_or(0, char::len_utf8))..];
    }
    // OpenSSH counts with 32 bits.
    (i32::try_from(total).is_ok()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_openssh_splits_them() {
        let split = |text: &str| arguments(text).unwrap_or_else(|| vec!["?".into()]);
        assert_eq!(split(r#"a "b c" d\ e 'f"g' # x"#), ["a", "b c", "d e", "f\"g"]);
        assert_eq!(split(r#"a"b c"d e#f"#), ["ab cd", "e#f"]);
        assert_eq!(split(r#""a\ b" \n"#), ["a\\ b", "\\n"]);
        assert_eq!(split("'a"), ["?"]);
        let mut rest = Some("Port = 22");
        assert_eq!(delimited(&mut rest).as_deref(), Some("Port"));
        assert_eq!(rest, Some("22"));
        let mut rest = Some("host=a user \"b c\" x");
        let mut words = Vec::new();
        while let Some(word) = delimited(&mut rest) {
            words.push(word.into_owned());
        }
        assert_eq!(words, ["host", "a", "user", "b c", "x"]);
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("90", Some(90)),
            ("1m30s", Some(90)),
            ("2H", Some(7200)),
            ("1w1d", Some(691_200)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("99999999999", None),
            ("1é", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
