//! Warns about several names for one machine.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use reveille_account::{SourceError, TransportKind};
use reveille_document::ansible::is_template;

use super::variables::{self, ADDRESS, COMMON_ARGUMENTS, EXTRA_ARGUMENTS, FIRST_ARGUMENTS, PORT, scalar};
use crate::model::{Inventory, Variable};

/// Two hosts with equal values are the same machine.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Machine {
    address: String,
    port: u16,
    /// The ssh arguments by which it is reached, jump hosts included.
    way: Vec<String>,
}

// === impl Inventory ===

impl Inventory {
    /// Warns about names of the same machine: same address and port, reached the same way.
    pub(crate) fn doubles(&self) -> Vec<SourceError> {
        // Most addresses occur once; only the others need a closer look.
        let state = RandomState::new();
        let mut first: HashMap<u64, u32> = HashMap::with_capacity(self.hosts.len());
        let mut machines: HashMap<Machine, u32> = HashMap::new();
        let mut warnings = Vec::new();
        for index in 0..u32::try_from(self.hosts.len()).unwrap_or(u32::MAX) {
            let hash = match self.own_address(index) {
                Some(address) => state.hash_one(address.to_ascii_lowercase()),
                None => match self.machine(index) {
                    Some((machine, _)) => state.hash_one(machine.address),
                    None => continue,
                },
            };
            let Some(other) = first.get(&hash).copied() else {
                first.insert(hash, index);
                continue;
            };
            if let Some((machine, _)) = self.machine(other) {
                machines.entry(machine).or_insert(other);
            }
            let Some((machine, variable)) = self.machine(index) else {
                continue;
            };
            let Some(other) = machines.get(&machine) else {
                machines.insert(machine, index);
                continue;
            };
            let shown = if variable.is_some_and(Variable::is_secret) {
                "the same address".to_owned()
            } else {
                format!("{} port {}", machine.address, machine.port)
            };
            let (name, other) = (
                &self.hosts[index as usize].name,
                &self.hosts[*other as usize].name,
            );
            let file = variable.and_then(|variable| self.files.get(variable.file as usize));
            let mut warning = SourceError::whole(
                format!("`{other}` and `{name}` are the same machine: both are reached at {shown}"),
                file.map_or("inventory", |file| file),
            );
            warning.line = variable.map_or(0, |variable| variable.line as usize);
            warnings.push(warning);
        }
        warnings
    }

    /// The address that a host's own vars set, if it is plain text.
    fn own_address(&self, index: u32) -> Option<&str> {
        let layers = &self.hosts[index as usize].layers;
        if self.host_files.contains_key(&index) {
            return None;
        }
        let mut variables = layers.iter().rev().flat_map(|layer| layer.iter().rev());
        let variable = variables.find(|variable| ADDRESS.names.contains(&&*variable.key))?;
        variable
            .value
            .as_str()
            .filter(|text| &*variable.key == "ansible_host" && !is_template(text) && !text.trim().is_empty())
    }

    /// The machine of a host, and the var with its address; none if it can't be read or the host is not reached by SSH.
    fn machine(&self, index: u32) -> Option<(Machine, Option<&Variable>)> {
        let vars = self.host_vars(index);
        // Templates are rendered only for the hosts that a run needs.
        let is_filled_in = |name: &&str| {
            vars.find(name)
                .is_some_and(|variable| variable.value.as_str().is_some_and(is_template))
        };
        if ADDRESS.names.iter().chain(PORT.names).any(is_filled_in) {
            return None;
        }
        let by_ssh = vars.find("ansible_connection").is_none_or(|variable| {
            variable.value.as_str().and_then(variables::transport) == Some(TransportKind::Native)
        });
        // Unreadable vars are reported when the host is used.
        let (true, Ok(address), Ok(port)) = (
            by_ssh,
            vars.string(&ADDRESS),
            vars.parsed(&PORT, "", reveille_ssh_config::port),
        ) else {
            return None;
        };
        let variable = ADDRESS.names.iter().find_map(|name| vars.find(name));
        let (address, variable) = match address {
            Some(address) => (address.value.to_ascii_lowercase(), variable),
            None => (vars.name.as_str().to_ascii_lowercase(), None),
        };
        let way = [FIRST_ARGUMENTS, COMMON_ARGUMENTS, EXTRA_ARGUMENTS]
            .iter()
            .flat_map(|setting| setting.names)
            .filter_map(|name| vars.find(name).and_then(|variable| scalar(&variable.value)))
            .collect();
        let port = port.map_or(22, |port| port.value);
        Some((Machine { address, port, way }, variable))
    }
}
