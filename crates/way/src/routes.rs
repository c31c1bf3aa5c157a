//! Routes and labels from the vars of a host.

use reveille_account::HostName;
use reveille_inventory::Inventory;
use reveille_ssh_config::Hop;
use serde_json::Value;

use crate::way::{Link, Route, Way};
use crate::{Error, Finder};

/// The var with further routes to a host.
const ROUTES: &str = "reveille_routes";
/// The vars with a host's label, the strongest first; cloud inventories set the second.
const LABELS: [&str; 2] = ["reveille_label", "instance_type"];
/// The longest label, in characters.
const LABEL: usize = 64;

/// Adds the routes and the label in a host's vars to its way.
pub(crate) fn complete(
    name: &HostName,
    mut way: Way,
    inventory: &Inventory,
    finder: &mut Finder<'_>,
) -> Result<Way, Error> {
    match inventory.filled(name.as_str(), ROUTES)? {
        None => {}
        Some(Value::Array(items)) => {
            for item in &items {
                way.routes.push(route(name, item, &way.link, finder)?);
            }
        }
        Some(_) => {
            return Err(Error::input(format!(
                "{name}: `{ROUTES}` must be a list of addresses"
            )));
        }
    }
    // A label only groups histories, so one that can't be rendered is no error.
    let label_var = LABELS
        .iter()
        .find_map(|var| inventory.filled(name.as_str(), var).ok().flatten());
    way.label = label_var.as_ref().and_then(label);
    Ok(way)
}

/// Returns a text, unless it contains odd characters.
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

/// Parses `"ADDRESS[:PORT]"`, or a map with at least one of `address`, `port` and `jump`.
fn route(name: &HostName, item: &Value, usual: &Link, finder: &mut Finder<'_>) -> Result<Route, Error> {
    let wrong = |why: &str| Error::input(format!("{name}: `{ROUTES}` has {item}, {why}"));
    let parse = |text: &str| {
        let place = place(text, usual.port);
        place.ok_or_else(|| wrong("which is not an address"))
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
        _ => return Err(wrong("which is not an address")),
    };
    if let Some(odd) = map
        .keys()
        .find(|key| !["address", "port", "jump"].contains(&key.as_str()))
    {
        return Err(wrong(&format!(
            "where `{odd}` is unknown: a route has address, port and jump"
        )));
    }
    if map.is_empty() {
        return Err(wrong("which is not a route"));
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
            .ok_or_else(|| wrong("whose port is not valid"))?;
    }
    let mut jump = None;
    if let Some(value) = map.get("jump") {
        let text = value
            .as_str()
            .ok_or_else(|| wrong("whose jump host is not text"))?;
        let hops = Hop::chain(text).map_err(|why| wrong(&format!("but {why}")))?;
        jump = Some(finder.through(None, &hops, usual)?);
    }
    Ok(Route { address, port, jump })
}

/// Parses `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`; an address can't contain odd characters.
pub fn place(text: &str, usual: u16) -> Option<(String, u16)> {
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address, port.strip_prefix(':'))
        }
        None if text.matches(':').count() == 1 => {
            let (address, port) = text.split_once(':')?;
            (address, Some(port))
        }
        None => (text, None),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => usual,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    (!address.is_empty() && !address.starts_with('-') && address.chars().all(plain))
        .then(|| (address.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let read = |text| place(text, 22);
        assert_eq!(read("10.0.0.5"), Some(("10.0.0.5".into(), 22)));
        assert_eq!(read("web9:2222"), Some(("web9".into(), 2222)));
        assert_eq!(read("fe80::1%eth0"), Some(("fe80::1%eth0".into(), 22)));
        assert_eq!(read("[::1]:22022"), Some(("::1".into(), 22022)));
        for bad in ["", "-oProxyCommand=x", "a b", "web:0", "web:x", "[::1", "$(x)"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
