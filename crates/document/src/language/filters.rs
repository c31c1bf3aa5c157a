//! Filters and tests with Ansible's names and results.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};
use regex::{Regex, RegexBuilder};

use super::json::{from_json, to_json, to_nice_json};

pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("basename", |path: String| {
        path.rsplit('/').next().unwrap_or_default().to_owned()
    });
    environment.add_filter("dirname", |path: String| directory(&path).to_owned());
    environment.add_filter("b64encode", |text: String| BASE64.encode(text.as_bytes()));
    environment.add_filter("b64decode", |text: String| decoded(&text));
    environment.add_filter("bool", |value: Value| truth(&value));
    environment.add_filter("combine", |first: Value, others: Rest<Value>, options: Kwargs| {
        combine(first, &others, &options)
    });
    environment.add_filter("dict2items", |dictionary: Value| items_of(&dictionary));
    environment.add_filter("difference", |left: Value, right: Value| {
        let right = set(&right)?;
        Ok::<_, Error>(sifted(left.try_iter()?, |item| !right.contains(item)))
    });
    environment.add_filter("from_json", |text: String| from_json(&text));
    add_bounded(environment);
    environment.add_filter("float", |value: Value, default: Option<Value>| {
        let default = default.unwrap_or_else(|| Value::from(0.0));
        number(&value).map(|number| number.map_or(default, Value::from))
    });
    environment.add_filter("int", |value: Value, default: Option<Value>, options: Kwargs| {
        let default = options.get::<Option<Value>>("default")?.or(default);
        let base = options.get::<Option<u32>>("base")?.unwrap_or(10);
        options.assert_all_used()?;
        whole(&value, base).map(|whole| whole.unwrap_or_else(|| default.unwrap_or_else(|| Value::from(0))))
    });
    environment.add_filter("intersect", |left: Value, right: Value| {
        let right = set(&right)?;
        Ok::<_, Error>(sifted(left.try_iter()?, |item| right.contains(item)))
    });
    environment.add_filter("items2dict", |items: Value| dictionary_of(&items));
    environment.add_filter("mandatory", |value: Value| {
        let missing = || wrong("a mandatory value is undefined");
        (!value.is_undefined()).then_some(value).ok_or_else(missing)
    });
    environment.add_filter("quote", |text: String| quoted(&text));
    environment.add_filter("regex_escape", |text: String| escaped(&text));
    environment.add_filter(
        "regex_findall",
        |text: String, pattern: String, options: Kwargs| {
            Ok::<_, Error>(found_all(&text, &compiled(&pattern, &options)?))
        },
    );
    environment.add_filter(
        "regex_replace",
        |text: String, pattern: String, with: Option<String>, options: Kwargs| {
            let with = python_replacement(&with.unwrap_or_default())?;
            let most = options.get::<Option<usize>>("count")?.unwrap_or(0);
            let pattern = compiled(&pattern, &options)?;
            replaced(&text, &pattern, most, &with)
        },
    );
    environment.add_filter(
        "regex_search",
        |text: String, pattern: String, groups: Rest<String>, options: Kwargs| {
            let found = searched(&text, &compiled(&pattern, &options)?, &groups)?;
            Ok::<_, Error>(found.unwrap_or_else(|| Value::from(())))
        },
    );
    environment.add_filter(
        "ternary",
        |value: Value, yes: Value, no: Value, none: Option<Value>| match none {
            Some(none) if value.is_none() => none,
            _ if value.is_true() => yes,
            _ => no,
        },
    );
    environment.add_filter("to_json", |value: Value| to_json(&value));
    environment.add_filter("to_nice_json", |value: Value| to_nice_json(&value));
    environment.add_filter("union", |left: Value, right: Value| {
        Ok::<_, Error>(sifted(left.try_iter()?.chain(right.try_iter()?), |_| true))
    });
    environment.add_test("match", |text: String, pattern: String, options: Kwargs| {
        let found = compiled(&pattern, &options)?
            .find(&text)
            .map(|found| found.start());
        Ok::<_, Error>(found == Some(0))
    });
    for name in ["search", "regex"] {
        environment.add_test(name, |text: String, pattern: String, options: Kwargs| {
            Ok::<_, Error>(compiled(&pattern, &options)?.is_match(&text))
        });
    }
    environment.add_test(
        "version",
        |version: Value, other: Value, operator: Option<String>| {
            let order = version_order(&version.to_string(), &other.to_string());
            holds(order, operator.as_deref().unwrap_or("=="))
        },
    );
}

