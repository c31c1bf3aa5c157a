//! Starts a command as another user.

use std::time::Duration;

use bytes::Bytes;
use reveille_account::{BecomeMethod, Class};
use reveille_text::duration;
use reveille_text::harmless::line_up_to;
use tokio::time::timeout;

use super::words::{Ground, asks, find, line};
use super::{Become, judge};
use crate::error::ExecError;
use crate::exec::Exec;
use crate::heard::Heard;
use crate::nonce::nonce;
use crate::session::Session;

/// How long changing the user may take. PAM delays the refusal of a wrong password by some seconds.
const BECOME: Duration = Duration::from_mins(1);
/// The most that the program may print before the mark, in bytes; sudo's lecture is shorter.
const TALK_LIMIT: usize = 64 * 1024;
/// The most standard output before the mark, in bytes: what login files print.
const EARLY_LIMIT: usize = 512 * 1024;
/// How much of the program's output messages show, in characters.
const SHOWN: usize = 400;

/// The dialogue with a program that changes the user.
struct Talk {
    /// Its output, without the mark.
    seen: Vec<u8>,
    /// Where the output after the password begins.
    answered: Option<usize>,
    /// Standard output, which will belong to the command.
    early: Vec<Heard>,
    early_bytes: usize,
    status: Option<u32>,
    /// The password must not be sent.
    keeps_back: bool,
}

/// Why the command did not start.
enum Not {
    Refused(String),
    KeptBack,
    Lost,
    NeedsTerminal,
}

/// Starts `command` in `sh` as another user, on its own terminal or on pipes, and returns once it runs.
pub(crate) async fn start(
    session: &Session,
    other: &Become,
    command: &str,
    on_terminal: bool,
) -> Result<Exec, ExecError> {
    // su would read it as an option.
    if other.user.is_empty() || other.user.starts_with('-') {
        let message = format!("can't become {:?}: not a user name", other.user);
        return Err(ExecError::refused(Class::BecomeFailed, message));
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
                return Err(ExecError::refused(
                    Class::HostKeyUnknown,
                    format!(
                        "can't become {}: {} asks for the password, which was not sent, because the host's key is seen for \
                         the first time; add it to known_hosts, or set --host-key accept-new",
                        other.user,
                        other.method.as_str()
                    ),
                ));
            }
            Not::NeedsTerminal if ground == Ground::Pipes => {
                session.note_needs_terminal();
                ground = Ground::Question;
            }
            Not::NeedsTerminal => return Err(talk.refused(other, &prompt, "no terminal is available")),
            Not::Refused(why) => return Err(talk.refused(other, &prompt, &why)),
        }
    }
}

/// What to try, if sudo refuses because of what it is asked to run.
fn hint(other: &Become, said: &str) -> &'static str {
    match (other.method, &other.password) {
        (BecomeMethod::Sudo, None) if said.contains("a password is required") => {
            " (give a password, or let sudoers allow `sh` without one: sudo is asked to run `sh -c …`, whatever the command)"
        }
        (BecomeMethod::Sudo, Some(_)) if said.contains("not allowed to execute") => {
            " (let sudoers allow `sh`: sudo is asked to run `sh -c …`, whatever the command)"
        }
        _ => "",
    }
}

// === impl Talk ===

impl Talk {
    /// Waits for the mark; answers one question for the password.
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

    /// Handles the mark at `at`: all output after it belongs to the command.
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

    /// Sends the password once: a second question means that it was wrong.
    async fn answer(&mut self, exec: &Exec, other: &Become) -> Result<(), Not> {
        let program = other.method.as_str();
        if self.answered.is_some() {
            return Err(Not::Refused(format!("{program} refused the password")));
        }
        let Some(password) = &other.password else {
            return Err(Not::Refused(format!(
                "{program} asks for a password, and none is set"
            )));
        };
        if self.keeps_back {
            return Err(Not::KeptBack);
        }
        if password.expose().contains('\n') {
            return Err(Not::Refused(format!(
                "{program} asks for a password, and the given one contains a line break"
            )));
        }
        self.answered = Some(self.seen.len());
        let line = Bytes::copy_from_slice(password.line().as_bytes());
        exec.input().send(line).await.map_err(|_| Not::Lost)
    }

    fn refused(&self, other: &Become, prompt: &str, why: &str) -> ExecError {
        let mut said = String::from_utf8_lossy(&self.seen).replace(prompt, "");
        // If a terminal echoes in spite of everything, the password must not get into a message.
        if let Some(password) = other.password.as_ref().filter(|password| !password.is_empty()) {
            said = said.replace(password.expose(), "(the password)");
        }
        let class = judge(other.method, &said, self.status);
        let said = line_up_to(&said, SHOWN);
        if said.is_empty() && !self.early.is_empty() {
            // Not from the program that changes the user, so the host ran something else.
            let mut early = Vec::new();
            for heard in &self.early {
                if let Heard::Stdout(bytes) = heard {
                    early.extend_from_slice(bytes);
                }
            }
            let early = line_up_to(&String::from_utf8_lossy(&early), SHOWN);
            let message = format!(
                "can't become {}: the host did not run {}; it said: {early}",
                other.user,
                other.method.as_str()
            );
            return ExecError::refused(Class::NoShell, message);
        }
        let message = match class {
            Class::BecomeMissing => format!("{} is not installed on the host: {said}", other.method.as_str()),
            _ if said.is_empty() => format!("can't become {}: {why}", other.user),
            _ => format!(
                "can't become {}: {why}; it said: {said}{}",
                other.user,
                hint(other, &said)
            ),
        };
        ExecError::refused(class, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_sh_says_what_sudo_was_asked_to_run() {
        let other = Become::sudo("root");
        assert!(hint(&other, "sudo: a password is required").contains("sh -c"));
        assert_eq!(hint(&other, "sudo: unknown user x"), "");
        let with_password = Become {
            password: Some(reveille_text::Secret::new("x")),
            ..other
        };
        assert!(hint(&with_password, "u is not allowed to execute '/bin/sh'").contains("sudoers"));
    }
}
