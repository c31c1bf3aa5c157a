//! The client side of HTTP/2, with hyper.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use super::stream::{Failure, Stream};
use crate::stats::Kind;

/// The body of a request.
pub(crate) type Outgoing = Full<Bytes>;

/// A connection. It has a task of its own, because the service may send frames at any time.
pub(crate) struct Connection {
    sender: http2::SendRequest<Outgoing>,
}

/// The body of an answer.
pub(crate) struct Body(Incoming);

// === impl Connection ===

impl Connection {
    pub(crate) async fn open(stream: Stream) -> Result<Self, Failure> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| failure(&error, Kind::Closed))?;
        tokio::task::spawn_local(connection);
        Ok(Self { sender })
    }

    pub(crate) async fn is_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a request. A failure tells whether the service can have seen the request.
    pub(crate) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<(Response<()>, Body), (Failure, bool)> {
        match self.sender.send_request(request).await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok((Response::from_parts(head, ()), Body(body)))
            }
            Err(error) => Err((failure(&error, Kind::Closed), !error.is_canceled())),
        }
    }
}

// === impl Body ===

impl Body {
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_end_stream()
    }

    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let frame = poll_fn(|context| Pin::new(&mut self.0).poll_frame(context)).await;
        match frame {
            None => Ok(None),
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(failure(&error, Kind::Incomplete)),
        }
    }
}

/// The failure of an error of hyper. `ended` is the kind of an unexpected end.
fn failure(error: &hyper::Error, ended: Kind) -> Failure {
    let mut source = std::error::Error::source(error);
    let mut text = error.to_string();
    let mut kind = None;
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            kind = Some(Failure::stream_kind(error, ended));
        }
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = inner.source();
    }
    let kind = if error.is_parse() {
        Kind::Protocol
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        ended
    } else {
        kind.unwrap_or(
            if text.contains("reset") || text.contains("GOAWAY") || text.contains("go away") {
                Kind::Reset
            } else {
                Kind::Protocol
            },
        )
    };
    Failure::new(kind, text)
}