/// MiniJinja's filters, without results that would fill the memory: fuel bounds the steps of an evaluation, not the
/// size of its results.
fn add_bounded(environment: &mut Environment<'_>) {
    environment.add_filter(
        "format",
        |state: &mut State, format: &Value, arguments: Rest<ValueOrKwargs>| {
            check_arguments("format", format.as_str().unwrap_or_default(), &[])?;
            minijinja::filters::format(state, format, arguments)
        },
    );
    environment.add_filter(
        "indent",
        |text: StringInput<'_>,
         width: Option<i64>,
         first: Option<bool>,
         blank: Option<bool>,
         named: Kwargs| {
            let width = named.get::<Option<i64>>("width")?.or(width);
            check_arguments(
                "indent",
                "",
                &width.map(Value::from).into_iter().collect::<Vec<_>>(),
            )?;
            let width = width.and_then(|width| usize::try_from(width).ok());
            minijinja::filters::indent(text, width, first, blank, named)
        },
    );
    environment.add_filter(
        "join",
        |state: &mut State,
         list: &Value,
         joiner: Option<StringInput<'_>>,
         attribute: Option<&str>,
         named: Kwargs| {
            let between = joiner.as_ref().map_or("", |joiner| joiner.as_str()).len();
            let sizes = list
                .try_iter()?
                .map(|item| item.as_str().map_or(0, str::len) + between);
            check_size("join", sizes.fold(0, usize::saturating_add))?;
            minijinja::filters::join(state, list, joiner, attribute, named)
        },
    );
    environment.add_filter(
        "replace",
        |state: &mut State, text: StringInput<'_>, old: StringInput<'_>, new: StringInput<'_>| {
            check_replaced(text.as_str(), old.as_str(), new.as_str())?;
            minijinja::filters::replace(state, text, old, new)
        },
    );
    environment.add_filter(
        "batch",
        |state: &State, list: Value, count: usize, fill: Option<Value>| {
            check_count("batch", count)?;
            minijinja::filters::batch(state, list, count, fill)
        },
    );
    environment.add_filter(
        "slice",
        |state: &State, list: Value, count: usize, fill: Option<Value>| {
            check_count("slice", count)?;
            minijinja::filters::slice(state, list, count, fill)
        },
    );
    environment.add_filter("tojson", |value: &Value, indent: Option<Value>, named: Kwargs| {
        let wanted = named.get::<Option<Value>>("indent")?.or(indent);
        check_count("tojson", wanted.as_ref().and_then(Value::as_usize).unwrap_or(0))?;
        minijinja::filters::tojson(value, wanted, named)
    });
}

/// The widest text that a formatting filter may make, and the most lists that one may be cut into.
const WIDEST: i64 = 10_000;
/// The largest text that an expression or a template may make, in bytes.
pub(crate) const LARGEST: usize = 16 << 20;

fn check_size(name: &str, size: usize) -> Result<(), Error> {
    if size > LARGEST {
        return Err(wrong(format!(
            "`{name}` can't make a text of more than {LARGEST} bytes"
        )));
    }
    Ok(())
}

fn check_count(name: &str, count: usize) -> Result<(), Error> {
    if i64::try_from(count).is_ok_and(|count| count <= WIDEST) {
        return Ok(());
    }
    Err(wrong(format!("`{name}` takes a number of at most {WIDEST}")))
}

