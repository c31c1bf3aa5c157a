//! A channel on which one of our scripts talks to us in frames.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::Class;
use reveille_text::duration;
use reveille_text::harmless::line_up_to;
use tokio::time::timeout;

use super::frames::{Piece, Splitter};
use super::script::{BOOTSTRAP, PROGRAM};
use crate::error::ExecError;
use crate::escalate::Become;
use crate::exec::{Exec, Heard};
use crate::nonce::nonce;
use crate::session::Session;

/// Bytes of noise kept for the message of a host that never said hello.
const NOISE_LIMIT: usize = 2048;
/// Characters of it that are shown.
const NOISE_SHOWN: usize = 400;
/// How long a host may take from the exec reply to hello.
pub(crate) const REPLY: Duration = Duration::from_secs(30);

/// A script that has said hello.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) exec: Exec,
    pub(crate) splitter: Splitter,
    pub(crate) queue: VecDeque<Piece>,
    /// The words after `hello`.
    pub(crate) hello: String,
    /// The word that no command knows.
    pub(crate) nonce: String,
}

/// Why there is no such channel.
#[derive(Debug)]
pub(crate) enum ChannelError {
    Exec(ExecError),
    Lost(String),
    Refused {
        class: Class,
        message: String,
    },
    /// The script said `error` before or instead of hello.
    Said(String),
}

// === impl Channel ===

/// Runs `script` on the host and waits for its hello. The first word of its orders is a fresh nonce.
pub(crate) async fn open(
    session: &Session,
    escalate: Option<&Become>,
    script: &str,
    orders: &str,
) -> Result<Channel, ChannelError> {
    // A terminal that goes with the connection (sudo may make one) would take along what is to go on.
    let bootstrap = match escalate {
        None => BOOTSTRAP.to_owned(),
        Some(_) => format!("trap '' HUP;{BOOTSTRAP}"),
    };
    let exec = session
        .run(escalate, &bootstrap)
        .await
        .map_err(ChannelError::Exec)?;
    let nonce = nonce();
    let end = if script.ends_with('\n') { "" } else { "\n" };
    let space = if orders.starts_with('\n') { "" } else { " " };
    let said = format!("{script}{end}{nonce}{space}{orders}");
    greet(session, exec, nonce, said).await
}

/// The same with a script that waits for our word after hello, and takes its orders as words of a shell. It is read in
/// blocks, and not run unless it is whole.
pub(crate) async fn open_program(
    session: &Session,
    script: &str,
    orders: &str,
) -> Result<Channel, ChannelError> {
    let exec = session.exec(PROGRAM).await.map_err(ChannelError::Exec)?;
    let nonce = nonce();
    let said = program(script, &nonce, orders);
    greet(session, exec, nonce, said).await
}

/// A script with its orders in front. Cut off it would be half of a group of commands, of which no shell runs anything.
pub(super) fn program(script: &str, nonce: &str, orders: &str) -> String {
    format!("{{ set -- orders {nonce} {orders};{}}}\n", script.trim_end())
}

/// Says what the script is, and waits for its hello.
async fn greet(
    session: &Session,
    mut exec: Exec,
    nonce: String,
    said: String,
) -> Result<Channel, ChannelError> {
    exec.leave_running();
    // A host without a shell may have gone already; what it said tells more than the failed send.
    let input = exec.input();
    let _ = timeout(REPLY, input.send(said)).await;
    let splitter = Splitter::new(&nonce);
    let mut channel = Channel {
        exec,
        splitter,
        queue: VecDeque::new(),
        hello: String::new(),
        nonce,
    };
    let mut noise = Vec::new();
    match timeout(REPLY, channel.wait_for_hello(&mut noise)).await {
        Err(_) => Err(refused(
            &noise,
            &format!("no answer from a POSIX shell within {}", duration::shown(REPLY)),
        )),
        Ok(Some(words)) => match words.strip_prefix("hello") {
            Some(words) => {
                words.trim_start().clone_into(&mut channel.hello);
                Ok(channel)
            }
            None => Err(ChannelError::Said(
                words.strip_prefix("error ").unwrap_or(&words).to_owned(),
            )),
        },
        Ok(None) if session.is_closed() => Err(ChannelError::Lost(session.why_closed())),
        Ok(None) => Err(refused(&noise, "the host did not start a POSIX shell for us")),
    }
}

impl Channel {
    /// The first frame, everything before it being noise; nothing if the channel ended before.
    async fn wait_for_hello(&mut self, noise: &mut Vec<u8>) -> Option<String> {
        let mut keep = |bytes: &[u8]| {
            let room = NOISE_LIMIT.saturating_sub(noise.len());
            noise.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        loop {
            while let Some(piece) = self.queue.pop_front() {
                match piece {
                    Piece::Data(bytes) => keep(&bytes),
                    Piece::Frame(words) => return Some(words),
                }
            }
            match self.exec.next().await {
                Heard::Stdout(bytes) => self.queue.extend(self.splitter.feed(bytes)),
                Heard::Stderr(bytes) => keep(&bytes),
                Heard::ExitStatus(_) | Heard::ExitSignal(_) | Heard::Eof => {}
                Heard::Closed | Heard::Lost => return None,
            }
        }
    }

    /// The next piece; nothing at the end of the channel. Standard error is dropped.
    pub(crate) async fn piece(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.queue.pop_front() {
                return Some(piece);
            }
            match self.exec.next().await {
                Heard::Stdout(bytes) => self.queue.extend(self.splitter.feed(bytes)),
                Heard::Closed | Heard::Lost => return self.splitter.finish().map(Piece::Data),
                _ => {}
            }
        }
    }

    /// The next frame; data before it is dropped.
    pub(crate) async fn words(&mut self, session: &Session) -> Result<String, ChannelError> {
        loop {
            match self.piece().await {
                Some(Piece::Frame(words)) => return Ok(words),
                Some(Piece::Data(_)) => {}
                None => return Err(ChannelError::Lost(session.why_closed())),
            }
        }
    }

    /// The next bytes of data; nothing at the end of the channel.
    pub(crate) async fn data(&mut self) -> Option<Bytes> {
        loop {
            if let Piece::Data(bytes) = self.piece().await? {
                return Some(bytes);
            }
        }
    }
}

fn refused(noise: &[u8], otherwise: &str) -> ChannelError {
    let seen = line_up_to(&String::from_utf8_lossy(noise), NOISE_SHOWN);
    let message = if seen.is_empty() {
        otherwise.to_owned()
    } else {
        format!("{otherwise}; it said: {seen}")
    };
    ChannelError::Refused {
        class: Class::NoShell,
        message,
    }
}
