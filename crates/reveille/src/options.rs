//! The options that a run keeps, and what they come to for the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reveille_account::HostName;
use reveille_fleet::{HostPlan, Settings};
use reveille_job::{Amount, Job};
use reveille_ledger::output::OutputCaps;
use reveille_pace::Portion;
use reveille_transport::{Deadlines, HostKeyPolicy};
use serde::{Deserialize, Serialize};

use crate::allowance::Allowance;
use crate::cli::{Pacing, Reach};
use crate::failure::Failure;
use crate::passwords::PasswordSources;
use crate::reach::Reached;
use crate::{limits, render};

/// Sessions at once if nobody says otherwise.
const SESSIONS: u32 = 512;

/// How long a TCP connection may take if nobody says otherwise.
const CONNECT_TIMEOUT_MS: u64 = 10_000;

/// The options that a run keeps, so that `resume` goes on as it began.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Options {
    pub(crate) concurrency: Option<u32>,
    pub(crate) serial: Vec<String>,
    pub(crate) max_fail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<u32>,
    #[serde(default, skip_serializing_if = "Allowance::is_none")]
    pub(crate) allowance: Allowance,
    pub(crate) grace_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reconnect_within_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hard_cap_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) silence_floor_ms: Option<u64>,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) host_key: String,
    /// Passwords may go to hosts seen for the first time.
    #[serde(default)]
    pub(crate) password_to_new_hosts: bool,
    #[serde(default, skip_serializing_if = "PasswordSources::is_none")]
    pub(crate) passwords: PasswordSources,
    pub(crate) max_output: Option<u64>,
    pub(crate) fold: bool,
    /// SHA-256 of the commands' input, which is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<String>,
    /// Host keys that are known beside the user's files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) known_hosts: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hurry: Option<Hurry>,
    /// Ways to hosts that are not on the roll, on which steps of others run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) delegates: BTreeMap<HostName, Reached>,
}

/// Shorter deadlines and waits than the usual ones, for hosts that are next door.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "milliseconds, as in the ledger's options"
)]
pub(crate) struct Hurry {
    pub(crate) banner_ms: u64,
    pub(crate) key_exchange_ms: u64,
    pub(crate) authentication_ms: u64,
    pub(crate) channel_ms: u64,
    /// The first and the longest wait between tries.
    pub(crate) backoff_ms: (u64, u64),
}

// === impl Options ===

impl Options {
    pub(crate) fn new(reach: Option<&Reach>, pacing: &Pacing, fold: bool) -> Result<Self, Failure> {
        let options = Self {
            concurrency: pacing.concurrency,
            serial: pacing.serial.clone(),
            max_fail: pacing.max_fail.clone(),
            canary: pacing.canary,
            allowance: Allowance::new(pacing.allow_failed.as_ref(), &pacing.allow_class)?,
            grace_ms: millis(pacing.grace),
            reconnect_within_ms: pacing.reconnect_within.map(millis),
            hard_cap_ms: pacing.hard_cap.map(millis),
            silence_floor_ms: pacing.silence_floor.map(millis),
            connect_timeout_ms: reach
                .and_then(|reach| reach.connect_timeout)
                .map_or(CONNECT_TIMEOUT_MS, millis),
            host_key: reach
                .and_then(|reach| reach.host_key)
                .unwrap_or_default()
                .as_str()
                .to_owned(),
            // Whoever says so has thought of who may sit in between.
            password_to_new_hosts: reach.is_some_and(|reach| reach.host_key.is_some()),
            passwords: reach.map(PasswordSources::new).transpose()?.unwrap_or_default(),
            max_output: pacing.max_output,
            fold,
            input: None,
            known_hosts: Vec::new(),
            hurry: None,
            delegates: BTreeMap::new(),
        };
        options.portions()?;
        Ok(options)
    }

