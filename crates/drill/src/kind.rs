//! The kinds of fault: one table with their meanings and expected outcomes.

use std::fmt;
use std::str::FromStr;

use reveille_account::{Class, SourceError};
use serde::{Deserialize, Serialize};

/// The outcome of a fault that a run with default settings should report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The correct final classes.
    pub classes: &'static [Class],
    /// Whether the host can still succeed.
    pub recoverable: bool,
}

/// Where a fault shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// On the way to the host, or in its SSH server, independently of the command.
    Connection,
    /// In the machine or its commands, which only a simulated host can show.
    Machine,
}

/// A text that does not describe a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The kind does not exist.
    #[error("there is no fault {name:?}{}", hint(nearest.as_ref()))]
    Kind {
        /// The kind as given.
        name: String,
        /// The kind that was probably meant.
        nearest: Option<String>,
    },
    /// The part after `=` is missing or invalid.
    #[error("{0:?} does not name its hosts: write KIND=5%, KIND=3 or KIND=NAME,NAME")]
    Targets(String),
}

fn hint(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest:?}?"))
}

/// The properties of a kind.
struct Facts {
    name: &'static str,
    meaning: &'static str,
    shows: Shows,
    expected: Expected,
}

/// Declares [`FaultKind`] from one table, so that every kind has its name, its meaning and its expected outcome.
///
/// `(u32 = N)` is the number of a kind, with its default; `recovers` or `fails` is how its hosts should end, followed
/// by the correct classes.
macro_rules! kinds {
    ($(
        $shows:ident $variant:ident $(($number:ident = $default:literal))? $name:literal
        $meaning:literal $recoverable:ident [$($class:ident)*];
    )*) => {
        /// What is wrong with a host. The number of some kinds is written after the name: `exit_100`, `flap_2`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum FaultKind { $(#[doc = $meaning] $variant $(($number))?,)* }

        impl FaultKind {
            /// Every kind with its default number, in the order of the documentation.
            const ALL: &'static [FaultKind] = &[$(FaultKind::$variant $(($default))?,)*];

            fn facts(self) -> Facts {
                match self {
                    $(FaultKind::$variant $(($number::MIN..))? => Facts {
                        name: $name,
                        meaning: $meaning,
                        shows: Shows::$shows,
                        expected: Expected {
                            classes: &[$(Class::$class,)*],
                            recoverable: is_recoverable!($recoverable),
                        },
                    },)*
                }
            }

            /// The number of a kind that has one.
            fn number(self) -> Option<u32> {
                let mut number: Option<u32> = None;
                match self {
                    $(FaultKind::$variant $((it @ $number::MIN..))? => { $(number = Some::<$number>(it);)? })*
                }
                number
            }

            fn with_number(self, number: u32) -> Option<Self> {
                let mut kind = None;
                match self {
                    $(FaultKind::$variant $(($number::MIN..))? => {
                        $(kind = Some(FaultKind::$variant(<$number>::from(number)));)?
                    })*
                }
                kind
            }
        }
    };
}

/// The table's words for whether hosts with a fault can succeed.
macro_rules! is_recoverable {
    (recovers) => {
        true
    };
    (fails) => {
        false
    };
}

