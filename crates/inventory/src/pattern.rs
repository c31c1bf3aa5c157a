//! Patterns select hosts of the inventory, in Ansible's algebra.
//!
//! Terms are separated by commas or colons. Plain terms add hosts, then `&term` keeps only the hosts that it matches,
//! then `!term` removes those that it matches, wherever the terms stand. Without a plain term, the pattern starts from
//! `all`.

use std::fmt;
use std::path::Path;

use regex::Regex;
use reveille_account::{Class, Fault, HostName, Line, SourceError, Status};
use reveille_text::bounded;
use reveille_text::glob::Glob;

use crate::InventoryError;
use crate::model::{ALL, Inventory, UNGROUPED};
use crate::names::{self, MAX_NAMES, Names};

/// How deep pattern files may refer to pattern files.
const MAX_FILE_DEPTH: usize = 4;
/// The largest pattern file, in bytes.
const MAX_PATTERN_BYTES: u64 = 16 << 20;

/// A term and its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term<'a> {
    operation: Operation,
    text: &'a str,
    /// The byte of the pattern at which `text` starts.
    offset: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Keep,
    Remove,
}

/// Selects hosts of an earlier run: the text after the `@` of a term such as `@last:failed`.
///
/// It is displayed as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunSelector {
    /// The run.
    pub run: RunName,
    /// How the hosts ended; `failed` if the term does not name an outcome.
    pub outcome: RunOutcome,
}

/// An earlier run, as named in a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RunName {
    /// `last`: the newest run.
    Last,
    /// An id or the start of one: `r-20261121-101502-4f2a`.
    Id(String),
}

/// How hosts ended in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunOutcome {
    /// With this status.
    Status(Status),
    /// With this class.
    Class(Class),
    /// Not dispatched.
    Pending,
    /// Dispatched, without an outcome.
    Running,
}

/// Returns the hosts of an earlier run, or an error that is shown at the term.
type Resolver<'a> = &'a dyn Fn(&RunSelector) -> Result<Vec<HostName>, String>;

/// The resolver of a caller without earlier runs.
pub fn no_runs(selector: &RunSelector) -> Result<Vec<HostName>, String> {
    Err(format!("there is no file and no run `{}`", selector.run))
}

// === impl RunSelector ===

impl RunSelector {
    /// Parses `RUN` or `RUN:OUTCOME`; an error is about the outcome.
    fn parse(reference: &str) -> Result<Self, Fault> {
        let (run, word) = reference.split_once(':').unwrap_or((reference, "failed"));
        let run = match run {
            "last" => RunName::Last,
            id => RunName::Id(id.to_owned()),
        };
        let outcome = RunOutcome::parse(word)?;
        Ok(Self { run, outcome })
    }
}

impl fmt::Display for RunSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.run, self.outcome)
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunName::Last => formatter.write_str("last"),
            RunName::Id(id) => formatter.write_str(id),
        }
    }
}

// === impl RunOutcome ===

/// The statuses that hosts may have.
const STATUSES: [Status; 5] = [
    Status::Success,
    Status::Failed,
    Status::Quarantined,
    Status::Cancelled,
    Status::Ghost,
];

impl RunOutcome {
    fn parse(word: &str) -> Result<Self, Fault> {
        let status = STATUSES.into_iter().find(|status| status.as_str() == word);
        match word {
            "pending" => Ok(RunOutcome::Pending),
            "running" => Ok(RunOutcome::Running),
            _ => status
                .map(RunOutcome::Status)
                .or_else(|| word.parse().ok().map(RunOutcome::Class))
                .ok_or_else(|| {
                    let fault = Fault::new(0, format!("no status or class is named `{word}`"));
                    let known = STATUSES
                        .into_iter()
                        .map(Status::as_str)
                        .chain(["pending", "running"])
                        .chain(Class::ALL.iter().map(|class| class.as_str()));
                    match SourceError::nearest(word, known) {
                        Some(near) => fault.hint(format!("did you mean `{near}`?")),
                        None => fault.hint("`reveille explain` lists them"),
                    }
                }),
        }
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            RunOutcome::Status(status) => status.as_str(),
            RunOutcome::Class(class) => class.as_str(),
            RunOutcome::Pending => "pending",
            RunOutcome::Running => "running",
        })
    }
}

