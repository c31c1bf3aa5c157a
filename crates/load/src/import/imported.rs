//! Imported scenarios, as text.

use serde_json::Value;

/// A scenario, and remarks for the user.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) text: String,
    pub(crate) remarks: Vec<String>,
}

/// Escapes braces, which would begin a template.
pub(super) fn braces(text: &str) -> String {
    text.replace("{{", "{{ '{{' }}")
}

/// A scenario as YAML.
pub(super) fn write(scenario: &Value) -> Result<String, String> {
    let options = serde_saphyr::ser_options! {
        compact_list_indent: false,
        prefer_block_scalars: false,
    };
    serde_saphyr::to_string_with_options(scenario, options).map_err(|error| error.to_string())
}
