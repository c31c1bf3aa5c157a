//! Tasks and their steps: requests, what is expected of the answer, what is taken from it.

use hyper::Method;
use regex::Regex;
use reveille_document::{Fields, Node, Value, items};
use reveille_text::bounded;

use super::super::names::METHODS;
use super::super::{
    Body, Capture, Expect, JsonPart, JsonPath, Source, Step, Task, Text, Wait, template::Holds,
};
use super::{Context, is_name};
use crate::engine::Target;
use crate::mask::named;

pub(in crate::scenario) const STEP: &[&str] = &[
    "name", "get", "head", "post", "put", "patch", "delete", "options", "headers", "auth", "json", "form",
    "body", "file", "expect", "capture", "timeout", "pause", "script",
];
pub(in crate::scenario) const TASK: &[&str] = &["weight", "tags", "sequence"];
pub(in crate::scenario) const EXPECT: &[&str] =
    &["status", "contains", "lacks", "regex", "json", "headers", "under"];
pub(in crate::scenario) const CAPTURE: &[&str] = &["json", "header", "cookie", "regex", "status", "default"];
pub(in crate::scenario) const AUTH: &[&str] = &["basic", "bearer"];

/// The most that is read of a file that is sent.
const MAX_FILE: u64 = 64 << 20;

