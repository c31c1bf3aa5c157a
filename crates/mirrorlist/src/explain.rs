//! Why a client gets these mirrors.

use std::net::IpAddr;

use fastrand::Rng;

use crate::answer;
use crate::query::Query;
use crate::render::Wanted;
use crate::select::{Rules, Selection};
use crate::snapshot::Snapshot;
use crate::target::Target;

/// Tells step by step how a request would be answered: the line behind the question mark, and who asks.
///
/// # Errors
///
/// The text that the client would get in place of a list.
pub fn explain(snapshot: &Snapshot, query: &str, address: IpAddr, rules: Rules) -> Result<String, String> {
    let catalog = snapshot.catalog();
    let query = Query::parse(query);
    let refused = |refusal: crate::refusal::Refusal| refusal.text(&catalog.repositories.listing);
    let target = Target::find(catalog, &query, false).map_err(refused)?;
    let client = answer::client(&query, address, snapshot).map_err(refused)?;
    let (country, named) = snapshot.country(client.address);
    let mut steps = vec![
        format!(
            "directory: {}{}{}",
            target.name,
            if target.file.is_empty() { "" } else { ", file " },
            target.file
        ),
        format!(
            "client: {}, country {country} ({})",
            client.address,
            if named {
                "by the netblock-country table"
            } else {
                "by GeoIP"
            }
        ),
    ];
    let selection = Selection::make(
        snapshot,
        &target,
        &query,
        client,
        rules,
        &mut Rng::new(),
        Some(&mut steps),
    );
    let mut text = String::new();
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&format!("{:>2}. {step}\n", number + 1));
    }
    text.push_str(&format!("\n{} mirrors, in this order:\n", selection.hosts.len()));
    let suffix = target.suffix(catalog);
    let protocols = query.protocols();
    let wanted = Wanted {
        protocols: &protocols,
        most: usize::MAX,
    };
    for (place, chosen) in selection.hosts.iter().enumerate() {
        let host = &catalog.hosts[usize::from(chosen.host)];
        let private = if catalog.is_private(target.directory, chosen.host) {
            ", private"
        } else {
            ""
        };
        text.push_str(&format!(
            "{:>3}. {:<9} host {} ({}, weight {}{private})\n",
            place + 1,
            chosen.source.to_string(),
            host.id,
            if host.country.is_empty() {
                "no country"
            } else {
                &host.country
            },
            host.bandwidth,
        ));
        for url in wanted.of(catalog, chosen) {
            text.push_str(&format!("       {}{suffix}\n", url.text));
        }
    }
    Ok(text)
}
