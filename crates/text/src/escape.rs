//! Text inside XML and HTML.

use std::fmt;

/// Text escaped for XML and HTML, for attributes too. Characters that XML cannot contain are left out; newlines and
/// tabs stay.
#[derive(Debug, Clone, Copy)]
pub struct Markup<'a>(pub &'a str);

// === impl Markup ===

impl Markup<'_> {
    /// Whether a character is left out: XML 1.0 cannot contain it, or nobody wants it there. These are control
    /// characters, U+FFFE and U+FFFF.
    pub fn is_impossible(character: char) -> bool {
        (character.is_control() && !matches!(character, '\n' | '\t'))
            || matches!(character, '\u{fffe}' | '\u{ffff}')
    }
}

impl fmt::Display for Markup<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(place) =
            rest.find(|c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || Self::is_impossible(c))
        {
            let (plain, from) = rest.split_at(place);
            formatter.write_str(plain)?;
            let special = from.chars().next().unwrap_or_default();
            formatter.write_str(match special {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                // HTML 4 has no `&apos;`.
                '\'' => "&#39;",
                _ => "",
            })?;
            rest = &from[special.len_utf8()..];
        }
        formatter.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_is_escaped() {
        assert_eq!(
            Markup("a<b>&'\"c\u{1b}\u{85}\n\td").to_string(),
            "a&lt;b&gt;&amp;&#39;&quot;c\n\td"
        );
        assert_eq!(Markup("http://m.example/a").to_string(), "http://m.example/a");
        assert_eq!(Markup("a\u{ffff}b").to_string(), "ab");
    }

    proptest::proptest! {
        #[test]
        fn no_text_leaves_its_place(text: String) {
            let escaped = Markup(&text).to_string();
            proptest::prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            let back = escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            let back = back.replace("&#39;", "'").replace("&amp;", "&");
            proptest::prop_assert_eq!(back, text.replace(Markup::is_impossible, ""));
        }
    }
}
