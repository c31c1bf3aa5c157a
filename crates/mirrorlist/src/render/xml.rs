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
            rest.find(|c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || c.is_control())
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
    }
}
