//! OpenAPI descriptions: each operation becomes a task.

use serde_json::{Map, Value, json};

use super::imported::{Imported, write};
use super::secrets::Secrets;
use crate::scenario::{BUILT_IN, METHODS};
use crate::target::Target;

/// Makes a task of each operation of a description. Path parameters become variables.
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
        let operations = METHODS
            .iter()
            .filter_map(|method| Some((*method, operations.get(*method)?)));
        for (method, operation) in operations {
            let url = braced(path, |parameter| {
                let name = variable(parameter);
                let template = format!("{{{{ {name} }}}}");
                vars.insert(name, "1".into());
                template
            })?;
            let mut task = Map::new();
            let name = operation["operationId"].as_str().map_or_else(
                || format!("{} {path}", method.to_ascii_uppercase()),
                str::to_owned,
            );
            task.insert("name".into(), name.into());
            task.insert(method.to_owned(), url.into());
            let content = &operation["requestBody"]["content"]["application/json"];
            if !content.is_null() {
                let example = content.get("example").cloned().unwrap_or_else(|| json!({}));
                task.insert("json".into(), secrets.value("", &example));
            }
            let responses = operation["responses"].as_object().into_iter().flatten();
            let mut statuses = responses.map(|(status, _)| status);
            let status = statuses.find(|status| status.starts_with('2'));
            if let Some(status) = status.and_then(|status| status.parse::<u16>().ok()) {
                task.insert("expect".into(), json!({ "status": status }));
            }
            tasks.push(Value::Object(task));
        }
    }
    if tasks.is_empty() {
        return Err("it describes no operation".into());
    }
    let server = &document["servers"][0];
    let url = server["url"].as_str().unwrap_or("http://localhost");
    // Parameters of a server without a default keep their names.
    let url = braced(url, |name| match &server["variables"][name]["default"] {
        Value::String(usual) => usual.clone(),
        Value::Number(usual) => usual.to_string(),
        _ => name.to_owned(),
    })?;
    let base = if Target::is_absolute(&url) {
        url
    } else {
        format!("http://localhost/{}", url.trim_start_matches('/'))
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
        text: write(&scenario)?,
        remarks: secrets.remark().into_iter().collect(),
    })
}

/// The name of the variable for a parameter. Built-in names are taken, and none begins with a digit.
fn variable(parameter: &str) -> String {
    let name = parameter.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    if name == "env" || BUILT_IN.contains(&&*name) {
        name + "_"
    } else if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name
    } else {
        format!("_{name}")
    }
}

/// Replaces each `{name}` in a text.
fn braced(text: &str, mut replace: impl FnMut(&str) -> String) -> Result<String, String> {
    let (mut replaced, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| format!("`{text}` has a `{{` without a `}}`"))?;
        replaced += before;
        replaced += &replace(name);
        rest = after;
    }
    Ok(replaced + rest)
}
