//! Authentication: tries the methods in order, and reports all attempts if none succeeds.
//!
//! ```text
//!            ┌───────────── more is asked for (AuthenticationMethods) ──────────────┐
//!            ▼                                                                      │
//!  publickey ─► keyboard-interactive ─► password ─► refused: every try is told      │
//!      └──────────────┴────────────────────┴───────► accepted, or accepted in part ─┘
//! ```

use reveille_account::{Class, Phase};
use reveille_text::harmless::line_up_to;
use russh::MethodKind;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};

use super::handler::{Handler, Report};
use super::publickey::Offers;
use crate::error::ConnectError;
use crate::target::Target;

/// How many methods to try on one connection, including partly accepted ones.
const ROUNDS: usize = 6;
/// How many questions of a keyboard-interactive exchange to answer.
const QUESTIONS: usize = 8;
/// How much of a question messages show, in characters.
const QUESTION_LIMIT: usize = 160;

/// OpenSSH's order.
const ORDER: [MethodKind; 3] = [
    MethodKind::PublicKey,
    MethodKind::KeyboardInteractive,
    MethodKind::Password,
];

/// The result of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted,
    /// Accepted, but the host requires another method in addition.
    Partly,
    Refused,
}

/// An authentication in progress.
pub(super) struct Talk<'a> {
    pub(super) handle: &'a mut Handle<Handler>,
    pub(super) target: &'a Target,
    report: &'a Report,
    /// The methods that the host still accepts; unknown before its first answer.
    methods: Option<Vec<MethodKind>>,
    spent: Vec<MethodKind>,
    /// A question for the password was answered with it, so the password method would only repeat it.
    password_used: bool,
    /// All attempts, for the message.
    pub(super) tried: Vec<String>,
    pub(super) keys: Offers,
}

/// Logs in to `target` on a connection with a checked host key.
pub(super) async fn authenticate(
    handle: &mut Handle<Handler>,
    target: &Target,
    report: &Report,
) -> Result<(), ConnectError> {
    if target.authentication.is_empty() {
        return Err(failed(format!(
            "no key to offer for {}; set one with --key or start an agent",
            target.user
        )));
    }
    let mut talk = Talk {
        handle,
        target,
        report,
        methods: None,
        spent: Vec::new(),
        password_used: false,
        tried: Vec::new(),
        keys: Offers::default(),
    };
    let result = tokio::select! {
        biased;
        result = talk.run() => result,
        // While it waits for an agent, the client does not notice that the host has gone.
        () = report.ended() => Err(ended(report)),
    };
    result.map_err(|error| ConnectError {
        password_refused: error.class == Class::AuthFailed && report.password_was_sent(),
        ..error
    })
}

// === impl Talk ===

