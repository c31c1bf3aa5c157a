//! Splits a command line, as far as the fake shell needs it.

/// A command in a line, and the condition to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) after: After,
    pub(crate) words: Vec<String>,
}

/// The separator before a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// `;`, a new line, or nothing.
    Anything,
    /// `&&`.
    Success,
    /// `||`.
    Failure,
}

/// The most words of a line; a longer line is cut, because it may come from anybody.
const MOST_WORDS: usize = 10_000;

/// Splits at blanks and `;`, `&&`, `||`, with quotes and backslashes, but without expansion.
pub(crate) fn split(line: &str) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut after = After::Anything;
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut total = 0;
    let mut characters = line.chars().peekable();
    let mut end = |after: &mut After, next: After, words: &mut Vec<String>, word: &mut Option<String>| {
        words.extend(word.take());
        if !words.is_empty() {
            commands.push(Command {
                after: *after,
                words: std::mem::take(words),
            });
        }
        *after = next;
    };
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(characters.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(inner) = characters.next() {
                    match inner {
                        '"' => break,
                        '\\' => match characters.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                            Some(other) => word.extend(['\\', other]),
                            None => word.push('\\'),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            '\n' | ';' => end(&mut after, After::Anything, &mut words, &mut word),
            '&' if characters.next_if_eq(&'&').is_some() => {
                end(&mut after, After::Success, &mut words, &mut word);
            }
            '|' if characters.next_if_eq(&'|').is_some() => {
                end(&mut after, After::Failure, &mut words, &mut word);
            }
            blank if blank.is_whitespace() => {
                words.extend(word.take());
                total += 1;
                if total > MOST_WORDS {
                    break;
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    end(&mut after, After::Anything, &mut words, &mut word);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<String>> {
        split(line).into_iter().map(|command| command.words).collect()
    }

    #[test]
    fn quotes_and_operators() {
        assert_eq!(
            words("echo 'a  b' \"c \\\" d\" e\\ f"),
            [["echo", "a  b", "c \" d", "e f"]]
        );
        assert_eq!(
            words("true; echo x&&false||exit 3\n:"),
            [
                vec!["true"],
                vec!["echo", "x"],
                vec!["false"],
                vec!["exit", "3"],
                vec![":"]
            ]
        );
        assert_eq!(split("a || b")[1].after, After::Failure);
        assert_eq!(words("echo ''"), [["echo", ""]]);
        assert!(words(" ;; \n").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line: String) {
            let _ = split(&line);
        }
    }
}