fn check_replaced(text: &str, old: &str, new: &str) -> Result<(), Error> {
    let most = text.len() / old.len().max(1) + 1;
    if text.len().saturating_add(most.saturating_mul(new.len())) > LARGEST {
        // Only then is it worth counting.
        let places = text.matches(old).count();
        check_size(
            "replace",
            text.len().saturating_add(places.saturating_mul(new.len())),
        )?;
    }
    Ok(())
}

/// Refuses arguments of a method, or of a filter that formats, with which its result would fill the memory.
pub(super) fn check_arguments<'a>(name: &str, format: &str, arguments: &'a [Value]) -> Result<(), Error> {
    let is_wide = match name {
        "format" => {
            let mut numbers = format.split(|c: char| !c.is_ascii_digit());
            format.contains('*') || numbers.any(|number| number.trim_start_matches('0').len() > 4)
        }
        "center" | "expandtabs" | "indent" | "ljust" | "rjust" | "zfill" => {
            let mut widths = arguments.iter().filter_map(Value::as_i64);
            widths.any(|width| width > WIDEST)
        }
        "replace" => {
            if let [old, new, ..] = arguments {
                let text = |value: &'a Value| value.as_str().unwrap_or_default();
                check_replaced(format, text(old), text(new))?;
            }
            false
        }
        "join" => {
            let items = arguments.first().and_then(Value::len).unwrap_or(0);
            check_size("join", items.saturating_mul(format.len()))?;
            false
        }
        _ => false,
    };
    if is_wide {
        return Err(wrong(format!("`{name}` can't make a text wider than {WIDEST}")));
    }
    Ok(())
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.into())
}

/// Everything before the last slash; a path of slashes alone is kept.
fn directory(path: &str) -> &str {
    let head = path.rfind('/').map_or("", |at| &path[..=at]);
    let parent = head.trim_end_matches('/');
    if parent.is_empty() { head } else { parent }
}

fn decoded(text: &str) -> Result<String, Error> {
    // Programs wrap it at 64 or 76 columns.
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(&text);
    let text = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| wrong("this is not text in base64"))
}

/// Ansible's words for yes; everything else is no.
fn truth(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Bool => value.is_true(),
        _ => ["yes", "on", "1", "true"].contains(&value.to_string().to_lowercase().as_str()),
    }
}

/// The whole number of a value, as Jinja reads it; none for text that is no number.
fn whole(value: &Value, base: u32) -> Result<Option<Value>, Error> {
    if !(2..=36).contains(&base) {
        return Err(wrong("`int` takes a base between 2 and 36"));
    }
    let text = value.as_str().map(|text| text.trim().replace('_', ""));
    if let Some(text) = &text {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let prefix = match base {
            2 => "0b",
            8 => "0o",
            16 => "0x",
            _ => "",
        };
        let digits = digits.strip_prefix(prefix).unwrap_or(digits);
        let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if let Some(whole) = i128::from_str_radix(&format!("{sign}{digits}"), base)
            .ok()
            .filter(|_| plain)
        {
            return Ok(Some(Value::from(whole)));
        }
    } else if let Some(whole) = value.as_i64() {
        return Ok(Some(Value::from(whole)));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the part after the point is cut on purpose"
    )]
    let cut = |number: f64| (number.abs() < 1e18).then_some(number.trunc() as i64);
    Ok(number(value)?.and_then(cut).map(Value::from))
}

/// The number of a value, as Jinja reads it; none for text that is no number.
fn number(value: &Value) -> Result<Option<f64>, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bool => Ok(Some(f64::from(u8::from(value.is_true())))),
        ValueKind::Number => Ok(f64::try_from(value.clone()).ok()),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim();
            Ok(text.parse().ok())
        }
        _ => Ok(None),
    }
}

