//! `hosts.csv`, quoted as in RFC 4180 and safe for spreadsheets.

use std::borrow::Cow;
use std::io::{self, Write};

use super::HostSummary;

pub(super) const HEADER: &str =
    "host,address,port,status,class,round,attempts,duration_s,exit_status,signal,step,message\n";

/// Writes a host's line.
pub(super) fn write_row(target: &mut impl Write, host: &HostSummary) -> io::Result<()> {
    writeln!(
        target,
        "{},{},{},{},{},{},{},{},{},{},{},{}",
        text(host.host.as_str()),
        text(&host.address),
        host.port,
        host.status,
        host.class.map_or("", |class| class.as_str()),
        host.round,
        host.attempts,
        number(host.duration_s),
        number(host.exit_status),
        text(host.signal.as_deref().unwrap_or_default()),
        text(host.step.as_deref().unwrap_or_default()),
        text(&host.message),
    )
}

fn number<T: ToString>(number: Option<T>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// Quotes a field. One that a spreadsheet would read as a formula gets a leading apostrophe, because messages and names
/// come from hosts and inventories.
fn text(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = text.contains([',', '"', '\n', '\r', '\t']);
    if !formula && !quoted {
        return Cow::Borrowed(text);
    }
    let guard = if formula { "'" } else { "" };
    Cow::Owned(format!("\"{guard}{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn quotes_what_needs_it() {
        assert_eq!(text("web1"), "web1");
        assert_eq!(text("a, \"b\"\nc"), "\"a, \"\"b\"\"\nc\"");
        assert_eq!(text("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(text("-1+cmd"), "\"'-1+cmd\"");
        assert_eq!(text(""), "");
    }
}
