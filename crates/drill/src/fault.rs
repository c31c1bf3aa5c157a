//! Faults: what can be wrong with a host, whom it strikes, and what a run should make of it.

use std::fmt;
use std::str::FromStr;

use reveille_account::{Class, HostName, SourceError};
use reveille_pace::Portion;

/// A kind of fault and the hosts that it strikes: `refuse=5%`, `kex_stall=3`, `exit_100=drill-0001,drill-0007`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Whom it strikes.
    pub targets: Targets,
}

/// The hosts that a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// So many, chosen by the seed among those that have no fault yet.
    Some(Portion),
    /// These.
    Hosts(Vec<HostName>),
}

/// What a run with default settings should make of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The final classes that are right.
    pub classes: &'static [Class],
    /// Whether the host can succeed in the end although something went wrong.
    pub recoverable: bool,
}

/// A text that describes no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The kind is not known.
    #[error("no fault is called {name:?}{}", hint(nearest.as_ref()))]
    Kind {
        /// What was asked for.
        name: String,
        /// What was perhaps meant.
        nearest: Option<String>,
    },
    /// The part after `=` is missing or wrong.
    #[error("{0:?} does not say whom it strikes: write KIND=5%, KIND=3 or KIND=NAME,NAME")]
    Targets(String),
}

fn hint(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest:?}?"))
}

/// What is wrong with a host. The number of some kinds is written after the name: `exit_100`, `flap_2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Nothing listens on the host's port.
    Refuse,
    /// Each connection is reset as soon as it is accepted.
    ResetOnAccept,
    /// The first connections are turned away as sshd does at its MaxStartups limit.
    ExceededStartups(u32),
    /// Connections are accepted and nothing is ever said.
    BannerStall,
    /// Lines come before the SSH identification, which the protocol allows.
    PrebannerLines(u32),
    /// Lines come instead of the SSH identification, without end.
    PrebannerEndless,
    /// A web server answers.
    GarbageBanner,
    /// After the identification nothing is said any more.
    KexStall,
    /// The first connections stall in the key exchange.
    StallOnce(u32),
    /// Requests to authenticate are never answered.
    AuthStall,
    /// No credential is accepted.
    AuthFail,
    /// The host key is not the one in the fleet's known_hosts.
    HostKeyChanged,
    /// No session channel can be opened.
    ChannelRefused,
    /// A connection carries only so many sessions at once.
    MaxSessions(u32),
    /// Whatever is asked for, another command runs.
    ForceCommand,
    /// Requests to run a command are refused.
    ExecRefused,
    /// Requests to run a command are never answered.
    ExecStall,
    /// Commands start some seconds after they were asked for.
    LateExec(u32),
    /// Everything takes some milliseconds longer.
    Latency(u32),
    /// Output comes byte by byte: slow, and alive.
    SlowDrip,
    /// So many MiB of output come at once.
    Flood(u32),
    /// The output has invalid UTF-8 and escape sequences.
    BinaryOutput,
    /// Some output comes, then nothing any more.
    PartialStall,
    /// The channel is closed without an exit status.
    EarlyExit,
    /// The output ends, and the channel stays open without an exit status.
    EofNoClose,
    /// Each connection breaks while a command runs.
    DisconnectMid,
    /// The first connections break while a command runs.
    DropOnce(u32),
    /// The first connections break, each in another phase.
    Flap(u32),
    /// Commands end with this exit status.
    Exit(u32),
    /// Commands succeed and warn on standard error.
    StderrWarning,
    /// Commands complain on standard error and end with status 1.
    StderrError,
    /// Commands are ended by the signal KILL.
    Killed,
}

/// What is known of a kind.
struct Facts {
    name: &'static str,
    meaning: &'static str,
    classes: &'static [Class],
    recoverable: bool,
}

// === impl FaultKind ===

