//! Patterns of `Host` and `Match`: `*` matches any text, `?` any character, `!` excludes.

use reveille_text::glob::Wildcard;

/// A pattern of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    pub(crate) negated: bool,
    pub(crate) text: Box<str>,
    /// The text contains a wildcard.
    pub(crate) wild: bool,
}

// === impl HostPattern ===

impl HostPattern {
    pub(crate) fn new(text: &str) -> Self {
        let (negated, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        Self {
            negated,
            wild: Wildcard(text).is_wild(),
            text: text.into(),
        }
    }

    /// Parses a comma-separated list.
    pub(crate) fn list(text: &str, lower: bool) -> Vec<Self> {
        if lower {
            return Self::list(&text.to_ascii_lowercase(), false);
        }
        text.split(',').map(Self::new).collect()
    }

    fn fits(&self, text: &str) -> bool {
        if self.wild {
            Wildcard(&self.text).fits(text)
        } else {
            &*self.text == text
        }
    }
}

/// Whether a pattern matches and no negated one does.
pub(crate) fn any(patterns: &[HostPattern], text: &str) -> bool {
    let mut fitting = patterns.iter().filter(|pattern| pattern.fits(text)).peekable();
    fitting.peek().is_some() && fitting.all(|pattern| !pattern.negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negated_patterns_take_away() {
        assert!(any(&HostPattern::list("web*,!web2", false), "web1"));
        assert!(!any(&HostPattern::list("web*,!web2", false), "web2"));
        assert!(!any(&HostPattern::list("!web2", false), "web1"));
    }
}
