//! Reads the text of a scenario: a [`Scenario`], or all mistakes in it.

mod context;
mod data;
mod http;
mod known;
mod step;
mod timing;

use std::collections::BTreeSet;
use std::path::Path;

use minijinja::value::Value as Template;
use reveille_account::SourceError;
use reveille_document::{self as document, Expression, Kind, Node, items};

use self::context::{Context, is_name};
use super::model::{Bootstrap, Class, Data, Given, Http, Refresh, Scenario, Step, Task, Wait};
use super::names::{BUILT_IN, set_by_script};
use super::schema::{BootstrapFile, ClassFile, RefreshFile, ScenarioFile};
use crate::mask::is_telling;
use crate::target::Target;

impl Scenario {
    /// Reads a scenario, or returns all mistakes in it.
    pub fn parse(text: &str, file: &str, given: &Given) -> Result<Self, Vec<SourceError>> {
        let (name, one) = ("scenario", "a scenario");
        let root = document::read(text, file, &Kind { name, one }).map_err(|mistake| vec![mistake])?;
        let mut context = Context::new(text, file, given);
        let scenario = context.scenario(&root);
        let mut mistakes = context.reader.mistakes;
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        match scenario {
            Some(scenario) if mistakes.is_empty() => Ok(scenario),
            None if mistakes.is_empty() => Err(vec![SourceError::whole("the scenario can't be read", file)]),
            _ => Err(mistakes),
        }
    }
}

