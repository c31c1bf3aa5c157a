//! Durable commands, which survive the connection and the controller.
//!
//! One channel carries one [`Durable`]: the supervisor's script, a request, then the command's output, its end, and
//! finally the permission to remove its files. `start` starts a token's command unless the token's directory already
//! exists, which one `mkdir` decides; `attach` never starts anything, and prevents that missing work ever starts. The
//! remote half is `supervisor.sh`.
//!
//! ```text
//!         start                     command ends              clean
//!  hello ───────────► started ─────────────────────► end ───────────► cleaned
//!    │   attach                                       │
//!    ├──────────────► attached ──► (the same)         ├ exit STATUS  it ran to its end
//!    │                                                ├ gone         supervisor and command were killed
//!    │                                                └ rebooted     another boot id
//!    └──────────────► end never       there is a tombstone: it never ran and never will
//!                     end absent      attach found nothing, and made the tombstone
//!                     end elsewhere   another machine, or another place than was agreed
//! ```
//!
//! In its hello a host identifies itself: boot, machine, name, and the *mark* of its directory for the run's work. The
//! recorded hello later decides whether a missing directory means that nothing ever ran.

pub(crate) mod channel;
pub(crate) mod frames;
mod hello;
mod look;
pub(crate) mod script;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{Class, RunId, Token};
use tokio::time::timeout;

use crate::error::ExecError;
use crate::escalate::Become;
use crate::heard::Heard;
use crate::quote::sh_quote;
use crate::session::Session;
use channel::{Channel, ChannelError, REPLY};
use frames::{Piece, Splitter};
use reveille_text::duration;
use script::Verb;

pub use hello::{Begun, Hello, plausible_place};
pub use look::{Alive, Counters, Look, look};

/// A kill takes TERM, two seconds, KILL and a check, on a host that may be slow.
const STOP: Duration = Duration::from_mins(1);
/// How many bytes of a request to send at a time.
const PIECE: usize = 32 * 1024;
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(20);

/// Identifies remote work, and the controller that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The run.
    pub run: RunId,
    /// The ownership epoch of the controller.
    pub epoch: u64,
    /// The token of the attempt.
    pub token: Token,
    /// The remote directory, if known; otherwise the host chooses one.
    pub place: Option<String>,
}

/// The command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// Shell code run before the command in its own process: exports, `cd`.
    pub prelude: String,
    /// The text of the command.
    pub text: String,
    /// How to run the text.
    pub interpreter: Interpreter,
}

/// How to run the text of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    /// With a shell that reads it from a pipe: the text is never on the host's disk or in its process list.
    Shell(Vec<String>),
    /// As a file, run by an interpreter with arguments.
    File {
        /// The interpreter and its own arguments, as in `#!`.
        interpreter: Vec<String>,
        /// Arguments after the file.
        arguments: Vec<String>,
    },
}

/// The end of the output recorded so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Bytes of standard output that are recorded.
    pub stdout: u64,
    /// Bytes of standard error that are recorded.
    pub stderr: u64,
}

/// An event from durable work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// This call started it: from now on it is known to have begun.
    Started(Begun),
    /// It was started before; output follows from the offsets on.
    Attached {
        /// Whether it has ended.
        finished: bool,
        /// How long it has run, or ran until its end, by the host's own clock, if known.
        ran: Option<Duration>,
    },
    /// Bytes of standard output.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// It ended, or will never start.
    End(End),
    /// The connection is lost; the work continues.
    Lost,
}

/// The end of durable work, as reported by the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It ran to its end.
    Exit {
        /// The wait status of a POSIX shell: more than 128 probably means a signal.
        status: i32,
        /// Whether we had asked for its end, and whether all of it is verified to be gone.
        slain: Option<bool>,
        /// Output over the cap of the remote spool was dropped.
        over: bool,
    },
    /// Supervisor and command vanished without a status, in the same boot.
    Gone,
    /// It began in another boot.
    Rebooted,
    /// There is a tombstone: it never started and never will. If the mark differs from the intent's, the tombstone was
    /// made after the directory was wiped, so this means no more than [`End::Absent`].
    Never,
    /// Attach found no directory, and made the tombstone, so that a late `start` does nothing. The caller decides from
    /// hello whether the work ever ran.
    Absent,
    /// The directory belongs to another machine, or hello differs from the agreed one: nothing was done.
    Elsewhere,
}

/// Why the supervisor failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuperviseError {
    /// The command could not be started at all, or the host reported a failure.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The connection was lost before the host answered; either this call started nothing, or the token shows what
    /// happened.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// A controller with a higher epoch has been on this host.
    #[error("another controller (epoch {0}) has taken over this run")]
    Fenced(u64),
}

