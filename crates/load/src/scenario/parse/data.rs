//! Rows of data for users, from CSV and JSON Lines files.

use std::collections::BTreeSet;

use reveille_document::{Node, value_of};
use reveille_text::bounded;
use serde_json::{Map, Value as Json};

use super::super::model::{Data, OnEnd, Order};
use super::super::schema::DataFile;
use super::context::{Context, is_identifier};

/// Parses the rows of a file.
type Read = fn(&str) -> Result<Vec<Json>, String>;

/// The most rows of a file of data, and the longest such file, in bytes.
const MAX_ROWS: usize = 1_000_000;
const MAX_BYTES: u64 = 256 << 20;

impl Context<'_> {
    pub(super) fn data(&mut self, node: &Node) -> Vec<Data> {
        let mut data = Vec::new();
        for (key, value) in self.entries(node, "`data`, a mapping of names to files") {
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
        let fields = self.fields::<DataFile>(node, "data")?;
        let orders = [
            ("sequential", Order::Sequential),
            ("random", Order::Random),
            ("unique", Order::Unique),
        ];
        let order = self.part(&fields, "order", |this, node| this.reader.word(node, &orders));
        let order = order.unwrap_or(Order::Sequential);
        let ends = [("repeat", OnEnd::Repeat), ("stop", OnEnd::Stop)];
        let on_end = self.part(&fields, "on_end", |this, node| this.reader.word(node, &ends));
        let (node, read): (_, Read) = match (fields.get("csv"), fields.get("jsonl")) {
            (Some(node), None) => (node, csv),
            (None, Some(node)) => (node, jsonl),
            _ => {
                self.reader
                    .mistake(fields.place, "data has either `csv` or `jsonl`");
                return None;
            }
        };
        let rows = self.file(node, |path| {
            let text = bounded::text(path, MAX_BYTES).map_err(|error| error.to_string())?;
            // Some editors write a byte order mark.
            match read(text.trim_start_matches('\u{feff}'))? {
                rows if rows.is_empty() => Err("it has no rows".to_owned()),
                rows if rows.len() > MAX_ROWS => Err(format!("it has more than {MAX_ROWS} rows")),
                rows => Ok(rows),
            }
        })?;
        let usual = match order {
            Order::Unique => OnEnd::Stop,
            _ => OnEnd::Repeat,
        };
        Some(Data {
            name,
            order,
            on_end: on_end.unwrap_or(usual),
            columns: columns(&rows),
            rows: rows.iter().map(value_of).collect(),
        })
    }
}

/// The columns of the rows, in their first order; empty if a row is not an object.
fn columns(rows: &[Json]) -> Vec<String> {
    let (mut columns, mut seen) = (Vec::new(), BTreeSet::new());
    for row in rows {
        let Some(row) = row.as_object() else {
            return Vec::new();
        };
        columns.extend(row.keys().filter(|column| seen.insert(column.as_str())).cloned());
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
