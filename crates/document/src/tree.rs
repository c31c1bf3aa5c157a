//! YAML as a tree of nodes that know their places. All readers start from it.

use std::fmt;
use std::ops::Range;

use reveille_account::SourceError;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{Location, Spanned};

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 4 << 20;

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its place.
    pub place: Place,
}

/// Line, column and bytes of a node's text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The bytes of the file.
    pub bytes: Range<usize>,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Truth(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in the order of the file.
    Map(Vec<(Node, Node)>),
}

/// What a file is, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// As in "the … is empty".
    pub name: &'static str,
    /// With its article, to start a sentence.
    pub one: &'static str,
}

// === impl Value ===

impl Value {
    /// The type, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Truth(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: Place::from(spanned.referenced),
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Truth(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| E::custom("this number is not finite"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let items = std::iter::from_fn(|| items.next_element().transpose());
        items.collect::<Result<_, _>>().map(Value::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let entries = std::iter::from_fn(|| entries.next_entry().transpose());
        entries.collect::<Result<_, _>>().map(Value::Map)
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let start = location.span().byte_offset().map_or(0, count);
        let length = location.span().byte_len().map_or(0, count);
        Self {
            line: count(location.line()),
            column: count(location.column()),
            bytes: start..start.saturating_add(length),
        }
    }
}

/// Parses a file, called `file` in messages, into a tree.
///
/// # Errors
///
/// The file is too large, or not a single YAML document.
pub fn read(text: &str, file: &str, kind: &Kind) -> Result<Node, SourceError> {
    if text.len() > MAX_FILE_BYTES {
        return Err(SourceError::whole(
            format!("{} can't be larger than {} MiB", kind.one, MAX_FILE_BYTES >> 20),
            file,
        ));
    }
    if text.trim().is_empty() {
        return Err(SourceError::whole(format!("the {} is empty", kind.name), file));
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: 32,
            max_nodes: 100_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 1,
        },
    };
    let root = serde_saphyr::from_str_with_options(text, options);
    let mut root: Node = root.map_err(|error| mistake(&error, text, file, kind))?;
    letters_are_text(&mut root, text);
    Ok(root)
}

/// Makes texts of `y` and `n` again, which the parser takes for booleans. Ansible's parser does not, and inventories do not.
fn letters_are_text(node: &mut Node, text: &str) {
    match &mut node.value {
        Value::Truth(_) => {
            let raw = text.get(node.place.bytes.clone()).unwrap_or_default().trim();
            if ["y", "Y", "n", "N"].contains(&raw) {
                node.value = Value::Text(raw.to_owned());
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| letters_are_text(item, text)),
        Value::Map(entries) => {
            for (key, value) in entries {
                letters_are_text(key, text);
                letters_are_text(value, text);
            }
        }
        Value::Null | Value::Number(_) | Value::Text(_) => {}
    }
}

/// Translates the parser's error for the operator.
fn mistake(error: &serde_saphyr::Error, text: &str, file: &str, kind: &Kind) -> SourceError {
    let error = error.without_snippet();
    let raw = error.to_string();
    let said = raw.split(" at line ").next().unwrap_or_default();
    let (line, column) = error
        .location()
        .map(Place::from)
        .map_or((0, 0), |place| (place.line, place.column));
    let line_text = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let place = |message: &str| SourceError::at(message, file, text, line, column);
    if let Some(key) = said.strip_prefix("duplicate mapping key: ") {
        let key = key.split(", set ").next().unwrap_or_default();
        return place(&format!("the key `{key}` is set twice"));
    }
    if said.contains("Documents") {
        return place("a second YAML document begins here")
            .hint(format!("{} is one document; remove the `---`", kind.one));
    }
    if said.starts_with("budget breached") || said.contains("expansion limit") || said.contains("replay") {
        return place(&format!(
            "the {} is too large or too deeply nested once its aliases are expanded",
            kind.name
        ));
    }
    if said.contains("tabs disallowed") {
        return place("YAML can't be indented with tabs").hint("indent with spaces");
    }
    if said.contains("recursive") || said.contains("weak") {
        return place("an alias refers to a value that contains it");
    }
    let mistake = place(&format!("this is not YAML: {said}"));
    let value = line_text.split_once(": ").map_or(line_text, |(_, value)| value);
    let value = value.trim_start().trim_start_matches("- ");
    if value.starts_with("{{") {
        mistake.hint(format!(
            "a value that begins with `{{{{` needs quotes: `'{}'`",
            value.trim_end()
        ))
    } else if said.starts_with("mapping values are not allowed") {
        mistake.hint("a value that contains `: ` needs quotes; otherwise check the indentation")
    } else if said.starts_with("unexpected character") {
        mistake.hint("a value that begins with this character needs quotes")
    } else {
        mistake
    }
}

/// Returns the line and column, from 1, of a byte of `text`.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let mut byte = byte.min(text.len());
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    let before = &text[..byte];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[start..].chars().count() + 1,
    )
}
