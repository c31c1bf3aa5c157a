//! Ansible's INI form; a plain file of names is an INI file without sections.

use std::collections::HashMap;

use reveille_account::{Fault, Line, SourceError};

use super::builder::Builder;
use super::literal;
use crate::model::{UNGROUPED, Variable};
use crate::{names, words};

/// The kind of lines in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hosts,
    Children,
    Vars,
}

/// A group that was mentioned before its declaration, and where.
struct Pending {
    /// The mistake, unless the group is declared further down.
    place: SourceError,
    /// Parents to which the group will be added.
    parents: Vec<(u32, SourceError)>,
}

/// Reads `text` into `builder`, which collects the mistakes. Returns whether the text contained anything.
pub(crate) fn read(text: &str, file: &str, hidden: bool, builder: &mut Builder) -> bool {
    let mut group = UNGROUPED;
    let mut kind = Kind::Hosts;
    let mut pending: HashMap<String, Pending> = HashMap::new();
    let mut said_something = false;
    for (index, raw) in text.split('\n').enumerate() {
        let line = Line {
            file,
            number: index + 1,
            text: raw.strip_suffix('\r').unwrap_or(raw),
            hidden,
        };
        let content = line.text.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        said_something = true;
        let read = if content.starts_with('[') {
            section(content).map(|section| match section {
                None => host_line(group, kind, &line, builder, &mut pending),
                Some((name, section_kind)) => {
                    kind = section_kind;
                    group = declare(name, kind, &line, builder, &mut pending);
                    Ok(())
                }
            })
        } else {
            Ok(host_line(group, kind, &line, builder, &mut pending))
        };
        let start = line.text.len() - line.text.trim_start().len();
        match read {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => builder.mistake(line.error(fault)),
            Err(fault) => builder.mistake(line.error(fault.shifted(start))),
        }
    }
    report(pending, builder);
    said_something
}

/// Parses a section's name and kind; none if the line is a host whose name begins with a range or an address.
fn section(content: &str) -> Result<Option<(&str, Kind)>, Fault> {
    let Some(end) = content.find(']') else {
        return Err(Fault::new(0, "the section's `[` is never closed"));
    };
    let (inside, after) = (&content[1..end], content[end + 1..].trim_start());
    if !after.is_empty() && !after.starts_with('#') {
        let is_entry = content[end + 1..].starts_with(|c: char| c.is_alphanumeric() || ".-:_[".contains(c))
            || names::is_ipv6(inside);
        return if is_entry {
            Ok(None)
        } else {
            Err(Fault::new(
                content.len() - after.len(),
                format!("unexpected `{after}` after a section's name"),
            ))
        };
    }
    if names::is_ipv6(inside) {
        return Ok(None);
    }
    let (name, kind) = match inside.split_once(':') {
        None => (inside, Kind::Hosts),
        Some((name, word)) => {
            let kind = match word {
                "hosts" => Kind::Hosts,
                "children" => Kind::Children,
                "vars" => Kind::Vars,
                _ => {
                    let message = format!("a section is `hosts`, `children` or `vars`, not `{word}`");
                    let near = SourceError::nearest(word, ["children", "vars", "hosts"]);
                    return Err(Fault {
                        hint: near.map(|near| format!("did you mean `[{name}:{near}]`?")),
                        ..Fault::new(name.len() + 2, message)
                    });
                }
            };
            (name, kind)
        }
    };
    if name.is_empty() {
        return Err(Fault::new(1, "this section has no name"));
    }
    if let Some(at) = name.find(|c: char| c.is_whitespace() || c == '[' || c.is_control()) {
        return Err(Fault::new(
            at + 1,
            "a group name can't contain blanks or brackets",
        ));
    }
    Ok(Some((name, kind)))
}

fn declare(
    name: &str,
    kind: Kind,
    line: &Line<'_>,
    builder: &mut Builder,
    pending: &mut HashMap<String, Pending>,
) -> u32 {
    let is_known = builder.find_group(name).is_some();
    let group = builder.group(name);
    if kind == Kind::Vars {
        // As in Ansible, the group must be declared somewhere, possibly further down.
        if !is_known && !pending.contains_key(name) {
            let message = format!("these vars are for the group `{name}`, which is not declared");
            let place = line.error(Fault::new(line.text.find('[').map_or(0, |at| at + 1), message));
            let parents = Vec::new();
            pending.insert(name.to_owned(), Pending { place, parents });
        }
    } else if let Some(declared) = pending.remove(name) {
        for (parent, place) in declared.parents {
            builder.edge(parent, group, place);
        }
    }
    group
}

