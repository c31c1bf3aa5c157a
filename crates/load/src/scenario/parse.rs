//! From the text of a scenario to a [`Scenario`], or to all the mistakes in it.

mod data;
mod known;
mod step;
mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use hyper::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use minijinja::value::Value as Template;
use reveille_account::{Fault, SourceError};
use reveille_document::{self as document, Expression, Kind, Node, Reader, Value, items};
use reveille_text::{Bytes, bounded};

use super::names::{BUILT_IN, is_telling, set_by_script};
use super::template::Text;
use super::{Bootstrap, Class, Given, Http, Network, Refresh, Scenario, Step, Task, Tls, Version, Wait};

pub(super) const SCENARIO: &[&str] = &[
    "name",
    "base_url",
    "vars",
    "secrets",
    "http",
    "headers",
    "bootstrap",
    "classes",
    "tasks",
    "wait",
    "data",
    "stages",
    "thresholds",
];
pub(super) const HTTP: &[&str] = &[
    "version",
    "cookies",
    "redirects",
    "timeout",
    "connect_timeout",
    "first_byte_timeout",
    "body_timeout",
    "keep_alive",
    "max_body",
    "compression",
    "verify",
    "ca",
    "resumption",
    "resolve",
    "proxy",
    "network",
];
pub(super) const NETWORK: &[&str] = &["latency", "bandwidth"];
pub(super) const BOOTSTRAP: &[&str] = &["tags", "steps", "refresh"];
pub(super) const REFRESH: &[&str] = &["every", "early"];
pub(super) const CLASS: &[&str] = &[
    "name", "weight", "wait", "tags", "on_start", "on_stop", "tasks", "sequence",
];

/// The most a scenario may have of each: classes, tasks of a class, steps of a task.
const MOST: usize = 1000;

/// The most that is read of a file of certificates.
const MAX_CA: u64 = 16 << 20;

/// A scenario being read.
pub(super) struct Context<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) given: &'a Given,
    constants: BTreeMap<String, Template>,
    /// Names that the bootstrap sets.
    shared: BTreeSet<String>,
    pub(super) rows: Vec<String>,
    pub(super) steps: usize,
    /// Paths lead somewhere.
    pub(super) has_base: bool,
    /// The same of one that tags leave out.
    left_out: BTreeSet<String>,
    /// Data that could not be read, which is told of once.
    pub(super) unread: BTreeSet<String>,
    /// The columns of data, as far as they are known.
    columns: BTreeMap<String, Vec<String>>,
    /// Names that captures set anywhere, left out by tags or not.
    pub(super) captured: BTreeSet<String>,
    /// Names of the environment that are taken.
    environment: BTreeSet<String>,
}

/// What is read.
const KIND: Kind = Kind {
    name: "scenario",
    one: "a scenario",
};

/// Reads a scenario.
pub(super) fn scenario(text: &str, file: &str, given: &Given) -> Result<Scenario, Vec<SourceError>> {
    let root = document::read(text, file, &KIND).map_err(|mistake| vec![mistake])?;
    let environment: BTreeMap<String, Template> = given
        .env
        .iter()
        .map(|(name, value)| (name.clone(), Template::from(value.as_str())))
        .collect();
    let mut context = Context {
        reader: Reader::new(file, text),
        given,
        constants: BTreeMap::from([("env".to_owned(), Template::from_object(environment))]),
        shared: BTreeSet::new(),
        rows: Vec::new(),
        steps: 0,
        has_base: false,
        left_out: BTreeSet::new(),
        unread: BTreeSet::new(),
        columns: BTreeMap::new(),
        captured: BTreeSet::new(),
        environment: BTreeSet::new(),
    };
    match context.scenario(&root) {
        Some(scenario) if context.reader.mistakes.is_empty() => Ok(scenario),
        _ => {
            let mut mistakes = context.reader.mistakes;
            if mistakes.is_empty() {
                mistakes.push(SourceError::whole("the scenario can't be read", file));
            }
            mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
            Err(mistakes)
        }
    }
}