impl Inventory {
    /// Checks a pattern without an inventory: whether it is well-formed, and can match a host at all.
    ///
    /// ```
    /// use reveille_inventory::Inventory;
    ///
    /// assert!(Inventory::check_pattern("web:&new:!web07").is_ok());
    /// assert!(Inventory::check_pattern("web:!web").is_err());
    /// ```
    pub fn check_pattern(pattern: &str) -> Result<(), InventoryError> {
        let line = Line {
            file: "pattern",
            number: 1,
            text: pattern,
            hidden: false,
        };
        let wrong = |fault: Fault| Err(InventoryError::Pattern(line.error(fault)));
        if is_blank(pattern) {
            return wrong(empty());
        }
        let terms = terms(pattern, &|_| false);
        for Term { text, offset, .. } in &terms {
            if text.is_empty() {
                return wrong(unnamed(*offset));
            }
            if let Some(expression) = text.strip_prefix('~') {
                if let Err(fault) = regex(expression, *offset) {
                    return wrong(fault);
                }
            } else if text.matches('[').count() != text.matches(']').count() {
                return wrong(Fault::new(
                    *offset,
                    format!("a bracket in `{text}` is not closed"),
                ));
            }
        }
        let of = |operation| terms.iter().filter(move |term| term.operation == operation);
        for removed in of(Operation::Remove) {
            let is_all = ["all", "*"].contains(&removed.text);
            let is_only =
                of(Operation::Add).count() > 0 && of(Operation::Add).all(|added| added.text == removed.text);
            if is_all || is_only {
                let message = format!("`!{}` leaves no host that the pattern could match", removed.text);
                return wrong(Fault::new(removed.offset, message));
            }
        }
        Ok(())
    }

    /// The hosts that the patterns match together, in inventory order; all hosts if there is no pattern.
    ///
    /// `resolver` is called once for each term that names hosts of an earlier run, `@last:failed` or `@RUN:CLASS`;
    /// every host that it returns must be in the inventory.
    ///
    /// ```
    /// use reveille_account::{Class, HostName};
    /// use reveille_inventory::{Inventory, RunName, RunOutcome, RunSelector, Source};
    ///
    /// let inventory = Inventory::load(&[Source::List("web[1:3]".into())])?.inventory;
    /// let earlier = |selector: &RunSelector| match (&selector.run, selector.outcome) {
    ///     (RunName::Last, RunOutcome::Class(Class::Dns)) => Ok(vec![HostName::from("web2")]),
    ///     _ => Err(format!("there is no run `{selector}`")),
    /// };
    /// assert_eq!(inventory.select(&["@last:dns"], &earlier)?, [HostName::from("web2")]);
    /// # Ok::<(), reveille_inventory::InventoryError>(())
    /// ```
    pub fn select<P: AsRef<str>>(
        &self,
        patterns: &[P],
        resolver: Resolver<'_>,
    ) -> Result<Vec<HostName>, InventoryError> {
        let patterns: Vec<&str> = patterns.iter().map(AsRef::as_ref).collect();
        let selection = Selection {
            inventory: self,
            resolver,
        };
        let mut chosen = Chosen::default();
        for pattern in &patterns {
            let line = Line {
                file: "pattern",
                number: 1,
                text: pattern,
                hidden: false,
            };
            // An unset variable in `-l "$TARGET"` must not select all hosts.
            if is_blank(pattern) {
                return Err(InventoryError::Pattern(line.error(empty())));
            }
            selection.evaluate(&line, 0, &mut chosen)?;
        }
        let hosts = chosen.hosts(self);
        if hosts.is_empty() {
            return Err(InventoryError::NothingMatches {
                pattern: patterns.join(","),
            });
        }
        Ok(hosts)
    }
}

