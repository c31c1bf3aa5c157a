//! Splits lines into words, quoted as in Python's `shlex` in POSIX mode, which Ansible uses for host lines.

use std::borrow::Cow;

use reveille_account::Fault;

/// A word without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) text: Cow<'a, str>,
    /// The byte of the line at which the word starts.
    pub(crate) offset: usize,
}

/// The words of a line.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    pub(crate) words: Vec<Word<'a>>,
    /// The place where a `#` inside a word cut it off, as it does in Ansible.
    pub(crate) cut_at: Option<usize>,
}

/// Splits `line` at blanks outside quotes; a `#` outside quotes ends the line.
pub(crate) fn split(line: &str) -> Result<Words<'_>, Fault> {
    if line.contains(['"', '\'', '\\', '#']) {
        split_quoted(line)
    } else {
        let words = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty());
        Ok(Words {
            words: words
                .map(|word| Word {
                    text: Cow::Borrowed(word),
                    offset: word.as_ptr() as usize - line.as_ptr() as usize,
                })
                .collect(),
            cut_at: None,
        })
    }
}

fn split_quoted(line: &str) -> Result<Words<'_>, Fault> {
    let mut found = Words::default();
    let mut word: Option<(usize, String)> = None;
    let mut characters = line.char_indices();
    while let Some((offset, character)) = characters.next() {
        match character {
            ' ' | '\t' | '\r' => finish(&mut word, &mut found),
            '#' => {
                if word.is_some() {
                    found.cut_at = Some(offset);
                }
                break;
            }
            '\\' => {
                let Some((_, escaped)) = characters.next() else {
                    return Err(Fault::new(
                        offset,
                        "a backslash at the end of the line escapes nothing",
                    ));
                };
                word.get_or_insert_with(|| (offset, String::new()))
                    .1
                    .push(escaped);
            }
            '"' | '\'' => {
                let text = &mut word.get_or_insert_with(|| (offset, String::new())).1;
                let mut next = || {
                    let open = || Fault::new(offset, format!("the quote {character} is never closed"));
                    characters.next().map(|(_, inside)| inside).ok_or_else(open)
                };
                loop {
                    match next()? {
                        inside if inside == character => break,
                        '\\' if character == '"' => match next()? {
                            escaped @ ('"' | '\\') => text.push(escaped),
                            other => text.extend(['\\', other]),
                        },
                        inside => text.push(inside),
                    }
                }
            }
            other => word.get_or_insert_with(|| (offset, String::new())).1.push(other),
        }
    }
    finish(&mut word, &mut found);
    Ok(found)
}

fn finish(word: &mut Option<(usize, String)>, found: &mut Words<'_>) {
    if let Some((offset, text)) = word.take() {
        found.words.push(Word {
            text: Cow::Owned(text),
            offset,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line)
            .expect("well quoted")
            .words
            .iter()
            .map(|word| word.text.to_string())
            .collect()
    }

    #[test]
    fn quotes_are_read_as_shlex_reads_them() {
        assert_eq!(
            texts(r#"web1 a="b c" d='e "f"'"#),
            ["web1", "a=b c", r#"d=e "f""#]
        );
        assert_eq!(texts(r#"web1 a="x\"y\n" b=\ z"#), ["web1", r#"a=x"y\n"#, "b= z"]);
        assert_eq!(texts("web1 a=1 # b=2"), ["web1", "a=1"]);
        assert_eq!(texts("web1 a='#1'"), ["web1", "a=#1"]);
        assert_eq!(texts("web1 ''"), ["web1", ""]);
    }

    #[test]
    fn a_hash_inside_a_word_cuts_it() {
        assert_eq!(split("web1 a=b#c").expect("well quoted").cut_at, Some(8));
        assert_eq!(split("web1 a=b #c").expect("well quoted").cut_at, None);
    }

    #[test]
    fn open_quotes_are_placed() {
        assert_eq!(split("web1 a='b").expect_err("open").offset, 7);
        assert_eq!(split("web1 a=b\\").expect_err("open").offset, 8);
    }
}
