//! Durations: `500ms`, `60s`, `1h30m`.
//!
//! A number needs its unit everywhere: on the command line, in the environment and in files. `90` might mean seconds to
//! one reader and milliseconds to another. Only `0` needs no unit.

use std::time::Duration;

/// The longest duration accepted: ten years. Sums of times and durations stay far from overflowing.
const LONGEST: Duration = Duration::from_hours(24 * 3652);

const UNITS: [(&str, f64); 8] = [
    ("us", 1e-6),
    // The micro sign and the Greek letter look alike.
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];

/// Parses `500ms`, `1.5s`, `1h30m`, `2d`, and whatever [`shown`] prints, up to ten years.
///
/// # Errors
///
/// A sentence about what is wrong with the text.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like `500ms`, `60s`, `5m` or `1h30m`");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        if rest.is_empty() {
            let text = text.trim();
            return Err(format!(
                "the duration `{text}` has no unit; write `{text}s` for seconds"
            ));
        }
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let (_, unit) = UNITS
            .into_iter()
            .find(|(name, _)| *name == &rest[..letters])
            .ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
        let more = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        total = total.saturating_add(more);
    }
    if total > LONGEST {
        return Err(format!("the duration `{text}` is more than ten years"));
    }
    Ok(total)
}

/// Like [`parse`], but refuses zero.
///
/// # Errors
///
/// A sentence about what is wrong with the text.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err(format!("`{text}` is zero; write a duration such as `30s`")),
        duration => Ok(duration),
    }
}

/// Formats a duration for people, with at most three significant digits: `850 µs`, `22.8 ms`, `1.5 s`, `1 m 30 s`,
/// `2 h 05 m`, `3 d 04 h`.
pub fn shown(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    for (unit, size, least) in [
        ("µs", 1_000, 1000),
        ("ms", 1_000_000, 1000),
        ("s", 1_000_000_000, 60),
    ] {
        for decimals in [2, 1, 0] {
            // Round first, so that 59.96 s become a minute.
            let scale = 10_u128.pow(decimals);
            let rounded = (nanoseconds * scale + size / 2) / size;
            if rounded == 0 {
                break;
            }
            if rounded < 1000 && rounded < least * scale {
                return format!("{} {unit}", decimal(rounded, decimals));
            }
        }
    }
    let seconds = (nanoseconds + 500_000_000) / 1_000_000_000;
    let minutes = (seconds + 30) / 60;
    match (seconds, minutes) {
        (0, _) => "0 s".to_owned(),
        (1..3600, _) => pair(seconds / 60, "m", seconds % 60, "s"),
        (_, ..1440) => pair(minutes / 60, "h", minutes % 60, "m"),
        _ => {
            let hours = (minutes + 30) / 60;
            pair(hours / 24, "d", hours % 24, "h")
        }
    }
}

/// Like [`shown`], for a number of seconds; negative numbers and NaN are shown as zero.
pub fn shown_seconds(seconds: f64) -> String {
    shown(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Like [`shown`], for a number of milliseconds.
pub fn shown_millis(milliseconds: impl Into<u64>) -> String {
    shown(Duration::from_millis(milliseconds.into()))
}

fn pair(many: u128, large: &str, few: u128, small: &str) -> String {
    if few == 0 {
        format!("{many} {large}")
    } else {
        format!("{many} {large} {few:02} {small}")
    }
}

/// Formats a number whose last `decimals` digits are decimals, without trailing zeros.
pub(crate) fn decimal(number: u128, decimals: u32) -> String {
    let scale = 10_u128.pow(decimals);
    let (whole, part) = (number / scale, number % scale);
    if part == 0 {
        return whole.to_string();
    }
    let digits = format!("{part:0width$}", width = decimals as usize);
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_units() {
        assert_eq!(parse("60s"), Ok(Duration::from_mins(1)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse(" 2 m 05 s "), Ok(Duration::from_secs(125)));
        assert_eq!(parse("7us"), parse("7 µs"));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(parse("730d"), Ok(Duration::from_hours(24 * 730)));
        for bad in ["90", "1m30", "1.5"] {
            let error = parse(bad).unwrap_err();
            assert!(
                error.ends_with(&format!("has no unit; write `{bad}s` for seconds")),
                "{error}"
            );
        }
        for bad in [
            "",
            " ",
            "s",
            "1x",
            "-1s",
            "+1s",
            "1..2s",
            "1S",
            "1e9s",
            "99999999999999999999d",
            "9e9d",
            "4000d",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse_positive("0").is_err() && parse_positive("0s").is_err());
        assert_eq!(parse_positive("1s"), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn people_get_three_digits() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (1e-9, "0 s"),
            (1.25e-6, "1.25 µs"),
            (0.000_85, "850 µs"),
            (0.000_999_9, "1 ms"),
            (0.004, "4 ms"),
            (0.022_801, "22.8 ms"),
            (0.5, "500 ms"),
            (0.9999, "1 s"),
            (8.24, "8.24 s"),
            (30.0, "30 s"),
            (59.94, "59.9 s"),
            (59.96, "1 m"),
            (90.0, "1 m 30 s"),
            (184.4, "3 m 04 s"),
            (3599.6, "1 h"),
            (7500.0, "2 h 05 m"),
            (86_399.0, "1 d"),
            (273_600.0, "3 d 04 h"),
            (-1.0, "0 s"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(shown_seconds(seconds), text, "{seconds}");
        }
        assert_eq!(shown_millis(1500_u32), "1.5 s");
        assert!(shown(Duration::MAX).ends_with('h'));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_shown_is_read_back(nanoseconds in 1000_u64..300_000_000_000_000_000) {
            let duration = Duration::from_nanos(nanoseconds);
            let text = shown(duration);
            let back = parse(&text).unwrap();
            proptest::prop_assert!(back.abs_diff(duration).as_secs_f64() <= duration.as_secs_f64() / 100.0, "{text}");
        }
    }
}
