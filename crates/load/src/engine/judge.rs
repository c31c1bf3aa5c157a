//! Answers: whether one is as a step expects it, and which values are captured from it.

use std::cell::LazyCell;
use std::time::Duration;

use minijinja::Value;
use reveille_document::value_of;
use reveille_text::duration;

use super::client::{self, Answer};
use super::cookies::Cookies;
use super::stream::Failure;
use crate::scenario::{Capture, Expect, Source, Step};
use crate::stats::Kind;

/// Whether a step uses the answer's body.
pub(crate) fn needs_body(step: &Step) -> bool {
    let in_body = |capture: &Capture| matches!(capture.from, Source::Json(_) | Source::Body);
    step.script.is_some() || step.captures.iter().any(in_body) || step.expect.uses_body()
}

/// Fails if an answer is not as the step expects it.
pub(crate) fn judge(expect: &Expect, answer: &Answer, latency: Duration) -> Result<(), Failure> {
    let is_expected = expect.names_status(answer.status) || expect.status.is_empty() && answer.status < 400;
    if !is_expected {
        return Err(Failure::new(Kind::Status, format!("status {}", answer.status)));
    }
    let check = |text: String| Err(Failure::new(Kind::Check, text));
    if let Some(under) = expect.under
        && latency >= under
    {
        return check(format!("the answer took longer than {}", duration::shown(under)));
    }
    for (name, regex) in &expect.headers {
        let found = answer
            .headers
            .get_all(name)
            .iter()
            .any(|value| regex.is_match(&String::from_utf8_lossy(value.as_bytes())));
        if !found {
            return check(format!("the header {name} does not match `{regex}`"));
        }
    }
    if !expect.uses_body() {
        return Ok(());
    }
    if !answer.whole {
        return check(format!(
            "the body is longer than the {} KiB that are checked",
            client::KEPT >> 10
        ));
    }
    let text = String::from_utf8_lossy(&answer.body);
    for part in &expect.contains {
        if !text.contains(part) {
            return check(format!("the body does not contain `{part}`"));
        }
    }
    for part in &expect.lacks {
        if text.contains(part) {
            return check(format!("the body contains `{part}`"));
        }
    }
    for regex in &expect.regex {
        if !regex.is_match(&text) {
            return check(format!("the body does not match `{regex}`"));
        }
    }
    if expect.json.is_empty() {
        return Ok(());
    }
    let document = parse_json(answer).map_err(|text| Failure::new(Kind::Check, text))?;
    for (path, wanted) in &expect.json {
        match (path.find(&document), wanted) {
            (None, _) => return check(format!("{path} is missing")),
            (Some(found), Some(wanted)) if !same(found, wanted) => {
                return check(format!("{path} is not {wanted}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The values that a step captures from an answer, with their names.
pub(crate) fn capture(
    captures: &[Capture],
    answer: &Answer,
    cookies: &Cookies,
) -> Result<Vec<(String, Value)>, Failure> {
    let mut values = Vec::with_capacity(captures.len());
    let document = LazyCell::new(|| parse_json(answer).ok());
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).into_owned());
    for capture in captures {
        let found = match &capture.from {
            Source::Status => Some(Value::from(answer.status)),
            Source::Header(name) => answer.headers.get(name).map(|value| text(value.as_bytes())),
            Source::Cookie(name) => cookies.get(name).map(Value::from),
            Source::Body => Some(text(&answer.body)),
            Source::Json(path) => document.as_ref().and_then(|json| path.find(json)).map(value_of),
        };
        let found = match (&capture.regex, found) {
            (Some(regex), Some(value)) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                regex
                    .captures(&text)
                    .and_then(|groups| groups.get(1).or(groups.get(0)))
                    .map(|found| Value::from(found.as_str()))
            }
            (_, found) => found,
        };
        let found = found.or_else(|| capture.default.as_deref().map(Value::from));
        let Some(value) = found else {
            return Err(Failure::new(
                Kind::Capture,
                format!("the answer has no `{}`", capture.name),
            ));
        };
        values.push((capture.name.clone(), value));
    }
    Ok(values)
}

fn parse_json(answer: &Answer) -> Result<serde_json::Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("the body is not JSON: {error}"))
}

/// Whether two JSON values are equal; `1` equals `1.0`.
fn same(found: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= f64::EPSILON * wanted.abs().max(1.0),
        _ => found == wanted,
    }
}
