//! Mistakes in input files, shown where they are.

use std::fmt;

/// A mistake at a place in a file that somebody wrote: message, `file:line:column`, the line with a caret, a hint.
///
/// ```text
/// unknown step option `attemps`
///   --> shop.yaml:12:5
///    |
/// 12 |     attemps: 3
///    |     ^
///   hint: did you mean `attempts`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, without a full stop.
    pub message: String,
    /// The file's name as the user gave it.
    pub file: String,
    /// Line, from 1; 0 when the place is not known.
    pub line: usize,
    /// Column in characters, from 1; 0 when only the line is known.
    pub column: usize,
    /// The text of that line, without its end; empty when not known.
    pub excerpt: String,
    /// What to try.
    pub hint: Option<String>,
}

// === impl Mistake ===

impl Mistake {
    /// A mistake in `file`, whose whole text is `text`, at a line and column (both from 1).
    pub fn at(
        message: impl Into<String>,
        file: impl Into<String>,
        text: &str,
        line: usize,
        column: usize,
    ) -> Self {
        let excerpt = line
            .checked_sub(1)
            .and_then(|index| text.lines().nth(index))
            .unwrap_or_default();
        Self {
            message: message.into(),
            file: file.into(),
            line,
            column,
            excerpt: excerpt.chars().take(400).collect(),
            hint: None,
        }
    }

    /// A mistake in `file` as a whole.
    pub fn whole(message: impl Into<String>, file: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            file: file.into(),
            line: 0,
            column: 0,
            excerpt: String::new(),
            hint: None,
        }
    }

    /// The same mistake with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Of `candidates` the one most like `word`, if any is near enough to be what was meant.
    ///
    /// Nearness is the Damerau–Levenshtein distance (optimal string alignment), at most a third of the word.
    pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let limit = word.chars().count().max(3) / 3;
        candidates
            .into_iter()
            .map(|candidate| (distance(word, candidate), candidate))
            .filter(|(distance, _)| *distance <= limit)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, candidate)| candidate)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n  --> {}", self.message, self.file)?;
        if self.line > 0 {
            write!(formatter, ":{}", self.line)?;
            if self.column > 0 {
                write!(formatter, ":{}", self.column)?;
            }
            if !self.excerpt.is_empty() {
                let number = self.line.to_string();
                let gutter = " ".repeat(number.len());
                let shown: String = self
                    .excerpt
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                write!(formatter, "\n{gutter} |\n{number} | {shown}")?;
                if self.column > 0 {
                    write!(formatter, "\n{gutter} | {}^", " ".repeat(self.column - 1))?;
                }
            }
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistake {}

fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place() {
        let text = "steps:\n  - attemps: 3\n";
        let error = Mistake::at("unknown step option `attemps`", "load.yaml", text, 2, 5)
            .hint("did you mean `attempts`?");
        assert_eq!(
            error.to_string(),
            "unknown step option `attemps`\n  --> load.yaml:2:5\n  |\n2 |   - attemps: 3\n  |     ^\n  hint: did you mean `attempts`?"
        );
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(
            Mistake::nearest("attemps", ["attempts", "name"]),
            Some("attempts")
        );
        assert_eq!(Mistake::nearest("nmae", ["attempts", "name"]), Some("name"));
        assert_eq!(Mistake::nearest("colour", ["attempts", "name"]), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(message: String, text: String, line in 0usize..9, column in 0usize..9) {
            let _ = Mistake::at(message, "f", &text, line, column).to_string();
            let _ = Mistake::nearest(&text, ["attempts", "name"]);
        }
    }
}
