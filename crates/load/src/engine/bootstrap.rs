//! The bootstrap: made once for the whole test by the conductor, never by users; refreshed in the background.

use std::collections::BTreeMap;
use std::time::Duration;

use reveille_text::duration;

use super::client::Client;
use super::cookies::Cookies;
use super::exchange::Sender;
use super::message::Shared;
use super::net::Net;
use super::values::{Scope, Values};
use crate::scenario::{Bootstrap, Scenario};
use reveille_document::value_of;

/// What the bootstrap captured.
pub(crate) type Captured = BTreeMap<String, serde_json::Value>;

/// Runs all its steps in order.
pub(crate) async fn run(
    scenario: &Scenario,
    bootstrap: &Bootstrap,
    net: &Net,
    generation: u64,
) -> Result<Captured, String> {
    let mut captured = Captured::new();
    let (mut client, mut cookies) = (Client::default(), Cookies::default());
    let values = Values::default();
    for step in &bootstrap.steps {
        let shared = Shared::new(generation, &captured);
        let scope = Scope {
            scenario,
            class: None,
            values: &values,
            shared: &shared,
            user: 0,
            iteration: 0,
        };
        let mut sender = Sender {
            net,
            client: &mut client,
            cookies: &mut cookies,
        };
        let exchange = sender.prepare_and_send(step, &scope).await;
        if let Some(failure) = exchange.failure {
            return Err(format!("{}: {} ({})", step.name, failure.text, failure.kind));
        }
        for (name, value) in exchange.captured {
            let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
            captured.insert(name, value);
        }
    }
    Ok(captured)
}

/// How long the values hold before they are made anew; none if they hold for good.
pub(crate) fn lasts(bootstrap: &Bootstrap, captured: &Captured) -> Result<Option<Duration>, String> {
    let Some(refresh) = &bootstrap.refresh else {
        return Ok(None);
    };
    let names: BTreeMap<String, minijinja::Value> = captured
        .iter()
        .map(|(name, value)| (name.clone(), value_of(value)))
        .collect();
    let text = refresh.every.render(&names)?;
    let every = duration::parse(&text)?;
    // Half of the time at least is used, whatever `early` says; and no service is asked more than once a second.
    Ok(Some(
        every
            .saturating_sub(refresh.early)
            .max(every / 2)
            .max(Duration::from_secs(1)),
    ))
}
