//! Exchanges: sends the request of a step, follows redirects, and checks the answer.

use std::time::{Duration, Instant};

use hyper::header::{LOCATION, SET_COOKIE};
use minijinja::Value;

use super::client::{Answer, Client, Progress, Sent};
use super::cookies::Cookies;
use super::judge::{capture, judge, needs_body};
use super::net::Net;
use super::request::Prepared;
use super::stream::Failure;
use super::values::{Scope, Values};
use crate::scenario::{Class, Step};
use crate::script::Scripts;
use crate::stats::{Kind, Phases};

/// What sends the requests of a user.
pub(crate) struct Sender<'a> {
    pub(crate) net: &'a Net,
    /// The user's connections.
    pub(crate) client: &'a mut Client,
    pub(crate) cookies: &'a mut Cookies,
}

/// The result of a step.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) request: Option<Prepared>,
    pub(crate) answer: Option<Answer>,
    pub(crate) failure: Option<Failure>,
    pub(crate) phases: Phases,
    /// Connections that were made for it.
    pub(crate) connections: Vec<Phases>,
    pub(crate) latency: Duration,
    pub(crate) bytes: u64,
    pub(crate) redirects: u64,
    pub(crate) resent: u64,
    /// The captured values.
    pub(crate) captured: Vec<(String, Value)>,
}

// === impl Sender ===

impl Sender<'_> {
    /// Sends a step's request, follows redirects, checks the answer and captures values from it.
    pub(crate) async fn send(&mut self, step: &Step, prepared: &Prepared) -> Exchange {
        let started = Instant::now();
        let mut exchange = Exchange::new(None);
        let limit = step.timeout.unwrap_or(self.net.http.timeout);
        let mut progress = Progress::default();
        let done = {
            let all = self.follow(step, prepared, &mut exchange, &mut progress);
            tokio::time::timeout(limit, all).await
        };
        let done = done.unwrap_or_else(|_| {
            self.client.close();
            Err(progress.stage.timed_out(limit))
        });
        exchange.latency = started.elapsed();
        exchange.absorb(&mut progress);
        match done {
            Ok(answer) => {
                let judged = judge(&step.expect, &answer, exchange.latency)
                    .and_then(|()| capture(&step.captures, &answer, self.cookies));
                match judged {
                    Ok(captured) => exchange.captured = captured,
                    Err(failure) => exchange.failure = Some(failure),
                }
                exchange.answer = Some(answer);
            }
            Err(failure) => exchange.failure = Some(failure),
        }
        exchange
    }

    /// Prepares a step's request and sends it. The exchange keeps the request.
    pub(crate) async fn prepare_and_send(&mut self, step: &Step, scope: &Scope<'_>) -> Exchange {
        match Prepared::of(step, scope.scenario, scope.shared.generation, scope) {
            Ok(prepared) => {
                let mut exchange = self.send(step, &prepared).await;
                exchange.request = Some(prepared);
                exchange
            }
            Err(failure) => Exchange::new(Some(failure)),
        }
    }

    async fn follow(
        &mut self,
        step: &Step,
        prepared: &Prepared,
        exchange: &mut Exchange,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        let net = self.net;
        let keep = needs_body(step);
        let mut moved: Option<Prepared> = None;
        loop {
            let now = moved.as_ref().unwrap_or(prepared);
            let origin = &now.target.origin;
            let cookie = self.cookies.header(&origin.host, origin.tls);
            let sent = Sent {
                request: now,
                cookie: cookie.as_deref(),
                keep,
            };
            let answer = self.client.exchange(net, sent, progress).await?;
            for header in answer.headers.get_all(SET_COOKIE) {
                if net.http.cookies {
                    let header = String::from_utf8_lossy(header.as_bytes());
                    self.cookies.set(&origin.host, &header);
                }
            }
            let location = answer.headers.get(LOCATION);
            let is_followed = matches!(answer.status, 301 | 302 | 303 | 307 | 308)
                && net.http.redirects > 0
                && !step.expect.names_status(answer.status);
            let Some(location) = location.filter(|_| is_followed) else {
                return Ok(answer);
            };
            exchange.redirects += 1;
            if exchange.redirects > u64::from(net.http.redirects) {
                return Err(Failure::new(
                    Kind::Redirect,
                    format!("more than {} redirects", net.http.redirects),
                ));
            }
            let leads_to = String::from_utf8_lossy(location.as_bytes());
            let target = now.target.join(&leads_to).map_err(|why| {
                Failure::new(Kind::Redirect, format!("the redirect has no valid URL: {why}"))
            })?;
            let redirected = now.redirected(target, answer.status)?;
            exchange.absorb(progress);
            moved = Some(redirected);
        }
    }
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(failure: Option<Failure>) -> Self {
        Self {
            failure,
            ..Self::default()
        }
    }

    /// Stores the captured values with the user, and runs the step's script on them.
    pub(crate) fn give_values(&mut self, step: &Step, class: &Class, values: &mut Values, scripts: &Scripts) {
        for (name, value) in self.captured.drain(..) {
            values.set(class, &name, value);
        }
        let (Some(script), Some(answer), None) = (&step.script, &self.answer, &self.failure) else {
            return;
        };
        match scripts.run(step.id, script, answer.status, &answer.body, values.all(class)) {
            Ok(vars) => {
                for (name, value) in vars {
                    values.set(class, &name, value);
                }
            }
            Err(text) => self.failure = Some(Failure::new(Kind::Script, text)),
        }
    }

    /// Adds the numbers of the last hop.
    fn absorb(&mut self, progress: &mut Progress) {
        let Progress {
            phases,
            connected,
            resent,
            bytes,
            ..
        } = std::mem::take(progress);
        self.connections.extend(connected);
        self.resent += u64::from(resent);
        self.bytes += bytes;
        self.phases = phases;
    }
}
