//! Tasks and their steps: requests, what is expected of the answers, and what is captured from them.

use hyper::Method;
use hyper::header::AUTHORIZATION;
use regex::Regex;
use reveille_document::{Fields, Node, Value, items};
use reveille_text::bounded;

use super::super::check::JsonPath;
use super::super::model::{Body, Capture, Expect, JsonPart, Source, Step, Task, Wait};
use super::super::names::METHODS;
use super::super::schema::{AuthFile, BasicFile, CaptureFile, ExpectFile, StepFile, TaskFile};
use super::super::template::Holds;
use super::context::{Context, is_name};
use crate::mask::named;
use crate::target::Target;

/// The longest file that is sent, in bytes.
const MAX_FILE: u64 = 64 << 20;

impl Context<'_> {
    pub(super) fn tasks(&mut self, node: &Node, class_tags: &[String]) -> Vec<Task> {
        let Value::List(nodes) = &node.value else {
            self.reader.expected(node, "a list of tasks");
            return Vec::new();
        };
        if nodes.is_empty() {
            self.reader
                .mistake(&node.place, "a class needs at least one task");
        }
        let nodes = self
            .at_most(nodes.iter().collect(), "a class", "tasks")
            .into_iter();
        nodes.filter_map(|node| self.task(node, class_tags)).collect()
    }

    fn task(&mut self, node: &Node, class_tags: &[String]) -> Option<Task> {
        let fields = self.fields::<TaskFile>(node, "a task")?;
        let weight = self.weight(&fields);
        let mut tags = self.part(&fields, "tags", Self::tags);
        tags.extend_from_slice(class_tags);
        let (name, steps) = if let Some(sequence) = fields.get("sequence") {
            let name = self.part(&fields, "name", |this, node| this.reader.filled(node));
            let name = name.unwrap_or_else(|| "sequence".to_owned());
            let steps = self.steps(sequence, &name);
            (name, steps)
        } else {
            let step = self.step_of(&fields, None)?;
            (step.name.clone(), vec![step])
        };
        let is_run = self.is_chosen(&tags, false) && weight > 0 && !steps.is_empty();
        is_run.then_some(Task { name, weight, steps })
    }

    pub(super) fn weight(&mut self, fields: &Fields<'_>) -> u32 {
        self.part(fields, "weight", |this, node| {
            this.reader.whole(node, 0..=1_000_000)
        })
        .map_or(1, |weight| u32::try_from(weight).unwrap_or(1))
    }

    /// Reads the steps of a sequence. Its name begins the names of their rows.
    pub(super) fn steps(&mut self, node: &Node, sequence: &str) -> Vec<Step> {
        let nodes = self.at_most(items(node), "a sequence", "steps").into_iter();
        nodes
            .filter_map(|node| {
                let fields = self.fields::<StepFile>(node, "a step")?;
                self.step_of(&fields, Some(sequence))
            })
            .collect()
    }

    fn step_of(&mut self, fields: &Fields<'_>, sequence: Option<&str>) -> Option<Step> {
        let mut methods = METHODS.iter().filter_map(|word| Some((word, fields.get(word)?)));
        let Some((word, url_node)) = methods.next() else {
            self.reader.mistake(
                fields.place,
                "a step needs a request: `get`, `post`, `put`, `patch`, `delete`, `head` or `options`",
            );
            return None;
        };
        let method = Method::from_bytes(word.to_ascii_uppercase().as_bytes()).unwrap_or(Method::GET);
        if let Some((other, node)) = methods.next() {
            let message = format!("a step has one request: `{word}` or `{other}`");
            self.reader.mistake(&node.place, message);
        }
        let url = self.text(url_node);
        if let Some(text) = &url
            && let Some(constant) = text.constant()
        {
            if Target::is_absolute(constant) {
                if let Err(why) = Target::parse(constant) {
                    let message = format!("this is not a URL: {why}");
                    self.reader.mistake(&url_node.place, message);
                }
            } else if !constant.starts_with('/') {
                // The message has the template, because its values may be secret.
                self.reader.mistake_with_hint(
                    &url_node.place,
                    format!("`{}` is neither a path nor a URL", text.source()),
                    format!("write `/{}` for a path below `base_url`", text.source()),
                );
            }
        }
        // Reported once, and not if a mistyped key may be the reason.
        if !self.has_base
            && self.reader.mistakes.is_empty()
            && url.as_ref().is_some_and(|url| url.begins_with('/'))
        {
            self.reader.mistake_with_hint(
                &url_node.place,
                "this is a path, and the scenario has no `base_url`",
                "write the whole URL here, or `base_url: http://…` at the top",
            );
        }
        let name = self
            .part(fields, "name", |this, node| this.reader.filled(node))
            .or_else(|| Some(named(&format!("{method} {}", url.as_ref()?.source()))));
        let headers = self.part(fields, "headers", Self::headers);
        self.steps += 1;
        let mut step = Step {
            id: self.steps - 1,
            in_bootstrap: false,
            row: 0,
            name: name?,
            method,
            url: url?,
            headers,
            basic: None,
            body: self.body(fields)?,
            expect: self.part(fields, "expect", Self::expect),
            captures: self.part(fields, "capture", Self::captures),
            timeout: self.part(fields, "timeout", Self::time),
            pause: self.part(fields, "pause", Self::pause),
            script: self.part(fields, "script", Self::script),
        };
        if let Some(node) = fields.get("auth") {
            self.auth(node, &mut step);
        }
        let row = match sequence {
            Some(sequence) => format!("{sequence} / {}", step.name),
            None => step.name.clone(),
        };
        step.row = self.row(row);
        Some(step)
    }

    /// The number of the row with this name, which is added if there is none.
    fn row(&mut self, name: String) -> usize {
        let found = self.rows.iter().position(|row| *row == name);
        found.unwrap_or_else(|| {
            self.rows.push(name);
            self.rows.len() - 1
        })
    }

    fn pause(&mut self, node: &Node) -> Option<Wait> {
        let wait = self.wait(node)?;
        if matches!(wait, Wait::Pacing(_)) {
            let message = "a pause after a step is constant, uniform or exponential";
            self.reader.mistake(&node.place, message);
            return None;
        }
        Some(wait)
    }

    fn script(&mut self, node: &Node) -> Option<std::sync::Arc<str>> {
        let text = self.reader.filled(node)?;
        crate::script::check(&text)
            .map_err(|message| self.reader.mistake(&node.place, message))
            .ok()?;
        Some(text.into())
    }

    fn auth(&mut self, node: &Node, step: &mut Step) {
        let Some(fields) = self.fields::<AuthFile>(node, "`auth`") else {
            return;
        };
        if let Some(node) = fields.get("basic")
            && let Some(fields) = self.fields::<BasicFile>(node, "`basic`")
        {
            let [user, password] = ["user", "password"].map(|key| {
                let node = fields.need(key, "`basic`", &mut self.reader)?;
                self.text(node)
            });
            step.basic = user.zip(password);
        }
        if let Some(node) = fields.get("bearer")
            && let Some(token) = self.reader.filled(node)
            && let Some(text) = self.compile(&format!("Bearer {token}"), node)
        {
            step.headers.push((AUTHORIZATION, text));
        }
    }

    fn body(&mut self, fields: &Fields<'_>) -> Option<Body> {
        let mut bodies = ["json", "form", "body", "file"]
            .into_iter()
            .filter_map(|name| Some((name, fields.get(name)?)));
        let Some((name, node)) = bodies.next() else {
            return Some(Body::None);
        };
        if let Some((other, second)) = bodies.next() {
            let message = format!("a request has one body: `{name}` or `{other}`");
            self.reader.mistake(&second.place, message);
        }
        match name {
            "json" => {
                let mut parts = Vec::new();
                self.json(node, &mut parts)?;
                Some(Body::Json(parts))
            }
            "form" => {
                let mut form = Vec::new();
                for (key, value) in self.entries(node, "`form`, a mapping of names to values") {
                    let name = self.reader.scalar(key)?;
                    // Fields of forms are often empty.
                    let text = self.reader.scalar(value)?;
                    form.push((name, self.compile(&text, value)?));
                }
                Some(Body::Form(form))
            }
            "body" => self.text(node).map(Body::Text),
            _ => self
                .file(node, |path| {
                    bounded::bytes(path, MAX_FILE).map_err(|error| error.to_string())
                })
                .map(|bytes| Body::File(bytes.into())),
        }
    }

    fn json(&mut self, node: &Node, parts: &mut Vec<JsonPart>) -> Option<()> {
        match &node.value {
            Value::Null => raw(parts, "null"),
            Value::Truth(truth) => raw(parts, &truth.to_string()),
            Value::Number(number) => raw(parts, &number.to_string()),
            Value::Text(text) => {
                let text = self.compile(text, node)?;
                match text.constant() {
                    Some(fixed) if text.holds == Holds::Always => {
                        raw(parts, &serde_json::Value::from(fixed).to_string());
                    }
                    _ => parts.push(JsonPart::Value(text)),
                }
            }
            Value::List(items) => {
                raw(parts, "[");
                for (index, item) in items.iter().enumerate() {
                    raw(parts, if index > 0 { "," } else { "" });
                    self.json(item, parts)?;
                }
                raw(parts, "]");
            }
            Value::Map(entries) => {
                raw(parts, "{");
                for (index, (key, value)) in entries.iter().enumerate() {
                    let key = serde_json::Value::from(self.reader.scalar(key)?);
                    raw(parts, &format!("{}{key}:", if index > 0 { "," } else { "" }));
                    self.json(value, parts)?;
                }
                raw(parts, "}");
            }
        }
        Some(())
    }

    fn expect(&mut self, node: &Node) -> Expect {
        let mut expect = Expect::default();
        let Some(fields) = self.fields::<ExpectFile>(node, "`expect`") else {
            return expect;
        };
        let reader = &mut self.reader;
        for node in fields.get("status").map(items).unwrap_or_default() {
            expect.status.extend(reader.parsed(node, status));
        }
        for (name, list) in [("contains", &mut expect.contains), ("lacks", &mut expect.lacks)] {
            for node in fields.get(name).map(items).unwrap_or_default() {
                list.extend(reader.filled(node));
            }
        }
        for node in fields.get("regex").map(items).unwrap_or_default() {
            expect.regex.extend(reader.regex(node, Regex::new));
        }
        expect.under = fields.get("under").and_then(|node| reader.duration(node));
        if let Some(node) = fields.get("json") {
            self.expect_json(node, &mut expect);
        }
        if let Some(node) = fields.get("headers") {
            for (key, value) in self.entries(node, "a mapping of headers to regular expressions") {
                let name = self.header_name(key);
                let regex = self.reader.regex(value, Regex::new);
                expect.headers.extend(name.zip(regex));
            }
        }
        expect
    }

    fn expect_json(&mut self, node: &Node, expect: &mut Expect) {
        match &node.value {
            Value::Map(entries) => {
                for (key, value) in entries {
                    let path = self.reader.parsed(key, JsonPath::parse);
                    expect.json.extend(path.map(|path| (path, Some(plain(value)))));
                }
            }
            _ => {
                for node in items(node) {
                    let path = self.reader.parsed(node, JsonPath::parse);
                    expect.json.extend(path.map(|path| (path, None)));
                }
            }
        }
    }

    fn captures(&mut self, node: &Node) -> Vec<Capture> {
        let mut captures = Vec::new();
        for (key, value) in self.entries(node, "`capture`, a mapping of names to places in the answer") {
            let Some(name) = self.reader.scalar(key) else {
                continue;
            };
            if !is_name(&name) {
                let message = format!("`{name}` can't be the name of a value");
                self.reader.mistake(&key.place, message);
                continue;
            }
            self.captured.insert(name.clone());
            captures.extend(self.capture(name, value));
        }
        captures
    }

    fn capture(&mut self, name: String, node: &Node) -> Option<Capture> {
        let fields = self.fields::<CaptureFile>(node, "a capture")?;
        let regex = self.part(&fields, "regex", |this, node| this.reader.regex(node, Regex::new));
        let from = if let Some(node) = fields.get("json") {
            Source::Json(self.reader.parsed(node, JsonPath::parse)?)
        } else if let Some(node) = fields.get("header") {
            Source::Header(self.header_name(node)?)
        } else if let Some(node) = fields.get("cookie") {
            Source::Cookie(self.reader.filled(node)?)
        } else if fields.get("status").is_some() {
            Source::Status
        } else if fields.get("regex").is_some() {
            Source::Body
        } else {
            let message = "a capture needs `json`, `header`, `cookie`, `status`, or a `regex` for the body";
            self.reader.mistake(fields.place, message);
            return None;
        };
        Some(Capture {
            name,
            from,
            regex,
            default: self.part(&fields, "default", |this, node| this.reader.scalar(node)),
        })
    }
}

