//! JUnit: each threshold is a test case.

use reveille_text::Markup;

use super::human::measured;
use super::summary::Summary;

/// Makes the XML document.
pub(crate) fn junit(summary: &Summary) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" time=\"{:.3}\">\n",
        Markup(&summary.name),
        summary.thresholds.len(),
        summary.missed().count(),
        summary.total_seconds
    );
    for threshold in &summary.thresholds {
        let name = Markup(&threshold.text);
        text.push_str(&format!("  <testcase classname=\"thresholds\" name=\"{name}\""));
        text.push_str(&if threshold.holds {
            "/>\n".to_owned()
        } else {
            let value = measured(&threshold.text, threshold.value);
            let message = format!("`{}` was missed: {value}", threshold.text);
            format!("><failure message=\"{}\"/></testcase>\n", Markup(&message))
        });
    }
    for sentence in &summary.sentences {
        text.push_str(&format!("  <system-out>{}</system-out>\n", Markup(sentence)));
    }
    text + "</testsuite>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_test_case() {
        insta::assert_snapshot!(junit(&Summary::example()));
    }

    #[test]
    fn characters_that_xml_cannot_contain_are_omitted() {
        let name = "a\u{fffe}b\u{ffff}c\u{1b}d<".to_owned();
        let text = junit(&Summary {
            name,
            ..Summary::example()
        });
        assert!(text.contains("<testsuite name=\"abcd&lt;\""), "{text}");
    }
}
