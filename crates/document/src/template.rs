//! Text with `{{ expressions }}` taken apart. Nothing else in it is special: shell text is full of `{%` and `${#`.

/// A piece of such a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is; never empty.
    Text(&'a str),
    /// What stands between the braces, without the blanks around it.
    Expression {
        /// The expression.
        source: &'a str,
        /// Where it stands in the file, in bytes.
        at: usize,
    },
}

/// A `{{` that is never closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclosed {
    /// Where it stands in the file, in bytes.
    pub at: usize,
}

impl Unclosed {
    /// What is wrong.
    pub const MESSAGE: &str = "this `{{` is never closed";
    /// What to try.
    pub const HINT: &str = "write `{{ '{{' }}` for the two braces themselves";
}

/// Takes `text` apart, which the file has at byte `start` in the form `raw`, with its quotes and indentation.
pub fn split<'a>(text: &'a str, raw: &str, start: usize) -> Result<Vec<Piece<'a>>, Unclosed> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while let Some(open) = text[done..].find("{{").map(|at| done + at) {
        // Folding and escapes move text about but never a `{{`; the n-th of the value is the n-th of the file.
        let earlier = text[..open].matches("{{").count();
        let at = raw
            .match_indices("{{")
            .nth(earlier)
            .map_or(start, |(at, _)| start + at);
        let Some(length) = expression_length(&text[open + 2..], "}}") else {
            return Err(Unclosed { at });
        };
        if open > done {
            pieces.push(Piece::Text(&text[done..open]));
        }
        let inside = &text[open + 2..open + 2 + length];
        let blank = inside.len() - inside.trim_start().len();
        pieces.push(Piece::Expression {
            source: inside.trim(),
            at: at + 2 + blank,
        });
        done = open + 2 + length + 2;
    }
    if done < text.len() {
        pieces.push(Piece::Text(&text[done..]));
    }
    Ok(pieces)
}

/// How long the expression before `end`, `}}` or `%}`, is: to the first that is outside of quotes and inner braces.
pub(crate) fn expression_length(text: &str, end: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0usize;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => {
                characters.next();
            }
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, _) if depth == 0 && text[at..].starts_with(end) => return Some(at),
            (None, '{') => depth += 1,
            (None, '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_places_in_the_file() {
        let text = "a {{ b }}{{c}} d";
        let raw = "'a {{ b }}{{c}} d'";
        assert_eq!(
            split(text, raw, 10),
            Ok(vec![
                Piece::Text("a "),
                Piece::Expression { source: "b", at: 16 },
                Piece::Expression { source: "c", at: 22 },
                Piece::Text(" d"),
            ])
        );
        assert_eq!(split("x {{ '}}'", "x {{ '}}'", 0), Err(Unclosed { at: 2 }));
        assert_eq!(split("", "", 0), Ok(Vec::new()));
    }
}
