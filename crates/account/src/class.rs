//! Failure classes: one word for why a host ended as it did.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a host ended, in the coarsest useful words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All steps did what they should.
    Success,
    /// Some step, or the way to the host, did not.
    Failed,
    /// Given up after its recoveries were used up.
    Quarantined,
    /// Never ran to its end because the run was stopped.
    Cancelled,
    /// Dispatched in a run that is closed, with no outcome: unaccounted for.
    Ghost,
}

// === impl Status ===

impl Status {
    /// The word used in files and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Failed => "failed",
            Status::Quarantined => "quarantined",
            Status::Cancelled => "cancelled",
            Status::Ghost => "ghost",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Declares [`Class`] from one table, so that a class can't lack its status or its explanation.
macro_rules! classes {
    ($($variant:ident $name:literal $status:ident $meaning:literal $causes:literal $next:literal;)*) => {
        /// Why a host ended as it did. The names are covered by semantic versioning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Class { $(#[doc = $meaning] $variant,)* }

        impl Class {
            /// Every class, in the order of the documentation.
            pub const ALL: &'static [Class] = &[$(Class::$variant,)*];

            /// The name used in files and on screens.
            pub fn as_str(self) -> &'static str {
                match self { $(Class::$variant => $name,)* }
            }

            /// The status that a host of this class has.
            pub fn status(self) -> Status {
                match self { $(Class::$variant => Status::$status,)* }
            }

            /// What the class means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Class::$variant => $meaning,)* }
            }

            /// What usually causes it.
            pub fn causes(self) -> &'static str {
                match self { $(Class::$variant => $causes,)* }
            }

            /// What to do next.
            pub fn next(self) -> &'static str {
                match self { $(Class::$variant => $next,)* }
            }
        }

        impl FromStr for Class {
            type Err = UnknownClass;

            fn from_str(name: &str) -> Result<Self, UnknownClass> {
                match name { $($name => Ok(Class::$variant),)* _ => Err(UnknownClass(name.to_owned())) }
            }
        }
    };
}