impl Context<'_> {
    pub(super) fn tasks(&mut self, node: &Node, class_tags: &[String]) -> Vec<Task> {
        let Value::List(nodes) = &node.value else {
            self.reader.expected(node, "a list of tasks");
            return Vec::new();
        };
        if nodes.is_empty() {
            self.reader.mistake(&node.place, "a class has at least one task");
        }
        let mut tasks = Vec::new();
        for node in self.at_most(nodes.iter().collect(), "a class", "tasks") {
            tasks.extend(self.task(node, class_tags));
        }
        tasks
    }

    fn task(&mut self, node: &Node, class_tags: &[String]) -> Option<Task> {
        let known: Vec<&str> = STEP.iter().chain(TASK).copied().collect();
        let fields = self.reader.fields(node, "a task", &known)?;
        let weight = self.weight(fields.get("weight"));
        let mut tags = self.tags(fields.get("tags"));
        tags.extend_from_slice(class_tags);
        let task = if let Some(sequence) = fields.get("sequence") {
            let name = fields
                .get("name")
                .and_then(|node| self.reader.filled(node))
                .unwrap_or_else(|| "sequence".to_owned());
            let steps = self.steps(sequence, &name);
            Task { name, weight, steps }
        } else {
            let step = self.step_of(&fields, None)?;
            Task {
                name: step.name.clone(),
                weight,
                steps: vec![step],
            }
        };
        (self.is_chosen(&tags, false) && weight > 0 && !task.steps.is_empty()).then_some(task)
    }

    pub(super) fn weight(&mut self, node: Option<&Node>) -> u32 {
        node.and_then(|node| self.reader.whole(node, 0..=1_000_000))
            .map_or(1, |weight| u32::try_from(weight).unwrap_or(1))
    }

    /// The steps of a sequence; their names in the statistics begin with its own.
    pub(super) fn steps(&mut self, node: &Node, sequence: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        for node in self.at_most(items(node), "a sequence", "steps") {
            if let Some(fields) = self.reader.fields(node, "a step", STEP) {
                steps.extend(self.step_of(&fields, Some(sequence)));
            }
        }
        steps
    }

    fn step_of(&mut self, fields: &Fields<'_>, sequence: Option<&str>) -> Option<Step> {
        let mut methods = METHODS.iter().filter_map(|word| Some((word, fields.get(word)?)));
        let Some((word, url_node)) = methods.next() else {
            self.reader.mistake(
                fields.place,
                "a step needs its request: `get`, `post`, `put`, `patch`, `delete`, `head` or `options`",
            );
            return None;
        };
        let method = Method::from_bytes(word.to_ascii_uppercase().as_bytes()).unwrap_or(Method::GET);
        if let Some((other, node)) = methods.next() {
            self.reader.mistake(
                &node.place,
                format!("a step sends one request: `{word}` or `{other}`"),
            );
        }
        let url = self.text(url_node);
        // Named as it was written: what it was filled in with may be secret.
        if let Some(text) = &url
            && let Some(url) = text.constant()
            && !url.starts_with('/')
            && !Target::is_absolute(url)
        {
            self.reader.mistake_with_hint(
                &url_node.place,
                format!("`{}` is neither a path nor a URL", text.source()),
                format!("write `/{}` for a path below `base_url`", text.source()),
            );
        }
        if let Some(text) = url.as_ref().and_then(Text::constant)
            && Target::is_absolute(text)
            && let Err(why) = Target::parse(text)
        {
            self.reader
                .mistake(&url_node.place, format!("this is not a URL: {why}"));
        }
        // Said once, and not if a mistyped key is the reason.
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
        let name = fields
            .get("name")
            .and_then(|node| self.reader.filled(node))
            .or_else(|| Some(named(&format!("{method} {}", url.as_ref()?.source()))));
        let headers = fields
            .get("headers")
            .map(|node| self.headers(node))
            .unwrap_or_default();
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
            expect: fields
                .get("expect")
                .map(|node| self.expect(node))
                .unwrap_or_default(),
            captures: fields
                .get("capture")
                .map(|node| self.captures(node))
                .unwrap_or_default(),
            timeout: fields.get("timeout").and_then(|node| self.reader.duration(node)),
            pause: fields.get("pause").and_then(|node| self.pause(node)),
            script: fields.get("script").and_then(|node| self.script(node)),
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

    /// The row of the statistics with this name, made if there is none.
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
            self.reader.mistake(
                &node.place,
                "a pause after a step is constant, uniform or exponential",
            );
            return None;
        }
        Some(wait)
    }

    fn script(&mut self, node: &Node) -> Option<std::sync::Arc<str>> {
        let text = self.reader.filled(node)?;
        match crate::engine::check_script(&text) {
            Ok(()) => Some(text.into()),
            Err(message) => {
                self.reader.mistake(&node.place, message);
                None
            }
        }
    }

    fn auth(&mut self, node: &Node, step: &mut Step) {
        let Some(fields) = self.reader.fields(node, "`auth`", AUTH) else {
            return;
        };
        if let Some(node) = fields.get("basic")
            && let Some(fields) = self.reader.fields(node, "`basic`", &["user", "password"])
        {
            let user = fields
                .need("user", "`basic`", &mut self.reader)
                .and_then(|node| self.text(node));
            let password = fields
                .need("password", "`basic`", &mut self.reader)
                .and_then(|node| self.text(node));
            step.basic = user.zip(password);
        }
        if let Some(node) = fields.get("bearer")
            && let Some(token) = self.reader.filled(node)
            && let Some(text) = self.compile(&format!("Bearer {token}"), node)
        {
            step.headers.push((hyper::header::AUTHORIZATION, text));
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
            self.reader.mistake(
                &second.place,
                format!("a request has one body: `{name}` or `{other}`"),
            );
        }
        match name {
            "json" => {
                let mut parts = Vec::new();
                self.json(node, &mut parts)?;
                Some(Body::Json(parts))
            }
            "form" => {
                let Value::Map(entries) = &node.value else {
                    self.reader.expected(node, "`form`, a mapping of names to values");
                    return None;
                };
                let mut form = Vec::new();
                for (key, value) in entries {
                    let name = self.reader.scalar(key)?;
                    // Fields of forms may be empty, and often are.
                    let text = self.reader.scalar(value)?;
                    form.push((name, self.compile(&text, value)?));
                }
                Some(Body::Form(form))
            }
            "body" => self.text(node).map(Body::Text),
            _ => self.file(node),
        }
    }

    fn file(&mut self, node: &Node) -> Option<Body> {
        let path = self.constant(node)?;
        let path = self.given.directory.join(path);
        match bounded::bytes(&path, MAX_FILE) {
            Ok(bytes) => Some(Body::File(bytes.into())),
            Err(error) => {
                let message = format!("can't read {}: {error}", path.display());
                self.reader.mistake(&node.place, message);
                None
            }
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
        let Some(fields) = self.reader.fields(node, "`expect`", EXPECT) else {
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
            let Value::Map(entries) = &node.value else {
                self.reader
                    .expected(node, "a mapping of headers to regular expressions");
                return expect;
            };
            for (key, value) in entries {
                if let (Some(name), Some(regex)) =
                    (self.header_name(key), self.reader.regex(value, Regex::new))
                {
                    expect.headers.push((name, regex));
                }
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
        let Value::Map(entries) = &node.value else {
            self.reader
                .expected(node, "`capture`, a mapping of names to where they are found");
            return Vec::new();
        };
        let mut captures = Vec::new();
        for (key, value) in entries {
            let Some(name) = self.reader.scalar(key) else {
                continue;
            };
            if !is_name(&name) {
                self.reader
                    .mistake(&key.place, format!("`{name}` can't be the name of a value"));
                continue;
            }
            self.captured.insert(name.clone());
            captures.extend(self.capture(name, value));
        }
        captures
    }

    fn capture(&mut self, name: String, node: &Node) -> Option<Capture> {
        let fields = self.reader.fields(node, "a capture", CAPTURE)?;
        let regex = fields
            .get("regex")
            .and_then(|node| self.reader.regex(node, Regex::new));
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
            self.reader.mistake(
                fields.place,
                "a capture needs `json`, `header`, `cookie`, `status` or a `regex` for the body",
            );
            return None;
        };
        Some(Capture {
            name,
            from,
            regex,
            default: fields.get("default").and_then(|node| self.reader.scalar(node)),
        })
    }
}

fn raw(parts: &mut Vec<JsonPart>, text: &str) {
    match parts.last_mut() {
        Some(JsonPart::Raw(before)) => before.push_str(text),
        _ => parts.push(JsonPart::Raw(text.to_owned())),
    }
}

/// Reads `200`, `2xx`, `200-204`.
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
