//! One request.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, LOCATION, RETRY_AFTER,
    USER_AGENT, VARY,
};
use hyper::{Method, Request, Response, StatusCode};

use super::conditional;
use super::log::{LineLog, Word};
use super::shared::Shared;
use crate::answer::{self, Answer};
use crate::query::LONGEST_TARGET;
use crate::refusal::Refusal;
use crate::render::Format;
use crate::snapshot::Snapshot;

/// Answers are for one client, and the data may change at any time.
const CACHING: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Answers one request from the current snapshot.
pub(super) fn respond<B>(request: &Request<B>, peer: IpAddr, shared: &Shared) -> Response<Full<Bytes>> {
    let started = Instant::now();
    // Held until the answer is written; a reload in the meantime affects the next request.
    let snapshot = shared.snapshot.load();
    let client = shared.proxies.client(peer, request.headers());
    let agent = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes);
    let answer = if *request.method() != Method::GET && *request.method() != Method::HEAD {
        Answer::refuse(&Refusal::Method, false, shared.rules, &snapshot)
    } else if request
        .uri()
        .path_and_query()
        .is_some_and(|target| target.as_str().len() > LONGEST_TARGET)
    {
        Answer::refuse(&Refusal::TooLong, false, shared.rules, &snapshot)
    } else if !may_ask(shared, client) {
        Answer::refuse(&Refusal::TooOften, false, shared.rules, &snapshot)
    } else {
        let asked = answer::Request {
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            client,
            agent,
        };
        Answer::to(&asked, &snapshot, shared.rules, &mut Rng::new())
    };
    if let (Some(log), Some(line)) = (&shared.log, &answer.log) {
        log.repository(line);
    }
    let source = answer.source;
    let response = write(request, client, agent, answer, &snapshot);
    let took = started.elapsed();
    shared.metrics.answered(source, took);
    shared.answers.add();
    if let Some(log) = &shared.access_log {
        let agent = agent.map(String::from_utf8_lossy);
        log_access(
            log,
            request,
            client,
            agent.as_deref(),
            &response,
            took.as_micros(),
        );
    }
    response
}

fn may_ask(shared: &Shared, client: IpAddr) -> bool {
    match &shared.limiter {
        // A proxy that sends no header stands for many clients.
        Some(limiter) if !shared.proxies.trusts(client) => limiter.may_pass(client),
        _ => true,
    }
}

fn write<B>(
    request: &Request<B>,
    client: IpAddr,
    agent: Option<&[u8]>,
    answer: Answer,
    snapshot: &Snapshot,
) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, CACHING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Some(location) = &answer.location
        && let Ok(location) = HeaderValue::from_str(location)
    {
        headers.insert(LOCATION, location);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    let mut known = false;
    if status == StatusCode::OK && answer.source.is_ok() {
        let tag = conditional::tag(snapshot, request.uri(), client, Format::choose(None, agent));
        known = conditional::is_known(request.headers(), &tag);
        headers.insert(ETAG, tag);
        headers.insert(VARY, HeaderValue::from_static("accept-encoding, user-agent"));
    }
    if known {
        headers.remove(CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let mut body = Bytes::from(answer.body);
    if let Some(compressed) = conditional::compressed(request.headers(), &body) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        body = compressed;
    }
    *response.body_mut() = Full::new(body);
    response
}

fn log_access<B>(
    log: &LineLog,
    request: &Request<B>,
    client: IpAddr,
    agent: Option<&str>,
    response: &Response<Full<Bytes>>,
    microseconds: u128,
) {
    use hyper::body::Body as _;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let bytes = response.body().size_hint().exact().unwrap_or_default();
    let uri = request.uri().to_string();
    // The rest of a longer one was refused, and is not logged either.
    let shown = &uri[..uri.floor_char_boundary(LONGEST_TARGET)];
    log.line(format_args!(
        "{client} [{now}] \"{} {}{}\" {} {bytes} {microseconds}us \"{}\"",
        request.method(),
        Word::before(shown, '"'),
        if shown.len() < uri.len() { "…" } else { "" },
        response.status().as_u16(),
        Word::before(agent.unwrap_or("-"), '"'),
    ));
}
