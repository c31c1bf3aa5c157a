//! Recordings of browsers: their requests become one sequence, with the pauses between them.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reveille_text::counted;
use serde_json::{Map, Value, json};

use super::imported::{Imported, braces, write};
use super::secrets::Secrets;
use crate::scenario::METHODS;
use crate::target::Target;

/// Headers that the browser or this program sets.
const OWN: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "cookie",
    "accept-encoding",
    "user-agent",
    "content-type",
    "referer",
    "origin",
    "cache-control",
    "pragma",
    "te",
    "upgrade-insecure-requests",
];

/// The most requests of a recording that are used.
const MOST: usize = 1000;

/// Shorter pauses are the browser's; longer ones are shortened.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

/// The scenario that is being made.
#[derive(Default)]
struct Recording {
    base: Option<String>,
    sequence: Vec<Value>,
    secrets: Secrets,
    /// When the last answer was complete.
    ended: Option<Timestamp>,
    /// The number of headers that HTTP does not allow.
    headers: u64,
}

/// Makes a scenario of a recording.
pub(crate) fn har(text: &str) -> Result<Imported, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let entries = document["log"]["entries"]
        .as_array()
        .ok_or("it has no `log.entries`, so it is not a HAR file")?;
    let mut recording = Recording::default();
    let (mut others, mut beyond) = (0, 0_u64);
    for entry in entries {
        if recording.sequence.len() == MOST {
            beyond += 1;
        } else if recording.entry(entry).is_none() {
            others += 1;
        }
    }
    let Some(base) = recording.base else {
        return Err("it contains no HTTP request".into());
    };
    let mut scenario = json!({
        "name": "recording",
        "base_url": base,
        "classes": [{"name": "visitor", "wait": "1s", "sequence": recording.sequence}],
        "stages": [{"ramp": 10, "over": "10s"}, {"hold": "1m"}],
    });
    recording.secrets.replace(&mut scenario);
    let mut remarks: Vec<String> = recording.secrets.remark().into_iter().collect();
    let limit = format!("a sequence has at most {MOST}");
    for (count, noun, why) in [
        (
            others,
            "request",
            "steps can't send data URLs, web sockets and CONNECT",
        ),
        (beyond, "request", &limit),
        (
            recording.headers,
            "header",
            "HTTP does not allow their names or values",
        ),
    ] {
        if count > 0 {
            remarks.push(format!("omitted {}: {why}", counted(count, noun)));
        }
    }
    Ok(Imported {
        text: write(&scenario)?,
        remarks,
    })
}

