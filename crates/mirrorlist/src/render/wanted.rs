//! Which URLs of a host are in an answer.

use crate::catalog::{Catalog, Url};
use crate::select::{Chosen, has_protocol};

/// Which URLs of a host are in an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Those with these protocols; with any if there are none.
    pub(crate) protocols: &'a [&'a str],
    /// The most URLs of one host.
    pub(crate) most: usize,
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    /// All URLs.
    pub(crate) const ALL: Self = Self {
        protocols: &[],
        most: usize::MAX,
    };

    pub(crate) fn of<'b>(self, catalog: &'b Catalog, chosen: &Chosen) -> impl Iterator<Item = &'b Url>
    where
        'a: 'b,
    {
        catalog
            .urls(chosen.offer)
            .filter(move |url| self.protocols.is_empty() || has_protocol(&url.text, self.protocols))
            .take(self.most)
    }

    /// Whether any host has such a URL.
    pub(crate) fn is_offered(self, catalog: &Catalog, hosts: &[Chosen]) -> bool {
        hosts
            .iter()
            .any(|chosen| self.of(catalog, chosen).next().is_some())
    }
}
