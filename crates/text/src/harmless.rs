//! Makes text from elsewhere safe to show in a terminal.
//!
//! A host, a program or a file can send anything: escape sequences that rename the terminal's window or move its
//! cursor, and invisible characters that change how a line reads. Text passes through here before people see it:
//!
//! - escape sequences are removed as a whole, with their parameters and texts;
//! - control characters are removed: C0, DEL and C1;
//! - invisible characters are removed: the bidirectional controls, and all others that Unicode ignores by default
//!   (`Default_Ignorable_Code_Point`), except for the variation selectors of emoji;
//! - in a [`block`], newlines and tabs stay. Text after a carriage return, as progress bars write it, starts a new line;
//!   so does text after U+2028 and U+2029;
//! - in a [`line`], each run of white space becomes one blank;
//! - in a [`word`], newlines and tabs are removed as well.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// Cleans several lines, such as the output of a command.
pub fn block(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| matches!(c, '\n' | '\t') || is_harmless(c)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_sequence(&mut characters),
            // The same introducers as single characters.
            '\u{9b}' => skip_until_final(&mut characters),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut characters),
            '\r' if characters.peek().is_some_and(|next| *next != '\n') => clean.push('\n'),
            '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\n' | '\t' => clean.push(character),
            other if is_harmless(other) => clean.push(other),
            _ => {}
        }
    }
    Cow::Owned(clean)
}

/// The last line of several that is not blank, cleaned.
pub fn last_line(text: &str) -> Option<String> {
    let clean = block(text);
    let last = clean.lines().rev().find(|line| !line.trim().is_empty());
    last.map(str::to_owned)
}

/// Like [`block`], for bytes; invalid UTF-8 becomes U+FFFD.
pub fn block_of_bytes(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    block(&text).into_owned()
}

/// Cleans one line, such as a remote message that is quoted in one of ours.
pub fn line(text: &str) -> String {
    line_up_to(text, usize::MAX)
}

/// The first `most` characters of a cleaned line.
pub fn line_up_to(text: &str, most: usize) -> String {
    let mut line = String::new();
    let mut left = most;
    for character in block(text).trim().chars() {
        let character = if character.is_whitespace() { ' ' } else { character };
        if character == ' ' && line.ends_with(' ') {
            continue;
        }
        if left == 0 {
            break;
        }
        left -= 1;
        line.push(character);
    }
    line.truncate(line.trim_end().len());
    line
}

/// Cleans a word inside a line of a machine-readable format: removed characters, even newlines, leave no blank.
pub fn word(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(block(text).replace(['\n', '\t'], ""))
}

/// Shortens a line to `most` characters, with an ellipsis where it was cut.
pub fn shortened(line: &str, most: usize) -> String {
    if line.chars().count() <= most {
        return line.to_owned();
    }
    line.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Whether a character is visible or a blank, and does not affect its neighbours.
pub fn is_harmless(character: char) -> bool {
    !(character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'))
}

/// Skips the rest of an escape sequence, after its ESC.
fn skip_sequence(characters: &mut Peekable<Chars<'_>>) {
    match characters.next() {
        Some('[') => skip_until_final(characters),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(characters),
        // Designations of character sets have one more character.
        Some('(' | ')' | '*' | '+' | '#' | '%' | ' ') => {
            characters.next();
        }
        _ => {}
    }
}

/// Skips the parameters of a control sequence and the character that ends it.
fn skip_until_final(characters: &mut Peekable<Chars<'_>>) {
    for character in characters.by_ref() {
        if ('\u{40}'..='\u{7e}').contains(&character) {
            return;
        }
    }
}

/// Skips the text of an operating system command, a device control and the like: up to BEL, ESC \ or U+009C.
fn skip_string(characters: &mut Peekable<Chars<'_>>) {
    while let Some(character) = characters.next() {
        match character {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                if characters.peek() == Some(&'\\') {
                    characters.next();
                }
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_do_nothing() {
        assert_eq!(
            block_of_bytes(b"\x1b[31mred\x1b[0m \x1b]0;title\x07x\x1b]2;t\x1b\\y\xff\x00\x07"),
            "red xy\u{fffd}"
        );
        assert_eq!(block("\u{9b}2Ja\u{202e}b\r\nc\rd"), "ab\nc\nd");
        assert_eq!(block("\u{1b}Pq#0\u{1b}\\ok\u{1b}(0\u{9d}0;t\u{9c}!"), "ok!");
        assert_eq!(block("a\u{200b}b\u{2028}c\u{feff}\u{e0041}"), "ab\nc");
        assert!(matches!(block("ünï\tcode ❤\u{fe0f}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line(" two\r\n\n lines\t\u{1b}[2Jhere "), "two lines here");
        assert_eq!(line_up_to("häuser am see", 7), "häuser");
        assert_eq!(line_up_to("häuser", 3), "häu");
        assert_eq!(shortened("häuser", 6), "häuser");
        assert_eq!(shortened("häuser", 4), "häu…");
        assert_eq!(word("/a b\r\n\u{1b}[2Jc"), "/a bc");
    }

    #[test]
    fn what_unicode_ignores_is_left_out() {
        let ignored =
            regex::Regex::new(r"^[\p{Cc}\p{DI}\p{Zl}\p{Zp}\u{fff9}-\u{fffb}--\u{fe00}-\u{fe0f}]$").unwrap();
        for character in '\0'..=char::MAX {
            let text = character.to_string();
            assert_eq!(is_harmless(character), !ignored.is_match(&text), "{character:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_harmful_is_left(text in r"(?s)([\x1b\u{9b}\r\n\t\[\]\\;0m\u{7}\u{202e}\u{200d}a-c ]|.){0,40}") {
            let clean = block(&text);
            proptest::prop_assert!(clean.chars().all(|c| matches!(c, '\n' | '\t') || is_harmless(c)), "{clean:?}");
            proptest::prop_assert_eq!(block(&clean), clean.as_ref());
            let line = line_up_to(&text, 20);
            proptest::prop_assert!(line.chars().all(is_harmless) && line.chars().count() <= 20, "{line:?}");
            proptest::prop_assert_eq!(super::line(&line), line.as_str());
        }

        #[test]
        fn plain_text_stays(text in "[a-zäöü€ \n\t]{0,40}") {
            proptest::prop_assert_eq!(block(&text), text.as_str());
        }
    }
}
