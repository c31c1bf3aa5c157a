//! The autonomous system of an address.
//!
//! The table of the Internet has 1.2 million nested prefixes. Reading flattens it: the address space is cut where a
//! prefix begins or ends, and each piece has the AS of the longest prefix around it. A look-up is a binary search for
//! the piece. The table takes 8 bytes for each piece of IPv4 and 20 for each of IPv6; a tree of prefixes takes five to
//! ten times that.

use std::io::BufRead;
use std::net::IpAddr;

use reveille_text::counted;

use crate::error::Reason;
use crate::large_vec::large_vec;

/// AS numbers by address.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    four: Pieces<u32>,
    six: Pieces<u128>,
    prefixes: usize,
    ignored: Ignored,
}

/// Lines without a prefix and an AS number, other than empty lines and comments.
#[derive(Debug, Clone, Copy, Default)]
struct Ignored {
    number: usize,
    first: u32,
}

/// The beginning of each piece, and its AS; 0 for none.
#[derive(Debug, Clone, Default)]
struct Pieces<A> {
    starts: Vec<A>,
    systems: Vec<u32>,
}

/// A prefix: first address, last address, AS, and its line.
type Prefix<A> = (A, A, u32, u32);

/// Longest line of a list of prefixes.
const LONGEST_LINE: u64 = 4096;

// === impl Networks ===

impl Networks {
    /// Reads lines `PREFIX ASN`. Ignores other lines with a warning, as other readers of these files do; a file without
    /// any valid line is an error.
    pub(crate) fn read(mut input: impl BufRead) -> Result<Self, Reason> {
        let (mut four, mut six) = (large_vec(), large_vec());
        let mut line = Vec::new();
        let mut number: u32 = 0;
        let mut ignored = Ignored::default();
        loop {
            line.clear();
            number = number.saturating_add(1);
            if std::io::Read::take(&mut input, LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() as u64 == LONGEST_LINE {
                return Err(Reason::Line {
                    line: number as usize,
                    what: "the line is longer than 4,096 bytes; is it a list of prefixes?".to_owned(),
                });
            }
            match std::str::from_utf8(&line).ok().and_then(parse) {
                Some((IpAddr::V4(address), length, system)) => {
                    let all: u32 = u32::MAX.checked_shr(length).unwrap_or(0);
                    let first = u32::from(address) & !all;
                    four.push((first, first | all, system, number));
                }
                Some((IpAddr::V6(address), length, system)) => {
                    let all: u128 = u128::MAX.checked_shr(length).unwrap_or(0);
                    let first = u128::from(address) & !all;
                    six.push((first, first | all, system, number));
                }
                None => ignored.add(&line, number),
            }
        }
        let prefixes = four.len() + six.len();
        if prefixes == 0 {
            return Err(Reason::NoNetworks);
        }
        Ok(Self {
            four: Pieces::flatten(four),
            six: Pieces::flatten(six),
            prefixes,
            ignored,
        })
    }

    /// The AS of the longest prefix around an address.
    pub(crate) fn system(&self, address: IpAddr) -> Option<u32> {
        let system = match address {
            IpAddr::V4(address) => self.four.find(address.into()),
            IpAddr::V6(address) => self.six.find(address.into()),
        };
        (system != 0).then_some(system)
    }

    /// The mistakes in the file that were ignored.
    pub fn warning(&self) -> Option<String> {
        let Ignored { number, first } = self.ignored;
        (number > 0).then(|| {
            let lines = counted(number, "line");
            format!(
                "{lines} of the list of prefixes ignored, the first is line {first}: no prefix and AS number"
            )
        })
    }

    /// The number of prefixes.
    pub fn prefixes(&self) -> usize {
        self.prefixes
    }
}

// === impl Ignored ===

impl Ignored {
    fn add(&mut self, line: &[u8], number: u32) {
        let line = line.trim_ascii();
        // A default route is valid, but has no effect.
        if line.is_empty()
            || line.starts_with(b"#")
            || line.starts_with(b"0.0.0.0/0")
            || line.starts_with(b"::/0")
        {
            return;
        }
        if self.number == 0 {
            self.first = number;
        }
        self.number += 1;
    }
}

// === impl Pieces ===

impl<A: Copy + Ord + Step> Pieces<A> {
    fn flatten(mut prefixes: Vec<Prefix<A>>) -> Self {
        // Outer before inner; the last of equal lines counts, so it comes last.
        prefixes.sort_unstable_by(|one, other| {
            let outer_first = one.0.cmp(&other.0).then(other.1.cmp(&one.1));
            outer_first.then(one.3.cmp(&other.3))
        });
        let mut pieces = Self {
            starts: large_vec(),
            systems: large_vec(),
        };
        let mut around: Vec<(A, u32)> = Vec::new();
        for (first, last, system, _) in prefixes {
            pieces.close(&mut around, Some(first));
            pieces.begin(first, system);
            around.push((last, system));
        }
        pieces.close(&mut around, None);
        pieces
    }

