//! What is known while a scenario is read, and how its parts are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use minijinja::value::Value as Template;
use reveille_account::SourceError;
use reveille_document::{Fields, Node, Reader, Value, items, position};
use schemars::JsonSchema;

use super::super::model::Given;
use super::super::names::BUILT_IN;
use super::super::schema::keys;
use super::super::template::Text;

/// The most classes of a scenario, tasks of a class, and steps of a task.
const MOST: usize = 1000;

/// A scenario that is being read.
pub(super) struct Context<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) given: &'a Given,
    pub(super) constants: BTreeMap<String, Template>,
    /// Names that the bootstrap sets.
    pub(super) shared: BTreeSet<String>,
    pub(super) rows: Vec<String>,
    pub(super) steps: usize,
    /// Whether the scenario has a `base_url`, valid or not.
    pub(super) has_base: bool,
    /// Names that a bootstrap sets that tags exclude.
    pub(super) left_out: BTreeSet<String>,
    /// Data that could not be read, which was reported.
    pub(super) unread: BTreeSet<String>,
    /// The columns of data, if they are known.
    pub(super) columns: BTreeMap<String, Vec<String>>,
    /// Names that captures set anywhere, in excluded tasks too.
    pub(super) captured: BTreeSet<String>,
    /// Variables of the environment that are used.
    pub(super) environment: BTreeSet<String>,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str, file: &'a str, given: &'a Given) -> Self {
        let environment: BTreeMap<String, Template> = given
            .env
            .iter()
            .map(|(name, value)| (name.clone(), Template::from(value.as_str())))
            .collect();
        Self {
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
        }
    }

    /// Reads a mapping with the keys of `T`.
    pub(super) fn fields<'n, T: JsonSchema>(&mut self, node: &'n Node, what: &str) -> Option<Fields<'n>> {
        self.reader.fields(node, what, &keys::<T>())
    }

    /// Reads the value of a key, if it is there.
    pub(super) fn part<T: Default>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        read: impl FnOnce(&mut Self, &Node) -> T,
    ) -> T {
        fields.get(key).map(|node| read(self, node)).unwrap_or_default()
    }

    pub(super) fn time(&mut self, node: &Node) -> Option<Duration> {
        self.reader.duration(node)
    }

    /// The keys and values of a mapping; anything else is a mistake.
    pub(super) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> &'n [(Node, Node)] {
        if let Value::Map(entries) = &node.value {
            return entries;
        }
        self.reader.expected(node, what);
        &[]
    }

    /// Reports a mistake without a place.
    pub(super) fn whole(&mut self, message: impl Into<String>) {
        let mistake = SourceError::whole(message, self.reader.file);
        self.reader.note(mistake);
    }

    pub(super) fn at_byte(&mut self, byte: usize, message: String, hint: Option<String>) {
        let (line, column) = position(self.reader.text, byte);
        let mistake = SourceError::at(message, self.reader.file, self.reader.text, line, column);
        self.reader.note(SourceError { hint, ..mistake });
    }

    /// Text with templates.
    pub(super) fn text(&mut self, node: &Node) -> Option<Text> {
        let text = self.reader.filled(node)?;
        self.compile(&text, node)
    }

    pub(super) fn compile(&mut self, text: &str, node: &Node) -> Option<Text> {
        self.environment.extend(Text::environment(text));
        let raw = self.reader.raw(node).to_owned();
        let compiled = Text::compile(text, &raw, node.place.bytes.start, &self.constants, &self.shared);
        compiled
            .map_err(|fault| self.at_byte(fault.offset, fault.message, fault.hint))
            .ok()
    }

    /// Text that is known before anything is sent.
    pub(super) fn constant(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node)?;
        let value = text.constant().map(str::to_owned);
        if value.is_none() {
            self.reader
                .mistake(&node.place, "only `vars` and `env` can be used here");
        }
        value
    }

    /// Reads the file that a node names.
    pub(super) fn file<T>(
        &mut self,
        node: &Node,
        read: impl FnOnce(&Path) -> Result<T, String>,
    ) -> Option<T> {
        let path = self.given.directory.join(self.constant(node)?);
        read(&path)
            .map_err(|error| {
                let message = format!("can't use {}: {error}", path.display());
                self.reader.mistake(&node.place, message);
            })
            .ok()
    }

    /// The first of `nodes`; too many are a mistake.
    pub(super) fn at_most<'n>(&mut self, mut nodes: Vec<&'n Node>, what: &str, of: &str) -> Vec<&'n Node> {
        if let Some(first) = nodes.get(MOST) {
            let message = format!("{what} has at most {MOST} {of}");
            self.reader.mistake(&first.place, message);
            nodes.truncate(MOST);
        }
        nodes
    }

    pub(super) fn tags(&mut self, node: &Node) -> Vec<String> {
        let nodes = items(node).into_iter();
        nodes.filter_map(|node| self.reader.filled(node)).collect()
    }

    /// Whether tags let something run. `needed` things run without a tag, too.
    pub(super) fn is_chosen(&self, tags: &[String], needed: bool) -> bool {
        let has = |list: &[String]| tags.iter().any(|tag| list.contains(tag));
        !has(&self.given.skip_tags) && (needed || self.given.tags.is_empty() || has(&self.given.tags))
    }
}

pub(super) fn is_identifier(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// Whether a variable or a captured value may have this name.
pub(super) fn is_name(name: &str) -> bool {
    is_identifier(name) && name != "env" && !BUILT_IN.contains(&name)
}
