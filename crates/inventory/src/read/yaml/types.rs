//! The types of plain words in YAML 1.1 and JSON.

use serde_json::Number;

use super::super::literal::{sign, signed};
use super::Data;

/// Parses a plain word of JSON.
pub(super) fn json(text: &str) -> Option<Data> {
    Some(match text {
        "null" => Data::Null,
        "true" => Data::Truth(true),
        "false" => Data::Truth(false),
        _ => Data::Number(serde_json::from_str(text).ok()?),
    })
}

/// Parses a plain word of YAML 1.1; none if it is text.
pub(super) fn resolve(text: &str) -> Option<Data> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Data::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Data::Truth(true));
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Data::Truth(false));
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    integer(text).or_else(|| float(text)).map(Data::Number)
}

fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = sign(text);
    let in_base = |digits: &str, base: u32| {
        let fits = digits.chars().all(|c| c.is_digit(base) || c == '_');
        fits.then(|| i128::from_str_radix(&digits.replace('_', ""), base).ok())?
    };
    let magnitude = if let Some(bits) = digits.strip_prefix("0b") {
        in_base(bits, 2)?
    } else if let Some(hexadecimal) = digits.strip_prefix("0x") {
        in_base(hexadecimal, 16)?
    } else if digits.starts_with('0') {
        in_base(digits, 8)?
    } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
        let mut parts = digits.split(':');
        let first = in_base(parts.next()?, 10)?;
        parts.try_fold(first, |total, part| {
            total.checked_mul(60)?.checked_add(sixtieth(part)?)
        })?
    } else {
        return None;
    };
    signed(magnitude, negative)
}

fn float(text: &str) -> Option<Number> {
    let (negative, digits) = sign(text);
    let magnitude = if let Some((sixties, last)) = digits.rsplit_once(':') {
        let mut parts = sixties.split(':');
        let first = parts.next()?;
        if !first.starts_with(|c: char| c.is_ascii_digit())
            || !first.chars().all(|c| c.is_ascii_digit() || c == '_')
        {
            return None;
        }
        let mut total: f64 = first.replace('_', "").parse().ok()?;
        for part in parts {
            total = total * 60.0 + f64::from(i32::try_from(sixtieth(part)?).ok()?);
        }
        let (whole, fraction) = last.split_once('.')?;
        if !fraction.chars().all(|c| c.is_ascii_digit() || c == '_') {
            return None;
        }
        let whole = sixtieth(whole)?;
        let seconds: f64 = format!("{whole}.{}0", fraction.replace('_', "")).parse().ok()?;
        total * 60.0 + seconds
    } else {
        let (mantissa, exponent) = match digits.find(['e', 'E']) {
            Some(at) => (&digits[..at], Some(&digits[at + 1..])),
            None => (digits, None),
        };
        let (whole, fraction) = mantissa.split_once('.')?;
        let number = |part: &str| part.chars().all(|c| c.is_ascii_digit() || c == '_');
        let whole_fits = if whole.is_empty() {
            // `.5` can't have a sign and needs a digit.
            text.starts_with('.') && fraction.starts_with(|c: char| c.is_ascii_digit())
        } else {
            whole.starts_with(|c: char| c.is_ascii_digit())
        };
        let exponent_fits = exponent.is_none_or(|exponent| {
            exponent
                .strip_prefix(['+', '-'])
                .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        });
        if !(whole_fits && number(whole) && number(fraction) && exponent_fits) {
            return None;
        }
        let written = format!(
            "{}.{}0e{}",
            whole.replace('_', ""),
            fraction.replace('_', ""),
            exponent.unwrap_or("0")
        );
        written.parse().ok()?
    };
    Number::from_f64(if negative { -magnitude } else { magnitude })
}

/// A part of a sexagesimal number: one or two digits, at most 59.
fn sixtieth(part: &str) -> Option<i128> {
    let fits = matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
    part.parse().ok().filter(|number| fits && *number < 60)
}
