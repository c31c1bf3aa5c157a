//! Messages about the chore itself: lines on standard error, so that standard output holds results alone.

use std::io::Write as _;
use std::process::Command;

/// Prints one message.
pub fn line(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "xtask: {text}");
}

/// Prints the command that is about to run.
pub fn command(command: &Command) {
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
