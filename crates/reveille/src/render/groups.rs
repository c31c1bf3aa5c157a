//! Hosts that failed alike.

use std::collections::BTreeMap;

use reveille_account::{Class, HostName};
use reveille_ledger::export::{HostSummary, Summary};
use reveille_view::story;

use crate::failure::Failure;

/// Hosts that failed alike.
pub(crate) struct Group {
    pub(crate) class: Class,
    pub(crate) step: Option<String>,
    /// Exit status or signal.
    pub(crate) status: String,
    /// The story of the first host.
    pub(crate) story: String,
    /// Some host's story has other numbers or addresses.
    pub(crate) varies: bool,
    pub(crate) hosts: Vec<(HostName, u32)>,
}

/// Groups failed hosts by class, step, exit status and story, the largest group first. Also counts the hosts that
/// recovered.
pub(crate) fn groups(summary: &Summary) -> Result<(Vec<Group>, usize), Failure> {
    let mut groups: BTreeMap<(Class, Option<String>, String, String), Group> = BTreeMap::new();
    let mut recovered = 0;
    for host in summary.hosts_without_steps() {
        let host = host?;
        recovered += usize::from(host.class == Some(Class::OkAfterRecovery));
        let Some(class) = host.class.filter(|_| host.status != "success") else {
            continue;
        };
        let story = story::told(class, &host.message, &host.stdout, &host.stderr);
        let status = status(&host);
        let key = (class, host.step.clone(), status.clone(), story::masked(&story));
        let group = groups.entry(key).or_insert_with(|| Group {
            class,
            step: host.step.clone(),
            status,
            story: story.clone(),
            varies: false,
            hosts: Vec::new(),
        });
        group.varies |= group.story != story;
        group.hosts.push((host.host, host.round));
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.hosts.len()));
    Ok((groups, recovered))
}

/// How a host's deciding command ended.
fn status(host: &HostSummary) -> String {
    match (&host.signal, host.exit_status) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(status)) => format!("exit status {status}"),
        (None, None) => String::new(),
    }
}
