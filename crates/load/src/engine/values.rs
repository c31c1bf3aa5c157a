//! What a user's templates can name, and its rows of data.

use minijinja::Value;

use super::message::Shared;
use crate::scenario::{Class, OnEnd, Order, Scenario};
use reveille_document::Names;

/// A user's own values, one for each slot of its class.
#[derive(Debug, Default)]
pub(crate) struct Values {
    slots: Box<[Option<Value>]>,
    rows: Box<[Option<Value>]>,
}

/// Everything that the templates of a request can name.
pub(crate) struct Scope<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) class: Option<&'a Class>,
    pub(crate) values: &'a Values,
    pub(crate) shared: &'a Shared,
    pub(crate) user: u64,
    pub(crate) iteration: u64,
}

/// A shard's place in each list of data. It uses every `shards`-th row, so that no two shards use the same row.
#[derive(Debug)]
pub(crate) struct Feeds {
    next: Vec<usize>,
    shards: usize,
}

// === impl Values ===

impl Values {
    pub(crate) fn new(class: &Class, data: usize) -> Self {
        Self {
            slots: vec![None; class.slots.len()].into(),
            rows: vec![None; data].into(),
        }
    }

    pub(crate) fn set(&mut self, class: &Class, name: &str, value: Value) {
        if let Some(slot) = class.slots.iter().position(|slot| slot == name) {
            self.slots[slot] = Some(value);
        }
    }

    /// The user's rows, in the order of the scenario's data.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Option<&Value>> {
        self.rows.iter().map(Option::as_ref)
    }

    /// All values with their names.
    pub(crate) fn all(&self, class: &Class) -> Vec<(String, Value)> {
        class
            .slots
            .iter()
            .zip(&self.slots)
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect()
    }
}

// === impl Scope ===

impl Names for Scope<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        if let Some(class) = self.class
            && let Some(slot) = class.slots.iter().position(|slot| slot == name)
            && let Some(value) = &self.values.slots[slot]
        {
            return Some(value.clone());
        }
        if let Some(at) = self.scenario.data.iter().position(|data| data.name == name) {
            return self.values.rows.get(at).cloned().flatten();
        }
        if let Some(value) = self.shared.values.get(name) {
            return Some(value.clone());
        }
        if let Some(value) = self.scenario.constants.get(name) {
            return Some(Value::from(value.as_str()));
        }
        match name {
            "user" => Some(Value::from_pairs([
                ("id", Value::from(self.user)),
                ("iteration", Value::from(self.iteration)),
                ("class", Value::from(self.class.map_or("", |class| &class.name))),
            ])),
            "now" => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .ok()
                .map(|since| Value::from(since.as_secs_f64())),
            "uuid" => {
                let random = fastrand::u128(..).to_ne_bytes();
                let uuid = uuid::Builder::from_random_bytes(random).into_uuid();
                Some(Value::from(uuid.to_string()))
            }
            _ => None,
        }
    }
}

// === impl Feeds ===

impl Feeds {
    pub(crate) fn new(scenario: &Scenario, shard: usize, shards: usize) -> Self {
        Self {
            next: vec![shard; scenario.data.len()],
            shards,
        }
    }

    /// Gives a user its rows for the next iteration. Returns false if none is left.
    pub(crate) fn feed(
        &mut self,
        scenario: &Scenario,
        values: &mut Values,
        random: &mut fastrand::Rng,
    ) -> bool {
        for (at, data) in scenario.data.iter().enumerate() {
            let count = data.rows.len();
            let index = match data.order {
                Order::Random => random.usize(..count),
                Order::Unique if values.rows[at].is_some() => continue,
                Order::Sequential | Order::Unique => {
                    let next = self.next[at];
                    if next >= count && data.on_end == OnEnd::Stop {
                        return false;
                    }
                    self.next[at] = next + self.shards;
                    next % count
                }
            };
            values.rows[at] = Some(data.rows[index].clone());
        }
        true
    }
}
