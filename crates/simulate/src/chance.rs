//! Randomness by place: the same seed and place give the same number, whatever else changes.

/// Derives a number from the seed and a place.
pub(crate) fn chance(seed: u64, host: &str, effect: &str, n: u64) -> u64 {
    let mut hash = Hash::default();
    hash.write(&seed.to_le_bytes());
    hash.write(host.as_bytes());
    hash.write(&[0]);
    hash.write(effect.as_bytes());
    hash.write(&n.to_le_bytes());
    hash.finish()
}

/// FNV-1a with a strong final mix.
#[derive(Debug, Clone)]
pub(crate) struct Hash(u64);

// === impl Hash ===

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn finish(&self) -> u64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        mixed ^ (mixed >> 33)
    }
}
