//! Small numbers for MirrorManager's identifiers.

use super::TOO_MANY;
use crate::wire::Malformed;

/// Identifiers below this are looked up in a plain table.
const SMALL: usize = 1 << 18;

/// Small numbers for identifiers of 64 bits.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    small: Vec<u32>,
    large: hashbrown::HashMap<i64, u32>,
    count: u32,
}

// === impl Numbers ===

impl Numbers {
    pub(super) fn number(&mut self, id: i64) -> Result<u32, Malformed> {
        let place = match usize::try_from(id) {
            Ok(place) if place < SMALL => {
                if place >= self.small.len() {
                    self.small.resize(place + 1, u32::MAX);
                }
                &mut self.small[place]
            }
            _ => self.large.entry(id).or_insert(u32::MAX),
        };
        if *place == u32::MAX {
            *place = self.count;
            self.count = self.count.checked_add(1).ok_or(TOO_MANY)?;
        }
        Ok(*place)
    }
}
