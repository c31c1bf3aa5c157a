//! From a command line to a command that runs as another user.

use std::time::Duration;

use bytes::Bytes;
use reveille_account::Class;
use reveille_text::duration;
use reveille_text::harmless::line_up_to;
use tokio::time::timeout;

use super::words::{Ground, asks, find, line};
use super::{Become, judge};
use crate::error::ExecError;
use crate::exec::{Exec, Heard};
use crate::nonce::nonce;
use crate::session::Session;

/// How long changing the user may take. PAM delays a wrong password by some seconds.
const BECOME: Duration = Duration::from_mins(1);
/// Bytes that the program may say before the mark; a lecture is shorter.
const TALK_LIMIT: usize = 64 * 1024;
/// Bytes of standard output that may come before the mark: what login files print.
const EARLY_LIMIT: usize = 512 * 1024;
/// Characters of the program's words that are shown.
const SHOWN: usize = 400;

/// What has been heard of a program that changes the user.
struct Talk {
    /// Its words, the mark not among them.
    seen: Vec<u8>,
    /// Where the words begin that came after the password was sent.
    answered: Option<usize>,
    /// Standard output, which will be the command's.
    early: Vec<Heard>,
    early_bytes: usize,
    status: Option<u32>,
    /// The password is not to be sent.
    keeps_back: bool,
}

/// Why there is no command.
enum Not {
    Refused(String),
    KeptBack,
    Lost,
    NeedsTerminal,
}

/// Runs `command` in `sh` as another user, on a terminal of its own or on pipes, and returns once it runs.
pub(crate) async fn start(
    session: &Session,
    other: &Become,
    command: &str,
    on_terminal: bool,
) -> Result<Exec, ExecError> {
    // su would take it for an option.
    if other.user.is_empty() || other.user.starts_with('-') {
        return Err(ExecError::Refused {
            class: Class::BecomeFailed,
            message: format!("{:?} is no user to become", other.user),
        });
    }
    let mut ground = if on_terminal {
        Ground::Terminal
    } else if other.needs_terminal() || session.needs_terminal() {
        Ground::Question
    } else {
        Ground::Pipes
    };
    loop {
        let mark = nonce();
        let prompt = nonce();
        let line = line(other, command, &mark, &prompt, ground);
        let mut exec = session.start(line.into_bytes(), ground != Ground::Pipes).await?;
        let mut talk = Talk {
            seen: Vec::new(),
            answered: None,
            early: Vec::new(),
            early_bytes: 0,
            status: None,
            keeps_back: session.keeps_passwords_back(),
        };
        let changing = talk.wait(&mut exec, other, &mark, &prompt);
        let not = match timeout(BECOME, changing).await {
            Ok(Ok(())) => {
                if ground == Ground::Question {
                    exec.send_in_pieces();
                }
                exec.unhear(talk.early);
                return Ok(exec);
            }
            Ok(Err(not)) => not,
            Err(_) => Not::Refused(format!(
                "{} did not answer within {}",
                other.method.as_str(),
                duration::shown(BECOME)
            )),
        };
        exec.abandon().await;
        match not {
            Not::Lost => return Err(ExecError::Unanswered(session.why_closed())),
            Not::KeptBack => {
                return Err(ExecError::Refused {
                    class: Class::HostKeyUnknown,
                    message: format!(
                        "can't become {}: {} wants the password, which was kept back, because the host's key is seen for \
                         the first time; add it to known_hosts, or ask for --host-key accept-new",
                        other.user,
                        other.method.as_str()
                    ),
                });
            }
            Not::NeedsTerminal if ground == Ground::Pipes => {
                session.note_needs_terminal();
                ground = Ground::Question;
            }
            Not::NeedsTerminal => return Err(talk.refused(other, &prompt, "no terminal to be had")),
            Not::Refused(why) => return Err(talk.refused(other, &prompt, &why)),
        }
    }
}

// === impl Talk ===

impl Talk {
    /// Waits for the mark; answers one question for the password on the way.
    async fn wait(&mut self, exec: &mut Exec, other: &Become, mark: &str, prompt: &str) -> Result<(), Not> {
        let mark = format!("{mark}\n").into_bytes();
        let terminal = exec.has_terminal();
        loop {
            match exec.next().await {
                Heard::Stdout(bytes) if !terminal => {
                    self.early_bytes += bytes.len();
                    if self.early_bytes > EARLY_LIMIT {
                        return Err(Not::Refused("too much was printed before it began".to_owned()));
                    }
                    self.early.push(Heard::Stdout(bytes));
                }
                Heard::Stdout(bytes) | Heard::Stderr(bytes) => {
                    self.seen.extend_from_slice(&bytes);
                    if let Some(at) = find(&self.seen, &mark) {
                        self.begin(exec, at, mark.len());
                        return Ok(());
                    }
                    if asks(other.method, &self.seen[self.answered.unwrap_or(0)..], prompt) {
                        self.answer(exec, other).await?;
                    }
                    if self.seen.len() > TALK_LIMIT {
                        return Err(Not::Refused("too much was said".to_owned()));
                    }
                }
                Heard::ExitStatus(number) => self.status = Some(number),
                Heard::ExitSignal(_) | Heard::Eof => {}
                Heard::Closed => {
                    let wants_terminal = find(&self.seen, b"you must have a tty").is_some();
                    return Err(if wants_terminal && !terminal {
                        Not::NeedsTerminal
                    } else {
                        Not::Refused("the command did not run as the other user".to_owned())
                    });
                }
                Heard::Lost => return Err(Not::Lost),
            }
        }
    }

    /// The other user's shell has said the mark at `at`; what follows is the command's.
    fn begin(&mut self, exec: &Exec, at: usize, length: usize) {
        let after = Bytes::from(self.seen.split_off(at).split_off(length));
        if !after.is_empty() {
            let after = if exec.has_terminal() {
                Heard::Stdout(after)
            } else {
                Heard::Stderr(after)
            };
            self.early.push(after);
        }
    }

    /// A password is sent once: a second question means that it was wrong.
    async fn answer(&mut self, exec: &Exec, other: &Become) -> Result<(), Not> {
        let program = other.method.as_str();
        if self.answered.is_some() {
            return Err(Not::Refused(format!("{program} refused the password")));
        }
        let Some(password) = &other.password else {
            return Err(Not::Refused(format!(
                "{program} wants a password, and there is none"
            )));
        };
        if self.keeps_back {
            return Err(Not::KeptBack);
        }
        if password.expose().contains('\n') {
            return Err(Not::Refused(format!(
                "{program} wants a password, and the one that was given has a line break in it"
            )));
        }
        self.answered = Some(self.seen.len());
        let line = Bytes::copy_from_slice(password.line().as_bytes());
        exec.input().send(line).await.map_err(|_| Not::Lost)
    }

    fn refused(&self, other: &Become, prompt: &str, why: &str) -> ExecError {
        let mut said = String::from_utf8_lossy(&self.seen).replace(prompt, "");
        // A terminal that echoes in spite of everything must not bring the password into a message.
        if let Some(password) = other.password.as_ref().filter(|password| !password.is_empty()) {
            said = said.replace(password.expose(), "(the password)");
        }
        let class = judge(other.method, &said, self.status);
        let said = line_up_to(&said, SHOWN);
        let message = match class {
            Class::BecomeMissing => format!("{} is not on the host: {said}", other.method.as_str()),
            _ if said.is_empty() => format!("can't become {}: {why}", other.user),
            _ => format!("can't become {}: {why}; it said: {said}", other.user),
        };
        ExecError::Refused { class, message }
    }
}