/// Quotes a text for a shell, if any character in it is special.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// Compiles a pattern in the syntax that Rust and Python share.
fn compiled(pattern: &str, options: &Kwargs) -> Result<Regex, Error> {
    let said = |name| Ok::<_, Error>(options.get::<Option<bool>>(name)?.unwrap_or(false));
    let regex = RegexBuilder::new(pattern)
        .case_insensitive(said("ignorecase")?)
        .multi_line(said("multiline")?)
        .build();
    options.assert_all_used()?;
    regex.map_err(|error| {
        let error = error.to_string();
        let why = error
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        // The pattern may be secret, so only the reason is shown.
        wrong(format!("the pattern is not valid: {why}"))
    })
}

/// The text with the first `most` matches replaced, or all of them if it is 0.
fn replaced(text: &str, pattern: &Regex, most: usize, with: &str) -> Result<String, Error> {
    let (mut made, mut done) = (String::new(), 0);
    let most = if most == 0 { usize::MAX } else { most };
    for captures in pattern.captures_iter(text).take(most) {
        let place = captures.get_match().range();
        made.push_str(&text[done..place.start]);
        captures.expand(with, &mut made);
        check_size("regex_replace", made.len())?;
        done = place.end;
    }
    Ok(made + &text[done..])
}

/// Escapes like Python: blanks too.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, character| {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\x0b\x0c".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
        escaped
    })
}

/// Returns the match, or a list of the requested groups, `\1` or `\g<name>`.
fn searched(text: &str, pattern: &Regex, groups: &[String]) -> Result<Option<Value>, Error> {
    let Some(found) = pattern.captures(text) else {
        return Ok(None);
    };
    if groups.is_empty() {
        return Ok(found.get(0).map(|whole| Value::from(whole.as_str())));
    }
    let taken = groups.iter().map(|group| {
        let number = group
            .strip_prefix('\\')
            .and_then(|number| number.parse::<usize>().ok());
        let name = group.strip_prefix("\\g<").and_then(|name| name.strip_suffix('>'));
        if number.is_none() && name.is_none() {
            return Err(wrong("write a group as `'\\\\1'` or `'\\\\g<name>'`"));
        }
        let taken = number.map_or_else(
            || found.name(name.unwrap_or_default()),
            |number| found.get(number),
        );
        Ok(taken.map_or_else(|| Value::from(()), |group| Value::from(group.as_str())))
    });
    taken.collect::<Result<Value, Error>>().map(Some)
}

/// Translates `\1` and `\g<name>` to groups, and keeps dollar signs literal.
fn python_replacement(text: &str) -> Result<String, Error> {
    if text.contains(|c| ('\x01'..='\x07').contains(&c)) {
        return Err(wrong("write a group with two backslashes here: `'\\\\1'`"));
    }
    let mut replacement = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '$']) {
        replacement.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let named = after.strip_prefix("g<").and_then(|after| after.split_once('>'));
        rest = if rest[at..].starts_with('$') {
            replacement.push_str("$$");
            after
        } else if digits > 0 {
            replacement.push_str(&format!("${{{}}}", &after[..digits]));
            &after[digits..]
        } else if let Some((name, after)) = named {
            replacement.push_str(&format!("${{{name}}}"));
            after
        } else {
            let (character, length) = match after.chars().next() {
                Some('n') => ('\n', 1),
                Some('t') => ('\t', 1),
                Some('\\') => ('\\', 1),
                _ => ('\\', 0),
            };
            replacement.push(character);
            &after[length..]
        };
    }
    Ok(replacement + rest)
}

/// Returns all matches: each whole, or its one group, or a list of its groups.
fn found_all(text: &str, pattern: &Regex) -> Value {
    let group = |captures: &regex::Captures<'_>, number| {
        Value::from(captures.get(number).map_or("", |group| group.as_str()))
    };
    let found = pattern.captures_iter(text).map(|captures| match captures.len() {
        1 => group(&captures, 0),
        2 => group(&captures, 1),
        many => (1..many).map(|number| group(&captures, number)).collect(),
    });
    found.collect()
}

