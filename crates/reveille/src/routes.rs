//! What the inventory says of a host beyond its usual way: other routes to it, and what it has in common with others.

use reveille_account::HostName;
use reveille_inventory::{Hop, Inventory};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::reach::{Finder, Reached, Way};

/// The var with further routes to a host.
const ROUTES: &str = "reveille_routes";
/// The vars with a host's label, the strongest first; cloud inventories bring the second.
const LABELS: [&str; 2] = ["reveille_label", "instance_type"];
/// Characters of a label that count.
const LABEL: usize = 64;

/// Another route to a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Route {
    pub(crate) address: String,
    pub(crate) port: u16,
    /// Jump hosts, the nearest to this machine first; those of the usual way if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jump: Option<Vec<Way>>,
}

/// Adds to the way to a host what its vars say of other routes and of its label.
pub(crate) fn complete(
    name: &HostName,
    reached: Reached,
    inventory: &Inventory,
    finder: &mut Finder<'_>,
) -> Result<Reached, Failure> {
    let routes = match inventory.filled(name.as_str(), ROUTES)? {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| route(name, item, &reached.way, finder))
            .collect::<Result<_, _>>()?,
        Some(_) => {
            return Err(Failure::usage(format!(
                "{name}: `{ROUTES}` is a list of addresses"
            )));
        }
    };
    // A label is for histories; nothing is kept from running by one that has no value.
    let said = LABELS
        .iter()
        .find_map(|var| inventory.filled(name.as_str(), var).ok().flatten());
    Ok(Reached {
        routes,
        label: said.as_ref().and_then(label),
        ..reached
    })
}

/// A text without anything odd in it.
fn label(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let odd = |c: char| c.is_control() || c.is_whitespace();
    let label: String = text
        .trim()
        .chars()
        .map(|c| if odd(c) { '-' } else { c })
        .take(LABEL)
        .collect();
    (!label.is_empty()).then_some(label)
}

/// `"ADDRESS[:PORT]"`, or a map with `address`, `port` and `jump`, of which one is enough.
fn route(name: &HostName, item: &Value, usual: &Way, finder: &mut Finder<'_>) -> Result<Route, Failure> {
    let wrong = |why: &str| Failure::usage(format!("{name}: `{ROUTES}` has {item}, {why}"));
    let parse = |text: &str| {
        let place = reveille_fleet::place(text, usual.port);
        place.ok_or_else(|| wrong("which is no address"))
    };
    let map = match item {
        Value::String(text) => {
            let (address, port) = parse(text)?;
            return Ok(Route {
                address,
                port,
                jump: None,
            });
        }
        Value::Object(map) => map,
        _ => return Err(wrong("which is no address")),
    };
    if let Some(odd) = map
        .keys()
        .find(|key| !["address", "port", "jump"].contains(&key.as_str()))
    {
        return Err(wrong(&format!(
            "where `{odd}` says nothing: a route has address, port and jump"
        )));
    }
    if map.is_empty() {
        return Err(wrong("which is no route"));
    }
    let (address, mut port) = match map.get("address") {
        None => (usual.address.clone(), usual.port),
        Some(address) => parse(address.as_str().unwrap_or_default())?,
    };
    if let Some(value) = map.get("port") {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        port = number
            .and_then(|number| u16::try_from(number).ok())
            .filter(|port| *port > 0)
            .ok_or_else(|| wrong("whose port is none"))?;
    }
    let jump = match map.get("jump") {
        None => None,
        Some(value) => {
            let text = value
                .as_str()
                .ok_or_else(|| wrong("whose jump host is no text"))?;
            let hops = Hop::chain(text).map_err(|why| wrong(&format!("but {why}")))?;
            Some(finder.through(&hops, usual)?)
        }
    };
    Ok(Route { address, port, jump })
}
