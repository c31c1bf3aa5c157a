//! Listens to the dialogue of a command and its client: when a command begins, and with which token.

use std::sync::OnceLock;

/// A part of every command line that starts the supervisor.
pub(crate) const BOOTSTRAP: &[u8] = br#"IFS= read -r s;eval "$s""#;
/// The command line for a supervisor that is a program on standard input.
pub(crate) const PROGRAM: &[u8] = b"exec sh";
/// The text before and after the orders of a program.
const BEFORE_ORDERS: &str = "{ set -- orders ";
const AFTER_ORDERS: char = ';';
/// How much of the input to search, in bytes.
const LONGEST: usize = 1 << 20;
/// The longest frame to recognise, in bytes.
const FRAME: usize = 128;

/// The dialogue on one channel.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The client talks to the supervisor; otherwise this is a plain command.
    supervised: bool,
    /// The beginning of the input, until the orders are known.
    input: Vec<u8>,
    orders: OnceLock<Orders>,
    /// The end of the output so far, which may contain the start of a frame.
    tail: Vec<u8>,
    begun: bool,
    attached: bool,
}

#[derive(Debug)]
struct Orders {
    nonce: String,
    token: String,
}

/// The meaning of the latest output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing new.
    Nothing,
    /// A command has begun.
    Begins,
    /// A client came back to a command that had begun.
    Attaches,
}

// === impl Listening ===

impl Listening {
    pub(crate) fn to(command: &[u8]) -> Self {
        Self {
            supervised: command == PROGRAM
                || command.windows(BOOTSTRAP.len()).any(|window| window == BOOTSTRAP),
            input: Vec::new(),
            orders: OnceLock::new(),
            tail: Vec::new(),
            begun: false,
            attached: false,
        }
    }

    /// Takes bytes from the client.
    pub(crate) fn input(&mut self, bytes: &[u8]) {
        if !self.supervised || self.orders.get().is_some() || self.input.len() > LONGEST {
            return;
        }
        self.input.extend_from_slice(bytes);
        // The script is the first line. The orders are in front of it, or on the second line.
        let mut lines = self.input.split_inclusive(|byte| *byte == b'\n');
        let mut next = || Some(String::from_utf8_lossy(lines.next()?.strip_suffix(b"\n")?).into_owned());
        let Some(script) = next() else { return };
        let Some(text) = orders_of(&script).or_else(next) else {
            return;
        };
        let mut words = text.split_whitespace().map(str::to_owned);
        let orders = Orders {
            nonce: words.next().unwrap_or_default(),
            token: words.nth(3).unwrap_or_default(),
        };
        // Checked above.
        let _ = self.orders.set(orders);
        self.input = Vec::new();
    }

    /// Takes bytes from the command.
    pub(crate) fn output(&mut self, bytes: &[u8]) -> Heard {
        if self.begun || self.attached {
            return Heard::Nothing;
        }
        if !self.supervised {
            return self.end();
        }
        let Some(orders) = self.orders.get() else {
            return Heard::Nothing;
        };
        self.tail.extend_from_slice(bytes);
        let has = |words: &str| {
            let frame = format!("\u{1e}{} {words}", orders.nonce);
            self.tail
                .windows(frame.len())
                .any(|window| window == frame.as_bytes())
        };
        if has("started ") {
            self.begun = true;
            return Heard::Begins;
        }
        if has("attached ") {
            self.attached = true;
            return Heard::Attaches;
        }
        self.tail.drain(..self.tail.len().saturating_sub(FRAME));
        Heard::Nothing
    }

    /// Handles the end of a command, which may have begun without any output.
    pub(crate) fn end(&mut self) -> Heard {
        if self.supervised || std::mem::replace(&mut self.begun, true) {
            return Heard::Nothing;
        }
        Heard::Begins
    }

    /// The token whose command began here.
    pub(crate) fn started(&self) -> Option<String> {
        let orders = self.orders.get().filter(|_| self.begun)?;
        Some(orders.token.clone())
    }
}

/// The orders in front of a program, in the form that they have on a line of their own otherwise.
pub(crate) fn orders_of(script: &str) -> Option<String> {
    let (orders, _) = script.strip_prefix(BEFORE_ORDERS)?.split_once(AFTER_ORDERS)?;
    // The shell removes the quotes of the place, which comes last.
    Some(orders.replace('\'', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervised_commands_begin_with_a_frame() {
        let mut listening = Listening::to(br#"exec sh -c 'IFS= read -r s;eval "$s"'"#);
        for piece in ["script", " line\nNONCE start RUN 1 TO", "KEN -\ngo m b i 1 9 1\n"] {
            listening.input(piece.as_bytes());
        }
        assert_eq!(
            listening.output(b"\x1eNONCE hello - 1 - - - /place\n\x1eNON"),
            Heard::Nothing
        );
        assert_eq!(listening.output(b"CE started 7 9\nout"), Heard::Begins);
        assert_eq!(listening.output(b"\x1eNONCE started 7 9\n"), Heard::Nothing);
        assert_eq!(listening.end(), Heard::Nothing);
        assert_eq!(listening.started().as_deref(), Some("TOKEN"));
    }

    #[test]
    fn orders_come_before_a_program() {
        let mut listening = Listening::to(PROGRAM);
        for piece in ["{ set -- orders NONCE start RUN 1 TO", "KEN '-';script;}\n"] {
            listening.input(piece.as_bytes());
        }
        assert_eq!(listening.output(b"\x1eNONCE started 7 9\n"), Heard::Begins);
        assert_eq!(listening.started().as_deref(), Some("TOKEN"));
    }

    #[test]
    fn plain_commands_begin_with_their_output_or_their_end() {
        let mut listening = Listening::to(b"echo hello");
        assert_eq!(listening.output(b"hello\n"), Heard::Begins);
        assert_eq!(listening.end(), Heard::Nothing);
        let mut silent = Listening::to(b"true");
        assert_eq!(silent.end(), Heard::Begins);
        assert_eq!(silent.started(), None);
    }

    #[test]
    fn attaching_does_not_count_as_a_start() {
        let mut listening = Listening::to(BOOTSTRAP);
        listening.input(b"script\nN attach R 1 T -\n");
        assert_eq!(
            listening.output(b"\x1eN hello - 1 - - - /p\n\x1eN attached running 3\n"),
            Heard::Attaches
        );
        assert_eq!(listening.started(), None);
    }
}
