//! JUnit: each mark is a test case.

use super::human::in_unit;
use super::summary::Summary;

/// The XML document.
pub fn junit(summary: &Summary) -> String {
    let missed = summary.thresholds.iter().filter(|mark| !mark.holds).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{missed}\" time=\"{:.3}\">\n",
        escape(&summary.name),
        summary.thresholds.len(),
        summary.total_seconds
    );
    for mark in &summary.thresholds {
        let name = escape(&mark.text);
        let value = mark.value.map_or_else(
            || "it was never measured".to_owned(),
            |value| format!("it was {}", in_unit(&mark.text, value)),
        );
        text.push_str(&format!("  <testcase classname=\"thresholds\" name=\"{name}\""));
        if mark.holds {
            text.push_str("/>\n");
        } else {
            text.push_str(&format!(
                "><failure message=\"{}\"/></testcase>\n",
                escape(&format!("`{}` was missed: {value}", mark.text))
            ));
        }
    }
    for sentence in &summary.sentences {
        text.push_str(&format!("  <system-out>{}</system-out>\n", escape(sentence)));
    }
    text.push_str("</testsuite>\n");
    text
}

/// Text in XML or HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() && c != '\n' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