/// Reads a line inside a section.
fn host_line(
    group: u32,
    kind: Kind,
    line: &Line<'_>,
    builder: &mut Builder,
    pending: &mut HashMap<String, Pending>,
) -> Result<(), Fault> {
    match kind {
        Kind::Hosts => host(group, line, builder),
        Kind::Vars => {
            let variable = group_variable(line, builder)?;
            builder.set_group_var(group, variable);
            Ok(())
        }
        Kind::Children => child(group, line, builder, pending),
    }
}

fn host(group: u32, line: &Line<'_>, builder: &mut Builder) -> Result<(), Fault> {
    let split = words::split(line.text.trim_end())?;
    let Some((name, rest)) = split.words.split_first() else {
        return Ok(());
    };
    if let Some(offset) = split.cut_at {
        builder.warn("cut", || {
            line.error(
                Fault::new(
                    offset,
                    "`#` inside a word begins a comment, as it does in Ansible",
                )
                .hint("put the value in quotes to keep it"),
            )
        });
    }
    let mut variables = Vec::with_capacity(rest.len());
    for word in rest {
        let Some((key, value)) = word.text.split_once('=') else {
            let fault = Fault::new(
                word.offset,
                format!("expected `name=value`, found `{}`", word.text),
            );
            return Err(if name.text.ends_with(',') || word.text.ends_with(',') {
                fault.hint("write one host on each line")
            } else {
                fault.hint("write one host on each line; variables are `name=value`, and a value with blanks needs quotes")
            });
        };
        let value_offset = word.offset + key.len() + 1;
        variables.push(variable(
            key,
            literal::value(value),
            line,
            word.offset,
            value_offset,
            builder,
        )?);
    }
    if let Some(name) = name.text.strip_suffix(':')
        && !name.contains(':')
    {
        return Err(Fault::new(split.words[0].offset, "a host name can't end in `:`")
            .hint("if this is a YAML inventory, name the file with `.yml` or `.yaml`"));
    }
    builder
        .add_entry(&name.text, group, variables, line, name.offset)
        .map_err(|fault| fault.shifted(name.offset))
}

fn group_variable(line: &Line<'_>, builder: &mut Builder) -> Result<Variable, Fault> {
    let start = line.text.len() - line.text.trim_start().len();
    let Some((key, value)) = line.text.split_once('=') else {
        return Err(Fault::new(start, "expected `name=value`"));
    };
    let value_offset = key.len() + 1 + (value.len() - value.trim_start().len());
    let value = literal::value(value.trim());
    variable(key.trim(), value, line, start, value_offset, builder)
}

fn variable(
    key: &str,
    value: serde_json::Value,
    line: &Line<'_>,
    offset: usize,
    value_offset: usize,
    builder: &mut Builder,
) -> Result<Variable, Fault> {
    if key.is_empty() {
        return Err(Fault::new(offset, "this var has no name"));
    }
    if key.contains(char::is_whitespace) {
        return Err(Fault::new(
            offset,
            format!("a var name can't contain blanks: `{key}`"),
        ));
    }
    Ok(builder.variable(key, value, line, value_offset))
}

fn child(
    group: u32,
    line: &Line<'_>,
    builder: &mut Builder,
    pending: &mut HashMap<String, Pending>,
) -> Result<(), Fault> {
    let content = line.text.split('#').next().unwrap_or_default();
    let start = content.len() - content.trim_start().len();
    let name = content.trim();
    if let Some(at) = name.find(|c: char| c.is_whitespace() || matches!(c, ':' | ']' | '[')) {
        return Err(
            Fault::new(start + at, format!("expected one group name, found `{name}`"))
                .hint("write one group on each line"),
        );
    }
    let message = format!("the child group `{name}` is not declared");
    let place = line.error(Fault::new(start, message));
    // A `:vars` section alone does not declare a group.
    if let Some(waiting) = pending.get_mut(name) {
        waiting.parents.push((group, place));
    } else if let Some(known) = builder.find_group(name) {
        builder.edge(group, known, place);
    } else {
        let parents = vec![(group, place.clone())];
        pending.insert(name.to_owned(), Pending { place, parents });
    }
    Ok(())
}

fn report(pending: HashMap<String, Pending>, builder: &mut Builder) {
    let mut left: Vec<(String, Pending)> = pending.into_iter().collect();
    left.sort_by_key(|(_, pending)| pending.place.line);
    let undeclared: Vec<String> = left.iter().map(|(name, _)| name.clone()).collect();
    for (name, pending) in left {
        let mut mistake = pending.place;
        if builder.has_host(&name) {
            mistake.hint = Some(format!("`{name}` is a host; list it in a section of hosts"));
        } else {
            let declared = builder
                .group_names()
                .filter(|group| !undeclared.iter().any(|name| name == group));
            mistake.hint = SourceError::nearest(&name, declared)
                .map(|near| format!("did you mean `{near}`?"))
                .or_else(|| Some(format!("declare it with a section `[{name}]`")));
        }
        builder.mistake(mistake);
    }
}
