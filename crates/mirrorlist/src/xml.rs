//! Text in XML.

use std::fmt::Write as _;

use reveille_text::Markup;

/// Appends text with XML's characters escaped; most texts have none.
pub(crate) fn push_escaped(text: &mut String, word: &str) {
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        text.push_str(word);
    } else {
        // Writing to a string does not fail.
        let _ = write!(text, "{}", Markup(word));
    }
}

/// Appends text to a comment. Two hyphens in a row would end the comment.
pub(crate) fn push_comment(text: &mut String, words: &str) {
    let mut before = '\0';
    for c in words.chars().filter(|c| !Markup::is_impossible(*c)) {
        if c == '-' && before == '-' {
            text.push(' ');
        }
        text.push(c);
        before = c;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_a_comment() {
        let mut text = String::new();
        push_comment(&mut text, "----\u{1}-a-\u{fffe}-\nb-");
        assert_eq!(text, "- - - - -a- -\nb-");
    }
}
