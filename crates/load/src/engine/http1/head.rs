//! Heads of requests and answers.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

use super::body::Body;
use super::wrong::Wrong;

/// The longest head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// The most fields of a head.
const MAX_FIELDS: usize = 100;

/// A request, without what depends on the user.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The request line and the fields, without the empty line at the end.
    pub(super) head: Vec<u8>,
    pub(super) body: Bytes,
    /// Whether the method is HEAD, so that the answer has no body.
    pub(super) is_head: bool,
    /// Whether the request closes the connection.
    pub(super) closes: bool,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(super) body: Body,
    /// Whether the connection can be used again.
    pub(super) keeps: bool,
}

// === impl Request ===

impl Request {
    /// `target` is the path, or the whole URL for a proxy.
    pub(crate) fn new(method: &Method, target: &str, fields: &HeaderMap, body: &Bytes) -> Self {
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        for (name, value) in fields {
            // The length of the body is set below and nowhere else.
            if *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
                continue;
            }
            field(&mut head, name.as_str(), value.as_bytes());
        }
        if !body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            field(&mut head, "content-length", body.len().to_string().as_bytes());
        }
        Self {
            head,
            body: body.clone(),
            is_head: *method == Method::HEAD,
            closes: has_word(fields, &CONNECTION, "close"),
        }
    }

    /// Its length in bytes, without what depends on the user.
    pub(crate) fn length(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

fn field(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

// === impl Head ===

impl Head {
    /// Parses a head and returns it with its length; none if its end is missing.
    pub(super) fn parse(bytes: &[u8], is_head: bool) -> Result<Option<(Self, usize)>, Wrong> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        let length = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
            Ok(_) => {
                return Err(Wrong::new(format!(
                    "the head is longer than {} KiB",
                    MAX_HEAD >> 10
                )));
            }
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Wrong::new(format!("the head has more than {MAX_FIELDS} fields")));
            }
            Err(error) => return Err(Wrong::new(format!("the answer is not HTTP/1.1: {error}"))),
        };
        let mut map = HeaderMap::with_capacity(parsed.headers.len());
        for field in &*parsed.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_| Wrong::new("a field has an invalid name"))?;
            let value = HeaderValue::from_bytes(field.value)
                .map_err(|_| Wrong::new(format!("the field {name} has an invalid value")))?;
            map.append(name, value);
        }
        let status = parsed.code.unwrap_or_default();
        let old = parsed.version == Some(0);
        let (body, closes) = framing(status, &map, is_head, old)?;
        let keeps = if old {
            has_word(&map, &CONNECTION, "keep-alive")
        } else {
            !has_word(&map, &CONNECTION, "close")
        };
        let head = Self {
            status,
            keeps: keeps && !closes,
            body,
            fields: map,
        };
        Ok(Some((head, length)))
    }
}

/// How the body ends (RFC 9112, 6.3), and whether the connection ends with it.
fn framing(status: u16, fields: &HeaderMap, is_head: bool, old: bool) -> Result<(Body, bool), Wrong> {
    let length = content_length(fields)?;
    let coded = fields.contains_key(TRANSFER_ENCODING);
    if is_head || matches!(status, 100..=199 | 204 | 304) {
        return Ok((Body::None, false));
    }
    if coded {
        if old {
            return Err(Wrong::new("HTTP/1.0 has no transfer-encoding"));
        }
        let last = fields
            .get_all(TRANSFER_ENCODING)
            .iter()
            .next_back()
            .map(HeaderValue::as_bytes)
            .and_then(|codings| codings.rsplit(|byte| *byte == b',').next())
            .unwrap_or_default();
        return Ok(if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
            // If there is a length as well, the connection is not used again.
            (Body::chunked(), length.is_some())
        } else {
            (Body::ToTheEnd, true)
        });
    }
    Ok(match length {
        Some(length) => (Body::Length(length), false),
        None => (Body::ToTheEnd, true),
    })
}

fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Wrong> {
    let mut length = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let digits = part.trim_ascii();
            let number = std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse::<u64>().ok())
                .ok_or_else(|| Wrong::new("the content-length is not a number"))?;
            if length.replace(number).is_some_and(|before| before != number) {
                return Err(Wrong::new("the answer has two different lengths"));
            }
        }
    }
    Ok(length)
}

/// Whether a list of words contains one.
fn has_word(fields: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    fields.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<(Head, usize)>, Wrong> {
        Head::parse(text.as_bytes(), false)
    }

    fn whole(text: &str) -> Head {
        parse(text).expect("right").expect("whole").0
    }

    #[test]
    fn bodies_end_as_the_head_says() {
        let head = |fields: &str| whole(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(head("Content-Length: 7\r\n").body, Body::Length(7));
        assert_eq!(
            head("Content-Length: 7, 7\r\nContent-Length: 7\r\n").body,
            Body::Length(7)
        );
        assert_eq!(head("").body, Body::ToTheEnd);
        assert!(!head("").keeps);
        let chunked = head("Transfer-Encoding: gzip, Chunked\r\n");
        assert_eq!((chunked.body, chunked.keeps), (Body::chunked(), true));
        let both = head("Transfer-Encoding: chunked\r\nContent-Length: 7\r\n");
        assert_eq!((both.body, both.keeps), (Body::chunked(), false));
        assert_eq!(head("Transfer-Encoding: gzip\r\n").body, Body::ToTheEnd);
        for status in [101, 204, 304] {
            let head = whole(&format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n"));
            assert_eq!(head.body, Body::None);
        }
        let asked = Head::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true);
        assert_eq!(asked.expect("right").expect("whole").0.body, Body::None);
    }

    #[test]
    fn connections_are_kept_as_the_head_says() {
        let keeps = |text: &str| whole(&format!("{text}Content-Length: 0\r\n\r\n")).keeps;
        assert!(keeps("HTTP/1.1 200 OK\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\n"));
        assert!(!keeps("HTTP/1.0 200 OK\r\n"));
        assert!(keeps("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n"));
    }

    #[test]
    fn ambiguous_heads_are_errors() {
        for bad in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 2xx OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 8\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +7\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 7\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert!(parse(&many).is_err());
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD));
        assert!(parse(&long).is_err());
    }

    #[test]
    fn requests_have_one_length() {
        let mut fields = HeaderMap::new();
        fields.insert("host", HeaderValue::from_static("a"));
        fields.insert(CONTENT_LENGTH, HeaderValue::from_static("99"));
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        let request = |method: &Method, body: &'static str| {
            let request = Request::new(method, "/x?y", &fields, &Bytes::from_static(body.as_bytes()));
            String::from_utf8(request.head).expect("text")
        };
        assert_eq!(request(&Method::GET, ""), "GET /x?y HTTP/1.1\r\nhost: a\r\n");
        assert!(request(&Method::POST, "").ends_with("\r\ncontent-length: 0\r\n"));
        assert!(request(&Method::DELETE, "abc").ends_with("\r\ncontent-length: 3\r\n"));
    }
}