fn raw(parts: &mut Vec<JsonPart>, text: &str) {
    match parts.last_mut() {
        Some(JsonPart::Raw(before)) => before.push_str(text),
        _ => parts.push(JsonPart::Raw(text.to_owned())),
    }
}

/// Parses `200`, `2xx`, `200-204`.
fn status(text: &str) -> Result<(u16, u16), String> {
    let wrong = || format!("`{text}` is not a status; write `200`, `2xx` or `200-204`");
    let code = |text: &str| match text.trim().parse::<u16>() {
        Ok(code) if (100..=599).contains(&code) => Ok(code),
        _ => Err(wrong()),
    };
    if let Some(class) = text.strip_suffix("xx") {
        let low = code(&format!("{class}00"))?;
        return Ok((low, low + 99));
    }
    match text.split_once('-') {
        Some((low, high)) => match (code(low)?, code(high)?) {
            (low, high) if low <= high => Ok((low, high)),
            _ => Err(wrong()),
        },
        None => Ok((code(text)?, code(text)?)),
    }
}

/// A node as JSON.
fn plain(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Truth(truth) => (*truth).into(),
        Value::Number(number) => serde_json::Value::Number(number.clone()),
        Value::Text(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Map(entries) => entries
            .iter()
            .filter_map(|(key, value)| match &key.value {
                Value::Text(name) => Some((name.clone(), plain(value))),
                _ => None,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn statuses_are_codes_classes_and_ranges() {
        assert_eq!(status("200"), Ok((200, 200)));
        assert_eq!(status("2xx"), Ok((200, 299)));
        assert_eq!(status("200-204"), Ok((200, 204)));
        for bad in ["", "xx", "20", "600", "9xx", "a-b", "300-200"] {
            assert!(status(bad).is_err(), "{bad}");
        }
    }
}
