//! Targets of requests: an origin, and a path at it.

use std::fmt;
use std::rc::Rc;

use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) origin: Rc<Origin>,
    pub(crate) path: PathAndQuery,
}

/// Scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    /// In lower case, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the `Host` header has it.
    pub(crate) authority: String,
}

// === impl Target ===

impl Target {
    /// Whether `url` begins with a scheme. `/go?to=http://elsewhere` is a path.
    pub(crate) fn is_absolute(url: &str) -> bool {
        let Some((scheme, _)) = url.split_once("://") else {
            return false;
        };
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    }

    /// Parses an absolute `http` or `https` URL; escapes blanks and characters outside of ASCII. The error omits the URL,
    /// which may contain secrets.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = str::to_owned;
        let url = url.split('#').next().unwrap_or_default();
        let escaped = utf8_percent_encode(url, &ESCAPED).to_string();
        let uri: Uri = escaped
            .parse()
            .map_err(|_| wrong("it is incomplete or has invalid characters"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(wrong(&format!("only http and https are supported, not {other}"))),
            None => return Err(wrong("it does not begin with `http://` or `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("credentials belong in `auth: {basic: …}`, not in the URL"));
        }
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let after = &authority.as_str()[uri.host().unwrap_or_default().len()..];
        let port = match (after.strip_prefix(':'), tls) {
            (Some(port), _) => port
                .parse()
                .map_err(|_| wrong("the port is not a number below 65536"))?,
            (None, true) => 443,
            (None, false) => 80,
        };
        Ok(Self {
            origin: Rc::new(Origin {
                tls,
                host,
                port,
                authority: authority.as_str().to_ascii_lowercase(),
            }),
            path: uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    /// The target of a redirect to `location`.
    pub(crate) fn join(&self, location: &str) -> Result<Self, String> {
        let origin = &self.origin;
        let scheme = if origin.tls { "https" } else { "http" };
        let base = format!("{scheme}://{}", origin.authority);
        let path = self.path.path();
        let url = if Self::is_absolute(location) {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{base}{location}")
        } else if location.starts_with('?') {
            format!("{base}{path}{location}")
        } else {
            let directory = path.rfind('/').map_or("/", |at| &path[..=at]);
            format!("{base}{directory}{location}")
        };
        Self::parse(&url)
    }
}

/// Characters that URLs can't contain. What is escaped already is not changed.
const ESCAPED: AsciiSet = CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.origin.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_into_parts() {
        let target = Target::parse("https://Shop.example:8443/a b?q=ü#x").expect("good");
        assert_eq!(target.to_string(), "https://shop.example:8443/a%20b?q=%C3%BC");
        assert_eq!(Target::parse("http://[::1]:80").expect("good").origin.host, "::1");
        for bad in [
            "",
            "/x",
            "ftp://x/",
            "http://",
            "http://u:p@x/",
            "http://x:99999/",
            "x y",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirects_have_targets() {
        let from = Target::parse("http://a/b/c?d").expect("good");
        let to = |location: &str| from.join(location).expect(location).to_string();
        assert_eq!(to("/x"), "http://a/x");
        assert_eq!(to("x"), "http://a/b/x");
        assert_eq!(to("?y"), "http://a/b/c?y");
        assert_eq!(to("//h/x"), "http://h/x");
        assert_eq!(to("https://h"), "https://h/");
        assert_eq!(to("/login?back=http://a/b"), "http://a/login?back=http://a/b");
        assert_eq!(to("login?back=http://a/b"), "http://a/b/login?back=http://a/b");
        assert!(from.join("ftp://x").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_location_panics(location in ".{0,30}") {
            let _ = Target::parse("http://a/b").expect("good").join(&location);
        }
    }
}