impl FaultKind {
    /// Every kind, the numbers being the defaults.
    const ALL: [FaultKind; 32] = [
        FaultKind::Refuse,
        FaultKind::ResetOnAccept,
        FaultKind::ExceededStartups(3),
        FaultKind::BannerStall,
        FaultKind::PrebannerLines(5),
        FaultKind::PrebannerEndless,
        FaultKind::GarbageBanner,
        FaultKind::KexStall,
        FaultKind::StallOnce(1),
        FaultKind::AuthStall,
        FaultKind::AuthFail,
        FaultKind::HostKeyChanged,
        FaultKind::ChannelRefused,
        FaultKind::MaxSessions(1),
        FaultKind::ForceCommand,
        FaultKind::ExecRefused,
        FaultKind::ExecStall,
        FaultKind::LateExec(3),
        FaultKind::Latency(300),
        FaultKind::SlowDrip,
        FaultKind::Flood(64),
        FaultKind::BinaryOutput,
        FaultKind::PartialStall,
        FaultKind::EarlyExit,
        FaultKind::EofNoClose,
        FaultKind::DisconnectMid,
        FaultKind::DropOnce(1),
        FaultKind::Flap(3),
        FaultKind::Exit(1),
        FaultKind::StderrWarning,
        FaultKind::StderrError,
        FaultKind::Killed,
    ];

    /// Every kind, with its default number.
    pub fn all() -> impl Iterator<Item = FaultKind> {
        Self::ALL.into_iter()
    }

