//! Merges sources: names become indices, group edges become depths, mistakes are collected.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{Fault, HostName, Line, Mistakes, SourceError};
use serde_json::Value;

use super::vault::Vault;
use super::{LoadOptions, Loaded, entry};
use crate::InventoryError;
use crate::connection::variables::{ADDRESS, Finding, examine, is_altered, priority};
use crate::model::{ALL, Group, Host, Inventory, UNGROUPED, Variable};
use crate::names::{self, MAX_NAMES, Names};

/// How many mistakes are shown; the rest are counted.
const MAX_MISTAKES: usize = 20;
/// How many different warnings are kept.
const MAX_WARNINGS: usize = 50;
/// Hosts and groups have 32-bit numbers; file sizes and `MAX_NAMES` bound how many there can be.
const COUNTABLE: &str = "files of at most 64 MiB hold fewer than 2^32 names";

/// An inventory under construction.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    inventory: Inventory,
    edges: HashMap<(u32, u32), SourceError>,
    expanded: u64,
    /// Decrypts vaults.
    pub(crate) vault: Vault,
    /// How long an executable inventory may take.
    pub(crate) script_limit: Duration,
    /// Whether programs are left out, because only names are wanted.
    pub(crate) names_only: bool,
    mistakes: Vec<SourceError>,
    more_mistakes: usize,
    warnings: Vec<(SourceError, usize)>,
    more_warnings: usize,
    warning_index: HashMap<String, usize>,
}

// === impl Builder ===

impl Builder {
    pub(crate) fn new(options: LoadOptions) -> Self {
        let mut builder = Self {
            vault: if options.names_only {
                Vault::sealed()
            } else {
                Vault::new(options.vault)
            },
            script_limit: options.script_limit,
            names_only: options.names_only,
            ..Self::default()
        };
        builder.group("all");
        builder.group("ungrouped");
        builder
    }

    /// Starts a source; the vars that follow come from it.
    pub(crate) fn begin(&mut self, file: &str) {
        self.inventory.files.push(file.into());
    }

    /// Starts a source that is a program.
    pub(crate) fn begin_program(&mut self, file: &str) {
        self.begin(file);
        self.inventory.programs.insert(self.file());
    }

    /// The number of the current source.
    fn file(&self) -> u32 {
        u32::try_from(self.inventory.files.len().saturating_sub(1)).expect(COUNTABLE)
    }

    pub(crate) fn host_count(&self) -> usize {
        self.inventory.hosts.len()
    }

    pub(crate) fn group_count(&self) -> usize {
        self.inventory.groups.len()
    }

