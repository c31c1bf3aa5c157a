//! Lists of URLs, one on a line.

use super::wanted::Wanted;
use crate::catalog::Catalog;
use crate::select::Chosen;

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// For dnf and yum: a URL on each line.
    Plain,
    /// For apt's `mirror` method: a URL, a tab, and its priority. Without priorities apt shuffles the list.
    Apt,
}

/// Longest list for apt, which refuses longer ones.
const MOST_FOR_APT: usize = 1 << 20;

// === impl Format ===

impl Format {
    /// The requested format, or else that of the client's name.
    pub(crate) fn choose(asked: Option<&str>, agent: Option<&[u8]>) -> Self {
        match asked {
            Some("apt") => Self::Apt,
            None if agent.is_some_and(|agent| agent.starts_with(b"Debian APT")) => Self::Apt,
            _ => Self::Plain,
        }
    }
}

/// Writes a list.
pub(crate) fn list(
    catalog: &Catalog,
    hosts: &[Chosen],
    wanted: Wanted<'_>,
    format: Format,
    header: &str,
    suffix: &str,
) -> String {
    let mut text = String::with_capacity(header.len() + 1 + hosts.len() * (80 + suffix.len()));
    text.push_str(header);
    text.push('\n');
    for (place, chosen) in hosts.iter().enumerate() {
        let before = text.len();
        for url in wanted.of(catalog, chosen) {
            push_url(&mut text, &url.text, suffix);
            if format == Format::Apt {
                text.push_str(&format!("\tpriority:{}", place + 1));
            }
            text.push('\n');
        }
        if format == Format::Apt && text.len() > MOST_FOR_APT {
            text.truncate(before);
            break;
        }
    }
    text
}

/// The first URL that a browser can follow.
pub(crate) fn redirect(
    catalog: &Catalog,
    hosts: &[Chosen],
    wanted: Wanted<'_>,
    suffix: &str,
) -> Option<String> {
    let mut urls = hosts.iter().flat_map(|chosen| wanted.of(catalog, chosen));
    let url = urls.find(|url| url.text.starts_with("http"))?;
    let mut text = String::new();
    push_url(&mut text, &url.text, suffix);
    Some(text)
}

/// A URL with a suffix, which begins with a slash.
pub(super) fn push_url(text: &mut String, url: &str, suffix: &str) {
    text.push_str(url);
    // A file right below a URL that already ends with a slash.
    let doubled = url.ends_with('/') && suffix.len() > 1 && !suffix[1..].contains('/');
    text.push_str(if doubled { &suffix[1..] } else { suffix });
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use crate::answer::{Answer, Request};
    use crate::catalog::Catalog;
    use crate::select::Rules;
    use crate::snapshot::Snapshot;
    use crate::synthetic::{self, Size};

    /// apt refuses a list that is longer.
    #[test]
    fn a_list_for_apt_has_at_most_one_mebibyte() {
        let size = Size {
            directories: 2,
            hosts: 20_000,
            carriers: 20_000,
            prefixes: 0,
        };
        let bytes = synthetic::cache(size, "example", 1).unwrap();
        let snapshot = Snapshot::of_catalog(Catalog::read(bytes.as_slice()).unwrap());
        let rules = Rules {
            minimum: 5,
            strict: false,
        };
        let length = |format: &str| {
            let query = format!("repo=repo-0&arch=x86_64&country=global{format}");
            let request = Request {
                path: "/mirrorlist",
                query: &query,
                client: [192, 0, 2, 1].into(),
                agent: None,
            };
            let answer = Answer::to(&request, &snapshot, rules, &mut Rng::with_seed(1));
            assert!(answer.status == 200 && answer.body.ends_with('\n'));
            answer.body.len()
        };
        assert!(length("") > 1 << 20);
        let length = length("&format=apt");
        assert!((900_000..=1 << 20).contains(&length), "{length}");
    }
}
