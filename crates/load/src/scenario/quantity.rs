//! Rates and shares, as users write them.

/// Parses `500/s`, `30/m`, `1000/h`; returns the rate per second.
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

/// Parses `1 %`, `0.5%`; returns a share of 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a share; write it like `1%`");
    let number = text.trim().strip_suffix('%').ok_or_else(wrong)?;
    match number.trim().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_shares_have_units() {
        assert_eq!(rate("500/s"), Ok(500.0));
        assert_eq!(rate("30/m"), Ok(0.5));
        assert_eq!(rate("12"), Ok(12.0));
        assert_eq!(share("1 %"), Ok(0.01));
        for bad in ["", "x/s", "1/y", "-1/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["", "1", "101%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
