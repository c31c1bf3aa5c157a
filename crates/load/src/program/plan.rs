//! `--plan`: what would be sent, without sending anything.

use reveille_text::duration::shown;

use crate::mask::Mask;
use crate::scenario::{Body, JsonPart, Scenario, SegmentKind, Step, is_telling};

/// Steps that are shown of each list.
const MOST: usize = 50;
/// Characters that are shown of a body.
const MOST_OF_BODY: usize = 200;

pub(crate) fn plan(scenario: &Scenario) -> String {
    let mut text = format!("{}\n", scenario.name);
    let mut mask = Mask::default();
    mask.add(scenario.known_secrets());
    let mask = &mask;
    if let Some(base) = &scenario.base_url {
        text.push_str(&format!("  base URL: {}\n", mask.all(base)));
    }
    text.push_str("  stages:\n");
    for segment in &scenario.schedule().segments {
        let what = match segment.kind {
            SegmentKind::Users(from, to) if from == to => format!("{to} users"),
            SegmentKind::Users(from, to) => format!("from {from} to {to} users"),
            SegmentKind::Arrivals(from, to, most) if (from - to).abs() < f64::EPSILON => {
                format!("{to} arrivals/s, at most {most} users")
            }
            SegmentKind::Arrivals(from, to, most) => {
                format!("from {from} to {to} arrivals/s, at most {most} users")
            }
        };
        text.push_str(&format!(
            "    {} to {}: {what}\n",
            shown(segment.start),
            shown(segment.start + segment.length)
        ));
    }
    if let Some(bootstrap) = &scenario.bootstrap {
        text.push_str("  bootstrap, once for the whole test:\n");
        steps(&mut text, scenario, mask, &bootstrap.steps);
        if let Some(refresh) = &bootstrap.refresh {
            text.push_str(&format!(
                "    again every {}, {} early\n",
                refresh.every.source(),
                shown(refresh.early)
            ));
        }
    }
    for data in &scenario.data {
        text.push_str(&format!(
            "  data {}: {} rows of {}\n",
            data.name,
            data.rows.len(),
            data.columns.join(", ")
        ));
    }
    let weights: u64 = scenario.classes.iter().map(|class| u64::from(class.weight)).sum();
    for class in &scenario.classes {
        text.push_str(&format!(
            "  class {}: {:.1} % of the users\n",
            class.name,
            100.0 * f64::from(class.weight) / weights.max(1) as f64
        ));
        if !class.on_start.is_empty() {
            text.push_str("    first:\n");
            steps(&mut text, scenario, mask, &class.on_start);
        }
        let weights: u64 = class.tasks.iter().map(|task| u64::from(task.weight)).sum();
        for task in &class.tasks {
            text.push_str(&format!(
                "    task {}: {:.1} % of the iterations\n",
                task.name,
                100.0 * f64::from(task.weight) / weights.max(1) as f64
            ));
            steps(&mut text, scenario, mask, &task.steps);
        }
        if !class.on_stop.is_empty() {
            text.push_str("    last:\n");
            steps(&mut text, scenario, mask, &class.on_stop);
        }
        if let Some(offered) = class.offered_each() {
            text.push_str(&format!(
                "    a user offers {offered:.3} requests/s if answers take no time\n"
            ));
        }
    }
    if !scenario.thresholds.is_empty() {
        text.push_str("  marks:\n");
        for threshold in &scenario.thresholds {
            let abort = if threshold.abort { ", ends the test" } else { "" };
            text.push_str(&format!("    {}{abort}\n", threshold.text));
        }
    }
    text
}

fn steps(text: &mut String, scenario: &Scenario, mask: &Mask, steps: &[Step]) {
    for step in steps.iter().take(MOST) {
        let url = step.url.constant().unwrap_or(step.url.source());
        let base = if url.starts_with('/') {
            scenario.base_url.as_deref().unwrap_or_default()
        } else {
            ""
        };
        let url = mask.all(&format!("{base}{url}"));
        text.push_str(&format!("      {} {url}\n", step.method));
        for (name, value) in step.all_headers(&scenario.http.headers) {
            // The source, so that nothing secret is shown; what stands in the file as it is may be.
            let value = if is_telling(name.as_str()) && !value.source().contains("{{") {
                "<masked>"
            } else {
                value.source()
            };
            text.push_str(&format!("        {name}: {}\n", mask.all(value)));
        }
        if let Some((user, _)) = &step.basic {
            text.push_str(&format!("        as {}, with a password\n", user.source()));
        }
        if let Some(body) = body(step, mask) {
            text.push_str(&format!("        {body}\n"));
        }
        for name in step.sets() {
            text.push_str(&format!("        captures {name}\n"));
        }
    }
    if steps.len() > MOST {
        text.push_str(&format!("      and {} more\n", steps.len() - MOST));
    }
}

/// What is sent, with its templates.
fn body(step: &Step, mask: &Mask) -> Option<String> {
    let all = match &step.body {
        Body::None => return None,
        Body::File(bytes) => return Some(format!("a file of {} bytes", bytes.len())),
        Body::Text(text) => text.source().to_owned(),
        Body::Json(parts) => {
            let parts = parts.iter().map(|part| match part {
                JsonPart::Raw(raw) => raw.clone(),
                JsonPart::Value(text) => format!("\"{}\"", text.source()),
            });
            parts.collect::<String>()
        }
        Body::Form(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, text)| format!("{name}={}", text.source()))
                .collect();
            fields.join("&")
        }
    };
    let (shown, more) = mask.first(&all, MOST_OF_BODY);
    let shown = shown.replace(char::is_control, " ");
    Some(shown + if more { " …" } else { "" })
}
