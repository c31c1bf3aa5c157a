//! YAML as Ansible reads it: a tree whose nodes know their places, with the types of YAML 1.1.
//!
//! In YAML 1.1, which Ansible uses, `yes`, `no`, `on` and `off` are booleans, `0640` is octal, `1:30` is sexagesimal,
//! and `<<` merges mappings. JSON is read by the same parser, with JSON's types.

pub(super) mod inventory;
mod types;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use reveille_account::{Fault, Line, SourceError};
use reveille_document::ansible::{is_template, marked};
use serde_json::{Map, Number, Value};

use self::types::{json, resolve};
use super::vault::Vault;

/// How deep lists and mappings may be nested.
pub(crate) const MAX_DEPTH: usize = 64;
/// How many nodes the aliases of a file may produce together.
pub(crate) const MAX_ALIASED: usize = 200_000;
/// Larger mappings are searched for duplicate keys with a table.
const FEW_KEYS: usize = 8;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) data: Data,
    /// The line, from 1.
    pub(crate) line: u32,
    /// The column, from 0, in characters.
    pub(crate) column: u32,
    /// The value came from a vault, or contains one that did.
    pub(crate) secret: bool,
}

/// The value of a node.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    Null,
    Truth(bool),
    Number(Number),
    Text(String),
    /// Text that looks like a template and is not one.
    Literal(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// A file's tree and its lines.
pub(crate) struct Document<'a> {
    pub(crate) root: Node,
    pub(crate) lines: Lines<'a>,
    /// Keys that are set twice in a mapping; the last one counts.
    pub(crate) duplicates: Vec<(String, u32, u32)>,
}

/// The lines of a file, by number.
pub(crate) struct Lines<'a> {
    file: &'a str,
    text: &'a str,
    starts: Vec<usize>,
    /// The whole file is secret.
    hidden: bool,
}

/// Whose types apply to plain words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Types {
    Yaml,
    Json,
}

// === impl Node ===

impl Node {
    /// The type, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Truth(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) | Data::Literal(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// The value of a key, if the node is a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let Data::Map(entries) = &self.data else {
            return None;
        };
        let mut entries = entries.iter().rev();
        entries
            .find(|(name, _)| matches!(&name.data, Data::Text(name) if name == key))
            .map(|(_, value)| value)
    }

    /// Whether Python treats the value as false, which Ansible calls empty.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.data {
            Data::Null | Data::Truth(false) => true,
            Data::Truth(true) => false,
            Data::Number(number) => number.as_f64() == Some(0.0),
            Data::Text(text) | Data::Literal(text) => text.is_empty(),
            Data::List(items) => items.is_empty(),
            Data::Map(entries) => entries.is_empty(),
        }
    }

    /// The value without places.
    pub(crate) fn into_value(self) -> Value {
        match self.data {
            Data::Null => Value::Null,
            Data::Truth(truth) => Value::Bool(truth),
            Data::Number(number) => Value::Number(number),
            Data::Text(text) => Value::String(text),
            Data::Literal(text) => marked(text),
            Data::List(items) => Value::Array(items.into_iter().map(Node::into_value).collect()),
            Data::Map(entries) => {
                let mut map = Map::with_capacity(entries.len());
                for (key, value) in entries {
                    map.insert(key.into_key(), value.into_value());
                }
                Value::Object(map)
            }
        }
    }

    /// Marks every text in the value as not a template.
    fn take_literally(&mut self) {
        match &mut self.data {
            Data::Text(text) if is_template(text) => self.data = Data::Literal(std::mem::take(text)),
            Data::List(items) => items.iter_mut().for_each(Node::take_literally),
            Data::Map(entries) => entries.iter_mut().for_each(|(_, value)| value.take_literally()),
            _ => {}
        }
    }

    /// The node as a key, which is always text in the end.
    pub(crate) fn into_key(self) -> String {
        match self.data {
            Data::Text(text) | Data::Literal(text) => text,
            _ => self.into_value().to_string(),
        }
    }
}