classes! {
    Ok "ok" Success
        "every step succeeded"
        "the host did what was asked"
        "nothing to do";
    OkAfterRecovery "ok_after_recovery" Success
        "every step succeeded, after the host had failed and was brought back"
        "a lost connection, a passing fault of the network or the mirror"
        "look at `reveille logs RUN HOST` if it happens often on the same host";
    NothingToDo "nothing_to_do" Success
        "every step was skipped"
        "the conditions of the steps say that the work is already done"
        "nothing to do";
    Dns "dns" Failed
        "the host's name could not be resolved"
        "a typing mistake in the inventory, a stale name, a resolver that is down"
        "check with `getent hosts NAME`; set `ansible_host` if the inventory name is not a DNS name";
    ConnectRefused "connect_refused" Failed
        "the address refused the connection: the machine answers, nothing listens on the port"
        "sshd is not running, another port, a firewall that rejects"
        "check the port (`ansible_port`) and the machine's console";
    ConnectTimeout "connect_timeout" Failed
        "the address did not answer the connection"
        "the machine is off or was terminated, a firewall that drops, a wrong address"
        "check that the machine is up; raise `--connect-timeout` on slow links";
    SshInitiatedFailed "ssh_initiated_failed" Failed
        "the connection was closed or reset before or during the SSH handshake"
        "sshd at its MaxStartups or PerSourcePenalties limit, hosts.deny, sshd restarting, another service on the port"
        "read the host's sshd log; `reveille retry` later, or lower the concurrency behind one bastion";
    HandshakeStalled "handshake_stalled" Failed
        "the connection opened, then the SSH handshake stopped moving"
        "an overloaded machine, a broken middlebox, a wrong MTU on the path, sshd waiting for entropy or DNS"
        "try `ssh -v` from the controller; look at the machine's load";
    ProtocolError "protocol_error" Failed
        "what answered does not speak SSH, or not with any algorithm we accept"
        "another service on the port, a very old or restricted sshd"
        "compare with `ssh -vv`; the message names what was received";
    HostKeyMismatch "host_key_mismatch" Failed
        "the host's key is not the one that known_hosts has for it"
        "the machine was reinstalled or replaced under the same name, or somebody is in between"
        "if the change is expected, remove the line that the message names, then `reveille retry`";
    HostKeyUnknown "host_key_unknown" Failed
        "the host's key is not in known_hosts, and the policy is strict"
        "the first contact with this host"
        "add its key to known_hosts, or use `--host-key accept-new`";
    AuthFailed "auth_failed" Failed
        "the host refused every credential offered"
        "the wrong user, a key that is not in authorized_keys, wrong permissions of the home directory, MaxAuthTries used up by an agent with many keys"
        "try `ssh -v USER@HOST`; name the key with `--key`";
    AuthStalled "auth_stalled" Failed
        "authentication did not finish before its deadline"
        "PAM or LDAP hanging on the host, an agent that waits for a touch"
        "look at the host's auth log";
    BecomeFailed "become_failed" Failed
        "the user could not become another user on the host"
        "a wrong password or none, or the user is not allowed to"
        "check by hand on the host, give the password with -K; never tried again by itself because accounts get locked";
    BecomeMissing "become_missing" Failed
        "the program to become another user is not on the host"
        "a minimal image without sudo"
        "install it, log in as the wanted user, or drop become";
    ChannelRefused "channel_refused" Failed
        "the host authenticated us, then refused to open a session"
        "MaxSessions 0, a forwarding-only account, resource limits"
        "look at the host's sshd configuration for this user";
    ExecRefused "exec_refused" Failed
        "the host opened a session, then refused to run a command"
        "an SFTP-only or restricted account, a missing login shell, no processes left"
        "look at the user's shell and the host's sshd log";
    SshRetryFailed "ssh_retry_failed" Failed
        "all connection tries failed, for different reasons"
        "an unstable network or host; the outcome lists every cause"
        "`reveille logs RUN HOST` shows the tries one by one";
    ConnectionLost "connection_lost" Failed
        "the connection broke while a step was running and could not be re-established"
        "a reboot, a network fault, a NAT that forgets idle connections"
        "`reveille retry`; make the step idempotent or durable so that it can be continued";
    EarlyExit "early_exit" Failed
        "the command ended without telling an exit status"
        "sshd or its session process was killed, the memory ran out on the host"
        "look at the host's kernel log";
    KilledBySignal "killed_by_signal" Failed
        "the command was ended by a signal"
        "out of memory (KILL), an administrator, a crash (SEGV, ABRT)"
        "the outcome names the signal; look at the host's kernel log for KILL";
    CommandFailed "command_failed" Failed
        "the command ended with an exit status that is not a success"
        "whatever the command says in its last lines"
        "`reveille logs RUN HOST`, then `reveille retry`";
    FatalPattern "fatal_pattern" Failed
        "the output has a line that the job calls fatal"
        "the job's `fatal` patterns name what can't be cured by another attempt"
        "read the line in the outcome; change the job or the host";
    StderrRejected "stderr_rejected" Failed
        "the command wrote to standard error, which the job does not allow"
        "`fail_on_stderr` of the step"
        "add the harmless lines to `ignore_stderr`";
    ExpectMissing "expect_missing" Failed
        "the command succeeded, but what `expect` asks for is not in its output"
        "the command did less than its exit status says"
        "read the output with `reveille logs RUN HOST`";
    WatchdogIdle "watchdog_idle" Failed
        "nothing came from the step for longer than its idle deadline; it was killed"
        "a command that waits for input or for a lock, a hung mount, a dead mirror"
        "raise `watchdog: {idle: …}` of the step if it is slow by nature";
    WatchdogTotal "watchdog_total" Failed
        "the step took longer than its total deadline; it was killed"
        "a slow host or mirror, a command that never ends"
        "raise `watchdog: {total: …}` of the step";
    AsksAQuestion "asks_a_question" Failed
        "the command waits for an answer that nobody will give"
        "a prompt of a package, a password question"
        "make the command non-interactive";
    ResultUnknown "result_unknown" Failed
        "it can't be known whether the step ran to its end, and it is not idempotent, so it was not run again; or output that it is judged by was lost"
        "the connection broke during a step that was not durable, the host rebooted in the middle, what it said was removed from the host"
        "look on the host; mark the step idempotent if running it twice does no harm";
    TransferFailed "transfer_failed" Failed
        "a file could not be copied"
        "no space, missing permissions, a path that does not exist"
        "the message names file and cause";
    TemplateError "template_error" Failed
        "a template of the job could not be rendered for this host"
        "a variable that this host lacks, a registered value of another shape"
        "the message names the line; `reveille run --plan` shows it for all hosts";
    NoShell "no_shell" Failed
        "the host gave us no usable POSIX shell"
        "ForceCommand, a restricted shell, start-up files that print or read too much"
        "the message shows what was received; use an account with a plain shell";
    BelowThreshold "below_threshold" Failed
        "a measured score is under the mark that was asked for"
        "a slow or faulty machine"
        "compare with the fleet's median in the report";
    Internal "internal" Failed
        "a fault of Reveille's own ended the work on this host"
        "a bug"
        "please report it with the message and `reveille logs RUN HOST`";
    RecoveryLimit "recovery_limit" Quarantined
        "the host failed again after all its recoveries"
        "a fault that does not pass by itself"
        "look at the host; `reveille retry` starts afresh";
    Poison "poison" Quarantined
        "working on this host breaks more than this host"
        "a machine that damages what it touches"
        "take it out of the fleet";
    MaxFailReached "max_fail_reached" Cancelled
        "not run, because more hosts failed than the run allows"
        "`max_fail` of the run"
        "mend the cause, then `reveille retry`";
    Stopped "stopped" Cancelled
        "not run to its end, because the run was stopped"
        "an operator, or a `once` step that failed"
        "`reveille retry` runs these hosts";
    NotReady "not_ready" Cancelled
        "not run, because the host is marked as not ready"
        "no address yet, or the provider's checks never passed"
        "wait for the machine, then `reveille retry`";
    Ghost "ghost" Ghost
        "dispatched, and the run was closed without an outcome: unaccounted for"
        "found by the audit of a closed run; it should never happen"
        "look at the host by hand, then `reveille retry`; please report it";
}

