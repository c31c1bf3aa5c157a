//! One step of a user: the request is made, sent, timed, judged, and what it brings is kept.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, LOCATION, SET_COOKIE,
    USER_AGENT,
};
use hyper::{Method, Request, Uri, Version};
use minijinja::Value;
use reveille_text::duration;

use super::client::{Answer, Client, Progress, Sent};
use super::cookies::Cookies;
use super::http1;
use super::http2::Outgoing;
use super::net::{Failure, Net};
use super::target::Target;
use super::values::Scope;
use crate::scenario::template::{Holds, Names, value_of};
use crate::scenario::{Body, Capture, Expect, JsonPart, Scenario, Source, Step};
use crate::stats::{Kind, Phases};

/// A request that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Of the bootstrap's values that went into it.
    pub(crate) generation: u64,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// As HTTP/1.1 has it; made when it is first needed, for all users who send the same.
    wire: OnceCell<http1::Request>,
}

/// How a step ended.
#[derive(Debug)]
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
    /// What was captured.
    pub(crate) captured: Vec<(String, Value)>,
}

// === impl Step ===

impl Step {
    /// For how long a request that is made of it can be used again.
    pub(crate) fn holds(&self, scenario: &Scenario) -> Holds {
        let common = scenario.http.headers.iter().map(|(_, text)| text);
        self.texts()
            .into_iter()
            .chain(common)
            .map(|text| text.holds)
            .max()
            .unwrap_or(Holds::Always)
    }

    /// Whether the answer's body is looked at.
    pub(crate) fn needs_body(&self) -> bool {
        let expect = &self.expect;
        let in_body = |capture: &Capture| matches!(capture.from, Source::Json(_) | Source::Body);
        self.script.is_some()
            || self.captures.iter().any(in_body)
            || !(expect.contains.is_empty()
                && expect.lacks.is_empty()
                && expect.regex.is_empty()
                && expect.json.is_empty())
    }

