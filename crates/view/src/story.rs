//! Stories: hosts to which the same thing happened are reported together.

use reveille_account::Class;
use reveille_text::harmless;

/// The beginning of a key's fingerprint, before the base 64.
const FINGERPRINT: &str = "SHA256:";

/// What happened to a host: its message, and the last line that its command wrote, if that explains it.
pub fn told(class: Class, message: &str, stdout: &str, stderr: &str) -> String {
    let said = match class {
        Class::CommandFailed | Class::KilledBySignal | Class::EarlyExit => {
            let last = |text: &str| {
                harmless::block(text)
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .map(str::to_owned)
            };
            last(stderr).or_else(|| last(stdout))
        }
        _ => None,
    };
    let message = harmless::block(message).into_owned();
    match said {
        Some(said) if message.is_empty() => said,
        Some(said) => format!("{message}: {said}"),
        None => message,
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
