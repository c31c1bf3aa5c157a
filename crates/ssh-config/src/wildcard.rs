//! Patterns of `Host` and `Match`: `*` is any text, `?` any character, `!` takes away.

/// A pattern of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    pub(crate) negated: bool,
    pub(crate) text: Box<str>,
    /// It has a wildcard.
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
            wild: text.contains(['*', '?']),
            text: text.into(),
        }
    }

    /// The patterns of a list with commas.
    pub(crate) fn list(text: &str, lower: bool) -> Vec<Self> {
        text.split(',')
            .map(|part| {
                if lower {
                    Self::new(&part.to_ascii_lowercase())
                } else {
                    Self::new(part)
                }
            })
            .collect()
    }

    fn fits(&self, text: &str) -> bool {
        if self.wild {
            fits(self.text.as_bytes(), text.as_bytes())
        } else {
            &*self.text == text
        }
    }
}

/// Whether any pattern fits and no negated one does.
pub(crate) fn any(patterns: &[HostPattern], text: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        if pattern.fits(text) {
            if pattern.negated {
                return false;
            }
            found = true;
        }
    }
    found
}

/// Whether the pattern fits the whole text. Goes back to the last `*` only, so that it takes no more than their product.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_fit() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("web*", "web1", true),
            ("web?", "web", false),
            ("*.example.org", "a.b.example.org", true),
            ("*a*b", "xaxbxab", true),
            ("a*", "b", false),
            ("", "", true),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(any(&HostPattern::list("web*,!web2", false), "web1"));
        assert!(!any(&HostPattern::list("web*,!web2", false), "web2"));
        assert!(!any(&HostPattern::list("!web2", false), "web1"));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_regular_expression(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let expression = format!("^{}$", pattern.replace('*', ".*").replace('?', "."));
            let regex = regex::Regex::new(&expression).expect("good");
            proptest::prop_assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), regex.is_match(&text));
        }
    }
}