impl Recording {
    /// Adds the request of an entry, if a step can send it.
    fn entry(&mut self, entry: &Value) -> Option<()> {
        let request = &entry["request"];
        let method = request["method"].as_str()?.to_ascii_lowercase();
        if !METHODS.contains(&&*method) {
            return None;
        }
        let (url, credentials) = apart(request["url"].as_str()?);
        let target = Target::parse(&url).ok()?;
        let scheme = if target.origin.tls { "https" } else { "http" };
        let origin = format!("{scheme}://{}", target.origin.authority);
        let path = if *self.base.get_or_insert_with(|| origin.clone()) == origin {
            target.path.to_string()
        } else {
            target.to_string()
        };
        let mut step = Map::new();
        step.insert(method, self.query(&path).into());
        let mut headers = Map::new();
        for header in request["headers"].as_array().into_iter().flatten() {
            let (Some(name), Some(value)) = (header["name"].as_str(), header["value"].as_str()) else {
                continue;
            };
            let name = name.to_ascii_lowercase();
            if OWN.contains(&&*name) || name.starts_with("sec-") || name.starts_with(':') || value.is_empty()
            {
                continue;
            }
            if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
                self.headers += 1;
                continue;
            }
            let mut value = self.header(&name, value);
            // A mapping has each name once; a list in one header means the same.
            if let Some(earlier) = headers.get(&name).and_then(Value::as_str) {
                value = format!("{earlier}, {value}");
            }
            headers.insert(name, value.into());
        }
        if let Some((user, password)) = credentials {
            let password = self.secrets.text("password", &password);
            step.insert(
                "auth".into(),
                json!({"basic": {"user": braces(&user), "password": password}}),
            );
        }
        self.body(&request["postData"], &mut step, &mut headers);
        if !headers.is_empty() {
            step.insert("headers".into(), headers.into());
        }
        // Redirects are followed, so that only the last status is seen.
        let status = entry["response"]["status"].as_u64();
        if let Some(status) = status.filter(|status| (100..300).contains(status)) {
            step.insert("expect".into(), json!({ "status": status }));
        }
        if let (Some(last), Some(pause)) = (self.sequence.last_mut(), pause(self.ended, entry)) {
            last["pause"] = pause.into();
        }
        self.ended = end(entry).or(self.ended);
        self.sequence.push(Value::Object(step));
        Some(())
    }

    /// The value of a header. The first word of `Bearer …` and `Basic …` is no secret.
    fn header(&mut self, name: &str, value: &str) -> String {
        match value.split_once(' ') {
            Some((scheme, rest)) if name.ends_with("authorization") && !rest.contains(' ') => {
                format!("{scheme} {}", self.secrets.text(name, rest))
            }
            _ => self.secrets.text(name, value),
        }
    }

    /// A path or a URL, with its query.
    fn query(&mut self, path: &str) -> String {
        match path.split_once('?') {
            Some((path, query)) => format!("{}?{}", braces(path), self.pairs(query)),
            None => braces(path),
        }
    }

    /// `name=value&name=value` with the escapes that it has, in secrets, too.
    fn pairs(&mut self, text: &str) -> String {
        let pairs: Vec<String> = text
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) => {
                    format!("{}={}", braces(name), self.secrets.text(&unescaped(name), value))
                }
                None => braces(pair),
            })
            .collect();
        pairs.join("&")
    }

    /// Adds the body.
    fn body(&mut self, data: &Value, step: &mut Map<String, Value>, headers: &mut Map<String, Value>) {
        let kind = data["mimeType"].as_str().unwrap_or_default();
        let text = data["text"].as_str().unwrap_or_default();
        let field = |field: &'_ Value| {
            Some((
                field["name"].as_str()?.to_owned(),
                field["value"].as_str().unwrap_or_default().to_owned(),
            ))
        };
        let fields: Vec<(String, String)> = data["params"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(field)
            .collect();
        let body = if kind.starts_with("application/x-www-form-urlencoded") {
            let names: BTreeSet<&String> = fields.iter().map(|(name, _)| name).collect();
            // A mapping has each name once.
            if !fields.is_empty() && names.len() == fields.len() {
                let form: Map<String, Value> = fields
                    .iter()
                    .map(|(name, value)| (name.clone(), self.secrets.text(name, value).into()))
                    .collect();
                step.insert("form".into(), form.into());
                return;
            }
            if text.is_empty() {
                let pair = |(name, value): &(String, String)| format!("{}={}", escaped(name), escaped(value));
                let pairs: Vec<String> = fields.iter().map(pair).collect();
                self.pairs(&pairs.join("&"))
            } else {
                self.pairs(text)
            }
        } else if kind.starts_with("multipart/") {
            self.parts(text)
        } else {
            if let Ok(json) = serde_json::from_str::<Value>(text)
                && (json.is_object() || json.is_array())
            {
                step.insert("json".into(), self.secrets.value("", &json));
                return;
            }
            braces(text)
        };
        if !body.is_empty() {
            step.insert("body".into(), body.into());
            if !kind.is_empty() {
                headers.insert("content-type".into(), kind.into());
            }
        }
    }

    /// A body in several parts, each with a name.
    fn parts(&mut self, text: &str) -> String {
        let (mut written, mut rest) = (String::new(), text);
        while let Some((head, after)) = rest.split_once("\r\n\r\n") {
            let end = after.find("\r\n--").unwrap_or(after.len());
            let name = head
                .rsplit_once("name=\"")
                .and_then(|(_, name)| name.split_once('"'))
                .map_or("", |(name, _)| name);
            let value = self.secrets.text(name, &after[..end]);
            written.push_str(&format!("{}\r\n\r\n{value}", braces(head)));
            rest = &after[end..];
        }
        written + braces(rest).as_str()
    }
}

/// Splits user and password off a URL.
fn apart(url: &str) -> (String, Option<(String, String)>) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (credentials, host) = rest[..end].rsplit_once('@')?;
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let url = format!("{scheme}://{host}{}", &rest[end..]);
        Some((url, Some((unescaped(user), unescaped(password)))))
    });
    parts.unwrap_or_else(|| (url.to_owned(), None))
}

/// Text as forms escape it.
fn escaped(text: &str) -> impl std::fmt::Display {
    const ESCAPED: AsciiSet = NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, &ESCAPED)
}

fn unescaped(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// When the answer of an entry was complete.
fn end(entry: &Value) -> Option<Timestamp> {
    let took = Duration::try_from_secs_f64(entry["time"].as_f64().unwrap_or(0.0) / 1e3).ok()?;
    begin(entry)?
        .checked_add(SignedDuration::try_from(took).ok()?)
        .ok()
}

fn begin(entry: &Value) -> Option<Timestamp> {
    entry["startedDateTime"].as_str()?.parse().ok()
}

/// The pause between two requests.
fn pause(ended: Option<Timestamp>, entry: &Value) -> Option<String> {
    let pause = Duration::try_from(begin(entry)?.duration_since(ended?)).ok()?;
    let pause = pause.min(*PAUSES.end());
    PAUSES
        .contains(&pause)
        .then(|| format!("{}ms", pause.as_millis()))
}
