//! Paths into JSON, for captures and checks: `$.items[0].id`, `$['odd name'].x`.

use std::fmt;

use serde_json::Value;

/// A path from the root of a document to one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    /// Counts from the end if negative.
    Index(i64),
}

// === impl JsonPath ===

impl JsonPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |what: &str| format!("`{text}` is not a path into JSON: {what}; write it like `$.items[0].id`");
        let mut rest = text
            .trim()
            .strip_prefix('$')
            .ok_or_else(|| wrong("it does not begin with `$`"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 || &after[..end] == "*" {
                    return Err(wrong("a `.` without a name"));
                }
                steps.push(Step::Key(after[..end].to_owned()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let end = after.find(']').ok_or_else(|| wrong("a `[` without a `]`"))?;
                let inside = after[..end].trim();
                let quoted = ['\'', '"']
                    .iter()
                    .find_map(|quote| inside.strip_prefix(*quote)?.strip_suffix(*quote));
                steps.push(match quoted {
                    Some(key) => Step::Key(key.to_owned()),
                    None => Step::Index(
                        inside
                            .parse()
                            .map_err(|_| wrong("`[ ]` without a number or a quoted name"))?,
                    ),
                });
                rest = &after[end + 1..];
            } else {
                return Err(wrong("`.` or `[` is missing"));
            }
        }
        Ok(Self {
            text: text.trim().to_owned(),
            steps,
        })
    }

    pub(crate) fn find<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(document, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => {
                let list = value.as_array()?;
                let length = i64::try_from(list.len()).ok()?;
                let at = if *index < 0 { index + length } else { *index };
                list.get(usize::try_from(at).ok()?)
            }
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let document = json!({"items": [{"id": 7}, {"id": 8}], "odd name": {"x": true}});
        let find = |path: &str| JsonPath::parse(path).expect(path).find(&document).cloned();
        assert_eq!(find("$.items[0].id"), Some(json!(7)));
        assert_eq!(find("$.items[-1].id"), Some(json!(8)));
        assert_eq!(find("$['odd name'].x"), Some(json!(true)));
        assert_eq!(find("$.items[2]"), None);
        assert_eq!(find("$"), Some(document.clone()));
        for bad in ["", "items", "$.", "$[", "$[x]", "$x", "$..id"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
