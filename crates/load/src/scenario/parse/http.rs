//! Settings and headers of all requests.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use reveille_document::{Fields, Node, items};
use reveille_text::{Bytes, bounded};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::super::model::{Http, Network, Tls, Version, resolve};
use super::super::schema::{HttpFile, NetworkFile};
use super::super::template::Text;
use super::context::Context;
use crate::target::Target;

/// The longest file of certificates, in bytes.
const MAX_CA: u64 = 16 << 20;

const VERSIONS: [(&str, Version); 4] = [
    ("1.1", Version::One),
    ("1", Version::One),
    ("2", Version::Two),
    ("auto", Version::Auto),
];

impl Context<'_> {
    pub(super) fn http(&mut self, node: &Node) -> Http {
        let usual = Http::default();
        let Some(fields) = self.fields::<HttpFile>(node, "`http`") else {
            return usual;
        };
        let version = self.part(&fields, "version", |this, node| this.reader.word(node, &VERSIONS));
        let redirects = self.part(&fields, "redirects", |this, node| this.reader.whole(node, 0..=50));
        let max_body: Option<Bytes> = self.part(&fields, "max_body", |this, node| {
            this.reader.parsed(node, str::parse)
        });
        Http {
            version: version.unwrap_or(usual.version),
            cookies: self.truth(&fields, "cookies", usual.cookies),
            keep_alive: self.truth(&fields, "keep_alive", usual.keep_alive),
            compression: self.truth(&fields, "compression", usual.compression),
            timeout: self.limit(&fields, "timeout").unwrap_or(usual.timeout),
            connect_timeout: self
                .limit(&fields, "connect_timeout")
                .unwrap_or(usual.connect_timeout),
            first_byte_timeout: self.limit(&fields, "first_byte_timeout"),
            body_timeout: self.limit(&fields, "body_timeout"),
            redirects: redirects
                .and_then(|redirects| u8::try_from(redirects).ok())
                .unwrap_or(usual.redirects),
            max_body: max_body.map_or(usual.max_body, |Bytes(most)| most),
            headers: Vec::new(),
            tls: Tls {
                verify: self.truth(&fields, "verify", true),
                resumption: self.truth(&fields, "resumption", true),
                ca: self.part(&fields, "ca", Self::ca),
            },
            network: self.part(&fields, "network", Self::network),
            resolve: self.part(&fields, "resolve", |this, node| {
                let nodes = items(node).into_iter();
                nodes
                    .filter_map(|node| this.reader.parsed(node, resolve))
                    .collect()
            }),
            proxy: self.part(&fields, "proxy", Self::proxy),
        }
    }

    fn truth(&mut self, fields: &Fields<'_>, key: &str, usual: bool) -> bool {
        self.part(fields, key, |this, node| this.reader.truth(node))
            .unwrap_or(usual)
    }

    fn limit(&mut self, fields: &Fields<'_>, key: &str) -> Option<Duration> {
        self.part(fields, key, Self::time)
    }

    fn network(&mut self, node: &Node) -> Network {
        let Some(fields) = self.fields::<NetworkFile>(node, "`network`") else {
            return Network::default();
        };
        Network {
            latency: self.limit(&fields, "latency").unwrap_or_default(),
            bandwidth: self.part(&fields, "bandwidth", |this, node| {
                let bytes = |text: &str| text.trim_end_matches("/s").parse().map(|Bytes(each)| each);
                this.reader.parsed(node, bytes)
            }),
        }
    }

    fn proxy(&mut self, node: &Node) -> Option<(String, u16)> {
        let url = self.constant(node)?;
        match Target::parse(&url) {
            Ok(target) if !target.origin.tls => Some((target.origin.host.clone(), target.origin.port)),
            _ => {
                let message = "expected a proxy, `http://HOST:PORT`";
                self.reader.mistake(&node.place, message);
                None
            }
        }
    }

    fn ca(&mut self, node: &Node) -> Option<Arc<RootCertStore>> {
        self.file(node, |path| {
            let pem = bounded::bytes(path, MAX_CA).map_err(|error| error.to_string())?;
            authorities(&pem)
        })
    }

    pub(super) fn headers(&mut self, node: &Node) -> Vec<(HeaderName, Text)> {
        let mut headers = Vec::new();
        for (key, value) in self.entries(node, "`headers`, a mapping of names to values") {
            let (Some(name), Some(text)) = (self.header_name(key), self.text(value)) else {
                continue;
            };
            if text
                .constant()
                .is_some_and(|text| HeaderValue::from_str(text).is_err())
            {
                let message = "a header can't contain line breaks or control characters";
                self.reader.mistake(&value.place, message);
            }
            if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
                let message = format!("`{name}` follows from the body; remove it");
                self.reader.mistake(&key.place, message);
            }
            headers.push((name, text));
        }
        headers
    }

    pub(super) fn header_name(&mut self, node: &Node) -> Option<HeaderName> {
        self.reader.parsed(node, |text| {
            HeaderName::from_bytes(text.as_bytes())
                .map_err(|_| format!("`{text}` can't be the name of a header"))
        })
    }
}

/// The certificates in a PEM file.
fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        authorities.add(certificate).map_err(|error| error.to_string())?;
    }
    if authorities.is_empty() {
        return Err("it contains no certificate".to_owned());
    }
    Ok(Arc::new(authorities))
}
