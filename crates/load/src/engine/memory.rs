//! Watches the memory of this machine for the tester.

use reveille_pace::admission::{Readings, Sources};
use reveille_text::Bytes;

/// If processes waited for memory for more than this share of ten seconds, in percent, the numbers are distorted.
const SHORT: f64 = 10.0;
/// If less than this share of the memory is left, the kernel may soon kill the tester.
const NEARLY_NONE: f64 = 0.05;

/// Reads the state of the memory once a second.
pub(crate) struct Memory {
    sources: Sources,
    /// Whether the note was returned.
    said: bool,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Why the numbers are lower bounds from now on.
    pub(crate) distorts: Option<String>,
    /// A warning, returned once.
    pub(crate) note: Option<String>,
}

// === impl Memory ===

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            sources: Sources::default(),
            said: false,
        }
    }

    pub(crate) fn look(&mut self) -> Look {
        let readings = self.sources.read();
        self.judge(&readings)
    }

    fn judge(&mut self, readings: &Readings) -> Look {
        let distorts = readings
            .memory
            .filter(|pressure| pressure.some > SHORT)
            .map(|pressure| {
                format!(
                    "memory was short: processes waited for it for {:.0} % of the time",
                    pressure.some
                )
            });
        let mut note = None;
        if let (Some(share), Some(left), false) = (readings.share_left(), readings.left(), self.said)
            && share < NEARLY_NONE
        {
            self.said = true;
            let own = readings.resident.unwrap_or(0);
            note = Some(format!(
                "warning: only {} of memory left; the tester uses {}",
                Bytes(left),
                Bytes(own)
            ));
        }
        Look { distorts, note }
    }
}

#[cfg(test)]
mod tests {
    use reveille_pace::admission::{Headroom, Pressure};

    use super::*;

    #[test]
    fn short_memory_distorts_and_its_end_is_reported_once() {
        let mut memory = Memory::new();
        let mut readings = Readings {
            memory: Some(Pressure { some: 9.0, full: 0.0 }),
            ..Readings::default()
        };
        assert_eq!(memory.judge(&readings), Look::default());
        readings.memory = Some(Pressure {
            some: 31.0,
            full: 2.0,
        });
        readings.group = Some(Headroom {
            left: 8 << 20,
            of: 200 << 20,
        });
        readings.resident = Some(20 << 20);
        let look = memory.judge(&readings);
        assert_eq!(
            look.distorts.as_deref(),
            Some("memory was short: processes waited for it for 31 % of the time")
        );
        assert_eq!(
            look.note.as_deref(),
            Some("warning: only 8.4 MB of memory left; the tester uses 21 MB")
        );
        assert_eq!(memory.judge(&readings).note, None);
    }
}