// === impl Lines ===

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str, file: &'a str, hidden: bool) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            text,
            starts: std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect(),
            hidden,
        }
    }

    /// The line on which a node starts; `secret` hides its text.
    pub(crate) fn line(&self, number: u32, secret: bool) -> Line<'a> {
        let index = (number as usize).saturating_sub(1);
        let start = self.starts.get(index).copied().unwrap_or(self.text.len());
        let end = self
            .starts
            .get(index + 1)
            .map_or(self.text.len(), |next| next - 1);
        Line {
            file: self.file,
            number: number as usize,
            text: self.text[start..end.max(start)].trim_end_matches('\r'),
            hidden: self.hidden || secret,
        }
    }

    /// The line of a node, and the node's offset in it in bytes.
    pub(crate) fn place(&self, node: &Node) -> (Line<'a>, usize) {
        self.at(node.line, node.column, node.secret)
    }

    fn at(&self, line: u32, column: u32, secret: bool) -> (Line<'a>, usize) {
        let line = self.line(line, secret);
        let offset = line.text.char_indices().nth(column as usize);
        let offset = offset.map_or(line.text.len(), |(at, _)| at);
        (line, offset)
    }

    /// A mistake at a node.
    pub(crate) fn mistake(&self, node: &Node, message: impl Into<String>) -> SourceError {
        let (line, offset) = self.place(node);
        line.error(Fault::new(offset, message))
    }

    /// A mistake at a line and column.
    pub(crate) fn mistake_at(&self, line: u32, column: u32, message: impl Into<String>) -> SourceError {
        let (line, offset) = self.at(line, column, false);
        line.error(Fault::new(offset, message))
    }
}

/// Parses one document; with `hidden`, the whole text is secret.
pub(crate) fn read<'a>(
    text: &'a str,
    file: &'a str,
    hidden: bool,
    vault: &mut Vault,
) -> Result<Document<'a>, SourceError> {
    let lines = Lines::new(text, file, hidden);
    let is_json = text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, granit_parser::options! { emit_comments: false }),
        lines,
        types: if is_json { Types::Json } else { Types::Yaml },
        vault,
        anchors: HashMap::new(),
        aliased: 0,
        duplicates: Vec::new(),
        hidden,
    };
    let root = reader.document()?;
    Ok(Document {
        root,
        lines: reader.lines,
        duplicates: reader.duplicates,
    })
}

struct Reader<'a, 'v> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    lines: Lines<'a>,
    types: Types,
    vault: &'v mut Vault,
    anchors: HashMap<usize, (Node, usize)>,
    aliased: usize,
    duplicates: Vec<(String, u32, u32)>,
    hidden: bool,
}

// === impl Reader ===

