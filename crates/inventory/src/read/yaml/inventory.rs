//! Ansible's YAML form: groups with `hosts`, `vars` and `children`, at the top level and nested.

use reveille_account::SourceError;

use super::super::builder::Builder;
use super::{Data, Document, Lines, Node};
use crate::InventoryError;
use crate::model::Variable;

/// The keys of a group.
const SECTIONS: [&str; 3] = ["hosts", "vars", "children"];

/// Whether `text`, whose file name does not decide its form, is surely YAML.
pub(crate) fn is_likely(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'));
    let Some(first) = lines.next() else { return false };
    if first == "---" || first.starts_with("--- ") || first.starts_with("%YAML") || first.starts_with('{') {
        return true;
    }
    let key = first.split(" #").next().unwrap_or_default().trim_end();
    key.strip_suffix(':').is_some_and(|key| {
        let key = key.trim_matches(['"', '\'']);
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c))
    })
}

/// Reads `text` into `builder`, which collects most mistakes.
pub(crate) fn read(
    text: &str,
    file: &str,
    hidden: bool,
    builder: &mut Builder,
) -> Result<(), InventoryError> {
    let Document {
        root,
        lines,
        duplicates,
    } = super::read(text, file, hidden, &mut builder.vault)?;
    warn_of_duplicates(&duplicates, &lines, builder);
    if let Some(plugin) = root.get("plugin").filter(|plugin| !plugin.is_empty()) {
        let name = match &plugin.data {
            Data::Text(name) if !plugin.secret => format!(" `{name}`"),
            _ => String::new(),
        };
        return Err(lines
            .mistake(
                plugin,
                format!("this is the configuration of the inventory plugin{name}, which only Ansible can run"),
            )
            .hint(format!(
                "write an executable file with `#!/bin/sh` and `exec ansible-inventory -i {file} --list`, and use that"
            ))
            .into());
    }
    if root.is_empty() {
        return Err(InventoryError::NoHosts {
            name: file.to_owned(),
        });
    }
    let Data::Map(groups) = root.data else {
        return Err(lines
            .mistake(
                &root,
                format!(
                    "a YAML inventory must be a mapping of groups, not {}",
                    root.kind()
                ),
            )
            .into());
    };
    let reader = Reader { lines };
    for (name, body) in groups {
        if matches!(body.data, Data::Null | Data::Map(_)) {
            reader.group(&name, body, builder);
        } else {
            let message = format!(
                "`{}` is {}, not a group; it has no effect",
                shown(&name),
                body.kind()
            );
            builder.warn(&message, || {
                reader
                    .lines
                    .mistake(&name, &message)
                    .hint("a group is a mapping of `hosts`, `vars` and `children`")
            });
        }
    }
    Ok(())
}

/// Warns about duplicate keys.
pub(crate) fn warn_of_duplicates(
    duplicates: &[(String, u32, u32)],
    lines: &Lines<'_>,
    builder: &mut Builder,
) {
    for (name, line, column) in duplicates {
        builder.warn("duplicate key", || {
            lines.mistake_at(
                *line,
                *column,
                format!("`{name}` is set twice in this mapping; the last one counts"),
            )
        });
    }
}

struct Reader<'a> {
    lines: Lines<'a>,
}

// === impl Reader ===

