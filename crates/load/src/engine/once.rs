//! Runs each step once, for `--once`.

use super::client::Client;
use super::cookies::Cookies;
use super::exchange::{Exchange, Sender};
use super::message::{Captured, Shared};
use super::net::{Net, tls_for};
use super::values::{Feeds, Scope, Values};
use crate::mask::Secret;
use crate::scenario::{Class, Scenario, Step};
use crate::script::Scripts;

/// A user that runs each step once.
pub(crate) struct Once<'a> {
    scenario: &'a Scenario,
    net: Net,
    client: Client,
    cookies: Cookies,
    captured: Captured,
    values: Values,
    feeds: Feeds,
    scripts: Scripts,
    user: u64,
    class: Option<&'a Class>,
}

impl<'a> Once<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Result<Self, String> {
        Ok(Self {
            scenario,
            net: Net::new(&scenario.http, tls_for(scenario)?),
            client: Client::default(),
            cookies: Cookies::default(),
            captured: Captured::new(),
            values: Values::default(),
            feeds: Feeds::new(scenario, 0, 1),
            scripts: Scripts::new(),
            user: 0,
            class: None,
        })
    }

    /// Runs a step of the bootstrap.
    pub(crate) async fn shared(&mut self, step: &Step) -> Exchange {
        let mut exchange = self.send(None, step).await;
        for (name, value) in exchange.captured.drain(..) {
            self.captured
                .insert(name, serde_json::to_value(value).unwrap_or_default());
        }
        exchange
    }

    /// Becomes a new user of a class.
    pub(crate) fn user(&mut self, class: &'a Class) {
        self.values = Values::new(class, self.scenario.data.len());
        self.cookies = Cookies::default();
        self.client = Client::default();
        self.feeds
            .feed(self.scenario, &mut self.values, &mut fastrand::Rng::new());
        self.class = Some(class);
        self.user += 1;
    }

    /// Runs a step of that user.
    pub(crate) async fn step(&mut self, class: &Class, step: &Step) -> Exchange {
        let mut exchange = self.send(Some(class), step).await;
        exchange.give_values(step, class, &mut self.values, &self.scripts);
        exchange
    }

    async fn send(&mut self, class: Option<&Class>, step: &Step) -> Exchange {
        let shared = Shared::new(1, &self.captured);
        let scope = Scope {
            scenario: self.scenario,
            class,
            values: &self.values,
            shared: &shared,
            user: self.user,
            iteration: 0,
        };
        let mut sender = Sender {
            net: &self.net,
            client: &mut self.client,
            cookies: &mut self.cookies,
        };
        sender.prepare_and_send(step, &scope).await
    }

    /// The values to mask that the user and the bootstrap have by now.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        let scenario = self.scenario;
        let own = self.class.map(|class| self.values.all(class)).unwrap_or_default();
        let own = own
            .into_iter()
            .map(|(name, value)| (name, serde_json::to_value(value).unwrap_or_default()));
        let mut secrets: Vec<Secret> = own
            .chain(self.captured.clone())
            .flat_map(|(name, value)| {
                let leaves = leaves(&value).into_iter();
                leaves.filter_map(move |leaf| scenario.secret(&name, &leaf))
            })
            .collect();
        for (data, row) in scenario.data.iter().zip(self.values.rows()) {
            let Some(row) = row else { continue };
            for column in &data.columns {
                let name = format!("{}.{column}", data.name);
                let value = row.get_attr(column).ok().map(|value| value.to_string());
                if let Some(value) = value
                    && (scenario.is_secret(&data.name) || scenario.is_secret(&name))
                {
                    let sure = true;
                    secrets.push(Secret { name, value, sure });
                }
            }
        }
        secrets
    }
}

/// The texts and numbers in a value.
fn leaves(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(_) => Vec::new(),
        serde_json::Value::Number(number) => vec![number.to_string()],
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(items) => items.iter().flat_map(leaves).collect(),
        serde_json::Value::Object(entries) => entries.values().flat_map(leaves).collect(),
    }
}
