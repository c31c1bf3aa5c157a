//! Masks secrets on the screens of `--plan` and `--once`, in every form that requests contain, before text is shortened.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Replaces a value whose name says that it is secret.
const MASKED: &str = "<masked>";

/// Secrets shorter than this, in bytes, are masked only as whole words, because they occur in many other words.
const SHORT: usize = 4;

/// A value to mask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Whether to mask it even if it is short.
    pub(crate) sure: bool,
}

/// All values to mask.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    secrets: BTreeSet<Secret>,
    /// The forms of the values, the longest first, each with its replacement.
    needles: Vec<(String, String)>,
}

// === impl Mask ===

impl Mask {
    pub(crate) fn add(&mut self, secrets: impl IntoIterator<Item = Secret>) {
        for secret in secrets {
            let (length, shown) = (secret.value.len(), format!("<{}>", secret.name));
            if length == 0 || (length < SHORT && !secret.sure) || !self.secrets.insert(secret.clone()) {
                continue;
            }
            for form in forms(&secret.value) {
                self.needles.push((form, shown.clone()));
            }
        }
        self.needles
            .sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.needles.dedup_by(|(a, _), (b, _)| a == b);
    }

    /// Masks the secrets in `text`.
    pub(crate) fn all(&self, text: &str) -> String {
        self.first(text, usize::MAX).0
    }

    /// The first characters of `text` with secrets masked, and whether there are more.
    pub(crate) fn first(&self, text: &str, most: usize) -> (String, bool) {
        let mut next: Vec<Option<usize>> = self
            .needles
            .iter()
            .map(|(needle, _)| find(text, needle, 0))
            .collect();
        let (mut masked, mut count, mut done) = (String::new(), 0, 0);
        while done < text.len() && count < most {
            for (at, (needle, _)) in next.iter_mut().zip(&self.needles) {
                if at.is_some_and(|at| at < done) {
                    *at = find(text, needle, done);
                }
            }
            let nearest = next
                .iter()
                .enumerate()
                .filter_map(|(index, at)| Some(((*at)?, index)))
                .min();
            let end = nearest.map_or(text.len(), |(at, _)| at);
            let before: String = text[done..end].chars().take(most - count).collect();
            count += before.chars().count();
            done += before.len();
            masked.push_str(&before);
            if done == end
                && count < most
                && let Some((at, index)) = nearest
            {
                let (needle, shown) = &self.needles[index];
                masked.push_str(shown);
                count += shown.chars().count();
                done = at + needle.len();
            }
        }
        (named(&masked), done < text.len())
    }
}

/// Finds `needle` in `text` from `from` on; a short one only as a whole word.
fn find(text: &str, needle: &str, from: usize) -> Option<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text[from..]
        .match_indices(needle)
        .map(|(at, _)| from + at)
        .find(|at| {
            needle.len() >= SHORT
                || !(text[..*at].ends_with(is_word) || text[at + needle.len()..].starts_with(is_word))
        })
}

/// A value as it is and in URLs, forms, JSON, HTML and Base64.
pub(crate) fn forms(value: &str) -> BTreeSet<String> {
    let percent = |plain: &[u8], lower: bool| -> String {
        value
            .bytes()
            .map(|byte| match byte {
                byte if byte.is_ascii_alphanumeric() || plain.contains(&byte) => char::from(byte).to_string(),
                byte if lower => format!("%{byte:02x}"),
                byte => format!("%{byte:02X}"),
            })
            .collect()
    };
    let mut forms = BTreeSet::from([value.to_owned(), value.trim().to_owned()]);
    for lower in [false, true] {
        // Components of URLs, queries of browsers, and forms and paths of this program.
        for plain in [&b"-_.~"[..], b"-_.!~*'()", b"-._*", b"-._~!$&'()*+,;=:@/?#[]%"] {
            let escaped = percent(plain, lower);
            forms.insert(escaped.replace("%20", "+"));
            forms.insert(escaped);
        }
    }
    let json = serde_json::Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let mut ascii = String::new();
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    forms.extend([json.replace('/', "\\/"), ascii, json]);
    let html = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    forms.extend([html.replace('\'', "&#39;"), html]);
    if value.len() >= SHORT {
        use data_encoding::{BASE64, BASE64URL_NOPAD};
        let whole = BASE64.encode(value.as_bytes());
        forms.extend([whole.trim_end_matches('=').to_owned(), whole]);
        forms.insert(BASE64URL_NOPAD.encode(value.as_bytes()));
    }
    forms.remove("");
    forms
}

