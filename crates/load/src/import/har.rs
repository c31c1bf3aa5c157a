//! A recording of a browser: its requests as one sequence, with the pauses that there were.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::secrets::Secrets;
use super::{Imported, braces, write};
use crate::scenario::METHODS;
use crate::target::Target;

/// Headers that a browser sets for itself, or that this program does.
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

/// The most requests of a recording.
const MOST: usize = 1000;

/// Shorter pauses are the browser's, longer ones are not meant.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

/// What a recording is made into.
#[derive(Default)]
struct Recording {
    base: Option<String>,
    sequence: Vec<Value>,
    secrets: Secrets,
    /// When the last answer was there.
    ended: Option<Timestamp>,
    /// Headers that HTTP does not allow.
    headers: u64,
}

/// Makes a scenario of a recording.
pub(crate) fn har(text: &str) -> Result<Imported, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let entries = document["log"]["entries"]
        .as_array()
        .ok_or("it has no `log.entries`, so it is not a HAR file")?;
    let mut recording = Recording::default();
    let (mut others, mut beyond) = (0, 0);
    for entry in entries {
        if recording.sequence.len() == MOST {
            beyond += 1;
        } else if recording.entry(entry).is_none() {
            others += 1;
        }
    }
    let Recording {
        base: Some(base),
        sequence,
        mut secrets,
        headers,
        ..
    } = recording
    else {
        return Err("no request in it is one of HTTP".into());
    };
    let mut scenario = json!({
        "name": "recording",
        "base_url": base,
        "classes": [{"name": "visitor", "wait": "1s", "sequence": sequence}],
        "stages": [{"ramp": 10, "over": "10s"}, {"hold": "1m"}],
    });
    secrets.replace(&mut scenario);
    let mut remarks: Vec<String> = secrets.remark().into_iter().collect();
    if others > 0 {
        remarks.push(format!(
            "entries left out: {others}, which are no requests that a step can make (data URLs, web sockets, CONNECT)"
        ));
    }
    if beyond > 0 {
        remarks.push(format!(
            "entries left out: the last {beyond}, since a sequence has at most {MOST} requests"
        ));
    }
    if headers > 0 {
        remarks.push(format!(
            "headers left out: {headers}, whose names or values can't be sent"
        ));
    }
    Ok(Imported {
        text: write(&scenario),
        remarks,
    })
}

impl Recording {
    /// Takes over the request of an entry, if it is one that a step can make.
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
            if let (Some(name), Some(value)) = (header["name"].as_str(), header["value"].as_str()) {
                let lower = name.to_ascii_lowercase();
                let own =
                    OWN.contains(&lower.as_str()) || lower.starts_with("sec-") || lower.starts_with(':');
                if own || value.is_empty() {
                    continue;
                }
                if HeaderName::from_bytes(lower.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
                {
                    self.headers += 1;
                    continue;
                }
                let mut value = self.header(&lower, value);
                // A mapping has each name once; a list in one header means the same.
                if let Some(earlier) = headers.get(&lower).and_then(Value::as_str) {
                    value = format!("{earlier}, {value}");
                }
                headers.insert(lower, value.into());
            }
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
        // Redirects are followed, so that only their end is seen.
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

    /// A header; of `Bearer …` and `Basic …` the word stays.
    fn header(&mut self, name: &str, value: &str) -> String {
        match value.split_once(' ') {
            Some((scheme, rest)) if name.ends_with("authorization") && !rest.contains(' ') => {
                format!("{scheme} {}", self.secrets.text(name, rest))
            }
            _ => self.secrets.text(name, value),
        }
    }

    /// A path, or a URL, with its query.
    fn query(&mut self, path: &str) -> String {
        match path.split_once('?') {
            Some((path, query)) => format!("{}?{}", braces(path), self.pairs(query)),
            None => braces(path),
        }
    }

    /// `name=value&name=value` as it is; so the secrets in it stay escaped as they were.
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

    /// What was sent.
    fn body(&mut self, data: &Value, step: &mut Map<String, Value>, headers: &mut Map<String, Value>) {
        let kind = data["mimeType"].as_str().unwrap_or_default();
        let text = data["text"].as_str().unwrap_or_default();
        let fields: Vec<(&str, &str)> = data["params"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|field| {
                Some((
                    field["name"].as_str()?,
                    field["value"].as_str().unwrap_or_default(),
                ))
            })
            .collect();
        if kind.starts_with("application/x-www-form-urlencoded") {
            let names: BTreeSet<&str> = fields.iter().map(|(name, _)| *name).collect();
            // A mapping has each name once.
            if !fields.is_empty() && names.len() == fields.len() {
                let form: Map<String, Value> = fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), self.secrets.text(name, value).into()))
                    .collect();
                step.insert("form".into(), form.into());
                return;
            }
            let body = if text.is_empty() {
                let pairs: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
                    .collect();
                self.pairs(&pairs.join("&"))
            } else {
                self.pairs(text)
            };
            if !body.is_empty() {
                step.insert("body".into(), body.into());
                headers.insert("content-type".into(), kind.into());
            }
            return;
        }
        if text.is_empty() {
            return;
        }
        if kind.starts_with("multipart/") {
            step.insert("body".into(), self.parts(text).into());
            headers.insert("content-type".into(), kind.into());
            return;
        }
        match serde_json::from_str::<Value>(text) {
            Ok(json) if json.is_object() || json.is_array() => {
                step.insert("json".into(), self.secrets.value("", &json));
            }
            _ => {
                step.insert("body".into(), braces(text).into());
                if !kind.is_empty() {
                    headers.insert("content-type".into(), kind.into());
                }
            }
        }
    }
}

impl Recording {
    /// A body in several parts, each with its name.
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

/// A URL without the user and password in it, and these.
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

/// Text as a form escapes it.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Text without its escapes; what is none stays.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// When the answer of an entry was there.
fn end(entry: &Value) -> Option<Timestamp> {
    let took = Duration::try_from_secs_f64(entry["time"].as_f64().unwrap_or(0.0) / 1e3).ok()?;
    begin(entry)?
        .checked_add(SignedDuration::try_from(took).ok()?)
        .ok()
}

fn begin(entry: &Value) -> Option<Timestamp> {
    entry["startedDateTime"].as_str()?.parse().ok()
}

/// What a person did between two requests.
fn pause(ended: Option<Timestamp>, entry: &Value) -> Option<String> {
    let pause = Duration::try_from(begin(entry)?.duration_since(ended?)).ok()?;
    let pause = pause.min(*PAUSES.end());
    PAUSES
        .contains(&pause)
        .then(|| format!("{}ms", pause.as_millis()))
}