    /// The kind's name without its number.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// What is wrong, in a clause.
    pub fn meaning(self) -> &'static str {
        self.facts().meaning
    }

    /// What a run with default settings should make of it.
    pub fn expected(self) -> Expected {
        match self {
            FaultKind::Exit(0) => Expected {
                classes: &[Class::Ok],
                recoverable: true,
            },
            // More than the tries that a host has.
            FaultKind::Flap(5..) | FaultKind::StallOnce(5..) => Expected {
                classes: &[
                    Class::SshInitiatedFailed,
                    Class::HandshakeStalled,
                    Class::SshRetryFailed,
                ],
                recoverable: false,
            },
            _ => Expected {
                classes: self.facts().classes,
                recoverable: self.facts().recoverable,
            },
        }
    }

    fn number(self) -> Option<u32> {
        match self {
            FaultKind::ExceededStartups(number)
            | FaultKind::PrebannerLines(number)
            | FaultKind::StallOnce(number)
            | FaultKind::MaxSessions(number)
            | FaultKind::LateExec(number)
            | FaultKind::Latency(number)
            | FaultKind::Flood(number)
            | FaultKind::DropOnce(number)
            | FaultKind::Flap(number)
            | FaultKind::Exit(number) => Some(number),
            _ => None,
        }
    }

    fn with_number(self, number: u32) -> Option<Self> {
        Some(match self {
            FaultKind::ExceededStartups(_) => FaultKind::ExceededStartups(number),
            FaultKind::PrebannerLines(_) => FaultKind::PrebannerLines(number),
            FaultKind::StallOnce(_) => FaultKind::StallOnce(number),
            FaultKind::MaxSessions(_) => FaultKind::MaxSessions(number),
            FaultKind::LateExec(_) => FaultKind::LateExec(number),
            FaultKind::Latency(_) => FaultKind::Latency(number),
            FaultKind::Flood(_) => FaultKind::Flood(number),
            FaultKind::DropOnce(_) => FaultKind::DropOnce(number),
            FaultKind::Flap(_) => FaultKind::Flap(number),
            FaultKind::Exit(_) => FaultKind::Exit(number),
            _ => return None,
        })
    }

    fn facts(self) -> Facts {
        let (name, meaning, classes, recoverable): (_, _, &[Class], _) = match self {
            FaultKind::Refuse => (
                "refuse",
                "nothing listens on the host's port",
                &[Class::ConnectRefused],
                false,
            ),
            FaultKind::ResetOnAccept => (
                "reset_on_accept",
                "each connection is reset as soon as it is accepted",
                &[Class::SshInitiatedFailed],
                false,
            ),
            FaultKind::ExceededStartups(_) => (
                "exceeded_startups",
                "the first connections are turned away as sshd does at its MaxStartups limit",
                &[Class::Ok, Class::OkAfterRecovery],
                true,
            ),
            FaultKind::BannerStall => (
                "banner_stall",
                "connections are accepted and nothing is ever said",
                &[Class::HandshakeStalled],
                false,
            ),
            FaultKind::PrebannerLines(_) => (
                "prebanner_lines",
                "lines come before the SSH identification, which the protocol allows",
                &[Class::Ok],
                true,
            ),
            FaultKind::PrebannerEndless => (
                "prebanner_endless",
                "lines come instead of the SSH identification, without end",
                &[Class::ProtocolError, Class::HandshakeStalled],
                false,
            ),
            FaultKind::GarbageBanner => (
                "garbage_banner",
                "a web server answers",
                &[Class::ProtocolError],
                false,
            ),
            FaultKind::KexStall => (
                "kex_stall",
                "after the identification nothing is said any more",
                &[Class::HandshakeStalled],
                false,
            ),
            FaultKind::StallOnce(_) => (
                "stall_once",
                "the first connections stall in the key exchange",
                &[Class::OkAfterRecovery],
                true,
            ),
            FaultKind::AuthStall => (
                "auth_stall",
                "requests to authenticate are never answered",
                &[Class::AuthStalled],
                false,
            ),
            FaultKind::AuthFail => (
                "auth_fail",
                "no credential is accepted",
                &[Class::AuthFailed],
                false,
            ),
            FaultKind::HostKeyChanged => (
                "host_key_changed",
                "the host key is not the one in the fleet's known_hosts",
                &[Class::HostKeyMismatch],
                false,
            ),
            FaultKind::ChannelRefused => (
                "channel_refused",
                "no session channel can be opened",
                &[Class::ChannelRefused],
                false,
            ),
            FaultKind::MaxSessions(_) => (
                "max_sessions",
                "a connection carries only so many sessions at once",
                &[Class::Ok, Class::OkAfterRecovery],
                true,
            ),
            FaultKind::ForceCommand => (
                "force_command",
                "whatever is asked for, another command runs",
                &[Class::NoShell],
                false,
            ),
            FaultKind::ExecRefused => (
                "exec_refused",
                "requests to run a command are refused",
                &[Class::ExecRefused],
                false,
            ),
            FaultKind::ExecStall => (
                "exec_stall",
                "requests to run a command are never answered",
                &[Class::ConnectionLost],
                false,
            ),
            FaultKind::LateExec(_) => (
                "late_exec",
                "commands start some seconds after they were asked for",
                &[Class::Ok],
                true,
            ),
            FaultKind::Latency(_) => (
                "latency",
                "everything takes some milliseconds longer",
                &[Class::Ok],
                true,
            ),
            FaultKind::SlowDrip => (
                "slow_drip",
                "output comes byte by byte: slow, and alive",
                &[Class::Ok],
                true,
            ),
            FaultKind::Flood(_) => ("flood", "so many MiB of output come at once", &[Class::Ok], true),
            FaultKind::BinaryOutput => (
                "binary_output",
                "the output has invalid UTF-8 and escape sequences",
                &[Class::Ok],
                true,
            ),
            FaultKind::PartialStall => (
                "partial_stall",
                "some output comes, then nothing any more",
                &[Class::WatchdogIdle, Class::WatchdogTotal],
                false,
            ),
            FaultKind::EarlyExit => (
                "early_exit",
                "the command vanishes without an exit status",
                &[Class::EarlyExit],
                false,
            ),
            FaultKind::EofNoClose => (
                "eof_no_close",
                "the output ends, and the channel stays open without an exit status",
                &[Class::WatchdogIdle, Class::WatchdogTotal],
                false,
            ),
            FaultKind::DisconnectMid => (
                "disconnect_mid",
                "each connection breaks while a command runs",
                &[Class::ConnectionLost],
                false,
            ),
            FaultKind::DropOnce(_) => (
                "drop_once",
                "the first connections break while a command runs",
                &[Class::OkAfterRecovery],
                true,
            ),
            FaultKind::Flap(_) => (
                "flap",
                "the first connections break, each in another phase",
                &[Class::OkAfterRecovery],
                true,
            ),
            FaultKind::Exit(_) => (
                "exit",
                "commands end with this exit status",
                &[Class::CommandFailed],
                false,
            ),
            FaultKind::StderrWarning => (
                "stderr_warning",
                "commands succeed and warn on standard error",
                &[Class::Ok],
                true,
            ),
            FaultKind::StderrError => (
                "stderr_error",
                "commands complain on standard error and end with status 1",
                &[Class::CommandFailed],
                false,
            ),
            FaultKind::Killed => (
                "killed",
                "commands are ended by the signal KILL",
                &[Class::KilledBySignal],
                false,
            ),
        };
        Facts {
            name,
            meaning,
            classes,
            recoverable,
        }
    }
}