    pub(crate) fn mistake(&mut self, mistake: SourceError) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(mistake);
        } else {
            self.more_mistakes += 1;
        }
    }

    /// Records a warning once per `key` and counts its other places.
    pub(crate) fn warn(&mut self, key: &str, warning: impl FnOnce() -> SourceError) {
        if let Some(index) = self.warning_index.get(key) {
            self.warnings[*index].1 += 1;
        } else if self.warnings.len() < MAX_WARNINGS {
            self.warning_index.insert(key.to_owned(), self.warnings.len());
            self.warnings.push((warning(), 0));
        } else {
            self.more_warnings += 1;
        }
    }

    pub(crate) fn find_group(&self, name: &str) -> Option<u32> {
        self.inventory.group_index.get(name).copied()
    }

    pub(crate) fn has_host(&self, name: &str) -> bool {
        self.inventory.host_index.contains_key(name)
    }

    pub(crate) fn group_names(&self) -> impl Iterator<Item = &str> {
        self.inventory.groups.iter().map(|group| &*group.name)
    }

    /// Returns the group of this name, and creates it if needed.
    pub(crate) fn group(&mut self, name: &str) -> u32 {
        if let Some(index) = self.find_group(name) {
            return index;
        }
        let index = u32::try_from(self.inventory.groups.len()).expect(COUNTABLE);
        let name: Arc<str> = name.into();
        self.inventory.group_index.insert(Arc::clone(&name), index);
        self.inventory.groups.push(Group {
            name,
            hosts: Vec::new(),
            children: Vec::new(),
            parents: Vec::new(),
            variables: Vec::new(),
            file_layers: Vec::new(),
            depth: 0,
            priority: 1,
        });
        index
    }

    /// Makes `child` a child of `parent`; `place` is shown if this closes a circle.
    pub(crate) fn edge(&mut self, parent: u32, child: u32, place: SourceError) {
        if child == ALL {
            self.mistake(SourceError {
                message: "`all` has every group as its child and can't be a child itself".into(),
                ..place
            });
        } else if parent != ALL && !self.edges.contains_key(&(parent, child)) {
            self.edges.insert((parent, child), place);
            self.inventory.groups[parent as usize].children.push(child);
            self.inventory.groups[child as usize].parents.push(parent);
        }
    }

    /// Creates a var with its place, and checks it.
    pub(crate) fn variable(&mut self, key: &str, value: Value, line: &Line<'_>, offset: usize) -> Variable {
        match examine(key, &value) {
            None => {}
            // The fault's message may contain the value.
            Some(Finding::Mistake(_)) if line.hidden => {
                let message =
                    format!("the value of `{key}` is not valid; it is a secret, so it is not shown");
                self.mistake(line.error(Fault::new(offset, message)));
            }
            Some(Finding::Mistake(fault)) => self.mistake(line.error(Fault { offset, ..fault })),
            Some(Finding::Warning(_, _)) if line.hidden => {
                let message =
                    format!("`{key}` is only partly understood; its value is a secret, so it is not shown");
                self.warn(&format!("hidden {key}"), || {
                    line.error(Fault::new(offset, message))
                });
            }
            Some(Finding::Warning(about, fault)) => {
                self.warn(&about, || line.error(Fault { offset, ..fault }));
            }
        }
        if is_altered(key, &value, line.text) {
            self.warn(&format!("altered {key}"), || {
                let message = format!(
                    "`{key}` is not read as it is written, but as a number or a truth, as by Ansible"
                );
                let hint = "quote it: `'…'`, or `\"'…'\"` in the line of a host";
                line.error(Fault::new(offset, message).hint(hint))
            });
        }
        self.untested(key, value, line)
    }

    /// Creates a var with its place, without checks.
    pub(crate) fn untested(&mut self, key: &str, value: Value, line: &Line<'_>) -> Variable {
        let key = self.inventory.keys.get(key).cloned().unwrap_or_else(|| {
            let key: Arc<str> = key.into();
            self.inventory.keys.insert(Arc::clone(&key));
            key
        });
        Variable {
            key,
            value,
            file: self.file(),
            line: u32::try_from(line.number).unwrap_or(u32::MAX),
            secret: line.hidden,
        }
    }

    /// Adds the vars of a group from a `group_vars/` directory.
    pub(crate) fn add_group_file(&mut self, group: u32, directory: u32, variables: Vec<Variable>) {
        let layers = &mut self.inventory.groups[group as usize].file_layers;
        layers.push((directory, variables));
    }

    /// Adds the vars of a host from a `host_vars/` directory.
    pub(crate) fn add_host_file(&mut self, host: u32, variables: Vec<Variable>) {
        self.inventory
            .host_files
            .entry(host)
            .or_default()
            .push(variables.into());
    }

    pub(crate) fn find_host(&self, name: &str) -> Option<u32> {
        self.inventory.host_index.get(name).copied()
    }

    /// Sets a var of a group, or replaces it.
    pub(crate) fn set_group_var(&mut self, group: u32, variable: Variable) {
        let group = &mut self.inventory.groups[group as usize];
        if &*variable.key == "ansible_group_priority" {
            // `examine` has refused anything but numbers.
            group.priority = priority(&variable.value).unwrap_or(1);
        } else if let Some(old) = group.variables.iter_mut().find(|old| old.key == variable.key) {
            *old = variable;
        } else {
            group.variables.push(variable);
        }
    }

    /// Adds the hosts of an entry (`user@name:port`, possibly with ranges) to a group, with the vars of its line.
    pub(crate) fn add_entry(
        &mut self,
        text: &str,
        group: u32,
        variables: Vec<Variable>,
        line: &Line<'_>,
        offset: usize,
    ) -> Result<(), Fault> {
        let entry = entry::parse(text)?;
        let mut layer = Vec::with_capacity(variables.len() + 2);
        if let Some(user) = entry.user {
            layer.push(self.variable("ansible_user", user.into(), line, offset));
        }
        let user = layer.len();
        if let Some(port) = entry.port {
            layer.push(self.variable("ansible_port", port.into(), line, offset));
        }
        layer.extend(variables);
        let port = entry.port;
        let layer: Option<Arc<[Variable]>> = (!layer.is_empty()).then(|| layer.into());
        let add = |builder: &mut Self, name: &str| {
            let Some(known) = builder.find_host(name).filter(|_| port.is_some()) else {
                builder.add_host(name, group, layer.clone());
                return;
            };
            // Ansible uses the port after a name only where the name first appears.
            let all = layer.iter().flat_map(|layer| layer.iter());
            let rest: Vec<Variable> = all
                .enumerate()
                .filter(|(at, _)| *at != user)
                .map(|(_, variable)| variable.clone())
                .collect();
            let same = builder.inventory.hosts[known as usize]
                .layers
                .first()
                .is_some_and(|layer| {
                    layer.iter().any(|variable| {
                        &*variable.key == "ansible_port" && variable.value.as_u64() == port.map(u64::from)
                    })
                });
            if !same {
                builder.warn("late port", || {
                    line.error(
                        Fault::new(
                            offset,
                            format!("`{name}` was listed before; the port after its name has no effect here"),
                        )
                        .hint("as in Ansible; write the port where the name first appears, or use `ansible_port`"),
                    )
                });
            }
            builder.add_host(name, group, (!rest.is_empty()).then(|| rest.into()));
        };
        if entry.address || !entry.name.contains('[') {
            // Balanced brackets are left to the range parser.
            if !entry.address {
                Names::parse(entry.name).map_err(|fault| fault.shifted(entry.offset))?;
            }
            add(self, entry.name);
            return Ok(());
        }
        let names = Names::parse(entry.name).map_err(|fault| fault.shifted(entry.offset))?;
        let count = names.count();
        if self.expanded.saturating_add(count) > MAX_NAMES {
            return Err(Fault::new(
                entry.offset,
                format!(
                    "too many names: `{}` makes {count}; the ranges of an inventory may make {MAX_NAMES}",
                    entry.name
                ),
            ));
        }
        self.expanded += count;
        names.each(&mut |name| add(self, name));
        Ok(())
    }

    /// Adds a host by its plain name, as programs print it.
    pub(crate) fn add_name(&mut self, name: &str, group: u32, variables: Vec<Variable>) -> Result<(), Fault> {
        if !names::is_ipv6(name) {
            let entry = entry::parse(name)?;
            if entry.user.is_some() || entry.port.is_some() || entry.name.contains('[') {
                return Err(Fault::new(0, format!("`{name}` is not a plain host name")));
            }
        }
        self.add_host(name, group, (!variables.is_empty()).then(|| variables.into()));
        Ok(())
    }

    fn add_host(&mut self, name: &str, group: u32, layer: Option<Arc<[Variable]>>) {
        let index = self.find_host(name).unwrap_or_else(|| {
            let index = u32::try_from(self.inventory.hosts.len()).expect(COUNTABLE);
            let name = HostName::from(name);
            self.inventory.host_index.insert(name.clone(), index);
            self.inventory.hosts.push(Host {
                name,
                layers: Vec::new(),
                groups: Vec::new(),
                source: self.file(),
            });
            index
        });
        let host = &mut self.inventory.hosts[index as usize];
        host.layers.extend(layer);
        if group != ALL && group != UNGROUPED && !host.groups.contains(&group) {
            host.groups.push(group);
            self.inventory.groups[group as usize].hosts.push(index);
        }
    }

    /// Returns the inventory, if there were no mistakes.
    pub(crate) fn finish(mut self) -> Result<Loaded, InventoryError> {
        self.set_depths();
        let names = self.inventory.groups.iter().map(|group| &group.name);
        let both: Vec<Arc<str>> = names.filter(|name| self.has_host(name)).cloned().collect();
        for name in both {
            let message = format!("`{name}` is a host and a group; as a pattern it means the group");
            self.warn(&format!("both {name}"), || {
                SourceError::whole(message, "inventory")
            });
        }
        if self.mistakes.is_empty() && ADDRESS.names.iter().any(|key| self.inventory.keys.contains(*key)) {
            for warning in self.inventory.doubles() {
                self.warn("double", || warning);
            }
        }
        if !self.mistakes.is_empty() {
            return Err(InventoryError::Mistakes(Mistakes {
                shown: self.mistakes,
                more: self.more_mistakes,
            }));
        }
        let mut warnings: Vec<SourceError> = Vec::with_capacity(self.warnings.len());
        for (mut warning, more) in self.warnings {
            if more > 0 {
                let places = if more == 1 { "place" } else { "places" };
                let _ = write!(warning.message, " (and in {more} more {places})");
            }
            warnings.push(warning);
        }
        if self.more_warnings > 0 {
            let message = format!("{} more warnings are not shown", self.more_warnings);
            warnings.push(SourceError::whole(message, "inventory"));
        }
        Ok(Loaded {
            inventory: self.inventory,
            warnings,
        })
    }

    /// Sets the length of every group's longest path from `all`, and reports a circle if there is one.
    fn set_depths(&mut self) {
        let mut missing: Vec<usize> = self
            .inventory
            .groups
            .iter()
            .map(|group| group.parents.len())
            .collect();
        let mut ready: Vec<u32> = (1u32..)
            .zip(missing.iter().skip(1))
            .filter(|(_, count)| **count == 0)
            .map(|(index, _)| index)
            .collect();
        for index in &ready {
            self.inventory.groups[*index as usize].depth = 1;
        }
        while let Some(index) = ready.pop() {
            let depth = self.inventory.groups[index as usize].depth + 1;
            for child in self.inventory.groups[index as usize].children.clone() {
                let group = &mut self.inventory.groups[child as usize];
                group.depth = group.depth.max(depth);
                missing[child as usize] -= 1;
                if missing[child as usize] == 0 {
                    ready.push(child);
                }
            }
        }
        let Some(start) = (0u32..).zip(&missing).find(|(_, count)| **count > 0) else {
            return;
        };
        // Every remaining group has a remaining parent, so going up must return to a group already passed.
        let mut path = vec![start.0];
        loop {
            let current = path[path.len() - 1];
            let up = self.inventory.groups[current as usize]
                .parents
                .iter()
                .copied()
                .find(|parent| missing[*parent as usize] > 0);
            let Some(up) = up else { return };
            if let Some(at) = path.iter().position(|group| *group == up) {
                let mut circle = path.split_off(at);
                circle.reverse();
                let first_name = circle.iter().enumerate().min_by_key(|(_, group)| **group);
                let turn = first_name.map_or(0, |(at, _)| at);
                circle.rotate_left(turn);
                self.report_circle(&circle);
                return;
            }
            path.push(up);
        }
    }

    /// Reports a circle of groups, from parent to child; the last is the parent of the first.
    fn report_circle(&mut self, circle: &[u32]) {
        let mut names: Vec<&str> = circle
            .iter()
            .take(10)
            .map(|group| &*self.inventory.groups[*group as usize].name)
            .collect();
        if circle.len() > names.len() {
            names.push("…");
        }
        names.push(names[0]);
        let message = format!("groups can't contain each other: {}", names.join(" > "));
        let closing = (circle[circle.len() - 1], circle[0]);
        if let Some(place) = self.edges.remove(&closing) {
            self.mistake(SourceError { message, ..place });
        }
    }
}
