//! Turns options of the command line into options of a run.

use std::time::Duration;

use reveille_account::{Given, TransportKind};
use reveille_fleet::{Allowance, ClassAllowance, Fit, RunOptions, Settings};
use reveille_pace::Portion;
use reveille_text::counted;
use reveille_way::{Asked, InventorySources, PasswordSources};

use crate::cli::{Choice, Link, Origins, Pacing, PasswordArgs, Reach};
use crate::failure::Failure;

/// Default of `--connect-timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Options that only SSH connections use.
const OF_SSH: &[&str] = &["user", "key", "port", "ssh-config", "connect-timeout", "host-key"];

/// The options that the ledger records with a run.
pub(crate) fn run_options(reach: Option<&Reach>, pacing: &Pacing, fold: bool) -> Result<RunOptions, Failure> {
    let portion = |option: &str, text: &String| {
        text.parse::<Portion>()
            .map_err(|error| Failure::usage(format!("{option}: {error}")))
    };
    let serial = pacing.serial.iter().map(|text| match portion("--serial", text)? {
        Portion::Count(0) | Portion::Share(0) => {
            Err(Failure::usage("--serial: a batch needs at least one host"))
        }
        portion => Ok(portion),
    });
    let max_fail = pacing.max_fail.as_ref().map(|text| portion("--max-fail", text));
    let allow_failed = pacing
        .allow_failed
        .as_ref()
        .map(|text| portion("--allow-failed", text));
    let classes = pacing.allow_class.iter().map(|text| {
        text.parse::<ClassAllowance>()
            .map_err(|why| Failure::usage(format!("--allow-class {text}: {why}")))
    });
    Ok(RunOptions {
        concurrency: pacing.concurrency,
        serial: serial.collect::<Result<_, _>>()?,
        max_fail: max_fail.transpose()?,
        canary: pacing.canary,
        allowance: Allowance {
            failed: allow_failed.transpose()?,
            classes: classes.collect::<Result<_, _>>()?,
        },
        grace_ms: millis(pacing.grace),
        reconnect_within_ms: pacing.reconnect_within.map(millis),
        hard_cap_ms: pacing.hard_cap.map(millis),
        silence_floor_ms: pacing.silence_floor.map(millis),
        connect_timeout_ms: millis(
            reach
                .and_then(|reach| reach.link.connect_timeout)
                .unwrap_or(CONNECT_TIMEOUT),
        ),
        host_key: reach.and_then(|reach| reach.link.host_key).unwrap_or_default(),
        // A user who names a policy has decided which new keys to trust.
        password_to_new_hosts: reach.is_some_and(|reach| reach.link.host_key.is_some()),
        passwords: reach
            .map(|reach| password_sources(&reach.passwords))
            .transpose()?
            .unwrap_or_default(),
        max_output: pacing.max_output.map(|most| most.0),
        fold,
        ..RunOptions::default()
    })
}

pub(crate) fn password_sources(args: &PasswordArgs) -> Result<PasswordSources, Failure> {
    let sources = PasswordSources {
        ask: args.ask_pass,
        ask_become: args.ask_become_pass,
        file: args.password_file.clone(),
        become_file: args.become_password_file.clone(),
        inventory: None,
    };
    Ok(sources.absolute()?)
}

/// The sources of the inventory.
pub(crate) fn inventory_sources(choice: &Choice) -> Result<InventorySources, Failure> {
    Ok(InventorySources::new(
        &choice.inventory,
        &choice.list,
        &choice.vault_password_file,
    )?)
}

/// The options that set how to reach hosts, each value with its source.
///
/// # Errors
///
/// The transport is `local`, and an option has no effect on it.
pub(crate) fn asked(link: &Link, origins: &Origins) -> Result<Asked, Failure> {
    if link.transport == Some(TransportKind::Local)
        && let Some(option) = origins.on_the_command_line(OF_SSH)
    {
        return Err(Failure::usage(format!(
            "--{option} has no effect with the transport `local`, which runs commands as the current user of this \
             machine, or as --become-user"
        )));
    }
    Ok(Asked {
        user: given(link.user.clone(), "user", origins),
        keys: link
            .key
            .iter()
            .filter_map(|key| given(Some(key.clone()), "key", origins))
            .collect(),
        port: given(link.port, "port", origins),
        ssh_config: link.ssh_config.clone(),
        transport: given(link.transport, "transport", origins),
        escalate: given(link.escalate.then_some(true), "become", origins),
        become_user: given(link.become_user.clone(), "become-user", origins),
        become_method: given(link.become_method, "become-method", origins),
        connect_timeout: given(link.connect_timeout, "connect-timeout", origins),
        host_key: given(link.host_key, "host-key", origins),
    })
}

fn given<T>(value: Option<T>, option: &str, origins: &Origins) -> Option<Given<T>> {
    value.map(|value| Given::new(value, origins.of(option)))
}

/// The first line of a run: how many hosts there are, and how they are paced.
pub(crate) fn banner(hosts: usize, settings: &Settings, fit: &Fit, options: &RunOptions) -> String {
    let mut banner = counted(hosts, "host");
    let total = hosts as u64;
    let queued = total.saturating_sub(fit.sessions);
    if queued > 0 {
        let waves = total.div_ceil(fit.sessions);
        banner = format!(
            "{banner}: {} at once, {queued} queued ({waves} waves)",
            fit.sessions
        );
    }
    if let Some(reason) = &fit.reason {
        let wanted = options.sessions(hosts);
        banner = format!(
            "{banner}; {} sessions instead of {wanted}, because of {reason}",
            fit.sessions
        );
    }
    let mut batches = settings.serial.as_slice();
    if let Some(canary) = options.canary {
        banner = format!("{banner}; canary of {}", counted(canary, "host"));
        batches = batches.get(1..).unwrap_or_default();
    }
    if !batches.is_empty() && batches != [Portion::Share(10_000)] {
        let sizes: Vec<String> = batches.iter().map(ToString::to_string).collect();
        banner = format!("{banner}; in batches of {}", sizes.join(", "));
    }
    match (settings.max_fail, settings.max_fail_batch) {
        (None, None) => banner,
        (Some(most), None) => format!("{banner}; max_fail {most}"),
        (None, Some(batch)) => format!("{banner}; max_fail {batch} of a batch"),
        (Some(most), Some(batch)) => format!("{banner}; max_fail {most}, {batch} of a batch"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
