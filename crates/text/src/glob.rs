//! Wildcards in two languages that differ: a [`Wildcard`] follows ssh and sshd, a [`Glob`] follows shells and Ansible.
//! Both match a whole text or nothing, in time bounded by the product of the two lengths.

/// A pattern of ssh_config(5) and sshd(8): `*` matches any text, `?` any one byte, and everything else itself. There
/// are no sets and no escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wildcard<'a>(pub &'a str);

/// A pattern of shells, as fnmatch(3) and Python's `fnmatch` read it: `*` matches any text, `?` any one character,
/// `[a-z]` a character of a set and `[!a-z]` a character outside it. A bracket that is never closed matches itself.
/// There are no escapes, and slashes and leading dots are not special.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Same(char),
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

// === impl Wildcard ===

impl Wildcard<'_> {
    /// Whether the pattern contains a wildcard.
    pub fn is_wild(self) -> bool {
        self.0.contains(['*', '?'])
    }

    /// Whether the pattern matches the whole text.
    pub fn fits(self, text: &str) -> bool {
        fits(
            self.0.as_bytes(),
            text.as_bytes(),
            |piece| *piece == b'*',
            |piece, byte| matches!(piece, b'?') || piece == byte,
        )
    }
}

// === impl Glob ===

impl Glob {
    /// Parses a pattern; every text is a valid one.
    pub fn new(pattern: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            pieces.push(match character {
                '*' => Piece::Any,
                '?' => Piece::One,
                '[' => match set(rest) {
                    Some((set, after)) => {
                        rest = after;
                        set
                    }
                    None => Piece::Same('['),
                },
                other => Piece::Same(other),
            });
        }
        Self(pieces)
    }

    /// Whether the pattern matches the whole text.
    pub fn fits(&self, text: &str) -> bool {
        let is_any = |piece: &Piece| *piece == Piece::Any;
        if text.is_ascii() {
            return fits(&self.0, text.as_bytes(), is_any, |piece, byte| {
                piece.fits_one(char::from(*byte))
            });
        }
        let characters: Vec<char> = text.chars().collect();
        fits(&self.0, &characters, is_any, |piece, character| {
            piece.fits_one(*character)
        })
    }
}

impl Piece {
    fn fits_one(&self, character: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Same(same) => *same == character,
            Self::Set { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&character))
                    != *negated
            }
        }
    }
}

/// Parses the set before the first `]` of `text`, and returns it with the text that follows. A `]` in first place
/// belongs to the set.
fn set(text: &str) -> Option<(Piece, &str)> {
    let (negated, inner) = match text.strip_prefix('!') {
        Some(inner) => (true, inner),
        None => (false, text),
    };
    let first = inner.chars().next()?.len_utf8();
    let end = first + inner[first..].find(']')?;
    let characters: Vec<char> = inner[..end].chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(first) = characters.get(at) {
        if let (Some('-'), Some(last)) = (characters.get(at + 1), characters.get(at + 2)) {
            // A range whose end comes before its start is empty.
            ranges.push((*first, *last));
            at += 3;
        } else {
            ranges.push((*first, *first));
            at += 1;
        }
    }
    Some((Piece::Set { negated, ranges }, &inner[end + 1..]))
}

/// Whether a pattern matches a whole text. It is enough to backtrack to the last star: an earlier star can't match
/// more.
fn fits<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    fits_one: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(piece) if is_star(piece) => {
                at += 1;
                star = Some((at, from));
            }
            Some(piece) if fits_one(piece, &text[from]) => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((after, tried)) = star else { return false };
                at = after;
                from = tried + 1;
                star = Some((after, from));
            }
        }
    }
    pattern[at..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_fit() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("web*", "web1", true),
            ("web?", "web", false),
            ("*.example.org", "a.b.example.org", true),
            ("*a*b", "xaxbxab", true),
            ("a*", "b", false),
            ("", "", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(Wildcard(pattern).fits(text), expected, "{pattern} {text}");
            if !pattern.contains('[') {
                assert_eq!(Glob::new(pattern).fits(text), expected, "{pattern} {text}");
            }
        }
        // `ü` is two bytes and one character.
        assert!(!Wildcard("?").fits("ü") && Glob::new("?").fits("ü"));
        assert!(Wildcard("a*").is_wild() && !Wildcard("[a]").is_wild());
    }

    #[test]
    fn sets_are_those_of_shells() {
        for (pattern, text, expected) in [
            ("db[0-9]", "db7", true),
            ("db[0-9]", "dbx", false),
            ("db[!0-9]", "dbx", true),
            ("[]x]", "]", true),
            ("[!]x]", "]", false),
            ("[a-]", "-", true),
            ("[z-a]", "m", false),
            ("[!z-a]", "m", true),
            ("[ab", "[ab", true),
            ("[]", "[]", true),
            ("[^a]", "^", true),
            (r"[\d]", "d", true),
            ("[&&~]*", "~x", true),
        ] {
            assert_eq!(Glob::new(pattern).fits(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(2000);
        assert!(!Wildcard(&pattern).fits(&"a".repeat(1999)));
        assert!(!Glob::new(&format!("{pattern}b")).fits(&"a".repeat(5000)));
    }

    proptest::proptest! {
        #[test]
        fn they_agree_with_regular_expressions(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let expression = format!("^{}$", pattern.replace('*', ".*").replace('?', "."));
            let expected = regex::Regex::new(&expression).unwrap().is_match(&text);
            proptest::prop_assert_eq!(Wildcard(&pattern).fits(&text), expected);
            proptest::prop_assert_eq!(Glob::new(&pattern).fits(&text), expected);
        }

        #[test]
        fn no_pattern_panics(pattern in r"([*?\[\]!a-z-]|.){0,20}", text in ".{0,20}") {
            let _ = (Glob::new(&pattern).fits(&text), Wildcard(&pattern).fits(&text));
        }
    }
}
