//! Which names mean something where; a name that nothing defines is a mistake before anything is sent.

use std::collections::BTreeSet;

use hyper::header::HeaderName;

use super::template::{Holds, Text};
use super::{Body, JsonPart, Scenario, Step};
use crate::mask::Secret;

/// Names that every user has: its number, class and iteration; the seconds since 1970; a new identifier.
pub(crate) const BUILT_IN: &[&str] = &["user", "now", "uuid"];

/// Requests that a step can make.
pub(crate) const METHODS: &[&str] = &["get", "post", "put", "patch", "delete", "head", "options"];

/// Whether a value with this name is likely a secret.
pub(crate) fn is_telling(name: &str) -> bool {
    const PARTS: &[&str] = &[
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "secret",
        "token",
        "apikey",
        "accesskey",
        "privatekey",
        "authkey",
        "credential",
        "authorization",
        "sessionid",
        "sessid",
        "csrf",
        "xsrf",
        "jwt",
    ];
    const WORDS: &[&str] = &[
        "pass",
        "pwd",
        "pw",
        "pin",
        "otp",
        "auth",
        "sid",
        "sig",
        "signature",
        "session",
        "cvv",
        "cvc",
    ];
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in name.chars() {
        // `apiKey`, `api_key`, `api-key` are the same words.
        if !c.is_ascii_alphanumeric() || (after_small && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        after_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        if let (true, Some(word)) = (c.is_ascii_alphanumeric(), words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    let joined = words.concat();
    joined == "key"
        || PARTS.iter().any(|part| joined.contains(part))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
}

impl Scenario {
    /// Whether the value with this name is never shown.
    pub(crate) fn is_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|secret| secret == name) || is_telling(name)
    }

    /// A value, as far as it is not to be seen.
    pub(crate) fn secret(&self, name: &str, value: &str) -> Option<Secret> {
        self.is_secret(name).then(|| Secret {
            name: name.to_owned(),
            value: value.to_owned(),
            // What the bootstrap brings is hidden for caution's sake, a count of seconds too.
            sure: self.named_secrets.contains(name) || is_telling(name),
        })
    }

    /// Secrets that are known before anything is sent: vars, and all that is taken from the environment for requests.
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

    /// For how long its request can be sent again as it is.
    pub(crate) fn holds(&self, scenario: &Scenario) -> Holds {
        let common = scenario.http.headers.iter().map(|(_, text)| text);
        self.texts()
            .into_iter()
            .chain(common)
            .map(|text| text.holds)
            .max()
            .unwrap_or(Holds::Always)
    }

    /// The headers that it is sent with, those of all requests before its own. The bootstrap's steps have those of them
    /// that need no value of the bootstrap or of a user as their own.
    pub(crate) fn all_headers<'s>(
        &'s self,
        common: &'s [(HeaderName, Text)],
    ) -> impl Iterator<Item = &'s (HeaderName, Text)> {
        let left_out = self.in_bootstrap;
        common.iter().filter(move |_| !left_out).chain(&self.headers)
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

#[cfg(test)]
mod tests {
    use super::is_telling;

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "password",
            "API-Key",
            "apiKey",
            "x-auth-token",
            "X-Api-Key",
            "REG_PASS",
            "csrfToken",
            "PHPSESSID",
            "key",
            "client_secret",
            "sig",
            "userPwd",
        ] {
            assert!(is_telling(name), "{name}");
        }
        for name in [
            "author",
            "sort_key",
            "compass",
            "monkey",
            "keyboard",
            "spine",
            "accept",
            "www-authenticate",
        ] {
            assert!(!is_telling(name), "{name}");
        }
    }
}
