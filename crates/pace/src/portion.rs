//! Parts of a fleet: `3`, `2%`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of hosts, or a share of the fleet: `max_fail: 2%`, `serial: [1, 5%, 25%]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Portion {
    /// This many hosts.
    Count(u64),
    /// A share in hundredths of a percent: `2%` is 200.
    Share(u16),
}

/// The error for a text that is neither a number nor a percentage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortionError(String);

// === impl Portion ===

impl Portion {
    /// The number of hosts out of `total`, rounded down: `2%` of 512 is 10.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Portion::Count(count) => count.min(total),
            Portion::Share(share) => {
                let exact = u128::from(total) * u128::from(share) / 10_000;
                // A share is at most `total`, so it fits.
                u64::try_from(exact).unwrap_or(total)
            }
        }
    }

    /// Whether `count` of `total` is more than this.
    pub fn exceeded(self, count: u64, total: u64) -> bool {
        match self {
            Portion::Count(limit) => count > limit,
            Portion::Share(_) => count > self.of(total),
        }
    }
}

impl FromStr for Portion {
    type Err = PortionError;

    fn from_str(text: &str) -> Result<Self, PortionError> {
        let wrong = || PortionError(text.to_owned());
        let trimmed = text.trim();
        let Some(percent) = trimmed.strip_suffix('%') else {
            return digits(trimmed).map(Portion::Count).ok_or_else(wrong);
        };
        let (whole, part) = percent
            .trim_end()
            .split_once('.')
            .unwrap_or((percent.trim_end(), "0"));
        let hundredths = match part.len() {
            1 => digits(part).map(|tenths| tenths * 10),
            2 => digits(part),
            _ => None,
        };
        let share = digits(whole)
            .zip(hundredths)
            .and_then(|(whole, hundredths)| whole.checked_mul(100)?.checked_add(hundredths))
            .filter(|share| *share <= 10_000)
            .and_then(|share| u16::try_from(share).ok());
        share.map(Portion::Share).ok_or_else(wrong)
    }
}

fn digits(text: &str) -> Option<u64> {
    // `parse` would also accept a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl TryFrom<String> for Portion {
    type Error = PortionError;

    fn try_from(text: String) -> Result<Self, PortionError> {
        text.parse()
    }
}

impl From<Portion> for String {
    fn from(portion: Portion) -> Self {
        portion.to_string()
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Portion::Count(count) => write!(formatter, "{count}"),
            Portion::Share(share) if share % 100 == 0 => write!(formatter, "{}%", share / 100),
            Portion::Share(share) => write!(formatter, "{}.{:02}%", share / 100, share % 100),
        }
    }
}

impl fmt::Display for PortionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} is neither a number nor a percentage up to 100% with at most two decimals",
            self.0
        )
    }
}

impl std::error::Error for PortionError {}

/// The sizes of the batches for `total` hosts. The last portion repeats until no host is left; each batch has at least
/// one host. Without portions there is one batch.
pub fn batches(portions: &[Portion], total: u64) -> impl Iterator<Item = u64> {
    let mut left = total;
    let mut number = 0;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let portion = portions.get(number).or(portions.last());
        let size = portion.map_or(left, |portion| portion.of(total).clamp(1, left));
        number += 1;
        left -= size;
        Some(size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_percentages() {
        for (text, portion) in [
            ("3", Portion::Count(3)),
            ("2%", Portion::Share(200)),
            ("0.5%", Portion::Share(50)),
            ("12.25 %", Portion::Share(1225)),
            ("100%", Portion::Share(10_000)),
        ] {
            assert_eq!(text.parse(), Ok(portion), "{text}");
            assert_eq!(portion.to_string().parse(), Ok(portion), "{text}");
        }
        for text in [
            "",
            "%",
            "-1",
            "+1",
            "101%",
            "1.234%",
            "1.%",
            "many",
            "99999999999999999999%",
        ] {
            assert!(text.parse::<Portion>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_rounded_down() {
        let two_percent = Portion::Share(200);
        assert!(!two_percent.exceeded(10, 512));
        assert!(two_percent.exceeded(11, 512));
        assert!(two_percent.exceeded(1, 10));
        assert!(!Portion::Count(3).exceeded(3, 2));
    }

    proptest::proptest! {
        #[test]
        fn batches_cover_everyone(shares in proptest::collection::vec(0u16..=10_000, 0..5), total in 0u64..5000) {
            let portions: Vec<_> = shares.into_iter().map(Portion::Share).collect();
            let sizes: Vec<_> = batches(&portions, total).collect();
            proptest::prop_assert_eq!(sizes.iter().sum::<u64>(), total);
            proptest::prop_assert!(sizes.iter().all(|size| *size > 0));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Portion>();
        }
    }
}
