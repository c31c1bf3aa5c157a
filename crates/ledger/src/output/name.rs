//! File names for hosts, whatever their names are.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use reveille_account::HostName;
use sha2::{Digest as _, Sha256};

/// Encoded names longer than this are cut and end with a hash; most filesystems take 255 bytes.
const LONGEST: usize = 180;

/// The name of the file that holds a host's output of a round.
pub fn file_name(host: &HostName, round: u32) -> String {
    format!("{}.{round}.frames", encode_host(host))
}

/// A host's name as a file name.
///
/// Letters, digits, `.`, `_` and `-` stay; all other bytes, and a leading dot, are percent-encoded.
pub fn encode_host(host: &HostName) -> String {
    if host.as_str().is_empty() {
        return "%".to_owned();
    }
    let mut name = String::with_capacity(host.as_str().len() + 16);
    for (index, byte) in host.as_str().bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || (byte == b'.' && index > 0) {
            name.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.len() > LONGEST {
        let hash = HEXLOWER.encode(&Sha256::digest(host.as_str()));
        // Everything is ASCII by now, and a tilde is in no name that was not cut.
        name.truncate(LONGEST - 1 - hash.len());
        name.push('~');
        name.push_str(&hash);
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay() {
        assert_eq!(file_name(&"web-1.example".into(), 2), "web-1.example.2.frames");
        assert_eq!(file_name(&"../x y".into(), 1), "%2E.%2Fx%20y.1.frames");
        assert_eq!(file_name(&"".into(), 1), "%.1.frames");
    }

    proptest! {
        #[test]
        fn names_are_safe_and_differ(hosts in prop::collection::vec(".{0,300}", 1..20)) {
            let mut names = HashMap::new();
            for host in hosts {
                let name = file_name(&host.as_str().into(), 1);
                prop_assert!(name.len() <= 255 && !name.contains('/'));
                prop_assert!(!name.starts_with('.'));
                let other = names.entry(name).or_insert_with(|| host.clone());
                prop_assert_eq!(&*other, &host);
            }
        }
    }
}