fn is_blank(pattern: &str) -> bool {
    pattern.chars().all(|c| c.is_whitespace() || c == ',' || c == ':')
}

fn empty() -> Fault {
    Fault::new(0, "the pattern is empty").hint("write `all` for all hosts")
}

fn unnamed(offset: usize) -> Fault {
    Fault::new(offset, "expected a host, a group or a glob")
}

/// Like Python's `re.match`: anchored at the start only.
fn regex(expression: &str, offset: usize) -> Result<Regex, Fault> {
    Regex::new(&format!("^(?:{expression})")).map_err(|_| {
        let reason = Regex::new(expression).map_or_else(|error| brief(&error), |_| "unbalanced".into());
        Fault::new(
            offset,
            format!("`{expression}` is not a regular expression: {reason}"),
        )
    })
}

/// The hosts that the terms so far match; the operations are applied at the end.
#[derive(Debug, Default)]
struct Chosen {
    added: Option<Vec<bool>>,
    kept: Vec<Vec<bool>>,
    removed: Option<Vec<bool>>,
}

// === impl Chosen ===

impl Chosen {
    fn hosts(self, inventory: &Inventory) -> Vec<HostName> {
        inventory
            .hosts()
            .enumerate()
            .filter(|(index, _)| {
                self.added.as_ref().is_none_or(|added| added[*index])
                    && self.kept.iter().all(|kept| kept[*index])
                    && !self.removed.as_ref().is_some_and(|removed| removed[*index])
            })
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// The marks for terms of this operation.
    fn target(&mut self, operation: Operation, hosts: usize) -> &mut [bool] {
        let none = || vec![false; hosts];
        match operation {
            Operation::Add => self.added.get_or_insert_with(none),
            Operation::Remove => self.removed.get_or_insert_with(none),
            Operation::Keep => self.kept.push_mut(none()),
        }
    }
}

struct Selection<'a> {
    inventory: &'a Inventory,
    resolver: Resolver<'a>,
}

// === impl Selection ===

