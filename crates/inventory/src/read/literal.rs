//! Python literals, as Ansible's INI form reads values (`ast.literal_eval`); everything else is a string.

use serde_json::{Map, Number, Value};

/// Values that are nested deeper than this are strings.
const MAX_DEPTH: usize = 32;

/// Parses `text` as a Python literal (tuples and sets become lists); if it is not one, returns the text.
pub(crate) fn value(text: &str) -> Value {
    let may_be_literal = text
        .trim_start_matches([' ', '\t'])
        .starts_with(|c: char| c.is_ascii_digit() || "'\"[{(+-.TFNrRuUbB".contains(c));
    if may_be_literal {
        let mut reader = Reader { rest: text };
        if let Some(value) = reader.tuple()
            && reader.at_end()
        {
            return value;
        }
    }
    Value::String(text.to_owned())
}

struct Reader<'a> {
    rest: &'a str,
}

// === impl Reader ===

impl Reader<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// Whether only blanks and a comment are left.
    fn at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty() || self.rest.starts_with('#')
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest;
        true
    }

    /// Parses one value, or several separated by commas, which Python reads as a tuple.
    fn tuple(&mut self) -> Option<Value> {
        let first = self.value(0)?;
        if !self.take(",") {
            return Some(first);
        }
        let mut items = vec![first];
        while !self.at_end() {
            items.push(self.value(1)?);
            if !self.take(",") {
                break;
            }
        }
        Some(Value::Array(items))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_blanks();
        match self.rest.chars().next()? {
            '[' => self.items('[', ']', depth).map(|(items, _)| Value::Array(items)),
            '(' => {
                let (mut items, trailing_comma) = self.items('(', ')', depth)?;
                if items.len() == 1 && !trailing_comma {
                    items.pop()
                } else {
                    Some(Value::Array(items))
                }
            }
            '{' => self.braces(depth),
            '\'' | '"' | 'r' | 'R' | 'u' | 'U' | 'b' | 'B' => self.strings().map(Value::String),
            'T' | 'F' | 'N' => self.constant(),
            _ => self.number(),
        }
    }

    /// Parses comma-separated values between `open` and `close`, and returns whether the last one has a comma.
    fn items(&mut self, open: char, close: char, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.rest = self.rest.strip_prefix(open)?;
        let mut items = Vec::new();
        let mut trailing_comma = false;
        while !self.closes(close) {
            if !items.is_empty() && !trailing_comma {
                return None;
            }
            items.push(self.value(depth + 1)?);
            trailing_comma = self.take(",");
        }
        Some((items, trailing_comma))
    }

    fn closes(&mut self, close: char) -> bool {
        self.take(close.encode_utf8(&mut [0; 4]))
    }

    /// Parses a dictionary or a set.
    fn braces(&mut self, depth: usize) -> Option<Value> {
        let whole = self.rest;
        self.rest = self.rest.strip_prefix('{')?;
        let mut map = Map::new();
        let mut comma = true;
        while !self.closes('}') {
            if !comma {
                return None;
            }
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                key @ (Value::Number(_) | Value::Bool(_) | Value::Null) => key.to_string(),
                _ => return None,
            };
            if !self.take(":") {
                self.rest = whole;
                return self.items('{', '}', depth).map(|(items, _)| Value::Array(items));
            }
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            comma = self.take(",");
        }
        Some(Value::Object(map))
    }

    fn constant(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let value = match &self.rest[..end] {
            "True" => Value::Bool(true),
            "False" => Value::Bool(false),
            "None" => Value::Null,
            _ => return None,
        };
        self.rest = &self.rest[end..];
        Some(value)
    }

    /// Parses one string literal or several in a row, which Python joins.
    fn strings(&mut self) -> Option<String> {
        let mut joined = self.string()?;
        loop {
            self.skip_blanks();
            if !self.rest.starts_with(['\'', '"']) {
                return Some(joined);
            }
            joined.push_str(&self.string()?);
        }
    }

    fn string(&mut self) -> Option<String> {
        let raw = self.rest.starts_with(['r', 'R']);
        if self.rest.starts_with(['r', 'R', 'u', 'U', 'b', 'B']) {
            self.rest = &self.rest[1..];
        }
        let quote = self
            .rest
            .chars()
            .next()
            .filter(|first| matches!(first, '\'' | '"'))?;
        let mut characters = self.rest[1..].chars();
        let mut text = String::new();
        loop {
            match characters.next()? {
                end if end == quote => break,
                '\\' if raw => {
                    text.push('\\');
                    text.push(characters.next()?);
                }
                '\\' => match characters.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'a' => text.push('\u{7}'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'v' => text.push('\u{b}'),
                    digit @ '0'..='7' => text.push(octal(digit, &mut characters)),
                    same @ ('\\' | '\'' | '"') => text.push(same),
                    'x' => text.push(escaped(&mut characters, 2)?),
                    'u' => text.push(escaped(&mut characters, 4)?),
                    'U' => text.push(escaped(&mut characters, 8)?),
                    other => text.extend(['\\', other]),
                },
                other => text.push(other),
            }
        }
        self.rest = characters.as_str();
        Some(text)
    }

    fn number(&mut self) -> Option<Value> {
        let end = self
            .rest
            .char_indices()
            .find(|(at, c)| {
                let exponent_sign = matches!(c, '+' | '-')
                    && (*at == 0
                        || self.rest[..*at].ends_with(['e', 'E']) && !self.rest[..*at].contains(['x', 'X']));
                !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || exponent_sign)
            })
            .map_or(self.rest.len(), |(at, _)| at);
        let token = &self.rest[..end];
        let number = parse_number(token)?;
        self.rest = &self.rest[end..];
        Some(Value::Number(number))
    }
}