    /// Ends the prefixes before an address, the inner ones first; the rest belongs to the prefix around each.
    fn close(&mut self, around: &mut Vec<(A, u32)>, before: Option<A>) {
        while let Some(&(last, _)) = around.last() {
            if before.is_some_and(|before| last >= before) {
                break;
            }
            around.pop();
            if let Some(next) = last.next() {
                let outer = around.last().map_or(0, |(_, system)| *system);
                self.begin(next, outer);
            }
        }
    }

    /// Adds a piece, which replaces one with the same beginning; neighbours of one AS are one piece.
    fn begin(&mut self, start: A, system: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.systems.pop();
        }
        if self.systems.last() != Some(&system) {
            self.starts.push(start);
            self.systems.push(system);
        }
    }

    fn find(&self, address: A) -> u32 {
        let after = self.starts.partition_point(|start| *start <= address);
        after.checked_sub(1).map_or(0, |place| self.systems[place])
    }
}

/// An address as a number with a successor.
trait Step: Sized {
    fn next(self) -> Option<Self>;
}

impl Step for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Step for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// Address, prefix length, AS. Default routes are left out, because they contain every address.
fn parse(line: &str) -> Option<(IpAddr, u32, u32)> {
    let mut words = line.split_ascii_whitespace();
    let (address, length) = words.next()?.split_once('/')?;
    let system = words.next()?;
    let system = system.strip_prefix("AS").unwrap_or(system).parse().ok()?;
    let address: IpAddr = address.parse().ok()?;
    let length: u32 = length.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (1..=longest)
        .contains(&length)
        .then_some((address, length, system))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        Networks::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let networks = networks(
            "10.0.0.0/8 1\n10.1.0.0/16 2\n10.1.0.0/24 3\n10.255.255.0/24 4\nnonsense\n0.0.0.0/0 9\n2001:db8::/32 5\n\
             2001:db8:1::5/48 6\n255.255.255.255/32 7\n",
        );
        for (address, system) in [
            ("10.0.0.1", Some(1)),
            ("10.1.0.255", Some(3)),
            ("10.1.1.0", Some(2)),
            ("10.2.0.0", Some(1)),
            ("10.255.255.255", Some(4)),
            ("11.0.0.0", None),
            ("9.255.255.255", None),
            ("255.255.255.255", Some(7)),
            ("2001:db8::1", Some(5)),
            ("2001:db8:1:2::", Some(6)),
            ("2001:db9::", None),
        ] {
            assert_eq!(networks.system(address.parse().unwrap()), system, "{address}");
        }
        assert_eq!(networks.prefixes(), 7);
        let warning = networks.warning().unwrap();
        assert!(
            warning.starts_with("1 line of the list of prefixes ignored, the first is line 5"),
            "{warning}"
        );
    }

    #[test]
    fn another_kind_of_file_is_an_error() {
        assert!(matches!(
            Networks::read("<html>\n".as_bytes()),
            Err(Reason::NoNetworks)
        ));
        let long = "x".repeat(5000);
        assert!(matches!(
            Networks::read(long.as_bytes()),
            Err(Reason::Line { line: 1, .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn it_is_what_looking_at_every_prefix_finds(
            prefixes in proptest::collection::vec((0u32..64, 26u32..=32, 1u32..20), 1..40),
        ) {
            let lines: Vec<String> = prefixes
                .iter()
                .map(|(low, length, system)| format!("10.0.0.{low}/{length} {system}\n"))
                .collect();
            let text = lines.concat();
            let networks = networks(&text);
            for low in 0..=255u32 {
                let mut best: Option<(u32, u32)> = None;
                for (start, length, system) in &prefixes {
                    let mask = u32::MAX << (32 - length);
                    if low & mask == start & mask && best.is_none_or(|(longest, _)| *length >= longest) {
                        best = Some((*length, *system));
                    }
                }
                let address: IpAddr = format!("10.0.0.{low}").parse().unwrap();
                assert_eq!(networks.system(address), best.map(|(_, system)| system), "{low} of {text}");
            }
        }
    }
}
