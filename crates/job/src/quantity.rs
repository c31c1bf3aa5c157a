//! Shares of hosts and file modes.

use serde::{Deserialize, Serialize};

/// A number of hosts, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// A number of hosts.
    Hosts(u64),
    /// A percentage.
    Percent(f64),
}

// === impl Amount ===

impl Amount {
    /// The number of hosts out of `total`, rounded down.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Amount::Hosts(count) => count,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a percentage is between 0 and 100, so the product is between 0 and the total"
            )]
            Amount::Percent(percent) => (total as f64 * percent / 100.0).floor() as u64,
        }
    }

    /// Parses `12` or `2.5%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither a number of hosts nor a share such as `5%`");
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(Amount::Hosts).map_err(|_| wrong());
        };
        match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Amount::Percent(percent)),
            Ok(_) => Err(format!("`{text}` is not between 0% and 100%")),
            Err(_) => Err(wrong()),
        }
    }
}

/// Parses permissions in octal digits, `0640`.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    octal
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .ok_or_else(|| format!("`{text}` is not a mode; write octal digits, `\"0640\"`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_hosts_or_shares() {
        assert_eq!(Amount::parse("3"), Ok(Amount::Hosts(3)));
        assert_eq!(Amount::parse("2%").map(|amount| amount.of(512)), Ok(10));
        assert_eq!(Amount::parse("100%").map(|amount| amount.of(7)), Ok(7));
        for bad in ["", "x", "-1", "101%", "%", "1.5", "NaN%"] {
            assert!(Amount::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("755"), Ok(0o755));
        for bad in ["", "64", "0680", "u+x", "00640"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
