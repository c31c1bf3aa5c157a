//! Which vars are secret by their names.

/// Whether a var of this name holds a secret, which no screen and no file may show.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "credential"]
        .iter()
        .any(|part| name.contains(part))
        && !name.ends_with("_file")
}
