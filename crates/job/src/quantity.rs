//! Durations, shares and file modes as people write them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of hosts, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// So many hosts.
    Hosts(u64),
    /// So many of a hundred.
    Percent(f64),
}

// === impl Amount ===

impl Amount {
    /// How many of `total` hosts that is, rounded down.
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

    /// Reads `12` or `2.5%`.
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

/// Reads `500ms`, `60s`, `1h30m`, `2d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like `500ms`, `60s`, `5m` or `1h30m`");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(|| format!("the duration `{text}` has no unit; write `{text}s` for seconds"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let more = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        total = total.checked_add(more).ok_or_else(wrong)?;
    }
    if total > Duration::from_hours(24 * 365) {
        return Err(format!("the duration `{text}` is more than a year"));
    }
    Ok(total)
}

/// Reads permissions in octal digits, `0640`.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    octal
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .ok_or_else(|| format!("`{text}` is not a mode; write it in octal digits, `\"0640\"`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in [
            "",
            "60",
            "s",
            "1x",
            "-1s",
            "1s2",
            "1..2s",
            "99999999999999999999d",
            "9e9d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

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
