//! Why a client gets these mirrors.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use fastrand::Rng;
use reveille_text::counted;

use crate::answer;
use crate::catalog::HostNumber;
use crate::query::Query;
use crate::render::Wanted;
use crate::select::{Chosen, Client, Rules, Selection, Source};
use crate::snapshot::{NO_COUNTRY, Snapshot};
use crate::target::Target;

/// Most mirrors that `explain` names for each reason to leave mirrors out.
const NAMED: usize = 5;

/// An explanation, and the directory that it is about.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The directory of the request.
    pub directory: String,
    /// The steps, the mirrors in the answer, and the mirrors that are left out.
    pub text: String,
}

/// Explains step by step how the server would answer a client's request, of which `query` follows the question mark.
///
/// # Errors
///
/// Returns the text that the client would get instead of a list.
pub fn explain(
    snapshot: &Snapshot,
    query: &str,
    address: IpAddr,
    rules: Rules,
) -> Result<Explanation, String> {
    let catalog = snapshot.catalog();
    let query = Query::parse(query);
    let refused = |refusal: crate::refusal::Refusal| refusal.text(&catalog.repositories.listing);
    let target = Target::find(catalog, &query, false).map_err(refused)?;
    let client = answer::client(&query, address, snapshot).map_err(refused)?;
    let file = match &*target.file {
        "" => String::new(),
        file => format!(", file {file}"),
    };
    let mut steps = vec![
        format!("directory: {}{file}", target.name),
        format!("client: {}, {}", client.address, country(snapshot, client)),
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
        let _ = writeln!(text, "{:>2}. {step}", number + 1);
    }
    let suffix = target.suffix(catalog);
    let protocols = query.protocols();
    let wanted = Wanted {
        protocols: &protocols,
        most: usize::MAX,
    };
    let mut listed = selection.hosts;
    listed.retain(|chosen| wanted.of(catalog, chosen).next().is_some());
    let _ = writeln!(text, "\n{}, the best first:", counted(listed.len(), "mirror"));
    for (place, chosen) in listed.iter().enumerate() {
        let host = &catalog.hosts[usize::from(chosen.host)];
        let country = match &*host.country {
            "" => "no country",
            country => country,
        };
        let private = if catalog.is_private(target.directory, chosen.host) {
            ", private"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "{:>3}. {:<9} {} ({country}, weight {}{private})",
            place + 1,
            chosen.source.name(),
            catalog.mirror_name(target.directory, chosen.host),
            host.bandwidth,
        );
        for url in wanted.of(catalog, chosen) {
            let _ = writeln!(text, "       {}{suffix}", url.text);
        }
    }
    let by_country = selection.found == Some(Source::Country);
    text.push_str(&left_out(snapshot, &target, client, wanted, by_country, &listed));
    Ok(Explanation {
        directory: target.name,
        text,
    })
}

/// The client's country, and where it comes from.
fn country(snapshot: &Snapshot, client: Client<'_>) -> String {
    let (country, named) = snapshot.country(client.address);
    match (country, named) {
        (country, true) => format!("country {country} (from the data's table of networks)"),
        (NO_COUNTRY, _) if !snapshot.has_geoip() => "country unknown (there is no GeoIP database)".to_owned(),
        (NO_COUNTRY, _) => "country unknown (the address is not in the GeoIP database)".to_owned(),
        (country, _) => format!("country {country} (from the GeoIP database)"),
    }
}

/// The mirrors that have the content and are not in the answer, by reason.
fn left_out(
    snapshot: &Snapshot,
    target: &Target,
    client: Client<'_>,
    wanted: Wanted<'_>,
    by_country: bool,
    listed: &[Chosen],
) -> String {
    let (catalog, source) = (snapshot.catalog(), Source::Global);
    let mut reasons: BTreeMap<String, Vec<HostNumber>> = BTreeMap::new();
    for &host in catalog.carriers(target.directory) {
        if listed.iter().any(|chosen| chosen.host == host) {
            continue;
        }
        let offer = catalog.offer(target.directory, host).unwrap_or_default();
        let reason = if catalog.is_private(target.directory, host) {
            "private to other networks".to_owned()
        } else if !catalog.is_allowed(host, client.country) {
            let only_for = &catalog.hosts[usize::from(host)].only_for;
            format!("only for clients in {}", only_for.join(", "))
        } else if !wanted.is_offered(catalog, &[Chosen { host, offer, source }]) {
            "without the requested protocols".to_owned()
        } else if by_country {
            "in other countries".to_owned()
        } else {
            "farther away, and not needed".to_owned()
        };
        reasons.entry(reason).or_default().push(host);
    }
    if reasons.is_empty() {
        return String::new();
    }
    let number = reasons.values().map(Vec::len).sum::<usize>();
    let mut text = format!("\n{} left out:\n", counted(number, "mirror"));
    for (reason, hosts) in reasons {
        let mut names: Vec<String> = hosts
            .iter()
            .take(NAMED)
            .map(|host| catalog.mirror_name(target.directory, *host))
            .collect();
        if hosts.len() > NAMED {
            names.push(format!("and {} more", hosts.len() - NAMED));
        }
        let _ = writeln!(text, "     {reason}: {}", names.join(", "));
    }
    text
}
