//! The targets of fuzzing: `fuzz/` feeds them from libFuzzer, and the tests here from proptest.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use fastrand::Rng;
use hyper::HeaderMap;
use hyper::header::HeaderValue;

use crate::answer::{Answer, Request};
use crate::catalog::Catalog;
use crate::forwarded::TrustedProxies;
use crate::select::Rules;
use crate::snapshot::Snapshot;
use crate::synthetic::{self, Size};

const RULES: Rules = Rules {
    minimum: 5,
    strict: false,
};

/// Reads bytes as a snapshot, and answers from it if they are one.
pub fn protobuf(bytes: &[u8]) {
    if let Ok(catalog) = Catalog::read(bytes) {
        let snapshot = Snapshot::of_catalog(catalog);
        for query in [
            "repo=a&arch=b",
            "path=a/b",
            "path=&country=global",
            "path=a&protocol=rsync",
        ] {
            ask(&snapshot, query);
        }
    }
}

/// Reads text as a query.
pub fn query(query: &str) {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    let snapshot = SNAPSHOT.get_or_init(|| {
        let size = Size {
            directories: 8,
            hosts: 20,
            carriers: 10,
            prefixes: 0,
        };
        let bytes = synthetic::cache(size, "example", 1).expect("writing to memory does not fail");
        Snapshot::of_catalog(Catalog::read(bytes.as_slice()).expect("synthetic data are well-formed"))
    });
    ask(snapshot, query);
}

/// Reads bytes as a proxy's headers about its client.
pub fn headers(value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        for name in ["forwarded", "x-forwarded-for"] {
            let mut headers = HeaderMap::new();
            headers.append(name, value.clone());
            let _ = TrustedProxies::default().client(IpAddr::V4(Ipv4Addr::LOCALHOST), &headers);
        }
    }
}

/// A list contains only comment lines and URLs, for any request.
fn ask(snapshot: &Snapshot, query: &str) {
    for path in ["/mirrorlist", "/metalink"] {
        let request = Request {
            path,
            query,
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            agent: None,
        };
        let answer = Answer::to(&request, snapshot, RULES, &mut Rng::with_seed(1));
        assert!(
            matches!(answer.status, 200 | 302 | 400 | 404),
            "{}",
            answer.status
        );
        if let Some((_, comment)) = answer.body.split_once("<!-- ") {
            let comment = comment.strip_suffix("-->\n</metalink>\n");
            let is_sound = comment.is_some_and(|comment| {
                !comment.contains("--") && !comment.contains(|c: char| c != '\n' && c.is_control())
            });
            assert!(is_sound, "{:?} of {query:?}", answer.body);
        }
        if let Some(location) = &answer.location {
            assert!(
                HeaderValue::from_str(location).is_ok(),
                "{location:?} of {query:?}"
            );
        }
        if path == "/mirrorlist" && answer.status == 200 {
            for line in answer.body.lines() {
                let words: Vec<&str> = line.split(|c: char| c.is_control()).collect();
                let is_list = match words.as_slice() {
                    [line] => line.starts_with("# ") || line.contains("://") && !line.contains(' '),
                    [url, place] => url.contains("://") && place.starts_with("priority:"),
                    _ => false,
                };
                assert!(is_list, "{line:?} of {query:?}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            protobuf(&bytes);
        }

        #[test]
        fn no_damage_breaks_it(
            changes in proptest::collection::vec((proptest::num::u64::ANY, proptest::num::u8::ANY), 1..8),
            cut in proptest::option::of(0_usize..4096),
        ) {
            let size = Size { directories: 4, hosts: 6, carriers: 3, prefixes: 0 };
            let mut bytes = synthetic::cache(size, "example", 1).unwrap();
            for (place, byte) in changes {
                let place = usize::try_from(place % bytes.len() as u64).unwrap();
                bytes[place] = byte;
            }
            if let Some(length) = cut {
                bytes.truncate(length);
            }
            protobuf(&bytes);
        }

        #[test]
        fn no_query_breaks_it(
            words in proptest::collection::vec(
                "(repo=repo-[0-3]|arch=x86_64|path=[a-z/%0-9]{0,20}|path=DIRECTORY/.{0,8}|path=DIRECTORY/(%[0-9a-f]{2}|-){0,8}|country=[A-Za-z,]{0,8}|ip=[0-9.:a-f]{0,16}|\
                 protocol=[a-z,%0A]{0,12}|time|redirect=1|netblock=[01]|location=[a-z-]{0,6}|format=apt|.{0,12})",
                0..6,
            ),
        ) {
            // Of an existing directory.
            query(&words.join("&").replace("DIRECTORY", &synthetic::directory_name(0)));
        }

        #[test]
        fn no_header_breaks_it(value in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            headers(&value);
        }
    }
}