    /// Fills everything in.
    pub(crate) fn prepare(
        &self,
        scenario: &Scenario,
        generation: u64,
        names: &dyn Names,
    ) -> Result<Prepared, Failure> {
        let template = |text: String| Failure::new(Kind::Template, text);
        let url = self.url.render(names).map_err(template)?;
        // As it was written: what it was filled in with may be secret.
        let wrong = |why: String| template(format!("`{}` gives no URL: {why}", self.url.source));
        let target = if Target::is_absolute(&url) {
            Target::parse(&url)
        } else if !url.starts_with('/') {
            Err("a path begins with `/`, a URL with `http://` or `https://`".to_owned())
        } else {
            match &scenario.base_url {
                Some(base) => Target::parse(&format!("{base}{url}")),
                None => Err("it is a path, and the scenario has no `base_url`".to_owned()),
            }
        }
        .map_err(wrong)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, header(&target.origin.authority)?);
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("reveille-load/", env!("CARGO_PKG_VERSION"))),
        );
        if scenario.http.compression {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
        }
        let body = self.render_body(names, &mut headers).map_err(template)?;
        for (name, text) in self.all_headers(&scenario.http.headers) {
            let text = text.render(names).map_err(template)?;
            headers.insert(name, header(&text)?);
        }
        if let Some((user, password)) = &self.basic {
            let user = user.render(names).map_err(template)?;
            let password = password.render(names).map_err(template)?;
            let encoded = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
            headers.insert(AUTHORIZATION, header(&format!("Basic {encoded}"))?);
        }
        Ok(Prepared {
            generation,
            method: self.method.clone(),
            target,
            headers,
            body,
            wire: OnceCell::new(),
        })
    }

    fn render_body(&self, names: &dyn Names, headers: &mut HeaderMap) -> Result<Bytes, String> {
        let mut typed = |text: &'static str| headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
        Ok(match &self.body {
            Body::None => Bytes::new(),
            Body::File(bytes) => bytes.clone(),
            Body::Text(text) => text.render(names)?.into(),
            Body::Json(parts) => {
                typed("application/json");
                let mut text = String::new();
                for part in parts {
                    match part {
                        JsonPart::Raw(raw) => text.push_str(raw),
                        JsonPart::Value(value) => text.push_str(&value.render_json(names)?),
                    }
                }
                text.into()
            }
            Body::Form(fields) => {
                typed("application/x-www-form-urlencoded");
                let mut text = String::new();
                for (name, value) in fields {
                    if !text.is_empty() {
                        text.push('&');
                    }
                    form_escape(name, &mut text);
                    text.push('=');
                    form_escape(&value.render(names)?, &mut text);
                }
                text.into()
            }
        })
    }

    /// Sends `prepared`, follows redirects, judges the answer, and takes from it what is to be captured.
    pub(crate) async fn perform(
        &self,
        net: &Net,
        client: &mut Client,
        cookies: &mut Cookies,
        prepared: &Prepared,
    ) -> Exchange {
        let started = Instant::now();
        let mut exchange = Exchange::new(None);
        let limit = self.timeout.unwrap_or(net.http.timeout);
        let mut progress = Progress::default();
        let done = {
            let all = self.follow(net, client, cookies, prepared, &mut exchange, &mut progress);
            tokio::time::timeout(limit, all).await
        };
        let done = done.unwrap_or_else(|_| {
            client.close();
            Err(progress.stage.timed_out(limit))
        });
        exchange.latency = started.elapsed();
        exchange.absorb(&mut progress);
        match done {
            Ok(answer) => {
                let judged = self
                    .judge(&answer, exchange.latency)
                    .and_then(|()| self.capture(&answer, cookies));
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

    /// The same by itself, outside of any test; the exchange keeps its request.
    pub(crate) async fn once(
        &self,
        scope: &Scope<'_>,
        net: &Net,
        client: &mut Client,
        cookies: &mut Cookies,
    ) -> Exchange {
        match self.prepare(scope.scenario, scope.shared.generation, scope) {
            Ok(prepared) => {
                let mut exchange = self.perform(net, client, cookies, &prepared).await;
                exchange.request = Some(prepared);
                exchange
            }
            Err(failure) => Exchange::new(Some(failure)),
        }
    }

    async fn follow(
        &self,
        net: &Net,
        client: &mut Client,
        cookies: &mut Cookies,
        prepared: &Prepared,
        exchange: &mut Exchange,
        progress: &mut Progress,
    ) -> Result<Answer, Failure> {
        let keep = self.needs_body();
        let mut moved: Option<Prepared> = None;
        loop {
            let now = moved.as_ref().unwrap_or(prepared);
            let cookie = if net.http.cookies {
                let origin = &now.target.origin;
                cookies.header(&origin.host, origin.tls)
            } else {
                None
            };
            let sent = Sent {
                request: now,
                cookie: cookie.as_deref(),
                keep,
            };
            let answer = client.exchange(net, sent, progress).await?;
            if net.http.cookies {
                for header in answer.headers.get_all(SET_COOKIE) {
                    cookies.set(
                        &now.target.origin.host,
                        &String::from_utf8_lossy(header.as_bytes()),
                    );
                }
            }
            let location = answer.headers.get(LOCATION);
            let wanted = self
                .expect
                .status
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&answer.status));
            let Some(location) = location.filter(|_| {
                matches!(answer.status, 301 | 302 | 303 | 307 | 308) && net.http.redirects > 0 && !wanted
            }) else {
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
                Failure::new(Kind::Redirect, format!("the redirect leads to no URL: {why}"))
            })?;
            let redirected = now.moved(target, answer.status)?;
            exchange.absorb(progress);
            moved = Some(redirected);
        }
    }

    fn judge(&self, answer: &Answer, latency: Duration) -> Result<(), Failure> {
        let Expect {
            status,
            contains,
            lacks,
            regex,
            json,
            headers,
            under,
        } = &self.expect;
        let good = if status.is_empty() {
            answer.status < 400
        } else {
            status
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&answer.status))
        };
        if !good {
            return Err(Failure::new(Kind::Status, format!("status {}", answer.status)));
        }
        let check = |text: String| Err(Failure::new(Kind::Check, text));
        if let Some(under) = under
            && latency >= *under
        {
            return check(format!("took longer than {}", duration::shown(*under)));
        }
        for (name, regex) in headers {
            let found = answer
                .headers
                .get_all(name)
                .iter()
                .any(|value| regex.is_match(&String::from_utf8_lossy(value.as_bytes())));
            if !found {
                return check(format!("header {name} does not match `{regex}`"));
            }
        }
        if contains.is_empty() && lacks.is_empty() && regex.is_empty() && json.is_empty() {
            return Ok(());
        }
        if !answer.whole {
            return check(format!(
                "the body is longer than the {} KiB that are looked at",
                super::client::KEPT >> 10
            ));
        }
        let text = String::from_utf8_lossy(&answer.body);
        for part in contains {
            if !text.contains(part) {
                return check(format!("the body lacks `{part}`"));
            }
        }
        for part in lacks {
            if text.contains(part) {
                return check(format!("the body contains `{part}`"));
            }
        }
        for regex in regex {
            if !regex.is_match(&text) {
                return check(format!("the body does not match `{regex}`"));
            }
        }
        if json.is_empty() {
            return Ok(());
        }
        let document = parse_json(answer).map_err(|text| Failure::new(Kind::Check, text))?;
        for (path, wanted) in json {
            match (path.find(&document), wanted) {
                (None, _) => return check(format!("{path} is not there")),
                (Some(found), Some(wanted)) if !same(found, wanted) => {
                    return check(format!("{path} is not {wanted}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn capture(&self, answer: &Answer, cookies: &Cookies) -> Result<Vec<(String, Value)>, Failure> {
        let mut captured = Vec::with_capacity(self.captures.len());
        let mut document = None;
        for capture in &self.captures {
            let found = match &capture.from {
                Source::Status => Some(Value::from(answer.status)),
                Source::Header(name) => answer
                    .headers
                    .get(name)
                    .map(|value| Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned())),
                Source::Cookie(name) => cookies.get(name).map(Value::from),
                Source::Body => Some(Value::from(String::from_utf8_lossy(&answer.body).into_owned())),
                Source::Json(path) => {
                    if document.is_none() {
                        document = parse_json(answer).ok();
                    }
                    document
                        .as_ref()
                        .and_then(|document| path.find(document))
                        .map(value_of)
                }
            };
            let found = match (&capture.regex, found) {
                (Some(regex), Some(value)) => {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    regex
                        .captures(&text)
                        .and_then(|groups| groups.get(1).or(groups.get(0)))
                        .map(|found| Value::from(found.as_str()))
                }
                (_, found) => found,
            };
            let found = found.or_else(|| capture.default.as_deref().map(Value::from));
            let Some(value) = found else {
                return Err(Failure::new(
                    Kind::Capture,
                    format!("`{}` is not in the answer", capture.name),
                ));
            };
            captured.push((capture.name.clone(), value));
        }
        Ok(captured)
    }
}

fn parse_json(answer: &Answer) -> Result<serde_json::Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("the body is not JSON: {error}"))
}

