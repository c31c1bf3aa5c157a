//! Answers that a client already has, and compressed answers.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::io::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{ACCEPT_ENCODING, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Uri};

use crate::render::Format;
use crate::snapshot::Snapshot;

/// Shorter answers fit into one packet without compression.
const WORTH_COMPRESSING: usize = 1400;

/// A weak tag: each answer has another order of mirrors, but while nothing has changed, all orders are equally good.
pub(super) fn tag(snapshot: &Snapshot, uri: &Uri, client: IpAddr, format: Format) -> HeaderValue {
    let mut hasher = foldhash().build_hasher();
    uri.path().hash(&mut hasher);
    uri.query().hash(&mut hasher);
    client.hash(&mut hasher);
    format.hash(&mut hasher);
    let tag = format!("W/\"{:x}-{:x}\"", snapshot.identity(), hasher.finish());
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("W/\"0\""))
}

/// Whether the client already has the answer with this tag.
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str().map(strong) else {
        return false;
    };
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == "*" || strong(known) == tag)
}

/// The compressed body, if the client accepts it and it is long enough.
pub(super) fn compressed(headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    if body.len() < WORTH_COMPRESSING || !takes_gzip(headers) {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = quality
                .trim()
                .strip_prefix("q=")
                .is_some_and(|quality| quality.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

/// A seed for the process: a tag is valid as long as its snapshot.
fn foldhash() -> &'static hashbrown::DefaultHashBuilder {
    static SEED: std::sync::OnceLock<hashbrown::DefaultHashBuilder> = std::sync::OnceLock::new();
    SEED.get_or_init(hashbrown::DefaultHashBuilder::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn gzip_is_for_clients_that_accept_it() {
        for (value, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
        ] {
            assert_eq!(takes_gzip(&headers(ACCEPT_ENCODING, value)), takes, "{value}");
        }
        let long = Bytes::from(vec![b'a'; 5000]);
        assert!(
            compressed(&headers(ACCEPT_ENCODING, "gzip"), &long)
                .unwrap()
                .len()
                < 100
        );
        assert!(compressed(&HeaderMap::new(), &long).is_none());
    }

    #[test]
    fn a_tag_is_known_among_others() {
        let tag = HeaderValue::from_static("W/\"1-2\"");
        assert!(is_known(&headers(IF_NONE_MATCH, "\"x\", W/\"1-2\""), &tag));
        assert!(is_known(&headers(IF_NONE_MATCH, "*"), &tag));
        assert!(!is_known(&headers(IF_NONE_MATCH, "\"1-3\""), &tag));
    }
}