impl Selection<'_> {
    fn evaluate(&self, line: &Line<'_>, depth: usize, chosen: &mut Chosen) -> Result<(), InventoryError> {
        let is_name = |text: &str| {
            self.inventory.host_index.contains_key(text) || self.inventory.group_index.contains_key(text)
        };
        for term in terms(line.text, &is_name) {
            let matched = chosen.target(term.operation, self.inventory.len());
            self.term(&term, line, depth, matched)?;
        }
        Ok(())
    }

    fn term(
        &self,
        term: &Term<'_>,
        line: &Line<'_>,
        depth: usize,
        matched: &mut [bool],
    ) -> Result<(), InventoryError> {
        let error = |fault: Fault| InventoryError::Pattern(line.error(fault));
        let Term { text, offset, .. } = *term;
        if text.is_empty() {
            return Err(error(unnamed(offset)));
        }
        if let Some(reference) = text.strip_prefix('@') {
            return self.reference(reference, term, line, depth, matched);
        }
        if let Some(expression) = text.strip_prefix('~') {
            let regex = regex(expression, offset).map_err(error)?;
            return self
                .matching(|name| regex.is_match(name), matched)
                .then_some(())
                .ok_or_else(|| error(Fault::new(offset, format!("no host or group matches `{text}`"))));
        }
        if let Some(range) = self.range_of_hosts(text) {
            let marked = range.map(|hosts| {
                for host in hosts {
                    matched[host as usize] = true;
                }
            });
            return marked.map_err(|missing| {
                let message = format!("`{text}` names {missing}, which is not in the inventory");
                error(Fault::new(offset, message))
            });
        }
        if let Some((base, subscript)) = subscript(text)
            && let Some(hosts) = self.in_order(base)
        {
            return pick(&hosts, subscript, matched).map_err(|count| {
                let message = format!("`{text}` is out of range: `{base}` has {count} hosts");
                error(Fault::new(offset, message))
            });
        }
        if self.name_or_glob(text, matched) || self.range(text, matched) {
            return Ok(());
        }
        let near = self.nearest(text);
        Err(error(Fault {
            hint: near.map(|near| format!("did you mean `{near}`?")),
            ..Fault::new(offset, format!("no host or group matches `{text}`"))
        }))
    }

    /// The hosts that a name or a glob matches, in the order of subscripts; none if no such host or group exists.
    fn in_order(&self, text: &str) -> Option<Vec<u32>> {
        if text == "*" {
            return Some(self.inventory.listed_members(ALL));
        }
        if let Some(group) = self.inventory.group_index.get(text) {
            return Some(self.inventory.listed_members(*group));
        }
        if let Some(host) = self.inventory.host_index.get(text) {
            return Some(vec![*host]);
        }
        let glob = text.contains(['*', '?', '[']).then(|| Glob::new(text))?;
        let mut taken = vec![false; self.inventory.len()];
        let mut found = Vec::new();
        let groups = (0u32..).zip(&self.inventory.groups).skip(2);
        let in_groups = groups
            .filter(|(_, group)| glob.fits(&group.name))
            .flat_map(|(index, _)| self.inventory.listed_members(index));
        let hosts = (0u32..)
            .zip(self.inventory.hosts())
            .filter(|(_, name)| glob.fits(name.as_str()))
            .map(|(index, _)| index);
        for host in in_groups.chain(hosts) {
            if !std::mem::replace(&mut taken[host as usize], true) {
                found.push(host);
            }
        }
        (!found.is_empty()).then_some(found)
    }

    /// Marks the hosts that a name or a glob matches; false if no such host or group exists.
    fn name_or_glob(&self, text: &str, matched: &mut [bool]) -> bool {
        if text == "all" || text == "*" {
            matched.fill(true);
            return true;
        }
        if let Some(group) = self.inventory.group_index.get(text) {
            self.mark(*group, matched);
            return true;
        }
        let plain = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .filter(|text| names::is_ipv6(text));
        if let Some(host) = self.inventory.host_index.get(plain.unwrap_or(text)) {
            matched[*host as usize] = true;
            return true;
        }
        let glob = text.contains(['*', '?', '[']).then(|| Glob::new(text));
        glob.is_some_and(|glob| self.matching(|name| glob.fits(name), matched))
    }

    /// Marks the hosts and groups whose names match; false if there are none.
    fn matching(&self, fits: impl Fn(&str) -> bool, matched: &mut [bool]) -> bool {
        let mut any = false;
        for (index, group) in (0u32..).zip(&self.inventory.groups) {
            // `a*` does not match `all`.
            if index > UNGROUPED && fits(&group.name) {
                self.mark(index, matched);
                any = true;
            }
        }
        for (host, name) in matched.iter_mut().zip(self.inventory.hosts()) {
            if fits(name.as_str()) {
                *host = true;
                any = true;
            }
        }
        any
    }

    fn mark(&self, group: u32, matched: &mut [bool]) {
        for host in self.inventory.members(group) {
            matched[host as usize] = true;
        }
    }

    /// The hosts that `web[01-40]` names, if it names hosts although `web` may be a group, of which these could be the
    /// places: some of the hosts are known, or the numbers have leading zeros. The error is the first unknown host.
    fn range_of_hosts(&self, text: &str) -> Option<Result<Vec<u32>, String>> {
        let (_, inside) = text.strip_suffix(']')?.rsplit_once('[')?;
        let (first, last) = inside.split_once('-')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(first) || !is_number(last) {
            return None;
        }
        let is_padded = first.len() > 1 && first.starts_with('0');
        let names = Names::parse(text).ok()?;
        if names.count() > MAX_NAMES {
            return None;
        }
        let (mut known, mut missing) = (Vec::new(), None);
        names.each(&mut |name| match self.inventory.host_index.get(name) {
            Some(host) => known.push(*host),
            None => missing = missing.take().or_else(|| Some(name.to_owned())),
        });
        (!known.is_empty() || is_padded).then(|| missing.map_or(Ok(known), Err))
    }

    /// Marks the hosts of a range such as `web[01-40]`; false if one of them does not exist.
    fn range(&self, text: &str, matched: &mut [bool]) -> bool {
        if !text.contains('[') {
            return false;
        }
        let Ok(names) = Names::parse(text) else {
            return false;
        };
        if names.count() > MAX_NAMES {
            return false;
        }
        let mut all_known = true;
        names.each(&mut |name| match self.inventory.host_index.get(name) {
            Some(host) => matched[*host as usize] = true,
            None => all_known = false,
        });
        all_known
    }

    /// Reads a pattern file, one pattern per line, or the hosts of an earlier run.
    fn reference(
        &self,
        reference: &str,
        term: &Term<'_>,
        line: &Line<'_>,
        depth: usize,
        matched: &mut [bool],
    ) -> Result<(), InventoryError> {
        let error = |message: String| InventoryError::Pattern(line.error(Fault::new(term.offset, message)));
        if !is_run(reference) {
            let text = bounded::text(Path::new(reference), MAX_PATTERN_BYTES)
                .map_err(|why| error(format!("failed to read `{reference}`: {why}")))?;
            if depth == MAX_FILE_DEPTH {
                return Err(error(format!(
                    "pattern files refer to each other too deeply at `{reference}`"
                )));
            }
            let mut chosen = Chosen::default();
            let mut any = false;
            for (index, text) in text.lines().enumerate() {
                let text = text.trim();
                if text.is_empty() || text.starts_with('#') {
                    continue;
                }
                any = true;
                let line = Line {
                    file: reference,
                    number: index + 1,
                    text,
                    hidden: false,
                };
                self.evaluate(&line, depth + 1, &mut chosen)?;
            }
            if !any {
                return Err(error(format!("`{reference}` names no host")));
            }
            for host in chosen.hosts(self.inventory) {
                matched[self.inventory.host_index[&host] as usize] = true;
            }
            return Ok(());
        }
        let selector = RunSelector::parse(reference)
            .map_err(|fault| InventoryError::Pattern(line.error(fault.shifted(term.offset))))?;
        for host in (self.resolver)(&selector).map_err(error)? {
            let index = self.inventory.index(host.as_str());
            let missing = || error(format!("`{host}` of `@{reference}` is not in the inventory"));
            matched[index.ok_or_else(missing)? as usize] = true;
        }
        Ok(())
    }

    fn nearest(&self, text: &str) -> Option<&str> {
        let groups = self.inventory.groups.iter().map(|group| &*group.name);
        // Comparing names is cheap, but not for 50,000 hosts.
        let hosts = self.inventory.hosts().take(5000).map(HostName::as_str);
        SourceError::nearest(text, groups.chain(hosts))
    }
}