impl Context<'_> {
    fn scenario(&mut self, root: &Node) -> Option<Scenario> {
        let fields = self.reader.fields(root, "a scenario", SCENARIO)?;
        let name = fields.get("name").and_then(|node| self.reader.filled(node));
        if let Some(node) = fields.get("vars") {
            self.vars(node);
        }
        for (name, value) in &self.given.vars {
            if !is_name(name) {
                let message = format!("`-e {name}=…`: `{name}` can't be the name of a var");
                self.reader.note(SourceError::whole(message, self.reader.file));
                continue;
            }
            self.constants
                .insert(name.clone(), Template::from(value.as_str()));
        }
        // A base URL is shown; what only it takes from the environment is no secret, unless its name says so.
        let taken = self.environment.clone();
        let base_url = fields.get("base_url").and_then(|node| {
            let text = self.text(node)?;
            let Some(url) = text.constant() else {
                self.reader
                    .mistake(&node.place, "`base_url` is made of `vars` and `env` only");
                return None;
            };
            match crate::engine::Target::parse(url) {
                Ok(_) => Some(url.trim_end_matches('/').to_owned()),
                Err(why) => {
                    self.reader
                        .mistake(&node.place, format!("`base_url` is not a URL: {why}"));
                    None
                }
            }
        });
        // One that is wrong has been told of.
        self.has_base = fields.get("base_url").is_some();
        self.environment
            .retain(|name| taken.contains(name) || is_telling(name));
        let mut http = fields.get("http").map(|node| self.http(node)).unwrap_or_default();
        http.resolve.splice(..0, self.given.resolve.iter().cloned());
        let mut bootstrap = fields.get("bootstrap").and_then(|node| self.bootstrap(node));
        if let Some(node) = fields.get("headers") {
            http.headers = self.headers(node);
        }
        for step in bootstrap.iter_mut().flat_map(|bootstrap| &mut bootstrap.steps) {
            let known =
                |root: &String| self.constants.contains_key(root) || BUILT_IN.contains(&root.as_str());
            let common = http
                .headers
                .iter()
                .filter(|(_, text)| text.expressions().flat_map(Expression::roots).all(known));
            step.headers.splice(..0, common.cloned());
        }
        let data = fields.get("data").map(|node| self.data(node)).unwrap_or_default();
        self.columns = data
            .iter()
            .map(|data| (data.name.clone(), data.columns.clone()))
            .collect();
        let wait = fields.get("wait").and_then(|node| self.wait(node));
        let known: BTreeSet<String> = data.iter().map(|data| data.name.clone()).collect();
        let mut classes = Vec::new();
        match (fields.get("classes"), fields.get("tasks")) {
            (Some(node), None) => {
                for node in self.at_most(items(node), "a scenario", "classes") {
                    classes.extend(self.class(node, wait, &known, &http));
                }
            }
            (None, Some(_)) => classes.extend(self.tasks_alone(root, wait, &known, &http)),
            (Some(_), Some(node)) => self
                .reader
                .mistake(&node.place, "tasks stand in their class once there are `classes`"),
            (None, None) => self.reader.mistake(
                &root.place,
                "a scenario needs `classes`, or `tasks` for a single one",
            ),
        }
        for (index, class) in classes.iter().enumerate() {
            if classes[..index].iter().any(|earlier| earlier.name == class.name) {
                let message = format!("two classes are named `{}`", class.name);
                self.reader.note(SourceError::whole(message, self.reader.file));
            }
        }
        let stages = match &self.given.stages {
            Some(stages) => stages.clone(),
            None => fields
                .get("stages")
                .map(|node| self.stages(node))
                .unwrap_or_default(),
        };
        let thresholds = fields
            .get("thresholds")
            .map(|node| self.thresholds(node))
            .unwrap_or_default();
        if classes.is_empty() && self.reader.mistakes.is_empty() {
            self.reader.note(SourceError::whole(
                "no task is left to run: tags, or weights of 0, leave all of them out",
                self.reader.file,
            ));
        }
        let named_secrets = fields
            .get("secrets")
            .map(|node| self.secrets(node, &data, &classes))
            .unwrap_or_default();
        let secrets = named_secrets
            .iter()
            .chain(&self.shared)
            .chain(&self.left_out)
            .cloned()
            .collect();
        Some(Scenario {
            name: name.unwrap_or_else(|| default_name(self.reader.file)),
            base_url,
            http,
            bootstrap,
            classes,
            data,
            stages,
            thresholds,
            rows: std::mem::take(&mut self.rows),
            steps: self.steps,
            secrets,
            named_secrets,
            environment: self
                .environment
                .iter()
                .filter_map(|name| Some((name.clone(), self.given.env.get(name)?.clone())))
                .collect(),
            constants: self
                .constants
                .iter()
                .filter(|(name, _)| *name != "env")
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
        })
    }

    /// Text with templates in it.
    pub(super) fn text(&mut self, node: &Node) -> Option<Text> {
        let text = self.reader.filled(node)?;
        self.compile(&text, node)
    }

    pub(super) fn compile(&mut self, text: &str, node: &Node) -> Option<Text> {
        self.environment.extend(Text::environment(text));
        let raw = self.reader.raw(node).to_owned();
        match Text::compile(text, &raw, node.place.bytes.start, &self.constants, &self.shared) {
            Ok(text) => Some(text),
            Err(Fault {
                offset,
                message,
                hint,
            }) => {
                self.at_byte(offset, message, hint);
                None
            }
        }
    }

    fn at_byte(&mut self, byte: usize, message: String, hint: Option<String>) {
        let (line, column) = document::position(self.reader.text, byte);
        let mistake = SourceError::at(message, self.reader.file, self.reader.text, line, column);
        self.reader.note(SourceError { hint, ..mistake });
    }

    /// Text that is known before anything is sent.
    pub(super) fn constant(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        let value = text.constant().map(str::to_owned);
        if value.is_none() {
            self.reader
                .mistake(&node.place, "this is made of `vars` and `env` only");
        }
        value
    }

    fn vars(&mut self, node: &Node) {
        let Value::Map(entries) = &node.value else {
            self.reader.expected(node, "`vars`, a mapping of names to values");
            return;
        };
        for (key, value) in entries {
            let Some(name) = self.reader.scalar(key) else {
                continue;
            };
            if !is_name(&name) {
                self.reader
                    .mistake(&key.place, format!("`{name}` can't be the name of a var"));
            } else if let Some(given) = self.given.vars.get(&name) {
                self.constants.insert(name, Template::from(given.as_str()));
            } else if let Some(text) = self.constant(value) {
                self.constants.insert(name, Template::from(text));
            }
        }
    }

    fn http(&mut self, node: &Node) -> Http {
        let mut http = Http::default();
        let Some(fields) = self.reader.fields(node, "`http`", HTTP) else {
            return http;
        };
        let reader = &mut self.reader;
        let get = |name| fields.get(name);
        if let Some(node) = get("version") {
            let words = [
                ("1.1", Version::One),
                ("1", Version::One),
                ("2", Version::Two),
                ("auto", Version::Auto),
            ];
            http.version = reader.word(node, &words).unwrap_or(http.version);
        }
        let truth = |name, reader: &mut Reader<'_>, default| {
            get(name).and_then(|node| reader.truth(node)).unwrap_or(default)
        };
        http.cookies = truth("cookies", reader, true);
        http.keep_alive = truth("keep_alive", reader, true);
        http.compression = truth("compression", reader, false);
        let time = |name, reader: &mut Reader<'_>, default| {
            get(name)
                .and_then(|node| reader.duration(node))
                .unwrap_or(default)
        };
        http.timeout = time("timeout", reader, http.timeout);
        http.connect_timeout = time("connect_timeout", reader, http.connect_timeout);
        http.first_byte_timeout = get("first_byte_timeout").and_then(|node| reader.duration(node));
        http.body_timeout = get("body_timeout").and_then(|node| reader.duration(node));
        if let Some(redirects) = get("redirects").and_then(|node| reader.whole(node, 0..=50)) {
            http.redirects = u8::try_from(redirects).unwrap_or(u8::MAX);
        }
        if let Some(most) = get("max_body").and_then(|node| reader.parsed(node, str::parse)) {
            Bytes(http.max_body) = most;
        }
        http.tls = Tls {
            verify: truth("verify", reader, true),
            ca: None,
            resumption: truth("resumption", reader, true),
        };
        if let Some(node) = get("network")
            && let Some(fields) = reader.fields(node, "`network`", NETWORK)
        {
            http.network = Network {
                latency: fields
                    .get("latency")
                    .and_then(|node| reader.duration(node))
                    .unwrap_or(Duration::ZERO),
                bandwidth: fields.get("bandwidth").and_then(|node| {
                    let bytes = |text: &str| text.trim_end_matches("/s").parse().map(|Bytes(each)| each);
                    reader.parsed(node, bytes)
                }),
            };
        }
        for node in get("resolve").map(items).unwrap_or_default() {
            http.resolve.extend(reader.parsed(node, super::resolve));
        }
        if let Some(node) = get("proxy")
            && let Some(url) = self.constant(node)
        {
            match crate::engine::Target::parse(&url) {
                Ok(target) if !target.origin.tls => {
                    http.proxy = Some((target.origin.host.clone(), target.origin.port));
                }
                _ => self
                    .reader
                    .mistake(&node.place, "a proxy is written `http://HOST:PORT`"),
            }
        }
        if let Some(node) = get("ca")
            && let Some(path) = self.constant(node)
        {
            let path = self.given.directory.join(path);
            let read = bounded::bytes(&path, MAX_CA)
                .map_err(|error| error.to_string())
                .and_then(|pem| crate::engine::authorities(&pem));
            match read {
                Ok(authorities) => http.tls.ca = Some(authorities),
                Err(error) => self
                    .reader
                    .mistake(&node.place, format!("can't use {}: {error}", path.display())),
            }
        }
        http
    }

    pub(super) fn headers(&mut self, node: &Node) -> Vec<(HeaderName, Text)> {
        let Value::Map(entries) = &node.value else {
            self.reader
                .expected(node, "`headers`, a mapping of names to values");
            return Vec::new();
        };
        let mut headers = Vec::new();
        for (key, value) in entries {
            if let (Some(name), Some(text)) = (self.header_name(key), self.text(value)) {
                if text
                    .constant()
                    .is_some_and(|text| hyper::header::HeaderValue::from_str(text).is_err())
                {
                    self.reader.mistake(
                        &value.place,
                        "a header can't hold line breaks or control characters",
                    );
                }
                if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
                    let message = format!("`{name}` follows from the body; leave it out");
                    self.reader.mistake(&key.place, message);
                }
                headers.push((name, text));
            }
        }
        headers
    }

    pub(super) fn header_name(&mut self, node: &Node) -> Option<HeaderName> {
        self.reader.parsed(node, |text| {
            HeaderName::from_bytes(text.as_bytes())
                .map_err(|_| format!("`{text}` is not the name of a header"))
        })
    }

    fn bootstrap(&mut self, node: &Node) -> Option<Bootstrap> {
        let fields = self.reader.fields(node, "`bootstrap`", BOOTSTRAP)?;
        let tags = self.tags(fields.get("tags"));
        let steps = fields.need("steps", "`bootstrap`", &mut self.reader)?;
        let mut steps = self.steps(steps, "bootstrap");
        for step in &mut steps {
            step.in_bootstrap = true;
        }
        let mut set = BTreeSet::new();
        for step in &steps {
            self.check_names(std::slice::from_ref(step), &set);
            set.extend(step.sets().map(str::to_owned));
        }
        // From here on these names hold until a refresh; in the steps themselves they change with each one.
        self.shared = set;
        let refresh = fields.get("refresh").and_then(|node| {
            let fields = self.reader.fields(node, "`refresh`", REFRESH)?;
            let every = fields.need("every", "`refresh`", &mut self.reader)?;
            Some(Refresh {
                every: self.text(every)?,
                early: fields
                    .get("early")
                    .and_then(|node| self.reader.duration(node))
                    .unwrap_or(Duration::ZERO),
            })
        });
        if !self.is_chosen(&tags, true) {
            // Nobody will set them.
            self.left_out = std::mem::take(&mut self.shared);
            return None;
        }
        Some(Bootstrap { steps, refresh })
    }

    /// The first of `nodes`; that there are too many is a mistake.
    pub(super) fn at_most<'n>(&mut self, mut nodes: Vec<&'n Node>, what: &str, of: &str) -> Vec<&'n Node> {
        if let Some(first) = nodes.get(MOST) {
            self.reader
                .mistake(&first.place, format!("{what} has at most {MOST} {of}"));
            nodes.truncate(MOST);
        }
        nodes
    }

    fn tags(&mut self, node: Option<&Node>) -> Vec<String> {
        node.map(items)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|node| self.reader.filled(node))
            .collect()
    }

    /// Whether tags let this be run. What everything needs is not left out because it has no tag.
    fn is_chosen(&self, tags: &[String], needed: bool) -> bool {
        let has = |list: &[String]| tags.iter().any(|tag| list.contains(tag));
        !has(&self.given.exclude_tags) && (needed || self.given.tags.is_empty() || has(&self.given.tags))
    }

    fn class(
        &mut self,
        node: &Node,
        wait: Option<Wait>,
        data: &BTreeSet<String>,
        http: &Http,
    ) -> Option<Class> {
        let fields = self.reader.fields(node, "a class", CLASS)?;
        let name = fields
            .need("name", "a class", &mut self.reader)
            .and_then(|node| self.reader.filled(node))?;
        let weight = self.weight(fields.get("weight"));
        let wait = fields.get("wait").and_then(|node| self.wait(node)).or(wait);
        let tags = self.tags(fields.get("tags"));
        let on_start = fields
            .get("on_start")
            .map(|node| self.steps(node, &format!("{name}: start")))
            .unwrap_or_default();
        let on_stop = fields
            .get("on_stop")
            .map(|node| self.steps(node, &format!("{name}: stop")))
            .unwrap_or_default();
        let tasks = match (fields.get("tasks"), fields.get("sequence")) {
            (Some(node), None) => self.tasks(node, &tags),
            (None, Some(node)) => {
                let chosen = self.is_chosen(&tags, false);
                let task = Task {
                    name: name.clone(),
                    weight: 1,
                    steps: self.steps(node, &name),
                };
                chosen.then_some(task).into_iter().collect()
            }
            _ => {
                self.reader
                    .mistake(fields.place, "a class has either `tasks` or a `sequence`");
                return None;
            }
        };
        self.finish_class(
            name,
            weight,
            wait.unwrap_or(Wait::None),
            on_start,
            on_stop,
            tasks,
            data,
            http,
        )
    }

    /// The single class of a scenario that has only tasks.
    fn tasks_alone(
        &mut self,
        root: &Node,
        wait: Option<Wait>,
        data: &BTreeSet<String>,
        http: &Http,
    ) -> Option<Class> {
        let Value::Map(entries) = &root.value else {
            return None;
        };
        let (_, node) = entries
            .iter()
            .find(|(key, _)| matches!(&key.value, Value::Text(name) if name == "tasks"))?;
        let tasks = self.tasks(node, &[]);
        let wait = wait.unwrap_or(Wait::None);
        self.finish_class(
            "user".to_owned(),
            1,
            wait,
            Vec::new(),
            Vec::new(),
            tasks,
            data,
            http,
        )
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a class, once")]
    fn finish_class(
        &mut self,
        name: String,
        weight: u32,
        wait: Wait,
        on_start: Vec<Step>,
        on_stop: Vec<Step>,
        tasks: Vec<Task>,
        data: &BTreeSet<String>,
        http: &Http,
    ) -> Option<Class> {
        let all = || {
            on_start
                .iter()
                .chain(tasks.iter().flat_map(|task| &task.steps))
                .chain(&on_stop)
        };
        let mut slots: BTreeSet<String> = all().flat_map(Step::sets).map(str::to_owned).collect();
        slots.extend(
            all()
                .filter_map(|step| step.script.as_deref())
                .flat_map(set_by_script),
        );
        let known: BTreeSet<String> = slots.iter().chain(data).chain(&self.shared).cloned().collect();
        self.check_names(&on_start, &known);
        for task in &tasks {
            self.check_names(&task.steps, &known);
        }
        self.check_names(&on_stop, &known);
        self.check_texts(http.headers.iter().map(|(_, text)| text), &known);
        if tasks.is_empty() || weight == 0 {
            return None;
        }
        Some(Class {
            name,
            weight,
            wait,
            on_start,
            on_stop,
            tasks,
            slots: slots.into_iter().collect(),
        })
    }
}

