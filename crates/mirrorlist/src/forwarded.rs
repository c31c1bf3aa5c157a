//! The client behind proxies.

use std::net::IpAddr;

use hyper::HeaderMap;
use ipnet::IpNet;

/// Proxies whose headers about the client are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// Most addresses of a chain of proxies that are read.
const LONGEST_CHAIN: usize = 64;

// === impl TrustedProxies ===

impl TrustedProxies {
    /// These networks, and this machine.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut all = Self::default();
        all.0.extend(networks);
        all
    }

    /// The last address in the chain that is not a trusted proxy: each proxy vouches for the one before it, and what a
    /// client claims about itself does not count. `Forwarded` takes precedence over `X-Forwarded-For`.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let name = if headers.contains_key("forwarded") {
            "forwarded"
        } else {
            "x-forwarded-for"
        };
        let mut seen = 0;
        for value in headers.get_all(name).iter().rev() {
            for element in value.as_bytes().rsplit(|byte| *byte == b',') {
                let Some(address) = std::str::from_utf8(element).ok().and_then(address) else {
                    // An address that a trusted proxy did not know ends the chain.
                    return client;
                };
                client = address;
                seen += 1;
                if seen == LONGEST_CHAIN || !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }

    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self(vec![
            IpNet::new_assert([127, 0, 0, 0].into(), 8),
            IpNet::new_assert(std::net::Ipv6Addr::LOCALHOST.into(), 128),
        ])
    }
}

/// An address in a header: alone, with a port, in brackets, or as `for=…` among other words.
fn address(element: &str) -> Option<IpAddr> {
    let element = element.trim();
    let node = element
        .split(';')
        .find_map(|word| {
            let (name, value) = word.trim().split_once('=')?;
            name.eq_ignore_ascii_case("for").then_some(value)
        })
        .unwrap_or(element)
        .trim_matches('"');
    let address = if let Some(rest) = node.strip_prefix('[') {
        rest.split(']').next()?.parse().ok()
    } else {
        node.parse().ok().or_else(|| {
            let (address, port) = node.rsplit_once(':')?;
            port.parse::<u16>().ok()?;
            address.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4)
        })
    };
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &[u8])]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, hyper::header::HeaderValue::from_bytes(value).unwrap());
        }
        let trusted = TrustedProxies::new(["192.0.2.0/24".parse().unwrap()]);
        trusted.client(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn each_trusted_proxy_vouches_for_the_one_before() {
        let forwarded = |peer, value: &'static str| client(peer, &[("x-forwarded-for", value.as_bytes())]);
        assert_eq!(
            forwarded("203.0.113.9", "198.51.100.1"),
            "203.0.113.9",
            "a stranger"
        );
        assert_eq!(forwarded("127.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            forwarded("127.0.0.1", "10.0.0.1,198.51.100.1,192.0.2.7"),
            "198.51.100.1"
        );
        assert_eq!(forwarded("127.0.0.1", "198.51.100.1, nonsense"), "127.0.0.1");
        assert_eq!(forwarded("127.0.0.1", "198.51.100.1:4711"), "198.51.100.1");
        assert_eq!(forwarded("::ffff:127.0.0.1", "[2001:db8::1]:80"), "2001:db8::1");
        assert_eq!(
            client("127.0.0.1", &[("x-forwarded-for", b"\xff\xfe")]),
            "127.0.0.1"
        );
        assert_eq!(
            client(
                "127.0.0.1",
                &[
                    ("x-forwarded-for", b"198.51.100.1"),
                    ("x-forwarded-for", b"192.0.2.1")
                ]
            ),
            "198.51.100.1"
        );
        assert_eq!(
            client(
                "127.0.0.1",
                &[("forwarded", b"for=198.51.100.2;proto=https, For=\"[::1]\"")]
            ),
            "198.51.100.2"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(value in proptest::collection::vec(0x20u8..=0xff, 0..80)) {
            let value: Vec<u8> = value.into_iter().filter(|byte| *byte != 0x7f).collect();
            client("127.0.0.1", &[("x-forwarded-for", &value)]);
            client("127.0.0.1", &[("forwarded", &value)]);
        }
    }
}