impl Reader<'_> {
    /// Reads a group and its children.
    fn group(&self, name: &Node, body: Node, builder: &mut Builder) -> Option<u32> {
        let Data::Text(text) = &name.data else {
            self.wants_quotes(name, "a group name", builder);
            return None;
        };
        if text.is_empty() || text.contains(char::is_control) {
            builder.mistake(self.lines.mistake(name, "a group needs a name"));
            return None;
        }
        let group = builder.group(text);
        let Data::Map(sections) = body.data else {
            return Some(group);
        };
        for (key, section) in sections {
            let Some(kind) = SECTIONS
                .into_iter()
                .find(|section| matches!(&key.data, Data::Text(key) if key == section))
            else {
                self.unexpected(&key, text, builder);
                continue;
            };
            let entries = match section.data {
                Data::Null => continue,
                Data::Map(entries) => entries,
                // A single name is short for a mapping with that name.
                Data::Text(_) => {
                    let nothing = Node {
                        data: Data::Null,
                        ..section
                    };
                    vec![(section, nothing)]
                }
                _ => {
                    let mistake = self.lines.mistake(
                        &section,
                        format!(
                            "`{kind}` of the group `{text}` must be a mapping, not {}",
                            section.kind()
                        ),
                    );
                    builder.mistake(match section.data {
                        Data::List(_) => mistake.hint("write `name:` on each line instead of `- name`"),
                        _ => mistake,
                    });
                    continue;
                }
            };
            for (key, value) in entries {
                match kind {
                    "hosts" => self.host(&key, value, group, builder),
                    "vars" => {
                        if let Some(variable) = variable(&self.lines, &key, value, builder) {
                            builder.set_group_var(group, variable);
                        }
                    }
                    _ => self.child(&key, value, group, builder),
                }
            }
        }
        Some(group)
    }

    fn child(&self, name: &Node, body: Node, group: u32, builder: &mut Builder) {
        if !matches!(body.data, Data::Null | Data::Map(_)) {
            let mistake = self.lines.mistake(
                &body,
                format!(
                    "the group `{}` must be a mapping, not {}",
                    shown(name),
                    body.kind()
                ),
            );
            builder.mistake(mistake);
        } else if let Some(child) = self.group(name, body, builder) {
            let place = self.lines.mistake(name, "");
            builder.edge(group, child, place);
        }
    }

    fn host(&self, name: &Node, body: Node, group: u32, builder: &mut Builder) {
        let Data::Text(text) = &name.data else {
            return self.wants_quotes(name, "a host name", builder);
        };
        let mut variables = Vec::new();
        if !body.is_empty() {
            let Data::Map(entries) = body.data else {
                let message = format!("the vars of `{text}` must be a mapping, not {}", body.kind());
                return builder.mistake(self.lines.mistake(&body, message));
            };
            variables.reserve(entries.len());
            for (key, value) in entries {
                variables.extend(variable(&self.lines, &key, value, builder));
            }
        }
        let (line, offset) = self.lines.place(name);
        if let Err(fault) = builder.add_entry(text, group, variables, &line, offset) {
            builder.mistake(line.error(fault.shifted(offset)));
        }
    }

    fn wants_quotes(&self, name: &Node, what: &str, builder: &mut Builder) {
        builder.mistake(
            self.lines
                .mistake(name, format!("{what} must be text, not {}", name.kind()))
                .hint("put it in quotes"),
        );
    }

    fn unexpected(&self, key: &Node, group: &str, builder: &mut Builder) {
        let name = shown(key);
        builder.warn(&format!("section {name}"), || {
            let warning = self.lines.mistake(
                key,
                format!("`{name}` in the group `{group}` has no effect: a group has `hosts`, `vars` and `children`"),
            );
            match SourceError::nearest(&name, SECTIONS) {
                Some(near) => warning.hint(format!("did you mean `{near}`?")),
                None => warning.hint("put its child groups under `children`"),
            }
        });
    }
}

/// Creates a var of a host or group, and checks it.
pub(crate) fn variable(
    lines: &Lines<'_>,
    key: &Node,
    value: Node,
    builder: &mut Builder,
) -> Option<Variable> {
    let name = shown(key);
    if name.is_empty() {
        builder.mistake(lines.mistake(key, "this var has no name"));
        return None;
    }
    let at = match value.data {
        Data::Null | Data::List(_) | Data::Map(_) => Node {
            data: Data::Null,
            ..*key
        },
        _ => Node {
            data: Data::Null,
            ..value
        },
    };
    let (line, offset) = lines.place(&Node {
        secret: value.secret,
        ..at
    });
    Some(builder.variable(&name, value.into_value(), &line, offset))
}

/// A key as text.
fn shown(key: &Node) -> String {
    key.clone().into_key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_told_from_the_ini_form() {
        for text in [
            "---\nx",
            "all:\n  hosts:",
            "# x\n\nweb:  # y\n",
            "{\"all\": {}}",
            "\"all\":\n",
        ] {
            assert!(is_likely(text), "{text}");
        }
        for text in ["web1\nweb2", "[web]\na", "web1 x=1", "web1:22", "", "# all:\nweb"] {
            assert!(!is_likely(text), "{text}");
        }
    }
}