fn default_name(file: &str) -> String {
    Path::new(file)
        .file_stem()
        .map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

pub(super) fn is_identifier(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a var or a captured value may have this name.
pub(super) fn is_name(name: &str) -> bool {
    is_identifier(name) && name != "env" && !BUILT_IN.contains(&name)
}

/// The keys of each kind of mapping, by the name it has in the schema.
#[cfg(test)]
pub(super) fn names() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("", SCENARIO.to_vec()),
        ("HttpFile", HTTP.to_vec()),
        ("NetworkFile", NETWORK.to_vec()),
        ("BootstrapFile", BOOTSTRAP.to_vec()),
        ("RefreshFile", REFRESH.to_vec()),
        ("ClassFile", CLASS.to_vec()),
        ("TaskFile", [step::STEP, step::TASK].concat()),
        ("StepFile", step::STEP.to_vec()),
        ("ExpectFile", step::EXPECT.to_vec()),
        ("CaptureFile", step::CAPTURE.to_vec()),
        ("AuthFile", step::AUTH.to_vec()),
        ("WaitKind", timing::WAIT.to_vec()),
        ("StageFile", timing::STAGE.to_vec()),
        ("ThresholdLong", timing::THRESHOLD.to_vec()),
        ("DataFile", data::DATA.to_vec()),
    ]
}
