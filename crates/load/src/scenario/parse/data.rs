//! Rows that users are given: CSV and JSON Lines files, read whole.

use std::collections::BTreeSet;

use reveille_document::{Node, Value};
use reveille_text::bounded;
use serde_json::{Map, Value as Json};

use super::super::{Data, OnEnd, Order};
use super::{Context, is_identifier};
use reveille_document::value_of;

pub(in crate::scenario) const DATA: &[&str] = &["csv", "jsonl", "order", "on_end"];

/// Reads all rows of a file's text.
type Read = fn(&str) -> Result<Vec<Json>, String>;

/// The most rows, and the most bytes, that a file may have.
const MAX_ROWS: usize = 1_000_000;
const MAX_BYTES: u64 = 256 << 20;

impl Context<'_> {
    pub(super) fn data(&mut self, node: &Node) -> Vec<Data> {
        let Value::Map(entries) = &node.value else {
            self.reader.expected(node, "`data`, a mapping of names to files");
            return Vec::new();
        };
        let mut data = Vec::new();
        for (key, value) in entries {
            let Some(name) = self.reader.scalar(key) else {
                continue;
            };
            if is_identifier(&name) {
                match self.feed(name.clone(), value) {
                    Some(feed) => data.push(feed),
                    None => {
                        self.unread.insert(name);
                    }
                }
            } else {
                self.reader
                    .mistake(&key.place, format!("`{name}` can't be the name of data"));
            }
        }
        data
    }

    fn feed(&mut self, name: String, node: &Node) -> Option<Data> {
        let fields = self.reader.fields(node, "data", DATA)?;
        let orders = [
            ("sequential", Order::Sequential),
            ("random", Order::Random),
            ("unique", Order::Unique),
        ];
        let order = fields
            .get("order")
            .and_then(|node| self.reader.word(node, &orders))
            .unwrap_or(Order::Sequential);
        let ends = [("repeat", OnEnd::Repeat), ("stop", OnEnd::Stop)];
        let on_end = fields
            .get("on_end")
            .and_then(|node| self.reader.word(node, &ends));
        let (node, read): (_, Read) = match (fields.get("csv"), fields.get("jsonl")) {
            (Some(node), None) => (node, csv),
            (None, Some(node)) => (node, jsonl),
            _ => {
                self.reader
                    .mistake(fields.place, "data comes from a file: `csv` or `jsonl`");
                return None;
            }
        };
        let path = self.given.directory.join(self.constant(node)?);
        let rows = match bounded::text(&path, MAX_BYTES)
            .map_err(|error| error.to_string())
            // Some editors put a mark before everything.
            .and_then(|text| read(text.trim_start_matches('\u{feff}')))
        {
            Ok(rows) if rows.is_empty() => Err("it has no rows".to_owned()),
            Ok(rows) if rows.len() > MAX_ROWS => Err(format!("it has more than {MAX_ROWS} rows")),
            other => other,
        };
        match rows {
            Ok(rows) => Some(Data {
                name,
                order,
                on_end: on_end.unwrap_or(if order == Order::Unique {
                    OnEnd::Stop
                } else {
                    OnEnd::Repeat
                }),
                columns: columns(&rows),
                rows: rows.iter().map(value_of).collect(),
            }),
            Err(message) => {
                self.reader
                    .mistake(&node.place, format!("can't use {}: {message}", path.display()));
                None
            }
        }
    }
}

/// What the rows have, in the order in which it comes first; nothing is known of rows that are no objects.
fn columns(rows: &[Json]) -> Vec<String> {
    let (mut columns, mut seen) = (Vec::new(), BTreeSet::new());
    for row in rows {
        let Some(row) = row.as_object() else {
            return Vec::new();
        };
        for column in row.keys() {
            if !seen.contains(column.as_str()) {
                seen.insert(column.as_str());
                columns.push(column.clone());
            }
        }
    }
    columns
}

fn csv(text: &str) -> Result<Vec<Json>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().map_err(|error| error.to_string())?.clone();
    let mut seen = BTreeSet::new();
    if let Some(twice) = columns.iter().map(str::trim).find(|name| !seen.insert(*name)) {
        return Err(format!("two of its columns are named `{twice}`"));
    }
    let mut rows = Vec::new();
    for record in reader.records().take(MAX_ROWS + 1) {
        let record = record.map_err(|error| error.to_string())?;
        let row: Map<String, Json> = columns
            .iter()
            .zip(&record)
            .map(|(column, value)| (column.trim().to_owned(), Json::from(value)))
            .collect();
        rows.push(Json::Object(row));
    }
    Ok(rows)
}

fn jsonl(text: &str) -> Result<Vec<Json>, String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .take(MAX_ROWS + 1)
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))
        })
        .collect()
}
