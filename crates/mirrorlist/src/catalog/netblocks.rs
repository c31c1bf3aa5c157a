//! Networks that hosts claim, and networks whose country the data state.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// Values of networks. A look-up returns the values of all networks around an address.
#[derive(Debug, Clone)]
pub(crate) struct Netblocks<T> {
    four: PrefixMap<Ipv4Net, T>,
    six: PrefixMap<Ipv6Net, T>,
}

/// A network, or a single address. Bits beyond the prefix are dropped.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(net.trunc())
}

// === impl Netblocks ===

impl<T: Default> Netblocks<T> {
    /// The value of a network, to change it.
    pub(crate) fn entry(&mut self, net: IpNet) -> &mut T {
        match net {
            IpNet::V4(net) => self.four.entry(net).or_default(),
            IpNet::V6(net) => self.six.entry(net).or_default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.four.len() + self.six.len()
    }

    /// All networks around an address, the longest prefix last.
    pub(crate) fn around(&self, address: IpAddr) -> Vec<(IpNet, &T)> {
        match IpNet::from(address) {
            IpNet::V4(net) => self
                .four
                .cover(&net)
                .map(|(net, value)| (net.into(), value))
                .collect(),
            IpNet::V6(net) => self
                .six
                .cover(&net)
                .map(|(net, value)| (net.into(), value))
                .collect(),
        }
    }
}

impl<T> Default for Netblocks<T> {
    fn default() -> Self {
        Self {
            four: PrefixMap::new(),
            six: PrefixMap::new(),
        }
    }
}
