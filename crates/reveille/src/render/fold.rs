//! Folding: prints identical outputs once, under the names of their hosts.

use std::collections::HashMap;

use reveille_account::{HostName, RunId, Stream};
use reveille_ledger::Ledger;
use reveille_text::counted;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use reveille_view::{Lines, Mark, Role, Said, names};

use crate::printer::Printer;

/// Most of a host's last lines that are shown with its failure.
const LAST: usize = 40;
/// Most bytes that are shown of one output.
const SHOWN: usize = 256 * 1024;

/// Prints the outputs of a run, the most common first.
pub(crate) fn print(
    ledger: &Ledger,
    run: RunId,
    hosts: &[(HostName, u32)],
    printer: &Printer,
) -> Result<(), Failure> {
    let mut groups: HashMap<[u8; 32], Vec<&(HostName, u32)>> = HashMap::new();
    for host in hosts {
        if let Some(hash) = hash(ledger, run, host)? {
            groups.entry(hash).or_default().push(host);
        }
    }
    let mut groups: Vec<Vec<&(HostName, u32)>> = groups.into_values().collect();
    groups.sort_by(|one, other| {
        other
            .len()
            .cmp(&one.len())
            .then_with(|| one[0].0.cmp(&other[0].0))
    });
    for group in groups {
        let names = names::fold(group.iter().map(|(host, _)| host.as_str()));
        let heading = if group.len() == 1 {
            names
        } else {
            format!("{names} ({})", counted(group.len(), "host"))
        };
        printer.data(&printer.tone_out(&heading, Role::Strong))?;
        let (lines, cut) = lines(ledger, run, group[0])?;
        for line in lines {
            printer.data(&printer.remote(&line))?;
        }
        if cut {
            printer.data("  … (`reveille logs` shows the rest)")?;
        }
    }
    Ok(())
}

/// A hash of a host's output; `None` if there is no output.
fn hash(ledger: &Ledger, run: RunId, (host, round): &(HostName, u32)) -> Result<Option<[u8; 32]>, Failure> {
    let mut hashes = [Sha256::new(), Sha256::new()];
    let mut any = false;
    for frame in ledger.read_output(run, host, *round)? {
        let frame = frame?;
        any |= !frame.bytes.is_empty() || frame.gap > 0;
        // The streams are hashed separately, because they interleave by chance.
        let hash = &mut hashes[usize::from(frame.stream == Stream::Stderr)];
        hash.update(&frame.bytes);
        if frame.gap > 0 {
            hash.update(frame.gap.to_le_bytes());
        }
    }
    let [mut stdout, stderr] = hashes;
    stdout.update(stderr.finalize());
    Ok(any.then(|| stdout.finalize().into()))
}

/// The whole lines of a host's output, in the order in which they ended, and whether there are more. The streams are
/// separate, so that no line is made of both.
fn lines(
    ledger: &Ledger,
    run: RunId,
    (host, round): &(HostName, u32),
) -> Result<(Vec<String>, bool), Failure> {
    let mut whole = Lines::new(false);
    let mut said = Vec::new();
    let mut left = SHOWN;
    let mut cut = false;
    for frame in ledger.read_output(run, host, *round)? {
        let frame = frame?;
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
pub(crate) fn last_lines(
    ledger: &Ledger,
    run: RunId,
    host: &(HostName, u32),
) -> Result<Vec<String>, Failure> {
    let (mut lines, _) = lines(ledger, run, host)?;
    let first = lines.len().saturating_sub(LAST);
    Ok(lines.split_off(first))
}

/// Says that output is missing here.
pub(crate) fn lost(bytes: u64) -> String {
    format!("[{} not kept]", counted(bytes, "byte"))
}
