//! The inventory as data: hosts, groups and vars, and how vars merge. Reads no files and renders no templates.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

use reveille_account::HostName;
use reveille_document::ansible::unmarked;
use reveille_text::is_secret;
use serde_json::{Map, Value};

use crate::secret::wipe;
use crate::template::Templates;

/// All hosts of a run's sources, in the order in which they first appear.
#[derive(Debug, Default)]
pub struct Inventory {
    pub(crate) hosts: Vec<Host>,
    pub(crate) host_index: HashMap<HostName, u32>,
    pub(crate) groups: Vec<Group>,
    pub(crate) group_index: HashMap<Arc<str>, u32>,
    /// The names of all vars, each once.
    pub(crate) keys: HashSet<Arc<str>>,
    /// Names of the sources that set vars.
    pub(crate) files: Vec<Arc<str>>,
    /// Vars of `host_vars/`, by host; later layers win.
    pub(crate) host_files: HashMap<u32, Vec<Arc<[Variable]>>>,
    /// The numbers of those files that are programs.
    pub(crate) programs: HashSet<u32>,
    pub(crate) seen: OnceLock<Seen>,
    /// Compiled templates.
    pub(crate) compiled: Templates,
}

/// The whole inventory as templates see it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The groups, each with the names of its hosts.
    pub(crate) groups: minijinja::Value,
    /// The vars of all hosts, without secrets and templates.
    pub(crate) hosts: minijinja::Value,
}

/// A host; all hosts of a range share the vars of its line.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: HostName,
    /// Later layers win.
    pub(crate) layers: Vec<Arc<[Variable]>>,
    /// The groups that list it, except `all` and `ungrouped`.
    pub(crate) groups: Vec<u32>,
    /// The number of the source that named it first.
    pub(crate) source: u32,
}

/// A group and the members that its own section lists.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) hosts: Vec<u32>,
    pub(crate) children: Vec<u32>,
    pub(crate) parents: Vec<u32>,
    pub(crate) variables: Vec<Variable>,
    /// Vars of `group_vars/`, each with the number of its directory.
    pub(crate) file_layers: Vec<(u32, Vec<Variable>)>,
    /// The length of the longest path from `all`.
    pub(crate) depth: u32,
    /// `ansible_group_priority`.
    pub(crate) priority: i64,
}

/// A var and the place that sets it.
#[derive(Clone)]
pub(crate) struct Variable {
    pub(crate) key: Arc<str>,
    pub(crate) value: Value,
    pub(crate) file: u32,
    pub(crate) line: u32,
    /// The value came from a vault.
    pub(crate) secret: bool,
}

/// The group of all hosts.
pub(crate) const ALL: u32 = 0;
/// The group of hosts that are in no other group.
pub(crate) const UNGROUPED: u32 = 1;

// === impl Variable ===

impl Variable {
    /// Whether the value must not be shown: it came from a vault, or its name is that of a secret.
    pub(crate) fn is_secret(&self) -> bool {
        self.secret || is_secret(&self.key)
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Variable");
        shown.field("key", &self.key);
        if self.is_secret() {
            shown.field("value", &"…");
        } else {
            shown.field("value", &self.value);
        }
        shown.finish_non_exhaustive()
    }
}

impl Drop for Variable {
    fn drop(&mut self) {
        if self.secret {
            wipe(&mut self.value);
        }
    }
}

// === impl Inventory ===

