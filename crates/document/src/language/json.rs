//! JSON as Python writes it.

use std::fmt::Write as _;
use std::io;

use minijinja::value::{Serde, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize as _;
use serde_json::Value as Json;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// One line, with a blank after commas and colons.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `to_json`.
pub(super) fn to_json(value: &Value) -> Result<String, Error> {
    written(&tree(value)?, OneLine)
}

/// `to_nice_json`: indented by four blanks, with sorted keys.
pub(super) fn to_nice_json(value: &Value) -> Result<String, Error> {
    let mut tree = tree(value)?;
    tree.sort_all_objects();
    written(&tree, PrettyFormatter::with_indent(b"    "))
}

/// `from_json`.
pub(super) fn from_json(text: &str) -> Result<Value, Error> {
    let read = serde_json::from_str::<Json>(text);
    read.map(|json| Serde(json).into())
        .map_err(|error| wrong(format!("this is not JSON: {error}")))
}

fn tree(value: &Value) -> Result<Json, Error> {
    serde_json::to_value(value).map_err(|error| wrong(error.to_string()))
}

fn written(tree: &Json, formatter: impl Formatter) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    tree.serialize(&mut serializer)
        .map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    Ok(in_ascii(&text))
}

/// Escapes characters outside ASCII, which occur only in JSON strings.
fn in_ascii(json: &str) -> String {
    json.chars()
        .fold(String::with_capacity(json.len()), |mut ascii, character| {
            if character.is_ascii() {
                ascii.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(ascii, "\\u{unit:04x}");
                }
            }
            ascii
        })
}

fn wrong(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}
