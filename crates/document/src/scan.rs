//! Finds what MiniJinja does not report about an expression: the filters and tests that it uses, and the names inside
//! slices.

use std::borrow::Cow;

/// A filter or a test in an expression, and its offset in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use<'a> {
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) at: usize,
}

/// The filters and tests that an expression, or the inside of a block, uses.
pub(crate) fn uses(source: &str) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    let mut quote = None;
    let mut before = ' ';
    let mut characters = source.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, '|') => uses.extend(named("filter", source, at + 1)),
            (None, 'i') if !is_word(before) && before != '.' => {
                let rest = source[at..].strip_prefix("is").unwrap_or_default();
                if rest.starts_with(char::is_whitespace) {
                    let trimmed = rest.trim_start();
                    let negated = trimmed
                        .strip_prefix("not")
                        .filter(|rest| !rest.starts_with(is_word));
                    let test = negated.unwrap_or(trimmed);
                    uses.extend(named("test", source, source.len() - test.len()));
                }
            }
            _ => {}
        }
        before = character;
    }
    uses
}

/// The name that starts at byte `from`, or after the blanks there.
fn named<'a>(kind: &'static str, source: &'a str, from: usize) -> Option<Use<'a>> {
    let rest = source[from..].trim_start();
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    (end > 0).then(|| Use {
        kind,
        name: &rest[..end],
        at: source.len() - rest.len(),
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Replaces slices with lists: `a[b:]` becomes `a[[b,0]]`. MiniJinja does not report the names inside a slice; it does
/// report those inside a list.
pub(crate) fn without_slices(source: &str) -> Cow<'_, str> {
    if !(source.contains('[') && source.contains(':')) {
        return Cow::Borrowed(source);
    }
    // The open brackets, each with the text inside so far and the offsets of its colons.
    let mut open: Vec<(char, String, Vec<usize>)> = vec![(' ', String::new(), Vec::new())];
    let mut quote = None;
    let mut characters = source.chars();
    while let Some(character) = characters.next() {
        let Some((bracket, text, colons)) = open.last_mut() else {
            return Cow::Borrowed(source);
        };
        match (quote, character) {
            (Some(_), '\\') => {
                text.push(character);
                text.extend(characters.next());
                continue;
            }
            (Some(end), _) if end == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, '[' | '(' | '{') => {
                open.push((character, String::new(), Vec::new()));
                continue;
            }
            (None, ':') if *bracket == '[' => colons.push(text.len()),
            (None, ']' | ')' | '}') => {
                let Some((bracket, inside, colons)) = open.pop() else {
                    return Cow::Borrowed(source);
                };
                let Some((_, outer, _)) = open.last_mut() else {
                    return Cow::Borrowed(source);
                };
                outer.push(bracket);
                if colons.is_empty() {
                    outer.push_str(&inside);
                } else {
                    outer.push('[');
                    let starts = std::iter::once(0).chain(colons.iter().map(|at| at + 1));
                    let ends = colons.iter().copied().chain([inside.len()]);
                    for (index, (start, end)) in starts.zip(ends).enumerate() {
                        let part = inside[start..end].trim();
                        outer.push_str(if index == 0 { "" } else { "," });
                        outer.push_str(if part.is_empty() { "0" } else { part });
                    }
                    outer.push(']');
                }
                outer.push(character);
                continue;
            }
            _ => {}
        }
        text.push(character);
    }
    match open.pop() {
        Some((_, text, _)) if open.is_empty() => Cow::Owned(text),
        _ => Cow::Borrowed(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_tests_are_found() {
        let names = |source| {
            let uses: Vec<(&str, &str)> = uses(source).iter().map(|used| (used.kind, used.name)).collect();
            uses
        };
        assert_eq!(
            names("a | upper | join(b|d('|x is y')) ~ 'x | y'"),
            [("filter", "upper"), ("filter", "join"), ("filter", "d")]
        );
        assert_eq!(
            names("a is defined and b is not none and this.is x and is_ok"),
            [("test", "defined"), ("test", "none")]
        );
        assert_eq!(uses("a |  up")[0].at, 5);
    }

    #[test]
    fn slices_become_lists() {
        for (source, expected) in [
            ("a[b:]", "a[[b,0]]"),
            ("a[:c]", "a[[0,c]]"),
            ("a[b:c:d] ~ e[0]", "a[[b,c,d]] ~ e[0]"),
            ("x[y[z:][0]:]", "x[[y[[z,0]][0],0]]"),
            ("[{'a': b}][0]", "[{'a': b}][0]"),
            ("a['x:y']", "a['x:y']"),
            ("a[", "a["),
            ("a]:[", "a]:["),
        ] {
            assert_eq!(without_slices(source), expected, "{source}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"[\[\]{}()'"\\ a-c.|:is é]{0,30}"#) {
            let _ = uses(&text);
            let _ = without_slices(&text);
        }
    }
}
