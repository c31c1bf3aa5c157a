//! Folding: prints identical outputs once, under the names of their hosts.

use std::collections::{BTreeMap, HashMap};

use reveille_account::{HostName, RunId, Stream};
use reveille_fleet::UNCHANGED;
use reveille_ledger::Ledger;
use reveille_ledger::output::Frame;
use reveille_text::{counted, harmless};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use reveille_view::{Lines, Mark, Role, Said, names};

use crate::printer::Printer;

/// Most of a host's last lines that are shown with its failure.
const LAST: usize = 40;
/// Most bytes that are shown of one output.
const SHOWN: usize = 256 * 1024;

/// A host and the round whose output is meant.
type Of = (HostName, u32);

/// Prints the outputs of a run, the most common first.
pub(crate) fn print(ledger: &Ledger, run: RunId, hosts: &[Of], printer: &Printer) -> Result<(), Failure> {
    for group in groups(ledger, run, hosts, |_| Some(0))?.into_values().flatten() {
        printer.data(&printer.tone_out(&heading(&group), Role::Strong))?;
        body(ledger, run, group[0], |_| true, printer, |_| Role::Plain)?;
    }
    Ok(())
}

/// Prints what steps said about the files that they change, step by step, the most common words first.
pub(crate) fn print_changes(
    ledger: &Ledger,
    run: RunId,
    hosts: &[Of],
    steps: &BTreeMap<u32, String>,
    printer: &Printer,
) -> Result<(), Failure> {
    let of_step = |frame: &Frame| steps.contains_key(&frame.step).then_some(frame.step);
    for (step, groups) in groups(ledger, run, hosts, of_step)? {
        for group in groups {
            let is_meant = |frame: &Frame| frame.step == step;
            if no_change(ledger, run, group[0], is_meant)? {
                continue;
            }
            let heading = format!("{}: {}", harmless::line(&steps[&step]), heading(&group));
            printer.data(&printer.tone_out(&printer.harmless_in_ci(&heading), Role::Strong))?;
            body(ledger, run, group[0], is_meant, printer, of_difference)?;
        }
    }
    Ok(())
}

/// `web[01-40] (40 hosts)`
fn heading(group: &[&Of]) -> String {
    let names = names::fold(group.iter().map(|(host, _)| host.as_str()));
    if group.len() == 1 {
        names
    } else {
        format!("{names} ({})", counted(group.len(), "host"))
    }
}

/// Whether a check found nothing to change.
fn no_change(
    ledger: &Ledger,
    run: RunId,
    host: &Of,
    is_meant: impl Fn(&Frame) -> bool,
) -> Result<bool, Failure> {
    let (lines, cut) = lines(ledger, run, host, is_meant)?;
    Ok(!cut && matches!(lines.as_slice(), [only] if only.ends_with(UNCHANGED)))
}

/// The role of a line of a difference.
fn of_difference(line: &str) -> Role {
    match line.as_bytes() {
        [b'+', ..] => Role::Good,
        [b'-', ..] => Role::Bad,
        [b'@', b'@', ..] => Role::Live,
        _ => Role::Plain,
    }
}

/// The hosts with the same output, for each key of frames; the largest group first. Frames without a key are left out.
fn groups<'a>(
    ledger: &Ledger,
    run: RunId,
    hosts: &'a [Of],
    key: impl Fn(&Frame) -> Option<u32>,
) -> Result<BTreeMap<u32, Vec<Vec<&'a Of>>>, Failure> {
    let mut like: BTreeMap<u32, HashMap<[u8; 32], Vec<&Of>>> = BTreeMap::new();
    for host in hosts {
        for (key, hash) in hashes(ledger, run, host, &key)? {
            like.entry(key).or_default().entry(hash).or_default().push(host);
        }
    }
    let sorted = like.into_iter().map(|(key, groups)| {
        let mut groups: Vec<Vec<&Of>> = groups.into_values().collect();
        groups.sort_by(|one, other| {
            other
                .len()
                .cmp(&one.len())
                .then_with(|| one[0].0.cmp(&other[0].0))
        });
        (key, groups)
    });
    Ok(sorted.collect())
}

