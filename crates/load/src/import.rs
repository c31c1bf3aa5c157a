//! Scenarios from recordings (HAR) and descriptions (OpenAPI): a beginning that people go on with.

mod har;
mod secrets;

use serde_json::{Map, Value, json};

pub(crate) use self::har::har;
use self::secrets::Secrets;
use crate::scenario::{BUILT_IN, METHODS};
use crate::target::Target;

/// A scenario, and what whoever goes on with it has to know.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) text: String,
    pub(crate) remarks: Vec<String>,
}

/// A task for each operation of a description; path parameters become vars.
pub(crate) fn openapi(text: &str) -> Result<Imported, String> {
    let mut secrets = Secrets::default();
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
                // A name of our own means something else, and none begins with a digit.
                let name = if name == "env" || BUILT_IN.contains(&&*name) {
                    name + "_"
                } else if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    name
                } else {
                    format!("_{name}")
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
                task.insert("json".into(), secrets.value("", &example));
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
    let server = filled(server, &document["servers"][0]["variables"]);
    let base = if Target::is_absolute(&server) {
        server
    } else {
        format!("http://localhost/{}", server.trim_start_matches('/'))
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
    Ok(Imported {
        text: write(&scenario),
        remarks: secrets.remark().into_iter().collect(),
    })
}

/// The URL of a server with what its `{variables}` usually are; their names where nothing is said.
fn filled(server: &str, variables: &Value) -> String {
    let (mut url, mut rest) = (String::new(), server);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        url.push_str(before);
        match &variables[name]["default"] {
            Value::String(usual) => url.push_str(usual),
            Value::Number(usual) => url.push_str(&usual.to_string()),
            _ => url.push_str(name),
        }
        rest = after;
    }
    url + rest
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
                    scalar(&Value::from(key.as_str()))
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
                    _ => text.push_str(&format!("{}\n", scalar(item))),
                }
            }
        }
        other => text.push_str(&format!("{pad}{}\n", scalar(other))),
    }
}

fn inner(value: &Value, indent: usize, text: &mut String) {
    let is_block = matches!(value, Value::Object(entries) if !entries.is_empty())
        || matches!(value, Value::Array(items) if !items.is_empty());
    if is_block {
        text.push('\n');
        block(value, indent, text);
    } else {
        text.push_str(&format!(" {}\n", scalar(value)));
    }
}

/// A value in one line, as YAML reads it: JSON, but for characters that YAML has only escaped.
fn scalar(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        let is_plain = matches!(
            c,
            ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
                | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..
        );
        if is_plain {
            text.push(c);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    text
}
