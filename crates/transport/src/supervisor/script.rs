//! Prepares the supervisor's script for sending.
//!
//! The host's login shell is only asked to read one line and evaluate it, or to replace itself by a shell that reads
//! the script as its program: nothing else works in every login shell, and this keeps the script out of the process
//! list. So the script is folded into one line, with only the sections that a verb needs.

use std::sync::LazyLock;

const SOURCE: &str = include_str!("supervisor.sh");

/// For `sh`: read a line, evaluate it.
pub(crate) const BOOTSTRAP: &str = r#"IFS= read -r s;eval "$s""#;

/// For the login shell, if the script is a program on standard input. `sh` reads this in blocks rather than byte by
/// byte like `read`, which makes a short command four times as fast. Nothing may be sent after the script before its
/// hello.
pub(crate) const PROGRAM: &str = "exec sh";

/// A task of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verb {
    /// Start the token's command.
    Start,
    /// Follow the token's command, or prevent that it ever starts.
    Attach,
    /// Kill the token's command.
    Stop,
    /// Remove the remains of the run's finished tokens.
    Clean,
    /// Report on the token's processes.
    Look,
    /// End everything else that runs on this connection.
    Halt,
}

/// The words of all verbs, in the order of [`Verb`].
const WORDS: [&str; 6] = ["start", "attach", "stop", "clean", "look", "halt"];

impl Verb {
    pub(crate) fn word(self) -> &'static str {
        WORDS[self as usize]
    }

    /// The line to send first.
    pub(crate) fn script(self) -> &'static str {
        static SCRIPTS: LazyLock<[String; 6]> = LazyLock::new(|| WORDS.map(|word| folded(SOURCE, word)));
        &SCRIPTS[self as usize]
    }
}

/// The parts of `source` that `verb` needs, as one line.
pub(crate) fn folded(source: &str, verb: &str) -> String {
    fold(&sections(source, verb))
}

/// The lines of the sections that name `verb`.
fn sections(source: &str, verb: &str) -> String {
    let mut wanted = false;
    let mut kept = String::new();
    for line in source.lines() {
        if let Some(verbs) = line.strip_prefix("#:") {
            wanted = verbs.split_whitespace().any(|word| word == verb);
        } else if wanted {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Joins lines with `;`, or with a space after a word that can't be followed by one.
fn fold(script: &str) -> String {
    let mut folded = String::with_capacity(script.len());
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        folded.push_str(line);
        let open = ["{", "(", "then", "do", "else", ";;", "&", "|"]
            .iter()
            .any(|end| line.ends_with(end));
        folded.push_str(if open { " " } else { ";" });
    }
    folded.push('\n');
    folded
}

#[cfg(test)]
#[path = "script_tests.rs"]
mod run_here;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_one_line_of_valid_sh() {
        for verb in [
            Verb::Start,
            Verb::Attach,
            Verb::Stop,
            Verb::Clean,
            Verb::Look,
            Verb::Halt,
        ] {
            let script = verb.script();
            assert_eq!(script.matches('\n').count(), 1);
            for shell in ["dash", "bash", "busybox"] {
                let mut command = std::process::Command::new(shell);
                if shell == "busybox" {
                    command.arg("ash");
                }
                let status = command.args(["-n", "-c", script]).status().unwrap();
                assert!(status.success(), "{shell} {}", verb.word());
            }
        }
    }
}
