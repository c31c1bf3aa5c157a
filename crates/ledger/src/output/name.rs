//! Safe file names for all host names.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use reveille_account::HostName;
use sha2::{Digest as _, Sha256};

/// Longer encoded names are cut and get a hash; most filesystems permit 255 bytes.
const LONGEST: usize = 180;

/// The file name of a host's output in a round.
pub fn file_name(host: &HostName, round: u32) -> String {
    format!("{}.{round}.frames", encode_host(host))
}

/// Encodes a host's name as a file name.
///
/// Keeps letters, digits, `.`, `_` and `-`; percent-encodes all other bytes and a leading dot.
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
        // All bytes are ASCII now, and only cut names contain a tilde.
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
    fn plain_names_are_kept() {
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
