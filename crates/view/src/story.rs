//! Stories: hosts to which the same thing happened are reported together.

use reveille_account::{Class, Outcome};
use reveille_text::harmless;

/// The beginning of a key's fingerprint, before the base 64.
const FINGERPRINT: &str = "SHA256:";

/// What happened to a host: its message, and the last line that its command wrote, if that explains it.
pub fn told(class: Class, message: &str, stdout: &str, stderr: &str) -> String {
    let said = match class {
        Class::CommandFailed | Class::KilledBySignal | Class::EarlyExit => {
            harmless::last_line(stderr).or_else(|| harmless::last_line(stdout))
        }
        _ => None,
    };
    let message = harmless::block(message);
    // The last line is that of the step that failed the host.
    let (failed, then) = message.split_at(message.find(Outcome::THEN).unwrap_or(message.len()));
    match said {
        Some(said) if failed.is_empty() => said + then,
        Some(said) => format!("{failed}: {said}{then}"),
        None => message.into_owned(),
    }
}

/// A story without the words that differ from host to host: numbers, addresses, hexadecimal words, fingerprints.
pub fn masked(story: &str) -> String {
    let mut masked = String::with_capacity(story.len());
    let mut story = story;
    while let Some(at) = story.find(FINGERPRINT) {
        let (before, rest) = story.split_at(at);
        mask_words(before, &mut masked);
        masked.push_str("# ");
        let rest = &rest[FINGERPRINT.len()..];
        story = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+/=".contains(c));
    }
    mask_words(story, &mut masked);
    masked
}

fn mask_words(story: &str, masked: &mut String) {
    for word in story.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == ':')) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let varies = bare.bytes().any(|byte| byte.is_ascii_digit());
        masked.push_str(if varies { "# " } else { word });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_with_its_own_last_line() {
        let told = |message: &str, stderr: &str| told(Class::CommandFailed, message, "out\n", stderr);
        assert_eq!(told("exit status 3", "why\n\n"), "exit status 3: why");
        assert_eq!(told("exit status 3", "\n"), "exit status 3: out");
        assert_eq!(
            told(
                "exit status 3; then `note` of on_failed: exit status 1: stays drained",
                "why\n"
            ),
            "exit status 3: why; then `note` of on_failed: exit status 1: stays drained"
        );
    }

    #[test]
    fn stories_that_differ_in_numbers_are_one() {
        assert_eq!(
            masked("127.0.0.1:22 refused the connection"),
            masked("127.0.9.7:2222 refused the connection")
        );
        assert_eq!(
            masked("the key SHA256:Vo6d/9eekd+YmQ= is another"),
            masked("the key SHA256:g5GtknSGmXMSTeqVEFa is another")
        );
        assert_ne!(masked("no space left"), masked("no such file"));
    }
}