impl Talk<'_> {
    async fn run(&mut self) -> Result<(), ConnectError> {
        if self.target.authentication.identities.is_empty() {
            // The refusal of a key includes the host's list of methods; without keys we have to ask for the list.
            let none = self.handle.authenticate_none(self.target.user.as_str()).await;
            if self.judge(none.map_err(|error| error.to_string()))? == Answer::Accepted {
                return Ok(());
            }
        }
        for _ in 0..ROUNDS {
            let Some(method) = self.next_method() else { break };
            let answer = match method {
                MethodKind::PublicKey => self.offer_keys().await?,
                MethodKind::KeyboardInteractive => self.answer_questions().await?,
                _ => self.send_password().await?,
            };
            match answer {
                Answer::Accepted => return Ok(()),
                Answer::Partly => {
                    let name: &str = (&method).into();
                    self.tried
                        .push(format!("{name} was accepted, but the host requires more"));
                    self.spent.clear();
                }
                Answer::Refused => self.spent.push(method),
            }
        }
        Err(failed(self.refusal()))
    }

    fn next_method(&mut self) -> Option<MethodKind> {
        let authentication = &self.target.authentication;
        for method in ORDER {
            if self.spent.contains(&method) || !self.takes(method) {
                continue;
            }
            let have = match method {
                MethodKind::PublicKey => !authentication.identities.is_empty(),
                MethodKind::Password if self.password_used => false,
                _ => authentication.password.is_some(),
            };
            if !have {
                continue;
            }
            if method != MethodKind::PublicKey && self.report.keeps_passwords_back(self.target) {
                self.tried.push(
                    "the password was not sent, because the host's key is seen for the first time; add it to \
                     known_hosts, or set --host-key accept-new"
                        .to_owned(),
                );
                return None;
            }
            return Some(method);
        }
        None
    }

    /// Whether the host accepts a method, as far as is known.
    pub(super) fn takes(&self, method: MethodKind) -> bool {
        self.methods
            .as_ref()
            .is_none_or(|methods| methods.contains(&method))
    }

    /// Answers a single hidden question with the password; other questions can't be answered.
    async fn answer_questions(&mut self) -> Result<Answer, ConnectError> {
        let Some(password) = &self.target.authentication.password else {
            return Ok(Answer::Refused);
        };
        let starting = self
            .handle
            .authenticate_keyboard_interactive_start(self.target.user.as_str(), None);
        let mut reply = starting.await;
        let mut answered = false;
        for _ in 0..QUESTIONS {
            let (instructions, prompts) = match reply {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(Answer::Accepted),
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                }) => {
                    let answer = self.judge(Ok(AuthResult::Failure {
                        remaining_methods,
                        partial_success,
                    }))?;
                    if answer == Answer::Refused {
                        let what = if answered {
                            "refused the password"
                        } else {
                            "was refused"
                        };
                        self.tried.push(format!("keyboard-interactive {what}"));
                    }
                    return Ok(answer);
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest {
                    instructions,
                    prompts,
                    ..
                }) => (instructions, prompts),
                Err(error) => return self.judge(Err(error.to_string())),
            };
            let answers = match prompts.as_slice() {
                [] => Vec::new(),
                [question] if !question.echo && !answered => {
                    answered = true;
                    self.report.password_is_sent();
                    self.password_used = question.prompt.to_ascii_lowercase().contains("password");
                    vec![password.expose().to_owned()]
                }
                [question, ..] => {
                    let asked = [instructions.as_str(), question.prompt.as_str()].join(" ");
                    return Err(failed(format!(
                        "{} asks {} a question that can't be answered: {:?}",
                        self.target.endpoint(),
                        self.target.user,
                        line_up_to(&asked, QUESTION_LIMIT)
                    )));
                }
            };
            reply = self
                .handle
                .authenticate_keyboard_interactive_respond(answers)
                .await;
        }
        Err(failed(format!(
            "{} asked more than {QUESTIONS} questions",
            self.target.endpoint()
        )))
    }

    async fn send_password(&mut self) -> Result<Answer, ConnectError> {
        let Some(password) = &self.target.authentication.password else {
            return Ok(Answer::Refused);
        };
        self.report.password_is_sent();
        let sending = self
            .handle
            .authenticate_password(self.target.user.as_str(), password.expose());
        let result = sending.await.map_err(|error| error.to_string());
        let answer = self.judge(result)?;
        if answer == Answer::Refused {
            self.tried.push("password was refused".to_owned());
        }
        Ok(answer)
    }

    /// The result of one attempt. A closed connection is a refusal only if the host said why.
    pub(super) fn judge(&mut self, result: Result<AuthResult, String>) -> Result<Answer, ConnectError> {
        match result {
            Ok(AuthResult::Success) => Ok(Answer::Accepted),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) if !self.handle.is_closed() => {
                self.methods = Some(remaining_methods.to_vec());
                Ok(if partial_success {
                    Answer::Partly
                } else {
                    Answer::Refused
                })
            }
            Err(error) if !self.handle.is_closed() => Err(failed(error)),
            _ => Err(ended(self.report)),
        }
    }

    /// Lists every attempt, and the methods that the host accepts.
    fn refusal(&self) -> String {
        let (endpoint, user) = (self.target.endpoint(), &self.target.user);
        let mut text = match self.keys.refused() {
            0 => format!("{endpoint} did not let {user} in"),
            1 => format!("{endpoint} refused the key offered for {user} (1 tried)"),
            more => format!("{endpoint} refused every key offered for {user} ({more} tried)"),
        };
        for tried in &self.tried {
            text.push_str("; ");
            text.push_str(tried);
        }
        let methods = self.methods.as_deref().unwrap_or_default();
        if !methods.is_empty() {
            let names: Vec<&str> = methods.iter().map(Into::into).collect();
            text.push_str("; it accepts ");
            text.push_str(&names.join(", "));
        }
        text
    }
}

/// The host ended the connection.
fn ended(report: &Report) -> ConnectError {
    match report.said() {
        Some(said) => failed(format!("the host ended authentication: {said}")),
        None => ConnectError::new(
            Phase::Authentication,
            Class::SshInitiatedFailed,
            "the connection was closed during authentication, as sshd does for accounts that may not log in, and after LoginGraceTime",
        ),
    }
}

fn failed(message: String) -> ConnectError {
    ConnectError::new(Phase::Authentication, Class::AuthFailed, message)
}