    /// For a rehearsal: host keys from a file of its own, and perhaps no time to lose.
    pub(crate) fn rehearsing(mut self, known_hosts: PathBuf, hurry: Option<Hurry>) -> Self {
        self.known_hosts.push(known_hosts);
        self.hurry = hurry;
        self
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
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

    fn portions(&self) -> Result<(Vec<Portion>, Option<Portion>), Failure> {
        let parse = |option: &str, text: &String| {
            text.parse::<Portion>()
                .map_err(|error| Failure::usage(format!("{option}: {error}")))
        };
        let serial = self
            .serial
            .iter()
            .map(|text| parse("--serial", text))
            .collect::<Result<_, _>>()?;
        let max_fail = self
            .max_fail
            .as_ref()
            .map(|text| parse("--max-fail", text))
            .transpose()?;
        Ok((serial, max_fail))
    }

    pub(crate) fn policy(&self) -> HostKeyPolicy {
        host_key_policy(&self.host_key)
    }
}

/// The policy of this name.
pub(crate) fn host_key_policy(name: &str) -> HostKeyPolicy {
    match name {
        "strict" => HostKeyPolicy::Strict,
        "off" => HostKeyPolicy::Off,
        _ => HostKeyPolicy::AcceptNew,
    }
}

/// The engine's settings, and the first line of the run.
pub(crate) fn settings(
    options: &Options,
    job: &Job,
    hosts: &[HostPlan],
    input: Option<Bytes>,
    seed: u64,
) -> Result<(Settings, String), Failure> {
    let (mut serial, mut max_fail) = options.portions()?;
    if serial.is_empty() {
        serial = job.serial.iter().copied().map(portion).collect();
    }
    if let Some(canary) = options.canary {
        if serial.is_empty() {
            serial.push(Portion::Share(10_000));
        }
        serial.insert(0, Portion::Count(canary.into()));
    }
    max_fail = max_fail.or(job.max_fail.total.map(portion));
    let wanted = options
        .concurrency
        .unwrap_or(SESSIONS)
        .min(u32::try_from(hosts.len()).unwrap_or(u32::MAX))
        .max(1);
    let limits::Fit {
        sessions,
        frugal,
        reason,
    } = limits::sessions(wanted.into()).map_err(Failure::Usage)?;
    let total = hosts.len() as u64;
    let queued = total.saturating_sub(sessions);
    let mut banner = render::text::hosts(hosts.len());
    if queued > 0 {
        let waves = total.div_ceil(sessions);
        banner = format!("{banner}: {sessions} at once, {queued} queued ({waves} waves)");
    }
    if let Some(reason) = reason {
        banner = format!("{banner}; {sessions} sessions instead of {wanted}, because of {reason}");
    }
    if let Some(canary) = options.canary {
        banner = format!("{banner}; {canary} first");
    } else if !serial.is_empty() {
        let sizes: Vec<String> = serial.iter().map(ToString::to_string).collect();
        banner = format!("{banner}; in batches of {}", sizes.join(", "));
    }
    match (max_fail, job.max_fail.batch.map(portion)) {
        (None, None) => banner.push_str("; max_fail none"),
        (Some(most), None) => banner = format!("{banner}; max_fail {most}"),
        (None, Some(batch)) => banner = format!("{banner}; max_fail {batch} of a batch"),
        (Some(most), Some(batch)) => banner = format!("{banner}; max_fail {most}, {batch} of a batch"),
    }
    let usual = Settings::default();
    let settings = Settings {
        sessions: usize::try_from(sessions).unwrap_or(usize::MAX),
        frugal,
        serial,
        max_fail,
        max_fail_batch: job.max_fail.batch.map(portion),
        canary: options.canary.is_some(),
        backoff: options.hurry.map_or(
            usual.backoff,
            |Hurry {
                 backoff_ms: (first, longest),
                 ..
             }| { (Duration::from_millis(first), Duration::from_millis(longest)) },
        ),
        grace: Duration::from_millis(options.grace_ms),
        away: options.reconnect_within_ms.map(Duration::from_millis),
        silence_floor: options.silence_floor_ms.map(Duration::from_millis),
        hard_cap: options.hard_cap_ms.map_or(usual.hard_cap, Duration::from_millis),
        caps: OutputCaps::default(),
        input,
        seed,
        ..usual
    };
    Ok((settings, banner))
}

fn portion(amount: Amount) -> Portion {
    match amount {
        Amount::Hosts(count) => Portion::Count(count),
        // Two decimals of a percentage are what a portion holds.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100 per cent were checked"
        )]
        Amount::Percent(percent) => Portion::Share((percent * 100.0).round() as u16),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
