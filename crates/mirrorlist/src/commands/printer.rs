//! What is printed: results to standard output, everything else to standard error.

use std::io::{self, Write as _};

use super::failure::Failure;

/// Prints a message.
pub(crate) fn say(text: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints the result. A closed pipe is no error: its reader needs no more.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Internal(format!(
            "can't write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}
