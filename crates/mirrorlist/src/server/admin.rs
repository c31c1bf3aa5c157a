//! The administrator's listener: health, metrics, reloads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use reveille_text::duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};

use super::listen::{Listener, Stream};
use super::log::LineLog;
use super::reload::Reloader;
use super::shared::{Shared, stop_requested};

/// Most connections on the admin address, enough for a monitoring system and an administrator.
const CONNECTIONS: usize = 64;

/// A connection on the admin address is closed after this time without a request.
const SILENCE: Duration = Duration::from_secs(30);

const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn serve(
    listener: Listener,
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop_requested(&mut stopped) => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.next(&places) => accepted,
        };
        let Some((place, stream)) = accepted else { return };
        let (shared, reloader) = (Arc::clone(&shared), Arc::clone(&reloader));
        connections.spawn(async move {
            match stream {
                Stream::Tcp(stream, _) => {
                    if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                        connection(stream, shared, reloader).await;
                    }
                }
                Stream::Unix(stream) => {
                    if let Ok(stream) = tokio::net::UnixStream::from_std(stream) {
                        connection(stream, shared, reloader).await;
                    }
                }
            }
            drop(place);
        });
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
) {
    let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
        let (shared, reloader) = (Arc::clone(&shared), Arc::clone(&reloader));
        async move { Ok::<_, std::convert::Infallible>(respond(&request, &shared, &reloader).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("admin connection: {error}");
    }
}

async fn respond<B>(request: &Request<B>, shared: &Shared, reloader: &Reloader) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        // Load balancers use HEAD; hyper leaves the body out.
        (&Method::GET | &Method::HEAD, "/healthz") => match staleness(shared) {
            None => text(StatusCode::OK, "ok\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        (&Method::GET | &Method::HEAD, "/readyz") => text(StatusCode::OK, "ready\n"),
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let dropped = shared.logs().map(LineLog::dropped).sum();
            let mut response = text(StatusCode::OK, shared.metrics.text(dropped));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(METRICS));
            response
        }
        (&Method::POST, "/-/reload") => match reloader.reload().await {
            Ok(()) => text(StatusCode::OK, "reloaded\n"),
            Err(error) => text(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("not reloaded, the old data stay in use: {error}\n"),
            ),
        },
        (_, "/-/reload") => not_allowed("POST", "use POST\n"),
        (_, "/healthz" | "/readyz" | "/metrics") => not_allowed("GET, HEAD", "use GET or HEAD\n"),
        _ => text(
            StatusCode::NOT_FOUND,
            "not found: use GET /healthz, /readyz or /metrics, or POST /-/reload\n",
        ),
    }
}

/// The complaint about data that are too old.
fn staleness(shared: &Shared) -> Option<String> {
    let limit = shared.max_stale?;
    let created = shared.snapshot.load().catalog().created();
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    let age = now.saturating_sub(created);
    (age > limit.as_secs()).then(|| {
        format!(
            "the data are {} old, more than {}; check the program that writes them\n",
            duration::shown(Duration::from_secs(age)),
            duration::shown(limit)
        )
    })
}

fn not_allowed(methods: &'static str, why: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, why);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