/// A channel to durable work.
#[derive(Debug)]
pub struct Durable {
    channel: Channel,
    errors: Splitter,
    /// Pieces of standard error that were not returned yet.
    queue: VecDeque<Piece>,
    /// Which streams have ended; the end is returned when both have.
    ended: (Option<End>, bool),
    hello: Hello,
}

// === impl Payload ===

impl Payload {
    fn words(&self) -> String {
        let quoted = |words: &[String]| {
            words
                .iter()
                .map(|word| sh_quote(word))
                .collect::<Vec<_>>()
                .join(" ")
        };
        match &self.interpreter {
            Interpreter::Shell(words) => format!(r#"{} "$1/s""#, quoted(words)),
            Interpreter::File {
                interpreter,
                arguments,
            } => {
                format!(r#"{} "$1/script" {}"#, quoted(interpreter), quoted(arguments))
            }
        }
    }
}

/// Shell code on one line that exports `value` as `name`; the value may contain any bytes except NUL.
pub fn export(name: &str, value: &str) -> String {
    if value.contains('\n') {
        // `$( )` strips trailing newlines; the x keeps them.
        let encoded = value
            .replace('\\', r"\\")
            .replace('\n', r"\n")
            .replace('\'', r"\047");
        return format!("{name}=$(printf '%bx' '{encoded}');export {name}=\"${{{name}%x}}\";");
    }
    format!("export {name}={};", sh_quote(value))
}

// === impl Durable ===

impl Durable {
    /// Opens a channel for [`Durable::start`] and waits for hello. Nothing is started yet.
    pub async fn open_start(
        session: &Session,
        escalate: Option<&Become>,
        key: &Key,
    ) -> Result<Self, SuperviseError> {
        open(session, escalate, key, Verb::Start, "").await
    }

    /// Opens a channel for [`Durable::attach`] and waits for hello.
    pub async fn open_attach(
        session: &Session,
        escalate: Option<&Become>,
        key: &Key,
    ) -> Result<Self, SuperviseError> {
        open(session, escalate, key, Verb::Attach, "").await
    }

    /// The host's report about itself; record it before [`Durable::start`].
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Starts the work, after its intent is committed. `agreed` is the hello that the intent was recorded with, from
    /// this channel or from an earlier one to the same machine: if its boot, machine or mark differ from the host's
    /// current ones, the host starts nothing and ends with [`End::Elsewhere`]. `cap` bounds what the host keeps of each
    /// output stream, in bytes.
    pub async fn start(&mut self, agreed: &Hello, payload: &Payload, cap: u64) -> Result<(), SuperviseError> {
        let text = payload.text.strip_suffix('\n').unwrap_or(&payload.text);
        // A terminal merges both outputs; merging them at their source keeps the offsets right.
        let merge = if self.channel.exec.has_terminal() {
            "exec 2>&1;"
        } else {
            ""
        };
        let nonce = &self.channel.nonce;
        let request = format!(
            "go {} {} {} {} {} {}\n{merge}{}\n{}\n{text}\n{nonce}\n",
            hello::word(&agreed.mark),
            hello::word(&agreed.boot),
            hello::word(&agreed.machine),
            blocks(cap),
            // A line with the nonce follows the text, so the host notices if the text is cut off.
            text.len() + 1 + nonce.len() + 1,
            text.split('\n').count(),
            payload.prelude,
            payload.words(),
        );
        self.send(request).await
    }

    /// Follows the work without ever starting it: if it does not exist yet, it never will. `begun` is the recorded
    /// supervisor, used if the host's own record of it is missing. `cap` is the one of the start.
    pub async fn attach(
        &mut self,
        offsets: Offsets,
        begun: Option<&Begun>,
        cap: u64,
    ) -> Result<(), SuperviseError> {
        let Offsets { stdout, stderr } = offsets;
        let request = format!(
            "attach {stdout} {stderr} {} {}\n",
            blocks(cap),
            hello::recorded(begun)
        );
        self.send(request).await
    }

    /// Each piece has a deadline, because a host may stop reading.
    async fn send(&self, request: String) -> Result<(), SuperviseError> {
        let mut rest = Bytes::from(request);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            match timeout(REPLY, self.channel.exec.input().send(piece)).await {
                Ok(sent) => sent.map_err(|error| SuperviseError::Lost(error.to_string()))?,
                Err(_) => {
                    return Err(SuperviseError::Lost(format!(
                        "the host accepted nothing within {}",
                        duration::shown(REPLY)
                    )));
                }
            }
        }
        Ok(())
    }

    /// The next event. After [`Beat::End`] only [`Durable::clean`] is useful; after [`Beat::Lost`] nothing is.
    pub async fn next(&mut self) -> Result<Beat, SuperviseError> {
        loop {
            while let Some(piece) = self.channel.queue.pop_front() {
                match piece {
                    Piece::Data(bytes) => return Ok(Beat::Stdout(bytes)),
                    // A terminal merges both streams, so the other stream's end arrives here.
                    Piece::Frame(words) if words == "end" => self.ended.1 = true,
                    Piece::Frame(words) => match beat(&words)? {
                        Some(Beat::End(end)) => self.ended.0 = Some(end),
                        Some(beat) => return Ok(beat),
                        None => {}
                    },
                }
            }
            while let Some(piece) = self.queue.pop_front() {
                match piece {
                    Piece::Data(bytes) => return Ok(Beat::Stderr(bytes)),
                    Piece::Frame(words) => self.ended.1 |= words == "end",
                }
            }
            if self.ended.1
                && let Some(end) = self.ended.0.take()
            {
                return Ok(Beat::End(end));
            }
            // If one stream has reported the end, wait for the other one only for a limited time.
            let heard = match &self.ended.0 {
                None => self.channel.exec.next().await,
                Some(_) => timeout(REPLY, self.channel.exec.next())
                    .await
                    .unwrap_or(Heard::Lost),
            };
            match heard {
                Heard::Stdout(bytes) => self.channel.queue.extend(self.channel.splitter.feed(bytes)),
                Heard::Stderr(bytes) => self.queue.extend(self.errors.feed(bytes)),
                Heard::ExitStatus(_) | Heard::ExitSignal(_) | Heard::Eof => {}
                // The streamer always reports the end before it exits, unless it is killed.
                Heard::Closed | Heard::Lost => {
                    return Ok(match (self.channel.splitter.finish(), self.errors.finish()) {
                        (Some(held), _) => Beat::Stdout(held),
                        (None, Some(held)) => Beat::Stderr(held),
                        (None, None) => Beat::Lost,
                    });
                }
            }
        }
    }

    /// Lets the host remove the files of the work, except its tombstone, and waits until it has.
    ///
    /// Call this only when the end is on disk. A failure is harmless: `clean` finds the files later.
    pub async fn clean(mut self) -> bool {
        if self.channel.exec.input().send("clean\n").await.is_err() {
            return false;
        }
        let mut cleaned = false;
        let waiting = async {
            while let Some(piece) = self.channel.piece().await {
                cleaned |= piece == Piece::Frame("cleaned".to_owned());
            }
        };
        // The channel closes right after this; if the host is slow, `clean` removes the files later.
        let _ = timeout(REPLY, waiting).await;
        cleaned
    }
}

/// Kills the work of `key`: TERM, two seconds, KILL, to its whole process group. True if all of it is verified to be
/// gone. Attach as usual to collect its output and status. `begun` is the recorded supervisor, used if the host's own
/// record of it is missing.
pub async fn stop(
    session: &Session,
    escalate: Option<&Become>,
    key: &Key,
    begun: Option<&Begun>,
) -> Result<bool, SuperviseError> {
    let more = hello::recorded(begun);
    let words = ask(session, escalate, key, Verb::Stop, &more, STOP).await?;
    Ok(matches!(
        words.as_str(),
        "slain verified" | "slain finished" | "tombstone" | "rebooted"
    ))
}

/// Kills everything that a plain command has started on this connection: TERM, two seconds, KILL. True if all of it is
/// verified to be gone. OpenSSH itself ends nothing when a channel without a terminal is closed.
pub async fn halt(session: &Session, escalate: Option<&Become>, key: &Key) -> Result<bool, SuperviseError> {
    let words = ask(session, escalate, key, Verb::Halt, "", REPLY).await?;
    Ok(words == "verified")
}

/// Removes the files of the run's finished work at the place of `key`, without creating anything; returns the number of
/// tokens that still run. If the host is not the one that `reported` the place, does nothing and returns none.
pub async fn clean(
    session: &Session,
    escalate: Option<&Become>,
    key: &Key,
    reported: Option<&Hello>,
) -> Result<Option<u64>, SuperviseError> {
    let of = |part: fn(&Hello) -> &str| reported.map_or("-", |hello| hello::word(part(hello)));
    let more = format!("{} {}", of(|hello| &hello.machine), of(|hello| &hello.mark));
    let words = ask(session, escalate, key, Verb::Clean, &more, REPLY).await?;
    Ok(match words.as_str() {
        "elsewhere" => None,
        words => Some(
            words
                .strip_prefix("cleaned ")
                .and_then(|count| count.parse().ok())
                .unwrap_or(0),
        ),
    })
}

async fn ask(
    session: &Session,
    escalate: Option<&Become>,
    key: &Key,
    verb: Verb,
    more: &str,
    deadline: Duration,
) -> Result<String, SuperviseError> {
    let mut channel = open(session, escalate, key, verb, more).await?.channel;
    let answer = async {
        while let Some(piece) = channel.piece().await {
            let Piece::Frame(words) = piece else { continue };
            if let Some(words) = words.strip_prefix("end ") {
                return Ok(words.to_owned());
            }
            beat(&words)?;
        }
        Err(SuperviseError::Lost(session.why_closed()))
    };
    timeout(deadline, answer).await.unwrap_or_else(|_| {
        Err(SuperviseError::Lost(format!(
            "no answer within {}",
            duration::shown(deadline)
        )))
    })
}

/// The pids that belong to a local session, which can't be found by a connection; 0 stands for none.
fn beside(session: &Session, verb: Verb) -> String {
    match (verb, session.running_here()) {
        (Verb::Look | Verb::Halt, Some(pids)) => {
            let pids = pids.iter().map(|pid| format!(",{pid}"));
            std::iter::once("0".to_owned()).chain(pids).collect()
        }
        _ => String::new(),
    }
}

/// Opens a channel for `verb`. `more` is the line after the orders, for verbs that need no further request.
async fn open(
    session: &Session,
    escalate: Option<&Become>,
    key: &Key,
    verb: Verb,
    more: &str,
) -> Result<Durable, SuperviseError> {
    let place = match &key.place {
        Some(place) if plausible_place(place) => place.clone(),
        Some(place) => return Err(implausible(place)),
        None => format!("-{}", beside(session, verb)),
    };
    let orders = format!("{} {} {} {}", verb.word(), key.run.uuid(), key.epoch, key.token);
    let script = verb.script();
    let opened = if matches!(verb, Verb::Start | Verb::Attach) && escalate.is_none() {
        let orders = format!("{orders} {}", sh_quote(&place));
        channel::open_program(session, script, &orders).await
    } else {
        let mut orders = format!("{orders} {place}\n");
        if !more.is_empty() {
            orders.push_str(more);
            orders.push('\n');
        }
        channel::open(session, escalate, script, &orders).await
    };
    let channel = opened.map_err(|error| match error {
        ChannelError::Exec(error) => SuperviseError::Exec(error),
        ChannelError::Lost(why) => SuperviseError::Lost(why),
        ChannelError::Said(words) => said(&words),
    })?;
    let hello = Hello::parse(&channel.hello);
    // Other processes of a connection have no place.
    let has_place = key.place.is_some() || !matches!(verb, Verb::Look | Verb::Halt);
    if has_place && !plausible_place(&hello.place) {
        return Err(implausible(&hello.place));
    }
    Ok(Durable {
        errors: Splitter::new(&channel.nonce),
        channel,
        queue: VecDeque::new(),
        ended: (None, false),
        hello,
    })
}

fn blocks(cap: u64) -> u64 {
    cap.div_ceil(512)
}

fn implausible(place: &str) -> SuperviseError {
    let message = format!("no directory for the host to keep work in: {place:?}");
    ExecError::refused(Class::TransferFailed, message).into()
}

/// The error for the host's `error` frame.
fn said(words: &str) -> SuperviseError {
    let (kind, text) = words.split_once(' ').unwrap_or((words, ""));
    if kind == "fenced" {
        return SuperviseError::Fenced(text.trim().parse().unwrap_or(0));
    }
    let message = format!("no place to keep the work on the host: {}", text.trim());
    ExecError::refused(Class::TransferFailed, message).into()
}

/// The event for a frame; none for frames that only show progress.
fn beat(words: &str) -> Result<Option<Beat>, SuperviseError> {
    let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
    Ok(Some(match word {
        "started" => Beat::Started(Begun::parse(rest)),
        "attached" => {
            let (found, time) = rest.split_once(' ').unwrap_or((rest, "-"));
            let time = time.parse().ok();
            let finished = found == "finished";
            Beat::Attached {
                finished,
                ran: if finished {
                    time.map(|hundredths: u64| Duration::from_millis(hundredths.saturating_mul(10)))
                } else {
                    time.map(Duration::from_secs)
                },
            }
        }
        "end" => Beat::End(end(rest)),
        "error" => return Err(said(rest)),
        _ => return Ok(None),
    }))
}

fn end(words: &str) -> End {
    let mut words = words.split(' ');
    match words.next() {
        Some("exit") => End::Exit {
            status: words.next().and_then(|status| status.parse().ok()).unwrap_or(255),
            slain: words
                .next()
                .filter(|word| *word != "-")
                .map(|word| word == "verified"),
            over: words.next().is_some_and(|word| word != "0"),
        },
        Some("rebooted") => End::Rebooted,
        Some("never") => End::Never,
        Some("absent") => End::Absent,
        Some("elsewhere") => End::Elsewhere,
        _ => End::Gone,
    }
}
