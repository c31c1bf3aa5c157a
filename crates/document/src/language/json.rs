//! JSON as Python writes it.

use std::io;

use minijinja::Value;
use minijinja::value::Serde;
use minijinja::{Error, ErrorKind};
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// On one line, with a blank after commas and colons.
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
    written(value, OneLine)
}

/// `to_nice_json`: four blanks for each level, and keys in order.
pub(super) fn to_nice_json(value: &Value) -> Result<String, Error> {
    written(value, PrettyFormatter::with_indent(b"    "))
}

/// `from_json`.
pub(super) fn from_json(text: &str) -> Result<Value, Error> {
    let read = serde_json::from_str::<serde_json::Value>(text);
    read.map(|json| Serde(json).into())
        .map_err(|error| wrong(format!("this is no JSON: {error}")))
}

fn written(value: &Value, formatter: impl Formatter) -> Result<String, Error> {
    // A value's dictionaries keep their order or have none; serde_json's map is asked for the order that is wanted.
    let tree = serde_json::to_value(value).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    tree.serialize(&mut serializer)
        .map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

fn wrong(why: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, why)
}