/// The character with the number of up to three octal digits.
fn octal(first: char, characters: &mut std::str::Chars<'_>) -> char {
    let mut number = first.to_digit(8).unwrap_or(0);
    for _ in 0..2 {
        let mut ahead = characters.clone();
        let Some(digit) = ahead.next().and_then(|next| next.to_digit(8)) else {
            break;
        };
        number = number * 8 + digit;
        *characters = ahead;
    }
    char::from_u32(number).unwrap_or_default()
}

fn escaped(characters: &mut std::str::Chars<'_>, digits: usize) -> Option<char> {
    let text: String = characters.by_ref().take(digits).collect();
    if text.len() < digits {
        return None;
    }
    char::from_u32(u32::from_str_radix(&text, 16).ok()?)
}

fn parse_number(token: &str) -> Option<Number> {
    let (negative, digits) = sign(token);
    // Python allows single underscores between digits.
    if digits.starts_with(['_', '+', '-']) || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let digits = digits.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let based = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, *base)));
    if let Some((digits, base)) = based {
        return signed(i128::from_str_radix(digits, base).ok()?, negative);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // Python does not accept `0640` or `007`.
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().any(|byte| byte != b'0') {
            return None;
        }
        return signed(digits.parse().ok()?, negative);
    }
    if !digits
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return None;
    }
    let float: f64 = digits.parse().ok()?;
    Number::from_f64(if negative { -float } else { float })
}

/// Takes the sign off a number; true for a minus.
pub(super) fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// A whole number, if it fits into 64 bits.
pub(super) fn signed(magnitude: i128, negative: bool) -> Option<Number> {
    if negative {
        i64::try_from(-magnitude).ok().map(Number::from)
    } else {
        u64::try_from(magnitude).ok().map(Number::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_are_python_s() {
        for (text, expected) in [
            ("22", json!(22)),
            ("-1", json!(-1)),
            ("1_000", json!(1000)),
            ("0x1f", json!(31)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("True", json!(true)),
            ("None", Value::Null),
            ("'a b'", json!("a b")),
            (r#""a\tb" 'c'"#, json!("a\tbc")),
            ("[1, 'two', [3]]", json!([1, "two", [3]])),
            ("(1,)", json!([1])),
            ("(1)", json!(1)),
            ("{'a': 1, 'b': {'c': None}}", json!({"a": 1, "b": {"c": null}})),
            ("{1, 2}", json!([1, 2])),
            ("5 # five", json!(5)),
            ("80,443", json!([80, 443])),
            ("80, # one", json!([80])),
            ("b'x'", json!("x")),
            (r#""\101\0608\12x""#, json!("A08\nx")),
            (r#""\0\8\777""#, json!("\0\\8\u{1ff}")),
            (r#""\a\b\f\v\U0001f600""#, json!("\u{7}\u{8}\u{c}\u{b}😀")),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn all_else_is_text() {
        for text in [
            "",
            "true",
            "yes",
            "0640",
            "1.2.3",
            "10.0.0.1",
            "[1",
            "[1 2]",
            "'open",
            "Truest",
            "1-2",
            "a # b",
            "--",
            "+-1",
            "{'a'}x",
            "_1",
            "a,b",
            "1,b",
            "1,,2",
            "b",
            "10.0.0.1,10.0.0.2",
            "r",
            "u",
            "-",
            "2026-11-21",
        ] {
            assert_eq!(value(text), json!(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}()'\"\\\\0-9a-fTFNrux:,.+ _-]{0,40}") {
            let _ = value(&text);
        }
    }
}
