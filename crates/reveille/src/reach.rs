//! How hosts are reached: the inventory's word, the command line's on top, and the keys that go with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reveille_account::HostName;
use reveille_fleet::HostPlan;
use reveille_inventory::{Connection, Hop, Transport};
use reveille_ledger::Remaining;
use reveille_transport::{Authentication, Become, HostKeyPolicy, Identities, Target};
use serde::{Deserialize, Serialize};

use crate::cli::Reach;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::state;

/// How a host is reached, with every option applied; recorded with the roll.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reached {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) keys: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) jump: Vec<(String, u16, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) escalate: Option<String>,
    pub(crate) becomes: String,
    #[serde(default)]
    pub(crate) not_ready: bool,
    /// The agent's keys are not offered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keys_only: bool,
}

// === impl Reached ===

impl Reached {
    /// What the inventory says of a host, with the command line's word on top.
    pub(crate) fn new(connection: Connection, reach: &Reach, job_becomes: bool) -> Result<Self, Failure> {
        if connection.transport == Transport::Local {
            return Err(Failure::usage(format!(
                "{} has ansible_connection=local, which is not supported yet; use its SSH server",
                connection.address
            )));
        }
        if connection.becomes.method != reveille_inventory::BecomeMethod::Sudo {
            return Err(Failure::usage(format!(
                "{} has an ansible_become_method other than sudo, which is not supported yet",
                connection.address
            )));
        }
        let user = reach.user.clone().or(connection.user).unwrap_or_else(state::user);
        let becomes = reach
            .become_user
            .clone()
            .or(connection.becomes.user)
            .unwrap_or_else(|| "root".to_owned());
        let wanted =
            reach.escalate || reach.become_user.is_some() || job_becomes || connection.escalate.is_some();
        let hop = |hop: Hop| {
            let hop_user = hop.user.unwrap_or_else(|| user.clone());
            (hop.address, hop.port.unwrap_or(22), hop_user)
        };
        Ok(Self {
            address: connection.address,
            port: reach.port.or(connection.port).unwrap_or(22),
            keys: if reach.key.is_empty() {
                connection.key_files
            } else {
                reach.key.clone()
            },
            jump: connection.jump.unwrap_or_default().into_iter().map(hop).collect(),
            escalate: wanted.then(|| becomes.clone()),
            becomes,
            not_ready: connection.not_ready,
            keys_only: false,
            user,
        })
    }

    /// A plain way to an address with one key and no agent, for the drill.
    pub(crate) fn plain(address: String, port: u16, user: &str, key: PathBuf) -> Self {
        Self {
            address,
            port,
            user: user.to_owned(),
            keys: vec![key],
            jump: Vec::new(),
            escalate: None,
            becomes: "root".to_owned(),
            not_ready: false,
            keys_only: true,
        }
    }
}

/// Key files are read once, however many hosts name them.
struct KeyRing {
    agent: Option<PathBuf>,
    loaded: HashMap<(Vec<PathBuf>, bool), Arc<Authentication>>,
    warnings: Vec<String>,
}

impl KeyRing {
    fn new() -> Self {
        let agent = std::env::var_os("SSH_AUTH_SOCK")
            .map(PathBuf::from)
            .filter(|path| path.exists());
        Self {
            agent,
            loaded: HashMap::new(),
            warnings: Vec::new(),
        }
    }

    fn get(&mut self, files: &[PathBuf], keys_only: bool) -> Result<Arc<Authentication>, Failure> {
        let wanted = (files.to_vec(), keys_only);
        if let Some(loaded) = self.loaded.get(&wanted) {
            return Ok(Arc::clone(loaded));
        }
        let agent = self.agent.clone().filter(|_| !keys_only);
        let identities = if files.is_empty() {
            let directory = state::home().map(|home| home.join(".ssh")).unwrap_or_default();
            let (identities, warnings) = Identities::defaults(&directory, agent);
            self.warnings.extend(warnings.iter().map(ToString::to_string));
            identities
        } else {
            let expanded: Vec<PathBuf> = files.iter().map(|path| expand_home(path)).collect();
            Identities::load(&expanded, agent).map_err(|error| Failure::usage(error.to_string()))?
        };
        let authentication = Arc::new(Authentication::keys(identities));
        self.loaded.insert(wanted, Arc::clone(&authentication));
        Ok(authentication)
    }
}

fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), state::home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// Turns recorded ways into targets.
pub(crate) fn plans(
    hosts: impl IntoIterator<Item = (HostName, Reached, Option<Remaining>)>,
    policy: HostKeyPolicy,
    printer: &Printer,
) -> Result<Vec<HostPlan>, Failure> {
    let mut ring = KeyRing::new();
    let mut plans = Vec::new();
    for (name, reached, before) in hosts {
        let authentication = ring.get(&reached.keys, reached.keys_only)?;
        let mut jump: Option<Arc<Target>> = None;
        for (address, port, user) in reached.jump {
            jump = Some(Arc::new(Target {
                host_keys: policy,
                jump: jump.take(),
                ..Target::new(name.clone(), address, port, user, Arc::clone(&authentication))
            }));
        }
        let target = Target {
            host_keys: policy,
            jump,
            ..Target::new(
                name.clone(),
                reached.address,
                reached.port,
                reached.user,
                authentication,
            )
        };
        plans.push(HostPlan {
            name,
            target: Arc::new(target),
            escalate: reached.escalate.map(Become::sudo),
            becomes: Become::sudo(reached.becomes),
            before,
            not_ready: reached.not_ready,
        });
    }
    for warning in ring.warnings {
        printer.warning(&warning);
    }
    Ok(plans)
}
