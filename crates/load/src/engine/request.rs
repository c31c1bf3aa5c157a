//! Requests: steps with their templates filled in, ready to be sent.

use std::cell::OnceCell;
use std::rc::Rc;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request, Uri, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reveille_document::Names;

use super::http1;
use super::http2::Outgoing;
use super::net::Net;
use super::stream::Failure;
use crate::scenario::{Body, JsonPart, Scenario, Step};
use crate::stats::Kind;
use crate::target::Target;

/// A request that is ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// The generation of the bootstrap's values in it.
    pub(crate) generation: u64,
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Its bytes in HTTP/1.1, made at the first use and shared by all users that send it.
    wire: OnceCell<http1::Request>,
}

/// Requests of a shard that can be sent more than once.
#[derive(Debug, Default)]
pub(crate) struct Cache(Vec<Option<Rc<Prepared>>>);

// === impl Prepared ===

impl Prepared {
    /// Fills in the templates of a step.
    pub(crate) fn of(
        step: &Step,
        scenario: &Scenario,
        generation: u64,
        names: &dyn Names,
    ) -> Result<Self, Failure> {
        let template = |text: String| Failure::new(Kind::Template, text);
        let url = step.url.render(names).map_err(template)?;
        // The message has the template, because its values may be secret.
        let wrong = |why: String| template(format!("`{}` is not a URL: {why}", step.url.source()));
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
        let body = render_body(&step.body, names, &mut headers).map_err(template)?;
        for (name, text) in step.all_headers(&scenario.http.headers) {
            let text = text.render(names).map_err(template)?;
            headers.insert(name, header(&text)?);
        }
        if let Some((user, password)) = &step.basic {
            let user = user.render(names).map_err(template)?;
            let password = password.render(names).map_err(template)?;
            let encoded = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
            headers.insert(AUTHORIZATION, header(&format!("Basic {encoded}"))?);
        }
        Ok(Self {
            generation,
            method: step.method.clone(),
            target,
            headers,
            body,
            wire: OnceCell::new(),
        })
    }

    /// Whether it may be sent twice.
    pub(crate) fn is_idempotent(&self) -> bool {
        !matches!(self.method, Method::POST | Method::PATCH)
    }

    /// The bytes of the request in HTTP/1.1.
    pub(crate) fn wire(&self, net: &Net) -> &http1::Request {
        self.wire.get_or_init(|| {
            // A proxy needs the whole URL, unless it is a tunnel.
            let target = if net.http.proxy.is_some() && !self.target.origin.tls {
                self.target.to_string()
            } else {
                self.target.path.to_string()
            };
            http1::Request::new(&self.method, &target, &self.headers, &self.body)
        })
    }

    /// The request in HTTP/2.
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

    /// The request that follows a redirect with `status` to `target`.
    pub(crate) fn redirected(&self, target: Target, status: u16) -> Result<Self, Failure> {
        let mut next = self.clone();
        next.wire.take();
        if target.origin != self.target.origin {
            // Credentials are for their origin only.
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

fn render_body(body: &Body, names: &dyn Names, headers: &mut HeaderMap) -> Result<Bytes, String> {
    let mut typed = |text: &'static str| headers.insert(CONTENT_TYPE, HeaderValue::from_static(text));
    Ok(match body {
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
                text.push_str(&form_escape(name));
                text.push('=');
                text.push_str(&form_escape(&value.render(names)?));
            }
            text.into()
        }
    })
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| {
        Failure::new(
            Kind::Template,
            "a header can't contain line breaks or control characters",
        )
    })
}

fn form_escape(text: &str) -> String {
    const ESCAPED: AsciiSet = NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'*');
    utf8_percent_encode(text, &ESCAPED)
        .to_string()
        .replace("%20", "+")
}

// === impl Cache ===

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
