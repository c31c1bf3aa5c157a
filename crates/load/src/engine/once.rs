//! Each step once, outside of any test: for `--once`.

use std::collections::BTreeMap;

use super::bootstrap::Captured;
use super::client::Client;
use super::conductor::tls_for;
use super::cookies::Cookies;
use super::message::Shared;
use super::net::{Failure, Net};
use super::request::Exchange;
use super::script::Scripts;
use super::values::{Feeds, Scope, Values};
use crate::scenario::{Class, Scenario, Step, is_telling};
use crate::stats::Kind;

/// One user that does everything once.
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

    /// A step of the bootstrap.
    pub(crate) async fn shared(&mut self, step: &Step) -> Exchange {
        let mut exchange = self.send(None, step).await;
        for (name, value) in exchange.captured.drain(..) {
            self.captured
                .insert(name, serde_json::to_value(value).unwrap_or_default());
        }
        exchange
    }

    /// A new user of a class.
    pub(crate) fn user(&mut self, class: &'a Class) {
        self.values = Values::new(class, self.scenario.data.len());
        self.cookies = Cookies::default();
        self.client = Client::default();
        self.feeds
            .feed(self.scenario, &mut self.values, &mut fastrand::Rng::new());
        self.class = Some(class);
        self.user += 1;
    }

    /// A step of that user.
    pub(crate) async fn step(&mut self, class: &Class, step: &Step) -> Exchange {
        let mut exchange = self.send(Some(class), step).await;
        for (name, value) in exchange.captured.drain(..) {
            self.values.set(class, &name, value);
        }
        if let (Some(script), Some(answer), None) = (&step.script, &exchange.answer, &exchange.failure) {
            let vars = self.values.all(class);
            match self
                .scripts
                .run(step.id, script, answer.status, &answer.body, vars)
            {
                Ok(vars) => {
                    for (name, value) in vars {
                        self.values.set(class, &name, value);
                    }
                }
                Err(text) => exchange.failure = Some(Failure::new(Kind::Script, text)),
            }
        }
        exchange
    }

    async fn send(&mut self, class: Option<&Class>, step: &Step) -> Exchange {
        let shared = Shared::new(1, &self.captured);
        let prepared = {
            let scope = Scope {
                scenario: self.scenario,
                class,
                values: &self.values,
                shared: &shared,
                user: self.user,
                iteration: 0,
            };
            step.prepare(self.scenario, 1, &scope)
        };
        match prepared {
            Ok(prepared) => {
                let mut exchange = step
                    .perform(&self.net, &mut self.client, &mut self.cookies, &prepared)
                    .await;
                exchange.request = Some(prepared);
                exchange
            }
            Err(failure) => Exchange::new(Some(failure)),
        }
    }

    /// Values that screens never show: the scenario's secrets, the bootstrap's values, and vars named like passwords.
    pub(crate) fn hide(&self, hidden: &mut BTreeMap<String, String>, scenario: &Scenario) {
        let own = self
            .class
            .map(|class| self.values.all(class))
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name, value.to_string()));
        let shared = self.captured.iter().map(|(name, value)| {
            (
                name.clone(),
                value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            )
        });
        let constants = scenario
            .constants
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        for (name, value) in own.chain(shared).chain(constants) {
            if scenario.secrets.contains(&name) || is_telling(&name) {
                hidden.insert(name, value);
            }
        }
    }
}
