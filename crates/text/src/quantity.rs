//! Sizes and counts.

use std::fmt;
use std::str::FromStr;

use crate::duration::decimal;

/// A number of bytes.
///
/// Parsed from `4096`, `64KiB`, `1.5GB`: KB, MB, GB and TB are powers of 1,000, KiB, MiB, GiB and TiB powers of 1,024,
/// and a number without a unit is bytes. K, M, G and T alone are powers of 1,024. This is how GNU coreutils read them.
/// Case matters, because Mb is megabits elsewhere; only the k may be lower case, as in SI.
///
/// Shown as `3.4 MB`, in powers of 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 17] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("k", 1 << 10),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("kiB", 1 << 10),
];

// === impl Bytes ===

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write it like `4096`, `64KiB` or `10MB`");
        let trimmed = text.trim();
        let end = trimmed
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let (_, unit) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit.trim_start())
            .ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        // Twelve decimals are enough for every byte of a terabyte.
        if part.is_empty() || part.len() > 12 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let part: u128 = format!("{part:0<12}").parse().map_err(|_| wrong())?;
        let bytes = u128::from(whole) * u128::from(unit) + part * u128::from(unit) / 1_000_000_000_000;
        u64::try_from(bytes)
            .map(Self)
            .map_err(|_| format!("the size `{text}` is too large"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = u128::from(self.0);
        let mut size: u128 = 1;
        for unit in ["B", "KB", "MB", "GB", "TB"] {
            // Round first, so that 999,999 bytes become a megabyte.
            let tenths = (bytes * 10 + size / 2) / size;
            if tenths < 10_000 || unit == "TB" {
                return write!(formatter, "{} {unit}", decimal(tenths, 1));
            }
            size *= 1000;
        }
        Ok(())
    }
}

/// `1 host`, `1,200 hosts`: a count and a noun whose plural takes an `s`.
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(count))
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_mean_what_they_say() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1B", 1),
            ("1kB", 1000),
            ("1KB", 1000),
            ("1KiB", 1024),
            ("1K", 1024),
            ("500M", 500 << 20),
            ("500MB", 500_000_000),
            ("2GiB", 2 << 30),
            ("1.5 GB", 1_500_000_000),
            ("0.5KiB", 512),
            ("16777215TiB", 16_777_215 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in [
            "",
            "KiB",
            "1XB",
            "1Mb",
            "1m",
            "-1",
            "1.",
            ".5",
            "1..5",
            "1.1.1",
            "99999999999GiB",
            "1e3",
        ] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1 KB"),
            (999_949, "999.9 KB"),
            (999_999, "1 MB"),
            (5 << 30, "5.4 GB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(0_u64, "host"), "0 hosts");
        assert_eq!(counted(1_u64, "host"), "1 host");
        assert_eq!(counted(1_234_567_usize, "host"), "1,234,567 hosts");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Bytes>();
        }

        #[test]
        fn what_is_shown_is_read_back(bytes in 0..u64::MAX / 2) {
            let back: Bytes = Bytes(bytes).to_string().parse().unwrap();
            proptest::prop_assert!(back.0.abs_diff(bytes) as f64 <= bytes as f64 / 20.0);
        }
    }
}
