//! Metalink 3.0, with MirrorManager's additions.

use std::fmt::Write as _;

use reveille_text::Markup;

use super::list::push_url;
use super::wanted::Wanted;
use crate::catalog::{Catalog, Directory, HostNumber};
use crate::select::Chosen;
use crate::target::Target;
use crate::xml::{push_comment, push_escaped};

/// Preference of the best mirror. Those of the next ones decrease to 1.
const BEST: u32 = 100;

/// A metalink of a file; `versions` are its details in the catalogue.
pub(crate) fn metalink(
    catalog: &Catalog,
    target: &Target,
    hosts: &[Chosen],
    wanted: Wanted<'_>,
    versions: &str,
) -> String {
    let suffix = Markup(&target.suffix(catalog)).to_string();
    let mut text = String::with_capacity(1024 + versions.len() + hosts.len() * 3 * (140 + suffix.len()));
    push_head(&mut text);
    text.push_str(" <files>\n  <file name=\"");
    let _ = write!(text, "{}", Markup(&target.file));
    text.push_str("\">\n");
    text.push_str(versions);
    text.push_str("   <resources maxconnections=\"1\">\n");
    let mut preference = BEST;
    for chosen in hosts {
        let end = end_of_tag(catalog, target.directory, chosen.host, preference);
        let country = &catalog.hosts[usize::from(chosen.host)].country;
        for url in wanted.of(catalog, chosen) {
            let protocol = url.protocol();
            // `protocol` is not in the specification; clients of Fedora 8 to 10 needed it, and MirrorManager kept it.
            text.push_str("    <url protocol=\"");
            push_escaped(&mut text, protocol);
            text.push_str("\" type=\"");
            push_escaped(&mut text, protocol);
            text.push_str("\" location=\"");
            push_escaped(&mut text, country);
            text.push_str(&end);
            push_url(&mut text, url.escaped(), &suffix);
            text.push_str("</url>\n");
        }
        preference = preference.saturating_sub(1).max(1);
    }
    text.push_str("   </resources>\n  </file>\n </files>\n</metalink>\n");
    text
}

/// A metalink without files, which states why.
pub(crate) fn failure(why: &str) -> String {
    let mut text = String::new();
    push_head(&mut text);
    text.push_str("<!-- ");
    push_comment(&mut text, why);
    text.push_str("\n-->\n</metalink>\n");
    text
}

fn push_head(text: &mut String) {
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let _ = write!(
        text,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<metalink version=\"3.0\" xmlns=\"http://www.metalinker.org/\" \
         type=\"dynamic\" pubdate=\"{now}\" generator=\"mirrormanager\" \
         xmlns:mm0=\"http://fedorahosted.org/mirrormanager\">\n"
    );
}

fn end_of_tag(catalog: &Catalog, directory: Directory, host: HostNumber, preference: u32) -> String {
    let private = if catalog.is_private(directory, host) {
        " mm0:private=\"True\""
    } else {
        ""
    };
    format!("\" preference=\"{preference}\"{private}>")
}
