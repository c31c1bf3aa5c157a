//! Text inside XML.

use std::fmt;
use std::fmt::Write as _;

/// Text with the characters escaped that mean something in XML; those that it can't hold are left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

// === impl Escaped ===

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(place) =
            rest.find(|c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || is_impossible(c))
        {
            let (plain, from) = rest.split_at(place);
            formatter.write_str(plain)?;
            let special = from.chars().next().unwrap_or_default();
            formatter.write_str(match special {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&apos;",
                _ => "",
            })?;
            rest = &from[special.len_utf8()..];
        }
        formatter.write_str(rest)
    }
}

/// Appends text with its characters escaped; most of it has none.
pub(crate) fn push_escaped(text: &mut String, word: &str) {
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        text.push_str(word);
    } else {
        // Writing to a string does not fail.
        let _ = write!(text, "{}", Escaped(word));
    }
}

/// Appends text to a comment, which two hyphens in a row would end.
pub(crate) fn push_comment(text: &mut String, words: &str) {
    let mut before = '\0';
    for c in words.chars().filter(|c| *c == '\n' || !is_impossible(*c)) {
        if c == '-' && before == '-' {
            text.push(' ');
        }
        text.push(c);
        before = c;
    }
}

/// What XML can't hold, or holds only as something else.
fn is_impossible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_is_escaped() {
        assert_eq!(
            Escaped("a<b>&'\"c\u{1b}\nd").to_string(),
            "a&lt;b&gt;&amp;&apos;&quot;cd"
        );
        assert_eq!(Escaped("http://m.example/a").to_string(), "http://m.example/a");
        assert_eq!(Escaped("a\u{ffff}b").to_string(), "ab");
    }

    #[test]
    fn no_words_end_a_comment() {
        let mut text = String::new();
        push_comment(&mut text, "----\u{1}-a-\u{fffe}-\nb-");
        assert_eq!(text, "- - - - -a- -\nb-");
    }
}
