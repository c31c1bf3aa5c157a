//! The parameters of a request.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode_str;

/// Longest path and parameters of a request, in bytes. An answer repeats a part of them for every mirror.
pub(crate) const LONGEST_TARGET: usize = 4096;

/// Most protocols that one request may name: every URL is compared with each of them.
pub(crate) const MOST_PROTOCOLS: usize = 16;

/// The parameters of a request. If one appears twice, the last one counts, as in MirrorManager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) repo: Option<Cow<'a, str>>,
    pub(crate) arch: Option<Cow<'a, str>>,
    pub(crate) path: Option<Cow<'a, str>>,
    pub(crate) country: Option<Cow<'a, str>>,
    pub(crate) ip: Option<Cow<'a, str>>,
    pub(crate) protocol: Option<Cow<'a, str>>,
    pub(crate) netblock: Option<Cow<'a, str>>,
    pub(crate) location: Option<Cow<'a, str>>,
    pub(crate) format: Option<Cow<'a, str>>,
    pub(crate) time: bool,
    pub(crate) redirect: bool,
}

// === impl Query ===

impl<'a> Query<'a> {
    /// Reads the part behind the question mark. `+` is a plus sign, because names of repositories and paths contain it.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut query = Self::default();
        for parameter in text.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = || Some(decode(value));
            match &*decode(name) {
                "repo" => query.repo = value(),
                "arch" => query.arch = value(),
                "path" => query.path = value(),
                "country" => query.country = value(),
                "ip" => query.ip = value(),
                "protocol" => query.protocol = value(),
                "netblock" => query.netblock = value(),
                "location" => query.location = value(),
                "format" => query.format = value(),
                "time" => query.time = true,
                "redirect" => query.redirect = true,
                // The Python server accepted `version` and `cc` without effect.
                _ => {}
            }
        }
        query
    }

    /// Whether the client's network and AS count.
    pub(crate) fn wants_networks(&self) -> bool {
        self.netblock.as_deref().is_none_or(|netblock| netblock == "1")
    }

    /// The requested countries, each once in any case of its letters, because each costs a pass over its mirrors.
    pub(crate) fn countries(&self) -> Vec<&str> {
        let mut countries = list(self.country.as_deref());
        if countries.len() > 1 {
            let mut seen = HashSet::new();
            countries.retain(|country| seen.insert(country.to_uppercase()));
        }
        countries
    }

    /// The requested protocols, each once.
    pub(crate) fn protocols(&self) -> Vec<&str> {
        list(self.protocol.as_deref())
    }
}

fn list(text: Option<&str>) -> Vec<&str> {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return Vec::new();
    }
    let mut list: Vec<&str> = text.split(',').collect();
    list.sort_unstable();
    list.dedup();
    list
}

fn decode(text: &str) -> Cow<'_, str> {
    if text.contains('%') {
        percent_decode_str(text).decode_utf8_lossy()
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_plus_stays() {
        let query = Query::parse("repo=epel%2D9&arch=x86_64&path=a+b%2Fc&time&country=us,DE,us,de&repo=f=44");
        assert_eq!(query.repo.as_deref(), Some("f=44"));
        assert_eq!(query.path.as_deref(), Some("a+b/c"));
        assert_eq!(query.countries(), ["DE", "us"]);
        assert!(query.time && !query.redirect && query.wants_networks());
        assert!(!Query::parse("netblock=0").wants_networks());
        assert!(Query::parse("country=").countries().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(text: String) {
            let query = Query::parse(&text);
            let _ = (query.countries(), query.protocols());
        }

        #[test]
        fn what_is_encoded_comes_back(text: String) {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
            let query = format!("path={encoded}");
            assert_eq!(Query::parse(&query).path.as_deref(), Some(text.as_str()));
        }
    }
}