impl<'a> Reader<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Span), SourceError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.refused(error.marker(), &error.info())),
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 1, 0)))),
        }
    }

    fn document(&mut self) -> Result<Node, SourceError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => {
                    return Ok(root.unwrap_or(Node {
                        data: Data::Null,
                        line: 1,
                        column: 0,
                        secret: false,
                    }));
                }
                Event::DocumentStart(..) if root.is_some() => {
                    let (line, column) = place(&span.start);
                    return Err(self
                        .lines
                        .mistake_at(line, column, "a second YAML document begins here")
                        .hint("a file can have only one document; remove the `---`"));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span, 0)?.0),
            }
        }
    }

    /// Builds the node that starts with `event`; also returns how many nodes it contains.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<(Node, usize), SourceError> {
        let (line, column) = place(&span.tag_start().unwrap_or(span.start));
        if depth > MAX_DEPTH {
            return Err(self.lines.mistake_at(
                line,
                column,
                format!("lists and mappings are nested more than {MAX_DEPTH} deep"),
            ));
        }
        let mut node = Node {
            data: Data::Null,
            line,
            column,
            secret: self.hidden,
        };
        let mut count = 1;
        let anchor = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&mut node, text, style, tag.as_deref())?;
                anchor
            }
            Event::SequenceStart(_, anchor, tag) => {
                let is_unsafe = self.collection_tag(&node, tag.as_deref(), "seq")?;
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    let (item, nodes) = self.node(event, span, depth + 1)?;
                    node.secret |= item.secret;
                    count += nodes;
                    items.push(item);
                }
                node.data = Data::List(items);
                if is_unsafe {
                    node.take_literally();
                }
                anchor
            }
            Event::MappingStart(_, anchor, tag) => {
                let is_unsafe = self.collection_tag(&node, tag.as_deref(), "map")?;
                let mut entries = Vec::new();
                let mut merged = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if matches!(event, Event::MappingEnd) {
                        break;
                    }
                    let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
                        && self.types == Types::Yaml;
                    let (key, key_nodes) = self.node(event, span, depth + 1)?;
                    if matches!(key.data, Data::List(_) | Data::Map(_)) {
                        return Err(self
                            .lines
                            .mistake(&key, format!("{} can't be a key", key.kind()))
                            .hint("a value that begins with `{{` needs quotes"));
                    }
                    let (event, span) = self.next()?;
                    let (value, value_nodes) = self.node(event, span, depth + 1)?;
                    count += key_nodes + value_nodes;
                    node.secret |= value.secret;
                    if is_merge {
                        self.merge(value, &mut merged)?;
                    } else {
                        entries.push((key, value));
                    }
                }
                node.data = Data::Map(self.unique(merged, entries));
                if is_unsafe {
                    node.take_literally();
                }
                anchor
            }
            Event::Alias(id) => {
                let Some((aliased, nodes)) = self.anchors.get(&id) else {
                    return Err(self
                        .lines
                        .mistake(&node, "an alias refers to a value that contains it"));
                };
                self.aliased += nodes;
                if self.aliased > MAX_ALIASED {
                    return Err(self.lines.mistake(
                        &node,
                        format!("the aliases of this file expand to more than {MAX_ALIASED} values"),
                    ));
                }
                return Ok((aliased.clone(), *nodes));
            }
            _ => return Err(self.lines.mistake(&node, "a value is missing")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), count));
        }
        Ok((node, count))
    }

    /// Adds the entries that `<<` refers to; of several mappings the first wins.
    fn merge(&self, value: Node, merged: &mut Vec<(Node, Node)>) -> Result<(), SourceError> {
        let wrong = |node: &Node| {
            self.lines.mistake(
                node,
                format!(
                    "`<<` must be a mapping or a list of mappings, not {}",
                    node.kind()
                ),
            )
        };
        match value.data {
            Data::Map(entries) => merged.extend(entries),
            Data::List(items) => {
                for item in items.into_iter().rev() {
                    match item.data {
                        Data::Map(entries) => merged.extend(entries),
                        _ => return Err(wrong(&item)),
                    }
                }
            }
            _ => return Err(wrong(&value)),
        }
        Ok(())
    }

    /// Entries without duplicate keys: the last value, at the place of the first.
    fn unique(&mut self, inherited: Vec<(Node, Node)>, own: Vec<(Node, Node)>) -> Vec<(Node, Node)> {
        let count = inherited.len();
        let mut entries: Vec<(Node, Node)> = Vec::with_capacity(count + own.len());
        let mut table: HashMap<String, usize> = HashMap::new();
        let many = count + own.len() > FEW_KEYS;
        let mut replaceable: HashSet<usize> = HashSet::new();
        for (index, (key, value)) in inherited.into_iter().chain(own).enumerate() {
            let name = key_name(&key);
            let known = if many {
                table.get(&*name).copied()
            } else {
                entries.iter().position(|(other, _)| key_name(other) == name)
            };
            if let Some(at) = known {
                // Replacing a merged key is intended; setting a key twice is not.
                if index >= count && !replaceable.contains(&at) {
                    self.duplicates.push((name.into_owned(), key.line, key.column));
                }
                replaceable.remove(&at);
                entries[at] = (key, value);
            } else {
                if many {
                    table.insert(name.into_owned(), entries.len());
                }
                if index < count {
                    replaceable.insert(entries.len());
                }
                entries.push((key, value));
            }
        }
        entries
    }

    fn scalar(
        &mut self,
        node: &mut Node,
        text: Cow<'a, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Result<(), SourceError> {
        let plain = style == ScalarStyle::Plain;
        let Some(tag) = tag else {
            node.data = match self.types {
                Types::Yaml if plain => resolve(&text),
                Types::Json if plain => json(&text),
                _ => None,
            }
            .unwrap_or_else(|| Data::Text(text.into_owned()));
            return Ok(());
        };
        if let Some(core) = tag.core_suffix() {
            node.data = match core {
                "str" => Some(Data::Text(text.into_owned())),
                "null" => Some(Data::Null),
                "bool" => resolve(&text).filter(|data| matches!(data, Data::Truth(_))),
                "int" | "float" => resolve(&text).filter(|data| matches!(data, Data::Number(_))),
                _ => None,
            }
            .ok_or_else(|| {
                self.lines
                    .mistake(node, format!("this is not a `!!{core}`"))
                    .hint("remove the tag, or write a value of its type")
            })?;
            return Ok(());
        }
        match (tag.handle(), tag.suffix()) {
            ("!", suffix @ ("unsafe" | "")) => {
                node.data = Data::Text(text.into_owned());
                if suffix == "unsafe" {
                    node.take_literally();
                }
                Ok(())
            }
            ("!", "vault" | "vault-encrypted") => {
                node.secret = true;
                let opened = self.vault.open(&text);
                let bytes =
                    opened.map_err(|closed| closed.shown_at(|message| self.lines.mistake(node, message)))?;
                let text = std::str::from_utf8(&bytes).map_err(|_| {
                    self.lines
                        .mistake(node, "the content of this vault is not text in UTF-8")
                })?;
                node.data = Data::Text(text.to_owned());
                // As in Ansible, a value that was encrypted on its own is never a template.
                node.take_literally();
                Ok(())
            }
            _ => Err(self.unknown_tag(node, tag)),
        }
    }

    /// Whether a collection is `!unsafe`; tags other than `own` are mistakes.
    fn collection_tag(&self, node: &Node, tag: Option<&Tag>, own: &str) -> Result<bool, SourceError> {
        match tag {
            None => Ok(false),
            Some(tag) if tag.core_suffix() == Some(own) => Ok(false),
            Some(tag) if tag.handle() == "!" && tag.suffix() == "unsafe" => Ok(true),
            Some(tag) => Err(self.unknown_tag(node, tag)),
        }
    }

    fn unknown_tag(&self, node: &Node, tag: &Tag) -> SourceError {
        let shown = format!("{}{}", tag.original_handle(), tag.suffix());
        self.lines
            .mistake(node, format!("the tag `{shown}` is not known"))
            .hint("use `!vault` or `!unsafe`")
    }

    /// Translates the parser's error for the operator.
    fn refused(&self, at: &Marker, said: &str) -> SourceError {
        let (line, column) = place(at);
        let place = |message: &str| self.lines.mistake_at(line, column, message);
        if self.hidden {
            return place("this is not YAML");
        }
        let text = self.lines.line(line, false).text;
        let value = text.split_once(": ").map_or(text, |(_, value)| value);
        let value = value.trim_start().trim_start_matches("- ");
        if said.contains("tab") {
            return place("YAML can't be indented with tabs").hint("indent with spaces");
        }
        if said.contains("unknown anchor") {
            return place("this alias refers to an anchor that is not defined above it");
        }
        let mistake = place(&format!("this is not YAML: {said}"));
        if value.starts_with("{{") {
            mistake.hint(format!(
                "a value that begins with `{{{{` needs quotes: `'{}'`",
                value.trim_end()
            ))
        } else if said.starts_with("mapping values are not allowed") {
            mistake.hint("a value that contains `: ` needs quotes; otherwise check the indentation")
        } else {
            mistake
        }
    }
}

