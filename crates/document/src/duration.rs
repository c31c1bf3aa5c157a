//! Durations as people write them.

use std::time::Duration;

/// Reads `500ms`, `60s`, `1h30m`, `2d`; a year at most.
///
/// # Errors
///
/// In words, what is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
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
            "us" => 0.000_001,
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

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = duration(&text);
        }
    }
}
