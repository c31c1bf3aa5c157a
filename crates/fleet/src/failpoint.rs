//! Injected faults for tests: a host's task panics where `REVEILLE_PANIC_AT` demands it. Tests run on the program that
//! is shipped, so the code is in it; without the variable it costs one comparison per event.

use std::sync::OnceLock;

use reveille_account::{EventKind, HostName};

/// `HOST:EVENT`, with the event's name as in files.
const VARIABLE: &str = "REVEILLE_PANIC_AT";

/// Panics if the test selected this host and event.
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
        panic!("a test requested a panic at {event}");
    }
}
