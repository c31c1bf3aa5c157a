//! Quoting for POSIX shells, and for other login shells.

use std::fmt::Write as _;

/// Returns `text` as one word for a POSIX shell, single-quoted if needed.
pub fn sh_quote(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./=:,@%+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Returns a path as one word for a POSIX shell, which still expands `~` and `~USER` at its beginning.
///
/// ```
/// use reveille_transport::sh_path;
///
/// assert_eq!(sh_path("~/a b"), "~/'a b'");
/// assert_eq!(sh_path("~app/x"), "~app/x");
/// assert_eq!(sh_path("a ~"), "'a ~'");
/// ```
pub fn sh_path(path: &str) -> String {
    let Some(home) = home(path) else {
        return sh_quote(path);
    };
    match path[home.len()..].strip_prefix('/') {
        None | Some("") => path.to_owned(),
        Some(rest) => format!("{home}/{}", sh_quote(rest)),
    }
}

/// The `~` or `~USER` at a path's beginning, which means the same in a shell without quotes.
pub(crate) fn home(path: &str) -> Option<&str> {
    let first = path.split('/').next()?;
    let user = first.strip_prefix('~')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    user.bytes().all(is_name).then_some(first)
}

/// Like [`sh_quote`], for a file name that may not be UTF-8.
pub(crate) fn sh_quote_bytes(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in name {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Returns a line with which any login shell runs `command` in `sh`.
///
/// Within single quotes, fish interprets backslashes, and csh interprets `!` and refuses newlines. Commands with such
/// characters are written with octal escapes, which all shells read alike, and decoded by `sh`.
pub(crate) fn login_line(command: &str) -> String {
    if !command.contains(['\\', '!', '\n']) {
        return format!("exec sh -c {}", sh_quote(command));
    }
    format!(
        "exec sh -c 'eval \"shift;$(printf %b \"$1\")\"' sh '{}'",
        encoded(command)
    )
}

/// Reads the line of [`self_contained`] from standard input, and runs the command in it.
pub(crate) const READS_ITSELF: &str = r#"IFS= read -r c;eval "$c""#;

/// Returns a line for `sh` that runs `command`.
pub(crate) fn self_contained(command: &str) -> String {
    format!("unset c;eval \"$(printf %b '{}')\"\n", encoded(command))
}

/// The text for `printf %b`, without characters that login shells treat differently.
fn encoded(command: &str) -> String {
    let mut encoded = String::with_capacity(command.len() * 2);
    for character in command.chars() {
        match character {
            '\\' | '!' | '\n' | '\'' => {
                let _ = write!(encoded, "\\0{:03o}", u32::from(character));
            }
            other => encoded.push(other),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(shell: &[&str], script: &str) -> Vec<u8> {
        let output = std::process::Command::new(shell[0])
            .args(&shell[1..])
            .arg(script)
            .output()
            .unwrap();
        output.stdout
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "[^\0]{0,40}") {
            let script = format!("printf %s {}", sh_quote(&text));
            proptest::prop_assert_eq!(said(&["sh", "-c"], &script), text.as_bytes());
        }

        #[test]
        fn a_login_shell_passes_on_what_was_meant(text in "[a-z!\\\\'\n\" $%]{0,24}") {
            let script = login_line(&format!("printf %s {}", sh_quote(&text)));
            for shell in [&["dash", "-c"][..], &["bash", "-c"], &["busybox", "ash", "-c"]] {
                proptest::prop_assert_eq!(said(shell, &script), text.as_bytes(), "{}", script);
            }
        }
    }
}
