//! A small country database in MaxMind's format (specification 2.0: binary search tree, data, metadata).

/// Networks and their countries. IPv4 is in `::/96`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<[Record; 2]>,
    countries: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Record {
    #[default]
    Nothing,
    Node(u32),
    Country(u32),
}

/// Bytes between tree and data.
const SEPARATOR: u32 = 16;

const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

// === impl Tree ===

impl Tree {
    /// Networks must not overlap.
    pub(crate) fn add(&mut self, network: u128, length: u8, country: &str) {
        let known = self.countries.iter().position(|known| known == country);
        let number = known.unwrap_or_else(|| {
            self.countries.push(country.to_owned());
            self.countries.len() - 1
        });
        let record = Record::Country(u32::try_from(number).unwrap_or(0));
        if self.nodes.is_empty() {
            self.nodes.push([Record::Nothing; 2]);
        }
        let mut node = 0;
        for depth in 0..length {
            let bit = usize::from(network >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[node][bit] = record;
            } else if let Record::Node(next) = self.nodes[node][bit] {
                node = next as usize;
            } else {
                let next = self.nodes.len();
                self.nodes.push([Record::Nothing; 2]);
                self.nodes[node][bit] = Record::Node(u32::try_from(next).unwrap_or(0));
                node = next;
            }
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let mut data = Vec::new();
        let mut places = Vec::new();
        for country in &self.countries {
            places.push(u32::try_from(data.len()).unwrap_or(0));
            let record = [
                map(1),
                string("country"),
                map(1),
                string("iso_code"),
                string(country),
            ];
            data.extend(record.concat());
        }
        let mut bytes = Vec::new();
        for record in self.nodes.iter().flatten() {
            let value = match record {
                Record::Nothing => count,
                Record::Node(node) => *node,
                Record::Country(number) => count + SEPARATOR + places[*number as usize],
            };
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes.extend_from_slice(&[0; SEPARATOR as usize]);
        bytes.extend_from_slice(&data);
        bytes.extend_from_slice(MARKER);
        bytes.extend(metadata(count));
        bytes
    }
}

fn metadata(count: u32) -> Vec<u8> {
    // An extended type, 9, of 64 bits; and an array, type 11, of one item.
    let epoch = [&[0x04, 0x02], &1_793_491_200_u32.to_be_bytes()[..]].concat();
    let languages = [vec![0x01, 0x04], string("en")].concat();
    let entries = [
        ("binary_format_major_version", number(5, 2)),
        ("binary_format_minor_version", number(5, 0)),
        ("build_epoch", epoch),
        ("database_type", string("Country")),
        (
            "description",
            [map(1), string("en"), string("synthetic")].concat(),
        ),
        ("ip_version", number(5, 6)),
        ("languages", languages),
        ("node_count", number(6, count)),
        ("record_size", number(5, 32)),
    ];
    let mut bytes = map(9);
    for (name, value) in entries {
        bytes.extend(string(name));
        bytes.extend(value);
    }
    bytes
}

fn map(entries: u8) -> Vec<u8> {
    vec![7 << 5 | entries]
}

/// Shorter than 29 bytes.
fn string(text: &str) -> Vec<u8> {
    debug_assert!(text.len() < 29, "{text} is short");
    [&[2 << 5 | text.len().to_le_bytes()[0]], text.as_bytes()].concat()
}

/// An unsigned number; type 5 has 16 bits, type 6 has 32.
fn number(kind: u8, number: u32) -> Vec<u8> {
    let all = number.to_be_bytes();
    let significant = &all[number.leading_zeros() as usize / 8..];
    [&[kind << 5 | significant.len().to_le_bytes()[0]], significant].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn a_reader_finds_the_written_countries() {
        let mut tree = Tree::default();
        tree.add(
            u128::from(u32::from(std::net::Ipv4Addr::new(10, 0, 0, 0))),
            104,
            "DE",
        );
        tree.add(
            std::net::Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0).to_bits(),
            16,
            "FR",
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("country.mmdb");
        std::fs::write(&path, tree.bytes()).unwrap();
        let geoip = crate::geoip::GeoIp::open(&path).unwrap();
        let country = |text: &str| geoip.country(text.parse::<IpAddr>().unwrap()).map(str::to_owned);
        assert_eq!(country("10.2.3.4").as_deref(), Some("DE"));
        assert_eq!(country("2001:db8::1").as_deref(), Some("FR"));
        assert_eq!((country("11.0.0.1"), country("2a00::1")), (None, None));
    }
}
