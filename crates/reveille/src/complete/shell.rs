//! The shells: how each hands over the words, and how it wants the answer.

use std::ffi::OsString;

use super::values::GOES_ON;

/// A shell with a script of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The words of a command line up to the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The words before the one that is completed, the program's name first.
    pub(super) before: Vec<OsString>,
    /// The word that is completed, up to the cursor, without quotes.
    pub(super) current: String,
    /// The bytes at its start that the shell keeps and does not want again.
    kept: usize,
    /// The quote that is open at the cursor.
    quote: Option<char>,
}

// === impl Shell ===

impl Shell {
    /// The shell of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "bash" => Some(Self::Bash),
            "zsh" => Some(Self::Zsh),
            "fish" => Some(Self::Fish),
            _ => None,
        }
    }

    /// The script that asks.
    pub(super) fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("reveille.bash"),
            Self::Zsh => include_str!("reveille.zsh"),
            Self::Fish => include_str!("reveille.fish"),
        }
    }

    /// Reads the script's arguments. Bash gives the line, the cursor's place and the characters at which it breaks words;
    /// the others give words, the last one as it was typed.
    pub(super) fn read(self, arguments: &[OsString]) -> Option<Asked> {
        if self == Self::Bash {
            let [line, place, breaks] = arguments else {
                return None;
            };
            let line = line.to_str()?;
            let place: usize = place.to_str()?.parse().ok()?;
            return split(line.get(..place)?, breaks.to_str()?);
        }
        let (current, before) = arguments.split_last()?;
        if before.is_empty() {
            return None;
        }
        let mut asked = split(&format!("- {}", current.to_str()?), "")?;
        asked.before = before.to_vec();
        Some(asked)
    }

    /// Writes candidates, each with its help, as the script reads them: a line each.
    pub(super) fn write(self, asked: &Asked, candidates: &[(String, String)]) -> String {
        let mut text = String::new();
        for (value, help) in candidates {
            let goes_on = value.ends_with(['/', '=', ':', ',', '@']) || help == GOES_ON;
            match self {
                Self::Bash => {
                    text += &quoted(value.get(asked.kept..).unwrap_or_default(), asked.quote);
                    if !goes_on && asked.quote.is_none() {
                        text.push(' ');
                    }
                }
                Self::Zsh => {
                    text += if goes_on { "open\t" } else { "whole\t" };
                    text += &value.replace('\\', "\\\\").replace(':', "\\:");
                    if !help.is_empty() {
                        text.push(':');
                        text += &help.replace('\\', "\\\\");
                    }
                }
                Self::Fish => {
                    text += value;
                    if !help.is_empty() {
                        text.push('\t');
                        text += help;
                    }
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Splits the text before the cursor into words as shells do; `breaks` are the characters after which bash begins another
/// word for completions. None if there is no word to complete.
fn split(text: &str, breaks: &str) -> Option<Asked> {
    let mut before = Vec::new();
    let mut word = String::new();
    let (mut has_begun, mut kept, mut quote) = (false, 0, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            (mark, Some(open)) if mark == open => quote = None,
            ('\\', Some('"')) => {
                let next = characters.next().unwrap_or('\\');
                if !matches!(next, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(next);
            }
            (inner, Some(_)) => word.push(inner),
            ('\\', None) => {
                has_begun = true;
                word.extend(characters.next());
            }
            (mark @ ('\'' | '"'), None) => {
                has_begun = true;
                quote = Some(mark);
                if !breaks.is_empty() {
                    kept = word.len();
                }
            }
            (blank, None) if blank.is_whitespace() => {
                if has_begun {
                    before.push(OsString::from(std::mem::take(&mut word)));
                    (has_begun, kept) = (false, 0);
                }
            }
            (plain, None) => {
                has_begun = true;
                word.push(plain);
                if breaks.contains(plain) {
                    kept = word.len();
                }
            }
        }
    }
    // A quote that is closed again belongs to the word; bash then wants the whole of it.
    (!before.is_empty()).then_some(Asked {
        before,
        current: word,
        kept,
        quote,
    })
}

/// A value as it stands in a line of bash, outside of quotes or after the open one.
fn quoted(value: &str, quote: Option<char>) -> String {
    let mut text = String::new();
    for (index, character) in value.chars().enumerate() {
        match quote {
            Some('\'') if character == '\'' => text += "'\\''",
            Some('"') if matches!(character, '"' | '\\' | '$' | '`') => text.extend(['\\', character]),
            Some(_) => text.push(character),
            None => {
                let is_plain = character.is_alphanumeric()
                    || "_-./:=@%+,".contains(character)
                    || (character == '~' && index == 0 && value.starts_with("~/"));
                if !is_plain {
                    text.push('\\');
                }
                text.push(character);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKS: &str = " \t\n\"'@><=;|&(:";

    fn bash(line: &str) -> Option<Asked> {
        let arguments = [line, &line.len().to_string(), BREAKS].map(OsString::from);
        Shell::Bash.read(&arguments)
    }

    fn answer(line: &str, value: &str) -> String {
        let candidates = [(value.to_owned(), "help".to_owned())];
        Shell::Bash.write(&bash(line).unwrap(), &candidates)
    }

    #[test]
    fn bash_gets_only_what_follows_the_character_at_which_it_broke_the_word() {
        let asked = bash("reveille exec -l web:d").unwrap();
        assert_eq!(asked.before, ["reveille", "exec", "-l"].map(OsString::from));
        assert_eq!(asked.current, "web:d");
        assert_eq!(answer("reveille exec -l web:d", "web:db1"), "db1 \n");
        assert_eq!(answer("reveille exec --limit=web:d", "--limit=web:db1"), "db1 \n");
        assert_eq!(answer("reveille exec -l 'web:d", "web:db1"), "web:db1\n");
        assert_eq!(answer("reveille exec -l ", "@last:"), "@last:\n");
    }

    #[test]
    fn what_a_shell_would_read_otherwise_is_escaped() {
        assert_eq!(
            answer("reveille run --start-at in", "in two $(x)"),
            "in\\ two\\ \\$\\(x\\) \n"
        );
        assert_eq!(answer("reveille run --start-at in\\ t", "in two"), "in\\ two \n");
        assert_eq!(
            answer("reveille run --start-at \"in", "in \"$two\""),
            "in \\\"\\$two\\\"\n"
        );
        assert_eq!(
            answer("reveille run --start-at 'in", "in two's"),
            "in two'\\''s\n"
        );
        assert_eq!(answer("reveille run ", "web[1]*~"), "web\\[1\\]\\*\\~ \n");
    }

    #[test]
    fn the_other_shells_give_words() {
        let words = ["reveille", "exec", "-l", "'web d"].map(OsString::from);
        let asked = Shell::Fish.read(&words).unwrap();
        assert_eq!((asked.before.len(), asked.current.as_str()), (3, "web d"));
        let candidates = [
            ("a:b".to_owned(), "x: y".to_owned()),
            ("c=".to_owned(), String::new()),
        ];
        assert_eq!(
            Shell::Zsh.write(&asked, &candidates),
            "whole\ta\\:b:x: y\nopen\tc=\n"
        );
        assert_eq!(Shell::Fish.write(&asked, &candidates), "a:b\tx: y\nc=\n");
        assert_eq!(Shell::Fish.read(&[]), None);
        assert_eq!(Shell::Bash.read(&words), None);
    }
}