impl FromStr for FaultKind {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let named = |name: &str| FaultKind::all().find(|kind| kind.name() == name);
        let numbered = || {
            let (name, number) = text.rsplit_once('_')?;
            let number = number.parse().ok().filter(|number| *number <= 1_000_000)?;
            named(name)?.with_number(number)
        };
        named(text).or_else(numbered).ok_or_else(|| FaultError::Kind {
            name: text.to_owned(),
            nearest: SourceError::nearest(text, FaultKind::all().map(FaultKind::name)).map(str::to_owned),
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        match self.number() {
            Some(number) => write!(formatter, "_{number}"),
            None => Ok(()),
        }
    }
}

// === impl Fault ===

impl Fault {
    /// What a run with default settings should make of it.
    pub fn expected(&self) -> Expected {
        self.kind.expected()
    }

    /// Reads `KIND=SHARE`, `KIND=COUNT` or `KIND=NAME,NAME`.
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let wrong = || FaultError::Targets(text.to_owned());
        let (kind, targets) = text.split_once('=').unwrap_or((text, ""));
        let kind = kind.trim().parse()?;
        let targets = targets.trim();
        let targets = match targets.parse::<Portion>() {
            Ok(portion) => Targets::Some(portion),
            Err(_) if targets.contains('%') => return Err(wrong()),
            Err(_) => {
                let hosts: Vec<HostName> = targets
                    .split(',')
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .map(HostName::from)
                    .collect();
                if hosts.is_empty() {
                    return Err(wrong());
                }
                Targets::Hosts(hosts)
            }
        };
        Ok(Self { kind, targets })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.targets {
            Targets::Some(portion) => write!(formatter, "{}={portion}", self.kind),
            Targets::Hosts(hosts) => {
                let names: Vec<&str> = hosts.iter().map(HostName::as_str).collect();
                write!(formatter, "{}={}", self.kind, names.join(","))
            }
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_itself_back() {
        for kind in FaultKind::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
            assert!(!kind.expected().classes.is_empty());
            assert!(!kind.meaning().ends_with('.'));
        }
    }

    #[test]
    fn reads_whom_it_strikes() {
        let fault = |text: &str| Fault::parse(text).unwrap();
        assert_eq!(fault("refuse=5%").targets, Targets::Some(Portion::Share(500)));
        assert_eq!(fault("exit_100=3").kind, FaultKind::Exit(100));
        assert_eq!(fault("flap=3").kind, FaultKind::Flap(3));
        assert_eq!(
            fault("killed=drill-0001, drill-0007").targets,
            Targets::Hosts(vec!["drill-0001".into(), "drill-0007".into()])
        );
        for text in ["refuse=5%", "exit_100=3", "killed=drill-0001,drill-0007"] {
            assert_eq!(fault(text).to_string(), text);
        }
        assert_eq!(
            Fault::parse("refused=1").unwrap_err().to_string(),
            "no fault is called \"refused\"; did you mean \"refuse\"?"
        );
        for text in ["refuse", "refuse=", "refuse=101%", "refuse_3=1", "", "exit_x=1"] {
            assert!(Fault::parse(text).is_err(), "{text}");
        }
    }
}
