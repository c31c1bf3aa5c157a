//! `junit.xml`: one test case per host, for CI servers.
//!
//! The suite is the job and the case is the host, the same in every run, so that servers join the results of a host into
//! a history.

use std::io::{self, Write};

use super::{HostSummary, Summary};

/// Writes the part before the hosts.
pub(super) fn write_head(target: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let account = &summary.account;
    let name = escape(summary.name());
    let run = escape(&summary.record.run.to_string());
    let tests = account.planned;
    let failures = account.failed + account.quarantined;
    let errors = account.ghost + account.pending + account.running;
    let skipped = account.cancelled;
    let time = summary.timing.wall_s.unwrap_or_default();
    let started = escape(&summary.timing.started);
    writeln!(target, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        target,
        "<testsuites name=\"reveille\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" \
         skipped=\"{skipped}\" time=\"{time}\">"
    )?;
    writeln!(
        target,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" \
         skipped=\"{skipped}\" time=\"{time}\" timestamp=\"{started}\">"
    )?;
    writeln!(target, "    <properties>")?;
    writeln!(target, "      <property name=\"run\" value=\"{run}\"/>")?;
    if let Some(comment) = &summary.record.spec.comment {
        writeln!(
            target,
            "      <property name=\"comment\" value=\"{}\"/>",
            escape(comment)
        )?;
    }
    writeln!(target, "    </properties>")
}

/// Writes a host.
pub(super) fn write_case(target: &mut impl Write, suite: &str, host: &HostSummary) -> io::Result<()> {
    let class = host.class.map_or(host.status, |class| class.as_str());
    write!(
        target,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        escape(suite),
        escape(host.host.as_str()),
        host.duration_s.unwrap_or_default()
    )?;
    let element = match host.status {
        "success" => return writeln!(target, "/>"),
        "failed" | "quarantined" => "failure",
        // Not a success either: the report of an interrupted run must not look like one.
        "ghost" | "pending" | "running" => "error",
        _ => "skipped",
    };
    let message = match &host.step {
        Some(step) if host.message.is_empty() => escape(step),
        Some(step) => escape(&format!("{step}: {}", host.message)),
        None => escape(&host.message),
    };
    writeln!(target, ">")?;
    if element == "skipped" {
        writeln!(target, "      <skipped message=\"{class}: {message}\"/>")?;
    } else {
        writeln!(
            target,
            "      <{element} type=\"{class}\" message=\"{message}\">{}</{element}>",
            escape(&host.stderr)
        )?;
        if !host.stdout.is_empty() {
            writeln!(target, "      <system-out>{}</system-out>", escape(&host.stdout))?;
        }
    }
    writeln!(target, "    </testcase>")
}

/// Writes the part after the hosts.
pub(super) fn write_foot(target: &mut impl Write) -> io::Result<()> {
    writeln!(target, "  </testsuite>\n</testsuites>")
}

/// Escapes text for elements and attributes, and drops characters that XML 1.0 does not permit.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => {}
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    proptest::proptest! {
        #[test]
        fn no_character_that_xml_forbids_survives(text: String) {
            let escaped = escape(&text);
            let markup = escaped.contains(['<', '>', '"', '\u{fffe}', '\u{ffff}']);
            proptest::prop_assert!(!markup);
            proptest::prop_assert!(!escaped.chars().any(char::is_control));
        }
    }

    #[test]
    fn escapes_markup_and_drops_control_characters() {
        assert_eq!(
            escape("a<b>&\"\u{1b}[1mc\u{0}\n"),
            "a&lt;b&gt;&amp;&quot;[1mc&#10;"
        );
    }
}