kinds! {
    Connection Refuse "refuse"
        "nothing listens on the host's port"
        fails [ConnectRefused];
    Connection ResetOnAccept "reset_on_accept"
        "each connection is reset as soon as it is accepted"
        fails [SshInitiatedFailed];
    Connection ExceededStartups(u32 = 3) "exceeded_startups"
        "the first N connections are turned away, as sshd does at its MaxStartups limit"
        recovers [Ok OkAfterRecovery];
    Connection Penalties(u32 = 20) "penalties"
        "the first connection is closed during the handshake, then every one at once for N seconds, as sshd \
         does with PerSourcePenalties"
        recovers [OkAfterRecovery];
    Connection BannerStall "banner_stall"
        "connections are accepted, but the server sends nothing"
        fails [HandshakeStalled];
    Connection PrebannerLines(u32 = 5) "prebanner_lines"
        "N lines come before the SSH identification, which the protocol allows"
        recovers [Ok];
    Connection PrebannerEndless "prebanner_endless"
        "endless lines come instead of the SSH identification"
        fails [ProtocolError HandshakeStalled];
    Connection GarbageBanner "garbage_banner"
        "a web server answers"
        fails [ProtocolError];
    Connection KexStall "kex_stall"
        "the server sends nothing after its identification"
        fails [HandshakeStalled];
    Connection StallOnce(u32 = 1) "stall_once"
        "the first N connections stall in the key exchange"
        recovers [OkAfterRecovery];
    Connection AuthStall "auth_stall"
        "requests to authenticate are never answered"
        fails [AuthStalled];
    Connection AuthFail "auth_fail"
        "no credential is accepted"
        fails [AuthFailed];
    Connection HostKeyChanged "host_key_changed"
        "the host key is not the one in the fleet's known_hosts"
        fails [HostKeyMismatch];
    Connection ChannelRefused "channel_refused"
        "no session channel can be opened"
        fails [ChannelRefused];
    Connection MaxSessions(u32 = 1) "max_sessions"
        "a connection carries at most N sessions at once"
        recovers [Ok OkAfterRecovery];
    Connection ForceCommand "force_command"
        "another command runs instead of the requested one"
        fails [NoShell];
    Connection ExecRefused "exec_refused"
        "requests to run a command are refused"
        fails [ExecRefused];
    Connection ExecStall "exec_stall"
        "requests to run a command are never answered"
        fails [ConnectionLost];
    Connection LateExec(u32 = 3) "late_exec"
        "commands start N seconds after the request"
        recovers [Ok];
    Connection Latency(u32 = 300) "latency"
        "everything takes N milliseconds longer"
        recovers [Ok];
    Connection Bandwidth(u32 = 8) "bandwidth"
        "a connection carries only N KiB/s each way"
        recovers [Ok];
    Machine SlowDrip "slow_drip"
        "output comes byte by byte: slow, but alive"
        recovers [Ok];
    Machine Flood(u32 = 64) "flood"
        "N MiB of output come at once"
        recovers [Ok];
    Machine BinaryOutput "binary_output"
        "the output contains invalid UTF-8 and escape sequences"
        recovers [Ok];
    Machine PartialStall "partial_stall"
        "some output comes, then nothing"
        fails [WatchdogIdle WatchdogTotal];
    Machine EarlyExit "early_exit"
        "the command vanishes without an exit status"
        fails [EarlyExit];
    Machine EofNoClose "eof_no_close"
        "the output ends, but the channel stays open without an exit status"
        fails [WatchdogIdle WatchdogTotal];
    Connection DisconnectMid "disconnect_mid"
        "each connection breaks while a command runs"
        fails [ConnectionLost];
    Connection DropOnce(u32 = 1) "drop_once"
        "the first N connections break while a command runs"
        recovers [OkAfterRecovery];
    Connection Flap(u32 = 3) "flap"
        "the first N connections break, each in a different phase"
        recovers [OkAfterRecovery];
    Connection IdleNatDrop(u32 = 1) "idle_nat_drop"
        "after N seconds without traffic a connection drops everything, both ways"
        recovers [OkAfterRecovery];
    Machine Exit(u32 = 1) "exit"
        "commands exit with status N"
        fails [CommandFailed];
    Machine StderrWarning "stderr_warning"
        "commands succeed and warn on standard error"
        recovers [Ok];
    Machine StderrError "stderr_error"
        "commands print an error on standard error and exit with status 1"
        fails [CommandFailed];
    Machine Killed "killed"
        "commands are killed by SIGKILL"
        fails [KilledBySignal];
    Machine Reboot(u32 = 1) "reboot"
        "the host reboots while a command runs, and refuses connections for N seconds"
        fails [ResultUnknown];
    Machine Replaced(u32 = 2) "replaced"
        "from connection N on another machine answers, and earlier ones break while a command runs"
        fails [HostKeyMismatch];
    Machine ClockJump "clock_jump"
        "the host's clock jumps an hour while a command runs"
        recovers [Ok];
    Machine DiskFull "disk_full"
        "the host's disk is full"
        fails [TransferFailed];
}

// === impl FaultKind ===

impl FaultKind {
    /// Every kind with its default number.
    pub fn all() -> impl Iterator<Item = FaultKind> {
        Self::ALL.iter().copied()
    }

    /// The kind's name without its number.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// What is wrong, as a clause.
    pub fn meaning(self) -> &'static str {
        self.facts().meaning
    }

    /// Where it shows.
    pub fn shows(self) -> Shows {
        self.facts().shows
    }

    /// The outcome that a run with default settings should report.
    pub fn expected(self) -> Expected {
        match self {
            FaultKind::Exit(0) => Expected {
                classes: &[Class::Ok],
                recoverable: true,
            },
            // More than a host's attempts.
            FaultKind::Flap(5..) | FaultKind::StallOnce(5..) => Expected {
                classes: &[
                    Class::SshInitiatedFailed,
                    Class::HandshakeStalled,
                    Class::SshRetryFailed,
                ],
                recoverable: false,
            },
            _ => self.facts().expected,
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

impl TryFrom<String> for FaultKind {
    type Error = FaultError;

    fn try_from(text: String) -> Result<Self, FaultError> {
        text.parse()
    }
}

impl From<FaultKind> for String {
    fn from(kind: FaultKind) -> Self {
        kind.to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_parses_its_own_text() {
        for kind in FaultKind::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
            assert!(!kind.expected().classes.is_empty());
            assert!(!kind.meaning().ends_with('.'));
        }
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!("exit_100".parse(), Ok(FaultKind::Exit(100)));
        assert_eq!("penalties_5".parse(), Ok(FaultKind::Penalties(5)));
        assert_eq!("bandwidth_16".parse(), Ok(FaultKind::Bandwidth(16)));
        assert!("killed_2".parse::<FaultKind>().is_err());
    }
}
