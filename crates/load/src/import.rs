//! Scenarios from recordings (HAR) and descriptions (OpenAPI): a beginning that people go on with.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::engine::Target;
use crate::scenario::{BUILT_IN, is_telling};

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

/// Requests that a step can make.
const METHODS: &[&str] = &["get", "post", "put", "patch", "delete", "head", "options"];

/// The most requests of a recording.
const MOST: usize = 1000;

/// Shorter pauses are the browser's, longer ones are not meant.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

/// The requests of a recording as one sequence, with the pauses that there were.
pub(crate) fn har(text: &str) -> Result<String, String> {
    let document: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let entries = document["log"]["entries"]
        .as_array()
        .ok_or("it has no `log.entries`, so it is not a HAR file")?;
    let mut sequence: Vec<Value> = Vec::new();
    let mut base = None;
    let mut ended = None;
    for entry in entries.iter().take(MOST) {
        let request = &entry["request"];
        let (Some(method), Some(url)) = (request["method"].as_str(), request["url"].as_str()) else {
            continue;
        };
        let method = method.to_ascii_lowercase();
        if !METHODS.contains(&&*method) {
            continue;
        }
        // Data URLs, web sockets and the like are not requests of HTTP.
        let Ok(target) = Target::parse(url) else { continue };
        let scheme = if target.origin.tls { "https" } else { "http" };
        let origin = format!("{scheme}://{}", target.origin.authority);
        let base = base.get_or_insert_with(|| origin.clone());
        let path = if *base == origin {
            target.path.to_string()
        } else {
            target.to_string()
        };
        let mut step = Map::new();
        step.insert(method, braces(&path).into());
        let mut headers = Map::new();
        for header in request["headers"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (header["name"].as_str(), header["value"].as_str()) {
                let lower = name.to_ascii_lowercase();
                let own =
                    OWN.contains(&lower.as_str()) || lower.starts_with("sec-") || lower.starts_with(':');
                if lower == "authorization" {
                    headers.insert(lower, "{{ env.AUTHORIZATION }}".into());
                } else if !own && !value.is_empty() {
                    headers.insert(lower, braces(value).into());
                }
            }
        }
        body(&request["postData"], &mut step, &mut headers);
        if !headers.is_empty() {
            step.insert("headers".into(), headers.into());
        }
        if let Some(status) = entry["response"]["status"]
            .as_u64()
            .filter(|status| (100..400).contains(status))
        {
            // Redirects are followed, so that only their end is seen.
            if !(300..400).contains(&status) {
                step.insert("expect".into(), json!({ "status": status }));
            }
        }
        if let (Some(last), Some(pause)) = (sequence.last_mut(), pause(ended, entry)) {
            last["pause"] = pause.into();
        }
        ended = end(entry).or(ended);
        sequence.push(Value::Object(step));
    }
    let Some(base) = base else {
        return Err("no request in it is one of HTTP".into());
    };
    Ok(write(&json!({
        "name": "recording",
        "base_url": base,
        "classes": [{"name": "visitor", "wait": "1s", "sequence": sequence}],
        "stages": [{"ramp": 10, "over": "10s"}, {"hold": "1m"}],
    })))
}

/// What was sent.
fn body(data: &Value, step: &mut Map<String, Value>, headers: &mut Map<String, Value>) {
    let kind = data["mimeType"].as_str().unwrap_or_default();
    let fields = data["params"].as_array().filter(|fields| !fields.is_empty());
    if let (Some(fields), true) = (fields, kind.starts_with("application/x-www-form-urlencoded")) {
        let fields = fields.iter().filter_map(|field| {
            let name = field["name"].as_str()?;
            Some((name.to_owned(), literal(name, &field["value"])))
        });
        step.insert("form".into(), Value::Object(fields.collect()));
        return;
    }
    let Some(text) = data["text"].as_str().filter(|text| !text.is_empty()) else {
        return;
    };
    match serde_json::from_str::<Value>(text) {
        Ok(json) if json.is_object() || json.is_array() => {
            step.insert("json".into(), literal("", &json));
        }
        _ => {
            step.insert("body".into(), braces(text).into());
            if !kind.is_empty() {
                headers.insert("content-type".into(), kind.into());
            }
        }
    }
}