/// Whether two JSON values are the same; numbers by value.
fn same(found: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= f64::EPSILON * wanted.abs().max(1.0),
        _ => found == wanted,
    }
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| {
        Failure::new(
            Kind::Template,
            "a header can't hold line breaks or control characters",
        )
    })
}

fn form_escape(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => to.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) => to.push(char::from(byte)),
            byte => to.push_str(&format!("%{byte:02X}")),
        }
    }
}

// === impl Prepared ===

impl Prepared {
    /// It may be sent again although the service may have seen it.
    pub(crate) fn is_idempotent(&self) -> bool {
        !matches!(self.method, Method::POST | Method::PATCH)
    }

    /// As HTTP/1.1 has it.
    pub(crate) fn wire(&self, net: &Net) -> &http1::Request {
        self.wire.get_or_init(|| {
            // A proxy is given the whole URL, or a tunnel.
            let target = if net.http.proxy.is_some() && !self.target.origin.tls {
                self.target.to_string()
            } else {
                self.target.path.to_string()
            };
            http1::Request::new(&self.method, &target, &self.headers, &self.body)
        })
    }

    /// As HTTP/2 has it.
    pub(crate) fn in_two(&self, cookie: Option<&str>) -> Result<Request<Outgoing>, Failure> {
        let mut request = Request::new(Outgoing::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self
            .target
            .to_string()
            .parse::<Uri>()
            .map_err(|error| Failure::new(Kind::Template, error.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().remove(HOST);
        if let Some(cookie) = cookie {
            request.headers_mut().append(COOKIE, header(cookie)?);
        }
        Ok(request)
    }

    /// What a redirect asks for.
    fn moved(&self, target: Target, status: u16) -> Result<Self, Failure> {
        let mut next = Self {
            generation: self.generation,
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            wire: OnceCell::new(),
        };
        if target.origin != self.target.origin {
            // Credentials stay with the origin they are for.
            next.headers.remove(AUTHORIZATION);
            next.headers.remove(COOKIE);
        }
        next.headers.insert(HOST, header(&target.origin.authority)?);
        if status == 303 || (matches!(status, 301 | 302) && self.method == Method::POST) {
            next.method = Method::GET;
            next.body = Bytes::new();
            next.headers.remove(CONTENT_TYPE);
        }
        next.target = target;
        Ok(next)
    }
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn new(failure: Option<Failure>) -> Self {
        Self {
            request: None,
            answer: None,
            failure,
            phases: Phases::default(),
            connections: Vec::new(),
            latency: Duration::ZERO,
            bytes: 0,
            redirects: 0,
            resent: 0,
            captured: Vec::new(),
        }
    }

    /// Takes over what the last hop told.
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

/// What a shard keeps of requests that hold for longer than one.
#[derive(Debug, Default)]
pub(crate) struct Cache(Vec<Option<Rc<Prepared>>>);

impl Cache {
    pub(crate) fn new(steps: usize) -> Self {
        Self(vec![None; steps])
    }

    pub(crate) fn get(&self, step: &Step, generation: u64) -> Option<Rc<Prepared>> {
        let found = self.0.get(step.id)?.as_ref()?;
        (found.generation == generation).then(|| Rc::clone(found))
    }

    pub(crate) fn put(&mut self, step: &Step, prepared: &Rc<Prepared>) {
        if let Some(slot) = self.0.get_mut(step.id) {
            *slot = Some(Rc::clone(prepared));
        }
    }
}