/// A key for comparison; only text has no marks around it.
fn key_name(key: &Node) -> Cow<'_, str> {
    match &key.data {
        Data::Text(text) => Cow::Borrowed(text),
        _ => Cow::Owned(key.clone().into_key()),
    }
}

fn place(marker: &Marker) -> (u32, u32) {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (count(marker.line().max(1)), count(marker.col()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::VaultPasswords;

    fn value(text: &str) -> Result<Value, String> {
        let mut vault = Vault::new(VaultPasswords::default());
        read(text, "f", false, &mut vault)
            .map(|document| document.root.into_value())
            .map_err(|mistake| mistake.to_string())
    }

    #[test]
    fn types_are_those_of_yaml_1_1() {
        for (text, expected) in [
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("'yes'", json!("yes")),
            ("y", json!("y")),
            ("yEs", json!("yEs")),
            ("~", Value::Null),
            ("0640", json!(416)),
            ("0o640", json!("0o640")),
            ("08", json!("08")),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("-0x10", json!(-16)),
            ("1_000", json!(1000)),
            ("1:30", json!(90)),
            ("1:60", json!("1:60")),
            ("1:30.5", json!(90.5)),
            ("1.5", json!(1.5)),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("-.5", json!("-.5")),
            ("1e3", json!("1e3")),
            ("1.0e3", json!("1.0e3")),
            ("1.0e+3", json!(1000.0)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("2026-11-21", json!("2026-11-21")),
            ("!!str 5", json!("5")),
            ("!!int '5'", json!(5)),
            ("!unsafe '{{ x }}'", json!({"__ansible_unsafe": "{{ x }}"})),
            ("{1: a, yes: b}", json!({"1": "a", "true": "b"})),
            (
                "{\"a\": 1e3, \"b\": [null, 1, \"yes\"]}",
                json!({"a": 1e3, "b": [null, 1, "yes"]}),
            ),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mappings_merge() {
        let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\n  x: 4\n";
        let mut vault = Vault::new(VaultPasswords::default());
        let document = read(text, "f", false, &mut vault).expect("good");
        assert_eq!(document.duplicates, [("x".to_owned(), 6, 2)]);
        let value = document.root.into_value();
        assert_eq!(value["c"], json!({"x": 4, "y": 1, "z": 2}));
    }

    #[test]
    fn aliases_are_bounded() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(value(&text).expect_err("too many").contains("aliases"));
        assert!(
            value("a: &a [*a]")
                .expect_err("in itself")
                .contains("a value that contains it")
        );
        assert!(value(&"[".repeat(200)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in r#"([a-c0-9:.{}\[\],&*!'"|>#<-]|\n|  |: |- |é|!vault |<<: |\*a|&a )*"#) {
            let _ = value(&text);
        }

        #[test]
        fn no_word_panics(word in "[-+0-9a-fx._:eE]{0,12}") {
            let _ = resolve(&word);
        }
    }
}