/// A recorded value as it is, but for what its name says is a secret: that comes from the environment.
fn literal(name: &str, value: &Value) -> Value {
    match value {
        Value::String(_) if is_telling(name) => {
            let name: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            format!("{{{{ env.{} }}}}", name.to_ascii_uppercase()).into()
        }
        Value::String(text) => braces(text).into(),
        Value::Array(items) => items.iter().map(|item| literal(name, item)).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(name, value)| (name.clone(), literal(name, value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
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

/// A task for each operation of a description; path parameters become vars.
pub(crate) fn openapi(text: &str) -> Result<String, String> {
    let document: Value = serde_json::from_str(text)
        .or_else(|_| serde_saphyr::from_str(text))
        .map_err(|error| format!("it is neither JSON nor YAML: {}", error.without_snippet()))?;
    let paths = document["paths"]
        .as_object()
        .ok_or("it has no `paths`, so it is not an OpenAPI description")?;
    let mut tasks = Vec::new();
    let mut vars = Map::new();
    for (path, operations) in paths {
        for method in METHODS {
            let Some(operation) = operations.get(*method) else {
                continue;
            };
            let mut url = String::new();
            let mut rest = path.as_str();
            while let Some((before, after)) = rest.split_once('{') {
                let (name, after) = after
                    .split_once('}')
                    .ok_or_else(|| format!("`{path}` has a `{{` too many"))?;
                let name: String = name
                    .chars()
                    .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                    .collect();
                // A name of our own means something else.
                let name = if name == "env" || BUILT_IN.contains(&&*name) {
                    name + "_"
                } else {
                    name
                };
                url.push_str(&format!("{before}{{{{ {name} }}}}"));
                vars.insert(name, "1".into());
                rest = after;
            }
            url.push_str(rest);
            let mut task = Map::new();
            let name = operation["operationId"].as_str().map_or_else(
                || format!("{} {path}", method.to_ascii_uppercase()),
                str::to_owned,
            );
            task.insert("name".into(), name.into());
            task.insert((*method).to_owned(), url.into());
            let content = &operation["requestBody"]["content"]["application/json"];
            if !content.is_null() {
                let example = content.get("example").cloned().unwrap_or_else(|| json!({}));
                task.insert("json".into(), literal("", &example));
            }
            let good = operation["responses"]
                .as_object()
                .and_then(|responses| responses.keys().find(|status| status.starts_with('2')));
            if let Some(status) = good.and_then(|status| status.parse::<u16>().ok()) {
                task.insert("expect".into(), json!({ "status": status }));
            }
            tasks.push(Value::Object(task));
        }
    }
    if tasks.is_empty() {
        return Err("it describes no operation".into());
    }
    let server = document["servers"][0]["url"]
        .as_str()
        .unwrap_or("http://localhost");
    let base = if Target::is_absolute(server) {
        server.to_owned()
    } else {
        format!("http://localhost{server}")
    };
    let mut scenario = json!({
        "name": document["info"]["title"].as_str().unwrap_or("description"),
        "base_url": base,
    });
    if !vars.is_empty() {
        scenario["vars"] = vars.into();
    }
    scenario["classes"] = json!([{"name": "caller", "wait": "1s", "tasks": tasks}]);
    scenario["stages"] = json!([{"ramp": 10, "over": "10s"}, {"hold": "1m"}]);
    Ok(write(&scenario))
}

/// Braces of a recording are not ours.
fn braces(text: &str) -> String {
    text.replace("{{", "{{ '{{' }}")
}

/// JSON as YAML: mappings and lists in blocks, every text in quotes.
fn write(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 || !text.ends_with("- ") {
                    text.push_str(&pad);
                }
                let plain = key
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
                let key = if plain {
                    key.clone()
                } else {
                    Value::from(key.as_str()).to_string()
                };
                text.push_str(&format!("{key}:"));
                inner(value, indent + 2, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&format!("{pad}- "));
                match item {
                    Value::Object(entries) if !entries.is_empty() => block(item, indent + 2, text),
                    _ => text.push_str(&format!("{item}\n")),
                }
            }
        }
        other => text.push_str(&format!("{pad}{other}\n")),
    }
}

fn inner(value: &Value, indent: usize, text: &mut String) {
    let is_block = matches!(value, Value::Object(entries) if !entries.is_empty())
        || matches!(value, Value::Array(items) if !items.is_empty());
    if is_block {
        text.push('\n');
        block(value, indent, text);
    } else {
        text.push_str(&format!(" {value}\n"));
    }
}