/// The hashes of a host's output, where there is some.
fn hashes(
    ledger: &Ledger,
    run: RunId,
    (host, round): &Of,
    key: impl Fn(&Frame) -> Option<u32>,
) -> Result<BTreeMap<u32, [u8; 32]>, Failure> {
    let mut hashes: BTreeMap<u32, [Sha256; 2]> = BTreeMap::new();
    for frame in ledger.read_output(run, host, *round)? {
        let frame = frame?;
        let Some(key) = key(&frame) else { continue };
        if frame.bytes.is_empty() && frame.gap == 0 {
            continue;
        }
        let hashes = hashes
            .entry(key)
            .or_insert_with(|| [Sha256::new(), Sha256::new()]);
        // The streams are hashed separately, because they interleave by chance.
        let hash = &mut hashes[usize::from(frame.stream == Stream::Stderr)];
        hash.update(&frame.bytes);
        if frame.gap > 0 {
            hash.update(frame.gap.to_le_bytes());
        }
    }
    let whole = hashes.into_iter().map(|(key, [mut stdout, stderr])| {
        stdout.update(stderr.finalize());
        (key, stdout.finalize().into())
    });
    Ok(whole.collect())
}

/// Prints the lines of an output below its heading.
fn body(
    ledger: &Ledger,
    run: RunId,
    host: &Of,
    is_meant: impl Fn(&Frame) -> bool,
    printer: &Printer,
    role: impl Fn(&str) -> Role,
) -> Result<(), Failure> {
    let (lines, cut) = lines(ledger, run, host, is_meant)?;
    for line in lines {
        printer.data(&printer.tone_out(&printer.remote(&line), role(&line)))?;
    }
    if cut {
        printer.data("  … (`reveille logs` shows the rest)")?;
    }
    Ok(())
}

/// The whole lines of a host's output, in the order in which they ended, and whether there are more. The streams are
/// separate, so that no line is made of both.
fn lines(
    ledger: &Ledger,
    run: RunId,
    (host, round): &Of,
    is_meant: impl Fn(&Frame) -> bool,
) -> Result<(Vec<String>, bool), Failure> {
    let mut whole = Lines::new(false);
    let mut said = Vec::new();
    let mut left = SHOWN;
    let mut cut = false;
    for frame in ledger.read_output(run, host, *round)? {
        let frame = frame?;
        if !is_meant(&frame) {
            continue;
        }
        if frame.gap > 0 {
            whole.end(host, &mut said);
            said.push(Said {
                host: host.clone(),
                mark: Mark::Stdout,
                stream: frame.stream,
                text: lost(frame.gap),
            });
        }
        let bytes = &frame.bytes[..frame.bytes.len().min(left)];
        whole.take(host, frame.stream, bytes, 0, &mut said);
        left -= bytes.len();
        cut = bytes.len() < frame.bytes.len();
        if cut {
            break;
        }
    }
    whole.end(host, &mut said);
    let mut lines: Vec<String> = Vec::new();
    // The last line of each stream, to which the rest of a long line is added.
    let mut last = [None, None];
    for said in said {
        let last = &mut last[usize::from(said.stream == Stream::Stderr)];
        match *last {
            Some(index) if said.mark == Mark::More => {
                let line: &mut String = &mut lines[index];
                line.push_str(&said.text);
            }
            _ => {
                *last = Some(lines.len());
                lines.push(said.text);
            }
        }
    }
    Ok((lines, cut))
}

/// The last lines that a host's commands wrote.
pub(crate) fn last_lines(ledger: &Ledger, run: RunId, host: &Of) -> Result<Vec<String>, Failure> {
    let (mut lines, _) = lines(ledger, run, host, |_| true)?;
    let first = lines.len().saturating_sub(LAST);
    Ok(lines.split_off(first))
}

/// Says that output is missing here.
pub(crate) fn lost(bytes: u64) -> String {
    format!("[{} not kept]", counted(bytes, "byte"))
}
