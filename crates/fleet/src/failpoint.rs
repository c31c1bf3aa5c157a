//! Faults of our own, for tests: a host's task panics where `REVEILLE_PANIC_AT` says. The promise that nobody is lost is
//! tested on the program that is shipped, so it is there as well; without the variable it costs one comparison an event.

use std::sync::OnceLock;

use reveille_account::{EventKind, HostName};

/// `HOST:EVENT`, as the event is called in files.
const VARIABLE: &str = "REVEILLE_PANIC_AT";

/// Panics if this is the host and the event that a test has named.
pub(crate) fn reach(host: &HostName, kind: &EventKind) {
    static POINT: OnceLock<Option<(String, String)>> = OnceLock::new();
    let point = POINT.get_or_init(|| {
        let point = std::env::var(VARIABLE).ok()?;
        let (host, event) = point.split_once(':')?;
        Some((host.to_owned(), event.to_owned()))
    });
    if let Some((wanted, event)) = point
        && host.as_str() == wanted
        && serde_json::to_value(kind).is_ok_and(|kind| kind["event"] == event.as_str())
    {
        panic!("a test wants a panic at {event}");
    }
}