/// Masks values whose names say that they are secret, in JSON, queries and forms. Templates are not changed.
pub(crate) fn named(text: &str) -> String {
    /// A string that was shortened has no end.
    static JSON: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r#"("((?:[^"\\]|\\.)*)"\s*:\s*)("(?:[^"\\<{]|\\.)(?:[^"\\]|\\.)*(?:"|$)|-?[0-9][0-9.eE+-]*)"#,
        )
        .expect("a constant that tests use")
    });
    static PAIR: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"((?:^|[?&;\s"'])([\w.\[\]-]+)=)[^&;\s"'<{][^&;\s"']*"#)
            .expect("a constant that tests use")
    });
    let text = JSON.replace_all(text, |found: &Captures<'_>| {
        let is_text = found[3].starts_with('"');
        if is_telling(&found[2]) && (is_text || !counts(&found[2])) {
            format!("{}\"{MASKED}\"", &found[1])
        } else {
            found[0].to_owned()
        }
    });
    let text = PAIR.replace_all(&text, |found: &Captures<'_>| {
        if is_telling(&found[2]) {
            format!("{}{MASKED}", &found[1])
        } else {
            found[0].to_owned()
        }
    });
    text.into_owned()
}

/// Whether a number with this name is a count, as `max_tokens` is.
pub(crate) fn counts(name: &str) -> bool {
    name.to_ascii_lowercase().contains("token")
}

/// Whether a value with this name is probably a secret.
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn mask(values: &[(&str, &str)]) -> Mask {
        let mut mask = Mask::default();
        mask.add(values.iter().map(|(name, value)| Secret {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            sure: true,
        }));
        mask
    }

    #[test]
    fn every_form_of_a_secret_is_masked() {
        let value = "pä ss/\"wörd\"&1";
        let mask = mask(&[("word", value)]);
        for form in [
            value,
            "p%C3%A4%20ss%2F%22w%C3%B6rd%22%261",
            "p%c3%a4+ss%2f%22w%c3%b6rd%22%261",
            "p%C3%A4%20ss/%22w%C3%B6rd%22&1",
            r#"pä ss/\"wörd\"&1"#,
            r#"pä ss\/\"wörd\"&1"#,
            r#"p\u00e4 ss/\"w\u00f6rd\"&1"#,
            "pä ss/&quot;wörd&quot;&amp;1",
            "cMOkIHNzLyJ3w7ZyZCImMQ==",
        ] {
            assert_eq!(mask.all(&format!("<<{form}>>")), "<<<word>>>", "{form}");
        }
    }

    #[test]
    fn secrets_are_masked_before_text_is_shortened() {
        let mask = mask(&[("long", "0123456789"), ("pin", "12")]);
        assert_eq!(mask.first("abc0123456789def", 6), ("abc<long>".to_owned(), true));
        assert_eq!(mask.first("abc0123456789def", 2), ("ab".to_owned(), true));
        assert_eq!(
            mask.first("é12 0123456789é", 400),
            ("é12 <long>é".to_owned(), false)
        );
        assert_eq!(mask.all("12 in 123"), "<pin> in 123");
    }

    #[test]
    fn values_with_secret_names_are_masked() {
        assert_eq!(
            named(r#"{"access_token": "abc", "max_tokens": 7, "pin": 7, "name": "x"} /?api-key=k&page=2"#),
            r#"{"access_token": "<masked>", "max_tokens": 7, "pin": "<masked>", "name": "x"} /?api-key=<masked>&page=2"#
        );
        let template = r#"{"password": "{{ env.X }}"} /?key={{ env.Y }}"#;
        assert_eq!(named(template), template);
        assert_eq!(named(r#"{"password": "cut of"#), r#"{"password": "<masked>""#);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}", value in ".{0,6}", most in 0usize..50) {
            mask(&[("v", &value)]).first(&text, most);
        }
    }
}
