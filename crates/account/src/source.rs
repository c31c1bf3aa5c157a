//! Mistakes in input files, with their place.

use std::fmt;

use reveille_text::harmless::is_harmless;

/// A mistake in a file that a user wrote: message, `file:line:column`, the line with a caret, a hint.
///
/// ```text
/// unknown step option `attemps`
///   --> site.yaml:12:5
///    |
/// 12 |     attemps: 3
///    |     ^
///   hint: did you mean `attempts`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// What is wrong, without a full stop.
    pub message: String,
    /// The file's name as the user gave it.
    pub file: String,
    /// Line, from 1; 0 if the place is unknown.
    pub line: usize,
    /// Column in characters, from 1; 0 if only the line is known.
    pub column: usize,
    /// The text of that line, without its line ending; empty if unknown.
    pub excerpt: String,
    /// What to try.
    pub hint: Option<String>,
}

/// The first mistakes of an input; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// The first mistakes, in the order of the text.
    pub shown: Vec<SourceError>,
    /// How many more there are.
    pub more: usize,
}

// === impl SourceError ===

impl SourceError {
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

    /// Returns the candidate nearest to `word`, if any is near enough to have been meant.
    ///
    /// The distance is the optimal string alignment distance of the first 64 characters, at most a third of the word's
    /// length.
    pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let start = |text: &'a str| text.char_indices().nth(64).map_or(text, |(at, _)| &text[..at]);
        let limit = word.chars().count().max(3) / 3;
        let word: String = word.chars().take(64).collect();
        candidates
            .into_iter()
            .map(|candidate| (strsim::osa_distance(&word, start(candidate)), candidate))
            .filter(|(distance, _)| *distance <= limit)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, candidate)| candidate)
    }
}

impl fmt::Display for SourceError {
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
                    .map(|c| if is_harmless(c) { c } else { ' ' })
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

impl std::error::Error for SourceError {}

// === impl Mistakes ===

impl From<SourceError> for Mistakes {
    fn from(mistake: SourceError) -> Self {
        Self {
            shown: vec![mistake],
            more: 0,
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.shown.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            write!(formatter, "{mistake}")?;
        }
        match self.more {
            0 => Ok(()),
            1 => formatter.write_str("\n\nand 1 more mistake"),
            more => write!(formatter, "\n\nand {more} more mistakes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place() {
        let text = "steps:\n  - attemps: 3\n";
        let error = SourceError::at("unknown step option `attemps`", "job.yaml", text, 2, 5)
            .hint("did you mean `attempts`?");
        assert_eq!(
            error.to_string(),
            "unknown step option `attemps`\n  --> job.yaml:2:5\n  |\n2 |   - attemps: 3\n  |     ^\n  hint: did you mean `attempts`?"
        );
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(
            SourceError::nearest("attemps", ["attempts", "name"]),
            Some("attempts")
        );
        assert_eq!(SourceError::nearest("nmae", ["attempts", "name"]), Some("name"));
        assert_eq!(SourceError::nearest("colour", ["attempts", "name"]), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(message: String, text: String, line in 0usize..9, column in 0usize..9) {
            let _ = SourceError::at(message, "f", &text, line, column).to_string();
            let _ = SourceError::nearest(&text, ["attempts", "name"]);
        }
    }
}