impl Inventory {
    /// The names of all hosts, in order.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &HostName> {
        self.hosts.iter().map(|host| &host.name)
    }

    /// The number of hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are no hosts; never true for an inventory that was loaded.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether a host of this name exists.
    pub fn contains(&self, host: &str) -> bool {
        self.host_index.contains_key(host)
    }

    /// Every group with its hosts in inventory order, including its children's; `all` and `ungrouped` come first.
    pub fn groups(&self) -> Vec<(&str, Vec<HostName>)> {
        (0u32..)
            .zip(&self.groups)
            .map(|(index, group)| {
                let members = self.members(index);
                let names = members.iter().map(|host| self.hosts[*host as usize].name.clone());
                (&*group.name, names.collect())
            })
            .collect()
    }

    /// The direct children of a group, sorted; the children of `all` are the groups without another parent.
    pub fn children(&self, group: &str) -> Vec<&str> {
        let Some(index) = self.group_index.get(group) else {
            return Vec::new();
        };
        let mut names: Vec<&str> = if *index == ALL {
            let top = self
                .groups
                .iter()
                .skip(1)
                .filter(|group| group.parents.is_empty());
            top.map(|group| &*group.name).collect()
        } else {
            let children = self.groups[*index as usize].children.iter();
            children
                .map(|child| &*self.groups[*child as usize].name)
                .collect()
        };
        names.sort_unstable();
        names
    }

    /// The names of the groups that contain `host`, directly or through children, without `all`, sorted.
    ///
    /// Ansible calls this `group_names`. Empty for an unknown host.
    pub fn group_names(&self, host: &str) -> Vec<&str> {
        let Some(host) = self.index(host) else {
            return Vec::new();
        };
        let mut names: Vec<&str> = self
            .ancestors(&self.hosts[host as usize])
            .into_iter()
            .filter(|group| *group != ALL)
            .map(|group| &*self.groups[group as usize].name)
            .collect();
        names.sort_unstable();
        names
    }

    /// The merged vars of `host`: those of its groups from far to near, then its own.
    ///
    /// Empty for an unknown host. Each call merges them again.
    pub fn vars(&self, host: &str) -> Map<String, Value> {
        self.merged(host, |variable| unmarked(&variable.value))
    }

    pub(crate) fn merged(&self, host: &str, value: impl Fn(&Variable) -> Value) -> Map<String, Value> {
        self.variables(host)
            .rev()
            .map(|variable| (variable.key.to_string(), value(variable)))
            .collect()
    }

    /// Whether a var of `host` is secret: by its name, or because its value came from a vault.
    ///
    /// Secrets are never shown or recorded. See [`is_secret`](crate::is_secret) for the names.
    pub fn is_secret(&self, host: &str, var: &str) -> bool {
        is_secret(var)
            || self
                .variables(host)
                .find(|variable| &*variable.key == var)
                .is_some_and(|variable| variable.secret)
    }

    /// Whether `host` has a secret var.
    pub fn has_secrets(&self, host: &str) -> bool {
        self.variables(host).any(Variable::is_secret)
    }

    /// The merged vars of `host` without secrets: these may be shown and recorded.
    pub fn public_vars(&self, host: &str) -> Map<String, Value> {
        let mut merged = Map::new();
        for variable in self.variables(host).rev() {
            if variable.is_secret() {
                merged.shift_remove(&*variable.key);
            } else {
                merged.insert(variable.key.to_string(), unmarked(&variable.value));
            }
        }
        merged
    }

    /// The names of the vars of `host` that are secret only because their values came from a vault.
    pub fn vault_vars(&self, host: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for variable in self.variables(host).rev() {
            names.retain(|name| **name != *variable.key);
            if variable.secret {
                names.push(variable.key.to_string());
            }
        }
        names
    }

    /// All vars that apply to a host, strongest first; none for an unknown host.
    fn variables(&self, host: &str) -> impl DoubleEndedIterator<Item = &Variable> {
        let layers = self.index(host).map(|host| self.layers(host));
        layers
            .unwrap_or_default()
            .into_iter()
            .flat_map(|layer| layer.iter().rev())
    }

    pub(crate) fn index(&self, name: &str) -> Option<u32> {
        self.host_index.get(name).copied()
    }

    /// The vars that apply to a host, strongest first.
    ///
    /// From weak to strong: `all` and the other groups as the sources set them, `group_vars/all`, `group_vars/` of the
    /// other groups (directory by directory), the host as the sources set it, `host_vars/`.
    pub(crate) fn layers(&self, index: u32) -> Vec<&[Variable]> {
        let host = &self.hosts[index as usize];
        let mut groups = self.ancestors(host);
        groups.sort_unstable_by(|left, right| {
            let key = |index: u32| {
                let group = &self.groups[index as usize];
                (group.depth, group.priority, &group.name)
            };
            key(*right).cmp(&key(*left))
        });
        let mut layers: Vec<&[Variable]> = Vec::with_capacity(host.layers.len() + groups.len());
        if let Some(files) = self.host_files.get(&index) {
            layers.extend(files.iter().rev().map(|layer| &**layer));
        }
        layers.extend(host.layers.iter().rev().map(|layer| &**layer));
        let mut of_files: Vec<(bool, u32, usize, &[Variable])> = Vec::new();
        for (rank, group) in groups.iter().rev().enumerate() {
            for (directory, variables) in &self.groups[*group as usize].file_layers {
                of_files.push((*group != ALL, *directory, rank, variables));
            }
        }
        of_files.sort_unstable_by_key(|(specific, directory, rank, _)| (*specific, *directory, *rank));
        layers.extend(of_files.into_iter().rev().map(|(.., variables)| variables));
        layers.extend(
            groups
                .into_iter()
                .map(|group| self.groups[group as usize].variables.as_slice()),
        );
        layers.retain(|layer| !layer.is_empty());
        layers
    }

    /// The groups that contain a host, directly or through children, including `all`.
    fn ancestors(&self, host: &Host) -> Vec<u32> {
        let mut found = host.groups.clone();
        if found.is_empty() {
            found.push(UNGROUPED);
        }
        // Most hosts are in few groups without parents; a set pays off only for many.
        let mut next = 0;
        let mut seen: Option<Vec<bool>> = None;
        while next < found.len() {
            let group = &self.groups[found[next] as usize];
            for parent in &group.parents {
                if found.len() < 32 && seen.is_none() {
                    if !found.contains(parent) {
                        found.push(*parent);
                    }
                    continue;
                }
                let seen = seen.get_or_insert_with(|| {
                    let mut seen = vec![false; self.groups.len()];
                    for group in &found {
                        seen[*group as usize] = true;
                    }
                    seen
                });
                if !std::mem::replace(&mut seen[*parent as usize], true) {
                    found.push(*parent);
                }
            }
            next += 1;
        }
        if !found.contains(&ALL) {
            found.push(ALL);
        }
        found
    }

    /// The hosts of a group and of its children, in inventory order.
    pub(crate) fn members(&self, group: u32) -> Vec<u32> {
        if group == ALL {
            return (0u32..).zip(&self.hosts).map(|(index, _)| index).collect();
        }
        let mut found = self.listed_members(group);
        found.sort_unstable();
        found
    }

    /// The hosts of a group in the order of its section, then those of its children; subscripts use this order.
    ///
    /// As in Ansible, the ungrouped hosts of `all` come first.
    pub(crate) fn listed_members(&self, group: u32) -> Vec<u32> {
        match group {
            UNGROUPED => (0u32..)
                .zip(&self.hosts)
                .filter(|(_, host)| host.groups.is_empty())
                .map(|(index, _)| index)
                .collect(),
            group => {
                let mut visited = vec![false; self.groups.len()];
                visited[group as usize] = true;
                let mut taken = vec![false; self.hosts.len()];
                let mut found = Vec::new();
                let mut waiting = VecDeque::from([group]);
                if group == ALL {
                    found = self.listed_members(UNGROUPED);
                    for host in &found {
                        taken[*host as usize] = true;
                    }
                    let groups = (0u32..).zip(&self.groups).skip(2);
                    let top = groups.filter(|(_, group)| group.parents.is_empty());
                    waiting.extend(top.map(|(index, _)| index));
                    for top in &waiting {
                        visited[*top as usize] = true;
                    }
                }
                while let Some(group) = waiting.pop_front() {
                    let group = &self.groups[group as usize];
                    for host in &group.hosts {
                        if !std::mem::replace(&mut taken[*host as usize], true) {
                            found.push(*host);
                        }
                    }
                    for child in &group.children {
                        if !std::mem::replace(&mut visited[*child as usize], true) {
                            waiting.push_back(*child);
                        }
                    }
                }
                found
            }
        }
    }
}
