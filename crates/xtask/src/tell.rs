//! What a chore says about itself: lines on standard error, so that results on standard output stay clean.

use std::io::Write as _;
use std::process::Command;

/// Says one thing.
pub(crate) fn line(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "xtask: {text}");
}

/// Says which command is about to be run.
pub(crate) fn command(command: &Command) {
    let mut text = String::from("$");
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        let word = word.to_string_lossy();
        text.push(' ');
        if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$;&|".contains(c)) {
            text.push('\'');
            text.push_str(&word.replace('\'', r"'\''"));
            text.push('\'');
        } else {
            text.push_str(&word);
        }
    }
    line(&text);
}
