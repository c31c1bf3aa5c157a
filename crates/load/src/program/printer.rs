//! Standard output and standard error.

use std::io::{ErrorKind, Write as _};

use super::problem::Problem;

/// Writes to standard output. A reader that has left, as `head` does, is no failure.
pub(crate) fn print(text: &str) -> Result<u8, Problem> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Problem::ours(format!("can't write to standard output: {error}")))
        }
        _ => Ok(0),
    }
}

/// Writes to standard error, which may be closed.
pub(crate) fn eprint(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
