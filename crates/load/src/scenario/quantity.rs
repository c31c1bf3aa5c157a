//! Durations, rates, sizes and shares as people write them.

use std::time::Duration;

pub(crate) use reveille_document::duration;

/// Reads `500/s`, `30/m`, `1000/h`: so many a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a rate; write it like `500/s`, `30/m` or `1000/h`");
    let (number, unit) = text.trim().split_once('/').unwrap_or((text.trim(), "s"));
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    if !(0.0..=1e7).contains(&number) {
        return Err(format!("the rate `{text}` is not between 0 and 10 million"));
    }
    Ok(number / seconds)
}

/// Reads `1 %`, `0.5%`: a share of 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a share; write it like `1%`");
    let number = text.trim().strip_suffix('%').ok_or_else(wrong)?;
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(wrong()),
    }
}

/// Reads `4096`, `64KiB`, `10MB`: bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write it like `64KiB` or `10MB`");
    let text_trimmed = text.trim();
    let digits = text_trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text_trimmed.len());
    let number: u64 = text_trimmed[..digits].parse().map_err(|_| wrong())?;
    let unit = match text_trimmed[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

/// A duration as people read it: `850 µs`, `12.3 ms`, `1.25 s`, `2 m 05 s`.
pub(crate) fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if duration.is_zero() {
        "0 s".to_owned()
    } else if seconds < 0.001 {
        format!("{} µs", duration.as_micros())
    } else if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 120.0 {
        format!("{seconds:.2} s")
    } else {
        let whole = duration.as_secs();
        if whole < 7200 {
            format!("{} m {:02} s", whole / 60, whole % 60)
        } else {
            format!("{} h {:02} m", whole / 3600, whole % 3600 / 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_shares_and_sizes_have_units_too() {
        assert_eq!(rate("500/s"), Ok(500.0));
        assert_eq!(rate("30/m"), Ok(0.5));
        assert_eq!(rate("12"), Ok(12.0));
        assert_eq!(share("1 %"), Ok(0.01));
        assert_eq!(bytes("64KiB"), Ok(65536));
        for bad in ["", "x/s", "1/y", "-1/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["", "1", "101%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        for bad in ["", "KiB", "1XB", "99999999999GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
