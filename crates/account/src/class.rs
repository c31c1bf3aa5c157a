//! Failure classes: one word for why a host ended as it did.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The final status of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every step succeeded.
    Success,
    /// A step failed, or the host could not be reached.
    Failed,
    /// Given up after its recoveries were used up.
    Quarantined,
    /// Not run, or not finished, because the run was stopped.
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

/// Declares [`Class`] from one table, so that no class lacks its status or its explanation.
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
        "every step succeeded, after at least one failure on the way"
        "a lost connection, a passing fault of the network or the mirror"
        "if it happens often on the same host, read `reveille logs RUN HOST`";
    NothingToDo "nothing_to_do" Success
        "every step was skipped"
        "the steps' conditions found the work already done"
        "nothing to do";
    Dns "dns" Failed
        "the host's name could not be resolved"
        "a typing mistake in the inventory, a stale name, a resolver that is down"
        "check with `getent hosts NAME`; set `ansible_host` if the inventory name is not a DNS name";
    ConnectRefused "connect_refused" Failed
        "the machine refused the connection: nothing listens on the port"
        "sshd is not running or listens on another port, a firewall that rejects"
        "check the port (`ansible_port`) and the machine's console";
    ConnectTimeout "connect_timeout" Failed
        "the address did not answer"
        "the machine is off or was terminated, a firewall that drops packets, a wrong address"
        "check that the machine is up; raise `--connect-timeout` on slow links";
    SshInitiatedFailed "ssh_initiated_failed" Failed
        "the connection was closed or reset before or during the SSH handshake"
        "sshd at its MaxStartups or PerSourcePenalties limit, hosts.deny, sshd restarting, another service on the port"
        "read the host's sshd log; `reveille retry` later, or lower the concurrency behind one jump host";
    HandshakeStalled "handshake_stalled" Failed
        "the connection opened, then the SSH handshake stalled"
        "an overloaded machine, a broken middlebox, a wrong MTU on the path, sshd waiting for entropy or DNS"
        "try `ssh -v` from the controller; check the machine's load";
    ProtocolError "protocol_error" Failed
        "the server does not speak SSH, or offers no algorithm that Reveille accepts"
        "another service on the port, a very old or restricted sshd"
        "compare with `ssh -vv`; the message contains what was received";
    HostKeyMismatch "host_key_mismatch" Failed
        "the host's key differs from its key in known_hosts"
        "the machine was reinstalled or replaced under the same name, or somebody intercepts the connection"
        "if you expected the change, remove the line that the message names, then `reveille retry`";
    HostKeyUnknown "host_key_unknown" Failed
        "the host's key is not in known_hosts, and the policy is strict"
        "the first contact with this host"
        "add its key to known_hosts, or use `--host-key accept-new`";
    AuthFailed "auth_failed" Failed
        "the host refused every credential offered"
        "the wrong user, a key that is not in authorized_keys, wrong permissions on the home directory, an agent with so many keys that MaxAuthTries was reached"
        "try `ssh -v USER@HOST`; set the key with `--key`";
    AuthStalled "auth_stalled" Failed
        "authentication did not finish before its deadline"
        "PAM or LDAP hanging on the host, an agent that waits for a touch"
        "read the host's auth log";
    BecomeFailed "become_failed" Failed
        "the login user could not become another user"
        "a wrong or missing password, or the user lacks the right"
        "try it by hand on the host, set the password with `-K`; Reveille does not retry, because accounts get locked";
    BecomeMissing "become_missing" Failed
        "the become program (`sudo`, `su` or `doas`) is not on the host"
        "a minimal image without sudo"
        "install it, log in as the wanted user, or drop become";
    ChannelRefused "channel_refused" Failed
        "authentication succeeded, but the host refused to open a session"
        "MaxSessions 0, a forwarding-only account, resource limits"
        "check the host's sshd configuration for this user";
    ExecRefused "exec_refused" Failed
        "the host opened a session, then refused to run a command"
        "an SFTP-only or restricted account, a missing login shell, a process limit"
        "check the user's shell and the host's sshd log";
    SshRetryFailed "ssh_retry_failed" Failed
        "all connection tries failed, for different reasons"
        "an unstable network or host; the outcome lists every cause"
        "`reveille logs RUN HOST` shows each try";
    ConnectionLost "connection_lost" Failed
        "the connection broke while a step was running and could not be re-established"
        "a reboot, a network fault, a NAT that forgets idle connections"
        "`reveille retry`; make the step idempotent or durable so that it can be resumed";
    EarlyExit "early_exit" Failed
        "the command ended without an exit status"
        "sshd or its session process was killed, the host ran out of memory"
        "read the host's kernel log";
    KilledBySignal "killed_by_signal" Failed
        "a signal killed the command"
        "out of memory (KILL), an administrator, a crash (SEGV, ABRT)"
        "the outcome names the signal; for KILL read the host's kernel log";
    CommandFailed "command_failed" Failed
        "the command exited with a status that means failure"
        "the command's last lines of output usually show it"
        "`reveille logs RUN HOST`, then `reveille retry`";
    FatalPattern "fatal_pattern" Failed
        "a line of the output matched a `fatal` pattern of the job"
        "a fault that, according to the job, another attempt does not cure"
        "read the line in the outcome; change the job or the host";
    StderrRejected "stderr_rejected" Failed
        "the command wrote to standard error, which the step does not allow"
        "the step sets `fail_on_stderr`"
        "add harmless lines to `ignore_stderr`";
    ExpectMissing "expect_missing" Failed
        "the command succeeded, but its output does not match `expect`"
        "the command did less than its exit status claims"
        "read the output with `reveille logs RUN HOST`";
    WatchdogIdle "watchdog_idle" Failed
        "the step made no progress for longer than its idle deadline and was killed"
        "a command that waits for input or for a lock, a hung mount, a dead mirror"
        "if the step is slow by nature, raise its `watchdog: {idle: …}`";
    WatchdogTotal "watchdog_total" Failed
        "the step took longer than its total deadline and was killed"
        "a slow host or mirror, a command that never ends"
        "raise the step's `watchdog: {total: …}`";
    AsksAQuestion "asks_a_question" Failed
        "the command waits for input, and nobody can answer"
        "a prompt of a package, a password prompt"
        "make the command non-interactive";
    ResultUnknown "result_unknown" Failed
        "it is unknown whether a step that is not idempotent finished, so it was not run again; or output needed to judge it was lost"
        "the connection broke during a step that is not durable, the host rebooted during the step, the step's files were removed from the host"
        "check on the host; mark the step idempotent if running it twice does no harm";
    TransferFailed "transfer_failed" Failed
        "a file could not be copied"
        "a full disk, missing permissions, a path that does not exist"
        "the message names the file and the cause";
    TemplateError "template_error" Failed
        "a template of the job could not be rendered for this host"
        "a variable that this host lacks, a registered value with another structure"
        "the message names the line; `reveille run --plan` shows it for all hosts";
    NoShell "no_shell" Failed
        "the host has no usable POSIX shell for this user"
        "ForceCommand, a restricted shell, start-up files that print or read too much"
        "the message shows what was received; use an account with a plain shell";
    BelowThreshold "below_threshold" Failed
        "a measured score is below its threshold"
        "a slow or faulty machine"
        "compare with the fleet's median in the report";
    Internal "internal" Failed
        "an internal error of Reveille ended the work on this host"
        "a bug"
        "please report it with the message and `reveille logs RUN HOST`";
    RecoveryLimit "recovery_limit" Quarantined
        "the host still failed after its recoveries were used up"
        "a fault that does not pass by itself"
        "check the host; `reveille retry` starts afresh";
    Poison "poison" Quarantined
        "the host failed in the same way on its own machine and on its replacement"
        "the cause is not the machine: the job, the host's variables, or a service that only this host uses"
        "find the cause before you replace the machine again; `reveille retry` starts afresh";
    MaxFailReached "max_fail_reached" Cancelled
        "not run, because more hosts failed than the run allows"
        "`max_fail` was exceeded, or a canary or a whole batch failed"
        "fix the cause, then `reveille retry`";
    Stopped "stopped" Cancelled
        "not finished, because the run was stopped"
        "an operator, a `once` step that failed, a refused password"
        "`reveille retry` runs these hosts";
    NotReady "not_ready" Cancelled
        "not run, because the host is marked as not ready"
        "no address yet, or the provider's checks never passed"
        "wait for the machine, then `reveille retry`";
    Ghost "ghost" Ghost
        "dispatched, and the run was closed without an outcome: unaccounted for"
        "it should never happen; the audit of a closed run finds it"
        "check the host by hand, then `reveille retry`; please report it";
}

// === impl Class ===

impl Class {
    /// Whether connecting to the host failed, as opposed to the work on it.
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

    /// Whether another try may end differently.
    ///
    /// Keys and credentials stay wrong, accounts get locked, and the second time nobody answers the question either.
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

/// A name that is not a class.
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
