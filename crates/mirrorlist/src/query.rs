//! What a client asks for.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode_str;

/// Bytes of a request's path and parameters. An answer repeats a part of them for every mirror.
pub(crate) const LONGEST_TARGET: usize = 4096;

/// Protocols that one request may name: every URL is held against each of them.
pub(crate) const MOST_PROTOCOLS: usize = 16;

/// The parameters of a request. Of one that is there twice the last counts, as in MirrorManager.
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
    /// Reads what stands behind the question mark. `+` is itself: repositories and paths have it in their names.
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
                // `version` and `cc` were taken by the Python server and changed nothing.
                _ => {}
            }
        }
        query
    }

    /// Whether networks and AS of the client count.
    pub(crate) fn wants_networks(&self) -> bool {
        self.netblock.as_deref().is_none_or(|netblock| netblock == "1")
    }

    /// The countries that were asked for, each once, however it was written: the mirrors of each are gone through.
    pub(crate) fn countries(&self) -> Vec<&str> {
        let mut countries = list(self.country.as_deref());
        if countries.len() > 1 {
            let mut seen = HashSet::new();
            countries.retain(|country| seen.insert(country.to_uppercase()));
        }
        countries
    }

    /// The protocols that were asked for, each once.
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
    fn parameters_are_decoded_and_plus_is_itself() {
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
