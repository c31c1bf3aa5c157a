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
use crate::exec::Exec;
use crate::heard::Heard;
use crate::nonce::nonce;
use crate::session::Session;

/// How much noise to keep for the message if a host never says hello, in bytes.
const NOISE_LIMIT: usize = 2048;
/// How much of it messages show, in characters.
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
    /// The random word, which no command knows.
    pub(crate) nonce: String,
}

/// Why there is no channel.
#[derive(Debug)]
pub(crate) enum ChannelError {
    Exec(ExecError),
    Lost(String),
    /// The script sent `error` before or instead of hello.
    Said(String),
}

// === impl Channel ===

/// Runs `script` on the host and waits for its hello. Its orders begin with a fresh nonce.
pub(crate) async fn open(
    session: &Session,
    escalate: Option<&Become>,
    script: &str,
    orders: &str,
) -> Result<Channel, ChannelError> {
    // A terminal that ends with the connection (sudo may create one) would end durable work, too.
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

/// Like [`open`], for a script that waits for our word after hello, and gets its orders as shell words. The shell reads
/// it in blocks, and runs it only if it is complete.
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

/// Puts the orders in front of a script, in a group of commands: a shell does not run a group that is cut off.
pub(super) fn program(script: &str, nonce: &str, orders: &str) -> String {
    format!("{{ set -- orders {nonce} {orders};{}}}\n", script.trim_end())
}

/// Sends the script, and waits for its hello.
async fn greet(
    session: &Session,
    mut exec: Exec,
    nonce: String,
    said: String,
) -> Result<Channel, ChannelError> {
    exec.leave_running();
    // A host without a shell may have closed the channel; its output is more useful than the failed send.
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
    /// Returns the first frame; everything before it is noise. None if the channel ended before.
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

    /// The next piece; none at the end of the channel. Standard error is dropped.
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

    /// The next bytes of data; none at the end of the channel.
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
    ChannelError::Exec(ExecError::refused(Class::NoShell, message))
}