fn combine(first: Value, others: &[Value], options: &Kwargs) -> Result<Value, Error> {
    let deep = options.get::<Option<bool>>("recursive")?.unwrap_or(false);
    options.assert_all_used()?;
    others
        .iter()
        .try_fold(first, |first, other| merged(&first, other, deep))
}

fn merged(first: &Value, other: &Value, deep: bool) -> Result<Value, Error> {
    let mut entries = entries(first)?;
    let mut places: BTreeMap<Value, usize> = (0..)
        .zip(&entries)
        .map(|(at, (key, _))| (key.clone(), at))
        .collect();
    for (key, value) in self::entries(other)? {
        let Some(at) = places.get(&key).copied() else {
            places.insert(key.clone(), entries.len());
            entries.push((key, value));
            continue;
        };
        let known = &mut entries[at].1;
        *known = if deep && known.kind() == ValueKind::Map && value.kind() == ValueKind::Map {
            merged(known, &value, true)?
        } else {
            value
        };
    }
    Ok(Value::from_pairs(entries))
}

fn entries(dictionary: &Value) -> Result<Vec<(Value, Value)>, Error> {
    if dictionary.kind() != ValueKind::Map {
        return Err(wrong(format!(
            "expected a dictionary, found {}",
            dictionary.kind()
        )));
    }
    let keys = dictionary.try_iter()?;
    keys.map(|key| Ok((key.clone(), dictionary.get_item(&key)?)))
        .collect()
}

fn items_of(dictionary: &Value) -> Result<Value, Error> {
    let entries = entries(dictionary)?;
    let items = entries
        .into_iter()
        .map(|(key, value)| Value::from_pairs([("key", key), ("value", value)]));
    Ok(items.collect())
}

fn dictionary_of(items: &Value) -> Result<Value, Error> {
    let items = items.try_iter()?;
    let entries = items.map(|item| Ok((item.get_attr("key")?, item.get_attr("value")?)));
    let entries: Vec<(Value, Value)> = entries.collect::<Result<_, Error>>()?;
    Ok(Value::from_pairs(entries))
}

fn set(list: &Value) -> Result<BTreeSet<Value>, Error> {
    Ok(list.try_iter()?.collect())
}

/// The wanted items, each once, in order.
fn sifted(items: impl Iterator<Item = Value>, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut seen = BTreeSet::new();
    items
        .filter(|item| wanted(item) && seen.insert(item.clone()))
        .collect()
}

/// Compares versions part by part, numbers by value and words alphabetically: 1.10 is greater than 1.9, and 1.0 greater
/// than 1.
fn version_order(left: &str, right: &str) -> Ordering {
    let parts = |text: &str| -> Vec<Result<u64, String>> {
        let mut parts: Vec<String> = Vec::new();
        let mut last = None;
        for character in text.chars() {
            let kind = match character {
                '.' => None,
                c => Some(c.is_ascii_digit()),
            };
            if let Some(kind) = kind {
                match parts.last_mut().filter(|_| last == Some(Some(kind))) {
                    Some(part) => part.push(character),
                    None => parts.push(character.to_string()),
                }
            }
            last = Some(kind);
        }
        parts
            .into_iter()
            .map(|part| part.parse::<u64>().map_err(|_| part))
            .collect()
    };
    parts(left).cmp(&parts(right))
}

fn holds(order: Ordering, operator: &str) -> Result<bool, Error> {
    Ok(match operator {
        "==" | "=" | "eq" => order.is_eq(),
        "!=" | "<>" | "ne" => order.is_ne(),
        "<" | "lt" => order.is_lt(),
        "<=" | "le" => order.is_le(),
        ">" | "gt" => order.is_gt(),
        ">=" | "ge" => order.is_ge(),
        _ => {
            return Err(wrong(
                "this is not a comparison of versions; write `==`, `<`, `>=` or the like",
            ));
        }
    })
}
