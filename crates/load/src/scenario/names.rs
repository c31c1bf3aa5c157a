//! Which names mean something where; a name that nothing defines is a mistake before anything is sent.

use std::collections::BTreeSet;

use hyper::header::HeaderName;

use super::template::{Holds, Text};
use super::{Body, JsonPart, Step};

/// Names that every user has: its number, class and iteration; the seconds since 1970; a new identifier.
pub(crate) const BUILT_IN: &[&str] = &["user", "now", "uuid"];

/// Whether a value with this name is likely a secret.
pub(crate) fn is_telling(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "api_key"]
        .iter()
        .any(|word| lower.contains(word))
}

impl Step {
    /// Every template of the step.
    pub(crate) fn texts(&self) -> Vec<&Text> {
        let mut texts = vec![&self.url];
        texts.extend(self.headers.iter().map(|(_, text)| text));
        texts.extend(self.basic.iter().flat_map(|(user, password)| [user, password]));
        match &self.body {
            Body::None | Body::File(_) => {}
            Body::Text(text) => texts.push(text),
            Body::Form(fields) => texts.extend(fields.iter().map(|(_, text)| text)),
            Body::Json(parts) => texts.extend(parts.iter().filter_map(|part| match part {
                JsonPart::Raw(_) => None,
                JsonPart::Value(text) => Some(text),
            })),
        }
        texts
    }

    /// The headers that it is sent with, those of all requests before its own. In the bootstrap there are no values of
    /// the bootstrap yet, and no header that needs one.
    pub(crate) fn all_headers<'s>(
        &'s self,
        common: &'s [(HeaderName, Text)],
    ) -> impl Iterator<Item = &'s (HeaderName, Text)> {
        let left_out = self.in_bootstrap;
        common
            .iter()
            .filter(move |(_, text)| !(left_out && text.holds > Holds::Always))
            .chain(&self.headers)
    }

    /// The names that its captures set.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &str> {
        self.captures.iter().map(|capture| capture.name.as_str())
    }
}

/// What scripts can set is only known when they run: names that are assigned to in them as `vars.NAME`.
pub(crate) fn set_by_script(script: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in script.match_indices("vars.") {
        let name: String = script[at + 5..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        if !name.is_empty() {
            names.insert(name);
        }
    }
    names
}
