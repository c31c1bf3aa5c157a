//! `--plan`: prints what would be sent, without sending anything.

use reveille_text::duration::shown;
use reveille_text::{counted, grouped};

use crate::mask::{Mask, is_telling};
use crate::scenario::{Body, JsonPart, Scenario, SegmentKind, Step, Text};

/// Steps of a list that `--plan` prints.
const MOST: usize = 50;
/// Characters of a body that `--plan` prints.
const MOST_OF_BODY: usize = 200;

pub(crate) fn plan(scenario: &Scenario) -> String {
    let mut mask = Mask::default();
    mask.add(scenario.known_secrets());
    let steps = |steps: &[Step]| steps_of(steps, scenario, &mask);
    let mut lines = vec![scenario.name.clone()];
    if let Some(base) = &scenario.base_url {
        lines.push(format!("  base URL: {}", mask.all(base)));
    }
    lines.push("  stages:".to_owned());
    for segment in &scenario.schedule().segments {
        let (from, to) = match segment.kind {
            SegmentKind::Users(from, to) => (from.to_string(), counted(to, "user")),
            SegmentKind::Arrivals(from, to, most) => (
                from.to_string(),
                format!("{to} arrivals/s, at most {}", counted(most, "user")),
            ),
        };
        let what = if segment.kind.is_steady() {
            to
        } else {
            format!("from {from} to {to}")
        };
        let end = segment.start + segment.length;
        lines.push(format!("    {} to {}: {what}", shown(segment.start), shown(end)));
    }
    if let Some(bootstrap) = &scenario.bootstrap {
        lines.push("  bootstrap, once for the whole test:".to_owned());
        lines.extend(steps(&bootstrap.steps));
        if let Some(refresh) = &bootstrap.refresh {
            let (every, early) = (refresh.every.source(), shown(refresh.early));
            lines.push(format!("    refreshed every {every}, {early} early"));
        }
    }
    for data in &scenario.data {
        let rows = counted(data.rows.len(), "row");
        lines.push(format!(
            "  data {}: {rows} of {}",
            data.name,
            data.columns.join(", ")
        ));
    }
    let share = |weight: u32, all: u64| 100.0 * f64::from(weight) / all.max(1) as f64;
    let weights = scenario.classes.iter().map(|class| u64::from(class.weight)).sum();
    for class in &scenario.classes {
        let percent = share(class.weight, weights);
        lines.push(format!("  class {}: {percent:.1} % of the users", class.name));
        if !class.on_start.is_empty() {
            lines.push("    on start:".to_owned());
            lines.extend(steps(&class.on_start));
        }
        let weights = class.tasks.iter().map(|task| u64::from(task.weight)).sum();
        for task in &class.tasks {
            let percent = share(task.weight, weights);
            lines.push(format!(
                "    task {}: {percent:.1} % of the iterations",
                task.name
            ));
            lines.extend(steps(&task.steps));
        }
        if !class.on_stop.is_empty() {
            lines.push("    on stop:".to_owned());
            lines.extend(steps(&class.on_stop));
        }
        if let Some(offered) = class.offered_each() {
            lines.push(format!(
                "    a user offers {offered:.3} requests/s if answers take no time"
            ));
        }
    }
    if !scenario.thresholds.is_empty() {
        lines.push("  thresholds:".to_owned());
    }
    for threshold in &scenario.thresholds {
        let abort = if threshold.abort { ", aborts the test" } else { "" };
        lines.push(format!("    {}{abort}", threshold.text));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn steps_of(steps: &[Step], scenario: &Scenario, mask: &Mask) -> Vec<String> {
    let mut lines = Vec::new();
    for step in steps.iter().take(MOST) {
        let url = step.url.constant().unwrap_or(step.url.source());
        let base = scenario.base_url.as_deref().filter(|_| url.starts_with('/'));
        let url = mask.all(&format!("{}{url}", base.unwrap_or_default()));
        lines.push(format!("      {} {url}", step.method));
        for (name, value) in step.all_headers(&scenario.http.headers) {
            // A template is printed as it was written, without the secret that it reads.
            let value = if is_telling(name.as_str()) && !value.source().contains("{{") {
                "<masked>"
            } else {
                value.source()
            };
            lines.push(format!("        {name}: {}", mask.all(value)));
        }
        if let Some((user, _)) = &step.basic {
            lines.push(format!("        as {}, with a password", user.source()));
        }
        lines.extend(body(step, mask).map(|body| format!("        {body}")));
        lines.extend(step.sets().map(|name| format!("        captures {name}")));
    }
    if steps.len() > MOST {
        let more = grouped((steps.len() - MOST) as u64);
        lines.push(format!("      and {more} more"));
    }
    lines
}

/// The body that is sent, with its templates.
fn body(step: &Step, mask: &Mask) -> Option<String> {
    let all = match &step.body {
        Body::None => return None,
        Body::File(bytes) => return Some(format!("a file of {}", counted(bytes.len(), "byte"))),
        Body::Text(text) => text.source().to_owned(),
        Body::Json(parts) => {
            let parts = parts.iter().map(|part| match part {
                JsonPart::Raw(raw) => raw.clone(),
                JsonPart::Value(text) => format!("\"{}\"", text.source()),
            });
            parts.collect::<String>()
        }
        Body::Form(fields) => {
            let field = |(name, text): &(String, Text)| format!("{name}={}", text.source());
            fields.iter().map(field).collect::<Vec<_>>().join("&")
        }
    };
    let (shown, more) = mask.first(&all, MOST_OF_BODY);
    let shown = shown.replace(char::is_control, " ");
    Some(shown + if more { " …" } else { "" })
}