/// Whether the text after `@` names a run rather than a file.
fn is_run(reference: &str) -> bool {
    let run = reference.split(':').next().unwrap_or_default();
    let run_like = run == "last"
        || (run.starts_with("r-") && run[2..].starts_with(|c: char| c.is_ascii_digit()))
        || (run.len() == 36 && run.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'));
    run_like && !std::path::Path::new(run).exists()
}

/// Splits a pattern at commas and colons outside brackets, but not inside an IPv6 address or before a run's `:CLASS`.
/// Text that could be an address is split if each part `is_name`.
fn terms<'a>(pattern: &'a str, is_name: &dyn Fn(&str) -> bool) -> Vec<Term<'a>> {
    let mut terms = Vec::new();
    let mut start = 0;
    while start <= pattern.len() {
        let rest = &pattern[start..];
        let end = term_end(rest, is_name);
        let raw = &rest[..end];
        let trimmed = raw.trim();
        let offset = start + (raw.len() - raw.trim_start().len());
        let (operation, text) = match trimmed.as_bytes().first() {
            Some(b'&') => (Operation::Keep, &trimmed[1..]),
            Some(b'!') => (Operation::Remove, &trimmed[1..]),
            _ => (Operation::Add, trimmed),
        };
        // A trailing comma adds nothing.
        if !trimmed.is_empty() || (start < pattern.len() && end < rest.len() && start > 0) {
            terms.push(Term {
                operation,
                text: text.trim_start(),
                offset,
            });
        }
        start += end + 1;
    }
    terms
}

