//! Names: those that are built in, and those that a scenario uses and sets.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use hyper::header::HeaderName;
use regex::Regex;

use super::model::{Body, JsonPart, Scenario, Step};
use super::template::{Holds, Text};
use crate::mask::{Secret, is_telling};

/// Names that every template can use: the user's number, class and iteration; the seconds since 1970; a new UUID.
pub(crate) const BUILT_IN: &[&str] = &["user", "now", "uuid"];

/// Methods of requests, as keys of a step.
pub(crate) const METHODS: &[&str] = &["get", "post", "put", "patch", "delete", "head", "options"];

impl Scenario {
    /// Whether the value with this name is masked.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|secret| secret == name) || is_telling(name)
    }

    /// The value as a secret, if it is one.
    pub(crate) fn secret(&self, name: &str, value: &str) -> Option<Secret> {
        self.is_secret(name).then(|| Secret {
            name: name.to_owned(),
            value: value.to_owned(),
            // Everything that the bootstrap captures is masked, even a number of seconds.
            sure: self.named_secrets.contains(name) || is_telling(name),
        })
    }

    /// Secrets that are known before anything is sent: variables, and what requests take from the environment.
    pub(crate) fn known_secrets(&self) -> Vec<Secret> {
        let vars = self
            .constants
            .iter()
            .filter_map(|(name, value)| self.secret(name, value));
        let environment = self.environment.iter().map(|(name, value)| {
            let name = format!("env.{name}");
            Secret {
                sure: self.is_secret(&name),
                name,
                value: value.clone(),
            }
        });
        vars.chain(environment).collect()
    }
}

impl Step {
    /// All templates of the step.
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

    /// How long its request stays the same.
    pub(crate) fn holds(&self, scenario: &Scenario) -> Holds {
        let common = scenario.http.headers.iter().map(|(_, text)| text);
        self.texts()
            .into_iter()
            .chain(common)
            .map(|text| text.holds)
            .max()
            .unwrap_or(Holds::Always)
    }

    /// The headers of its request: those of all requests, then its own. The headers of a bootstrap's step already include
    /// those of all requests that use no value of the bootstrap or of a user.
    pub(crate) fn all_headers<'s>(
        &'s self,
        common: &'s [(HeaderName, Text)],
    ) -> impl Iterator<Item = &'s (HeaderName, Text)> {
        let left_out = self.in_bootstrap;
        common.iter().filter(move |_| !left_out).chain(&self.headers)
    }

    /// The names that it captures.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &str> {
        self.captures.iter().map(|capture| capture.name.as_str())
    }
}

/// The names that a script may set: all that it contains as `vars.NAME`.
pub(crate) fn set_by_script(script: &str) -> BTreeSet<String> {
    static VARS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"vars\.(\w+)").expect("a constant that tests use"));
    VARS.captures_iter(script)
        .map(|found| found[1].to_owned())
        .collect()
}
