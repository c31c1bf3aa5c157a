//! Asks the user for passwords, without echo.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Longest answer, bytes.
const LIMIT: usize = 4096;

/// Asks on the terminal, without echo. `instead` tells the user what to do if there is no terminal.
pub(crate) fn hidden(words: &str, instead: &str) -> Result<String, String> {
    let refused = |why: String| format!("can't ask for the {words}: {why}; {instead}");
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|_| refused("there is no terminal".to_owned()))?;
    let quiet = Quiet::new(&terminal).map_err(|error| refused(error.to_string()))?;
    let answer = ask(&terminal, words);
    drop(quiet);
    answer.map_err(|error| refused(error.to_string()))
}

fn ask(mut terminal: &File, words: &str) -> io::Result<String> {
    write!(terminal, "{words}: ")?;
    let answer = read_line(terminal);
    // The Enter key was not echoed either.
    writeln!(terminal)?;
    answer
}

/// Reads a line with the editing keys of a terminal. Ctrl-C comes as a byte, not as a signal, so that echo is always
/// restored.
fn read_line(source: impl Read) -> io::Result<String> {
    let interrupted = |why| Err(io::Error::new(io::ErrorKind::Interrupted, why));
    let mut line: Vec<u8> = Vec::new();
    for byte in io::BufReader::new(source).bytes() {
        match byte? {
            b'\r' | b'\n' => {
                return String::from_utf8(line)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
            }
            // Ctrl-C, Ctrl-\, and Ctrl-D on an empty line.
            3 | 28 => return interrupted("interrupted"),
            4 if line.is_empty() => return interrupted("the input ended"),
            4 => {}
            // Backspace deletes a character, Ctrl-U the line.
            8 | 127 => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            21 => line.clear(),
            _ if line.len() == LIMIT => return interrupted("it is too long"),
            byte => line.push(byte),
        }
    }
    interrupted("the input ended")
}

/// A terminal without echo and line editing, until it is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // It fails only if the terminal is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_edited_and_broken_off() {
        let line = |typed: &[u8]| read_line(typed).map_err(|error| error.to_string());
        assert_eq!(line(b"secret\rmore"), Ok("secret".to_owned()));
        assert_eq!(
            line("xé\x7fy\x15sé\x7fecrex\x08t\n".as_bytes()),
            Ok("secret".to_owned())
        );
        assert_eq!(line(b"sec\x03"), Err("interrupted".to_owned()));
        assert_eq!(line(b"\x04"), Err("the input ended".to_owned()));
        assert_eq!(line(b"half"), Err("the input ended".to_owned()));
        assert_eq!(line(b"\xff\n"), Err("it is not UTF-8".to_owned()));
        assert_eq!(line(&[b'x'; LIMIT + 1]), Err("it is too long".to_owned()));
    }
}
