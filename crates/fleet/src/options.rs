//! The options that the ledger records, so that a resumed run continues as it started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::{HostKeyPolicy, HostName};
use reveille_job::{Amount, Job};
use reveille_pace::Portion;
use reveille_transport::Deadlines;
use reveille_way::{PasswordSources, Trust, Way};
use serde::{Deserialize, Serialize};

use crate::allowance::Allowance;
use crate::diff::Preview;
use crate::plan::Settings;

/// The default number of sessions.
pub const SESSIONS: u32 = 512;

/// The options of a run, besides its job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunOptions {
    /// The limit on sessions.
    pub concurrency: Option<u32>,
    /// The sizes of the batches.
    pub serial: Vec<Portion>,
    /// The run halts if more hosts than this fail.
    pub max_fail: Option<Portion>,
    /// The number of hosts in a first batch that must not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<u32>,
    /// Failures that do not change the exit status.
    #[serde(default, skip_serializing_if = "Allowance::is_none")]
    pub allowance: Allowance,
    /// How long running steps may continue after the first request to stop, in milliseconds.
    pub grace_ms: u64,
    /// How long to keep trying to reconnect to a lost host, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect_within_ms: Option<u64>,
    /// The longest time that work may be stuck unless the operator set a deadline, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_cap_ms: Option<u64>,
    /// The shortest silence after which the watchdog checks a step without a deadline, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_floor_ms: Option<u64>,
    /// How long a TCP connection may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// What to do about host keys.
    pub host_key: HostKeyPolicy,
    /// Whether passwords may go to hosts seen for the first time.
    #[serde(default)]
    pub password_to_new_hosts: bool,
    /// Where passwords come from.
    #[serde(default, skip_serializing_if = "PasswordSources::is_none")]
    pub passwords: PasswordSources,
    /// The limit on the recorded output of all hosts together, in bytes.
    pub max_output: Option<u64>,
    /// Whether identical output of hosts is printed once.
    pub fold: bool,
    /// SHA-256 of the commands' input, which is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Known-hosts files besides the user's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_hosts: Vec<PathBuf>,
    /// Shorter deadlines and waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hurry: Option<Hurry>,
    /// The values of the environment variables that the job uses; none for those with secret names, which are not
    /// recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
    /// Whether hosts are changed, and what is told of changes.
    #[serde(default, skip_serializing_if = "Preview::is_none")]
    pub preview: Preview,
    /// How the command was typed, so that it can be suggested again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<Typed>,
    /// How to reach hosts that are not on the roll and that steps are delegated to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub delegates: BTreeMap<HostName, Way>,
}

/// A command as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    /// The directory that it ran in.
    pub directory: PathBuf,
    /// Its words, without the program's name.
    pub words: Vec<String>,
}

/// Shorter deadlines and waits, for local hosts.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Hurry {
    /// From the open connection to the SSH identification line.
    pub banner_ms: u64,
    /// Key exchange.
    pub key_exchange_ms: u64,
    /// Authentication.
    pub authentication_ms: u64,
    /// Opening a channel.
    pub channel_ms: u64,
    /// The first and the longest wait between tries.
    pub backoff_ms: (u64, u64),
}

// === impl RunOptions ===

impl RunOptions {
    /// How the run verifies hosts.
    pub fn trust(&self) -> Trust {
        Trust {
            host_keys: self.host_key,
            password_to_new_hosts: self.password_to_new_hosts,
        }
    }

    /// The deadlines of the connection phases.
    pub fn deadlines(&self) -> Deadlines {
        let connect = Duration::from_millis(self.connect_timeout_ms);
        let usual = Deadlines {
            connect,
            ..Deadlines::default()
        };
        self.hurry.map_or(usual, |hurry| Deadlines {
            banner: Duration::from_millis(hurry.banner_ms),
            key_exchange: Duration::from_millis(hurry.key_exchange_ms),
            authentication: Duration::from_millis(hurry.authentication_ms),
            channel: Duration::from_millis(hurry.channel_ms),
            ..usual
        })
    }

    /// The number of sessions wanted for this many hosts.
    pub fn sessions(&self, hosts: usize) -> u32 {
        let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
        self.concurrency.unwrap_or(SESSIONS).min(hosts).max(1)
    }

    /// The engine's settings; the job fills in what the options leave open.
    pub fn settings(&self, job: &Job, seed: u64, input: Option<Bytes>) -> Settings {
        let mut serial = self.serial.clone();
        if serial.is_empty() {
            serial = job.serial.iter().copied().map(portion).collect();
        }
        if let Some(canary) = self.canary {
            if serial.is_empty() {
                serial.push(Portion::Share(10_000));
            }
            serial.insert(0, Portion::Count(canary.into()));
        }
        let millis = Duration::from_millis;
        let usual = Settings::default();
        Settings {
            preview: self.preview,
            serial,
            max_fail: self.max_fail.or(job.max_fail.total.map(portion)),
            max_fail_batch: job.max_fail.batch.map(portion),
            canary: self.canary.is_some(),
            backoff: self.hurry.map_or(usual.backoff, |hurry| {
                let (first, longest) = hurry.backoff_ms;
                (millis(first), millis(longest))
            }),
            grace: millis(self.grace_ms),
            away: self.reconnect_within_ms.map(millis),
            silence_floor: self.silence_floor_ms.map(millis),
            hard_cap: self.hard_cap_ms.map_or(usual.hard_cap, millis),
            input,
            seed,
            ..usual
        }
    }
}

fn portion(amount: Amount) -> Portion {
    match amount {
        Amount::Hosts(count) => Portion::Count(count),
        // A portion has two decimals of a percentage.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be 0 to 100 percent"
        )]
        Amount::Percent(percent) => Portion::Share((percent * 100.0).round() as u16),
    }
}