/// The end of the first term in `rest`.
fn term_end(rest: &str, is_name: &dyn Fn(&str) -> bool) -> usize {
    let until_comma = rest.find(',').unwrap_or(rest.len());
    let body = rest.trim_start_matches([' ', '&', '!']);
    let lead = rest.len() - body.len();
    if let Some(inside) = body.strip_prefix('[')
        && let Some((address, after)) = inside.split_once(']')
        && names::is_ipv6(address)
    {
        return rest.len() - after.len();
    }
    let address = rest[lead.min(until_comma)..until_comma].trim();
    if names::is_ipv6(address) && !address.split(':').all(|part| is_name(part.trim())) {
        return until_comma;
    }
    if let Some(reference) = body.strip_prefix('@') {
        let first = reference.find([':', ',']).unwrap_or(reference.len());
        let mut end = first;
        if is_run(&reference[..first])
            && let Some(class) = reference[first..].strip_prefix(':')
            && class.starts_with(|c: char| c.is_ascii_lowercase())
        {
            end = first + 1 + class.find([':', ',']).unwrap_or(class.len());
        }
        return lead + 1 + end;
    }
    let expression = body.starts_with('~');
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, character) in rest.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if expression => escaped = true,
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '(' | '{' if expression => depth += 1,
            ')' | '}' if expression => depth = depth.saturating_sub(1),
            ',' | ':' if depth == 0 => return at,
            _ => {}
        }
    }
    // Inside brackets that are never closed, separators still count.
    if depth > 0 && !expression {
        return rest.find([',', ':']).unwrap_or(rest.len());
    }
    rest.len()
}

/// The first and the last index, from 0, both included; negative ones count from the end.
type Subscript = (i64, Option<i64>);

/// Parses `base[0]`, `base[0:3]`, `base[-1]` and `base[2:]`.
fn subscript(text: &str) -> Option<(&str, Subscript)> {
    let (base, inside) = text.strip_suffix(']')?.rsplit_once('[')?;
    if base.is_empty() {
        return None;
    }
    if let Ok(index) = inside.parse::<i64>() {
        return Some((base, (index, Some(index))));
    }
    let (first, last) = inside.split_once([':', '-'])?;
    let first = first.parse::<u32>().ok()?;
    let last = if last.is_empty() {
        None
    } else {
        Some(i64::from(last.parse::<u32>().ok()?))
    };
    Some((base, (i64::from(first), last)))
}

/// Marks the hosts at the subscript; the error is the number of hosts.
fn pick(hosts: &[u32], (first, last): Subscript, matched: &mut [bool]) -> Result<(), usize> {
    let count = hosts.len();
    let absolute = |index: i64| {
        if index < 0 {
            usize::try_from(index.unsigned_abs())
                .ok()
                .and_then(|back| count.checked_sub(back))
        } else {
            usize::try_from(index).ok()
        }
    };
    let first = absolute(first).filter(|first| *first < count).ok_or(count)?;
    let last = match last {
        None => count - 1,
        Some(last) => absolute(last).ok_or(count)?.min(count - 1),
    };
    for host in hosts.get(first..=last).unwrap_or_default() {
        matched[*host as usize] = true;
    }
    Ok(())
}

/// The last line of an expression's error, which contains the reason.
fn brief(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