impl Context<'_> {
    fn scenario(&mut self, root: &Node) -> Option<Scenario> {
        let fields = self.fields::<ScenarioFile>(root, "a scenario")?;
        let name = self.part(&fields, "name", |this, node| this.reader.filled(node));
        self.part(&fields, "vars", Self::vars);
        for (name, value) in &self.given.vars {
            if is_name(name) {
                self.constants
                    .insert(name.clone(), Template::from(value.as_str()));
            } else {
                self.whole(format!("`-e {name}=…`: `{name}` can't be the name of a variable"));
            }
        }
        // A base URL is printed. What only the base URL takes from the environment is no secret, unless its name says so.
        let taken = self.environment.clone();
        let base_url = self.part(&fields, "base_url", Self::base_url);
        self.has_base = fields.get("base_url").is_some();
        self.environment
            .retain(|name| taken.contains(name) || is_telling(name));
        let mut http: Http = self.part(&fields, "http", Self::http);
        http.resolve.splice(..0, self.given.resolve.iter().cloned());
        let mut bootstrap: Option<Bootstrap> = self.part(&fields, "bootstrap", Self::bootstrap);
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
        let data: Vec<Data> = self.part(&fields, "data", Self::data);
        self.columns = data
            .iter()
            .map(|data| (data.name.clone(), data.columns.clone()))
            .collect();
        let wait = self.part(&fields, "wait", Self::wait);
        let mut classes = Vec::new();
        match (fields.get("classes"), fields.get("tasks")) {
            (Some(node), None) => {
                for node in self.at_most(items(node), "a scenario", "classes") {
                    let class = self.class(node, wait);
                    classes.extend(class.and_then(|class| self.checked(class, &http)));
                }
            }
            (None, Some(node)) => {
                let class = Class {
                    name: "user".to_owned(),
                    weight: 1,
                    wait: wait.unwrap_or(Wait::None),
                    on_start: Vec::new(),
                    on_stop: Vec::new(),
                    tasks: self.tasks(node, &[]),
                    slots: Vec::new(),
                };
                classes.extend(self.checked(class, &http));
            }
            (Some(_), Some(node)) => {
                let message = "with `classes`, tasks belong to their class";
                self.reader.mistake(&node.place, message);
            }
            (None, None) => {
                let message = "a scenario needs `classes`, or `tasks` for a single class";
                self.reader.mistake(&root.place, message);
            }
        }
        for (index, class) in classes.iter().enumerate() {
            if classes[..index].iter().any(|earlier| earlier.name == class.name) {
                self.whole(format!("two classes are named `{}`", class.name));
            }
        }
        let stages = match &self.given.stages {
            Some(stages) => stages.clone(),
            None => self.part(&fields, "stages", Self::stages),
        };
        let thresholds = self.part(&fields, "thresholds", Self::thresholds);
        if classes.is_empty() && self.reader.mistakes.is_empty() {
            self.whole("no task is left to run: tags or weights of 0 exclude all of them");
        }
        let named_secrets: BTreeSet<String> = self.part(&fields, "secrets", |this, node| {
            this.secrets(node, &data, &classes)
        });
        let secrets = named_secrets.iter().chain(&self.shared).chain(&self.left_out);
        let environment = self
            .environment
            .iter()
            .filter_map(|name| Some((name.clone(), self.given.env.get(name)?.clone())));
        let constants = self.constants.iter().filter(|(name, _)| *name != "env");
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
            secrets: secrets.cloned().collect(),
            named_secrets,
            environment: environment.collect(),
            constants: constants
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
        })
    }

    fn base_url(&mut self, node: &Node) -> Option<String> {
        let url = self.constant(node)?;
        match Target::parse(&url) {
            Ok(_) => Some(url.trim_end_matches('/').to_owned()),
            Err(why) => {
                let message = format!("`base_url` is not a URL: {why}");
                self.reader.mistake(&node.place, message);
                None
            }
        }
    }

    fn vars(&mut self, node: &Node) {
        for (key, value) in self.entries(node, "`vars`, a mapping of names to values") {
            let Some(name) = self.reader.scalar(key) else {
                continue;
            };
            if !is_name(&name) {
                let message = format!("`{name}` can't be the name of a variable");
                self.reader.mistake(&key.place, message);
            } else if let Some(given) = self.given.vars.get(&name) {
                self.constants.insert(name, Template::from(given.as_str()));
            } else if let Some(text) = self.constant(value) {
                self.constants.insert(name, Template::from(text));
            }
        }
    }

    fn bootstrap(&mut self, node: &Node) -> Option<Bootstrap> {
        let fields = self.fields::<BootstrapFile>(node, "`bootstrap`")?;
        let tags = self.part(&fields, "tags", Self::tags);
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
        // For users these names stay the same until a refresh; for the steps above they change with each of them.
        self.shared = set;
        let refresh = self.part(&fields, "refresh", Self::refresh);
        if !self.is_chosen(&tags, true) {
            self.left_out = std::mem::take(&mut self.shared);
            return None;
        }
        Some(Bootstrap { steps, refresh })
    }

    fn refresh(&mut self, node: &Node) -> Option<Refresh> {
        let fields = self.fields::<RefreshFile>(node, "`refresh`")?;
        let every = fields.need("every", "`refresh`", &mut self.reader)?;
        Some(Refresh {
            every: self.text(every)?,
            early: self.part(&fields, "early", Self::time).unwrap_or_default(),
        })
    }

    fn class(&mut self, node: &Node, wait: Option<Wait>) -> Option<Class> {
        let fields = self.fields::<ClassFile>(node, "a class")?;
        let name = fields.need("name", "a class", &mut self.reader)?;
        let name = self.reader.filled(name)?;
        let weight = self.weight(&fields);
        let wait = self.part(&fields, "wait", Self::wait).or(wait);
        let tags = self.part(&fields, "tags", Self::tags);
        let on_start = format!("{name}: start");
        let on_start = self.part(&fields, "on_start", |this, node| this.steps(node, &on_start));
        let on_stop = format!("{name}: stop");
        let on_stop = self.part(&fields, "on_stop", |this, node| this.steps(node, &on_stop));
        let tasks = match (fields.get("tasks"), fields.get("sequence")) {
            (Some(node), None) => self.tasks(node, &tags),
            (None, Some(node)) => {
                let task = Task {
                    name: name.clone(),
                    weight: 1,
                    steps: self.steps(node, &name),
                };
                let is_chosen = self.is_chosen(&tags, false);
                is_chosen.then_some(task).into_iter().collect()
            }
            _ => {
                let message = "a class has either `tasks` or a `sequence`";
                self.reader.mistake(fields.place, message);
                return None;
            }
        };
        Some(Class {
            name,
            weight,
            wait: wait.unwrap_or(Wait::None),
            on_start,
            on_stop,
            tasks,
            slots: Vec::new(),
        })
    }

    /// Checks the names that a class uses, and fills in those that it sets. Returns none if nothing of it runs.
    fn checked(&mut self, mut class: Class, http: &Http) -> Option<Class> {
        let tasks = class.tasks.iter().map(|task| &task.steps);
        let lists: Vec<&Vec<Step>> = [&class.on_start]
            .into_iter()
            .chain(tasks)
            .chain([&class.on_stop])
            .collect();
        let steps = || lists.iter().copied().flatten();
        let mut slots: BTreeSet<String> = steps().flat_map(Step::sets).map(str::to_owned).collect();
        let scripts = steps().filter_map(|step| step.script.as_deref());
        slots.extend(scripts.flat_map(set_by_script));
        let known = slots.iter().chain(self.columns.keys()).chain(&self.shared);
        let known: BTreeSet<String> = known.cloned().collect();
        for steps in lists {
            self.check_names(steps, &known);
        }
        self.check_texts(http.headers.iter().map(|(_, text)| text), &known);
        class.slots = slots.into_iter().collect();
        (!class.tasks.is_empty() && class.weight > 0).then_some(class)
    }
}

fn default_name(file: &str) -> String {
    Path::new(file)
        .file_stem()
        .map_or_else(|| file.to_owned(), |stem| stem.to_string_lossy().into_owned())
}