// === impl Class ===

impl Class {
    /// Whether this says that the way to the host failed, not the work on it.
    pub fn is_connection(self) -> bool {
        matches!(
            self,
            Class::Dns
                | Class::ConnectRefused
                | Class::ConnectTimeout
                | Class::SshInitiatedFailed
                | Class::HandshakeStalled
                | Class::ProtocolError
                | Class::HostKeyMismatch
                | Class::HostKeyUnknown
                | Class::AuthFailed
                | Class::AuthStalled
                | Class::ChannelRefused
                | Class::SshRetryFailed
        )
    }

    /// Whether a further connection try may end differently.
    ///
    /// Keys and credentials do not get better by trying, and accounts get locked; nobody answers a question the second
    /// time either.
    pub fn may_pass(self) -> bool {
        !matches!(
            self,
            Class::HostKeyMismatch
                | Class::HostKeyUnknown
                | Class::AuthFailed
                | Class::BecomeFailed
                | Class::BecomeMissing
                | Class::NoShell
                | Class::TemplateError
                | Class::FatalPattern
                | Class::AsksAQuestion
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// A name that is no class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownClass(String);

impl fmt::Display for UnknownClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no class is named {:?}", self.0)
    }
}

impl std::error::Error for UnknownClass {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for class in Class::ALL {
            assert_eq!(class.as_str().parse(), Ok(*class));
            assert!(!class.meaning().ends_with('.'));
        }
        assert!("okay".parse::<Class>().is_err());
    }
}
