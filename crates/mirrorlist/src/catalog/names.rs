//! Numbers for names.

use hashbrown::HashMap;

/// Names with numbers, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    all: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u16>,
    keys: Vec<u64>,
}

// === impl Names ===

impl Names {
    pub(crate) fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn name(&self, number: u16) -> &str {
        self.all.get(usize::from(number)).map_or("", |name| name)
    }

    /// The key by which names are sorted: their first eight bytes.
    pub(crate) fn key(&self, number: u16) -> u64 {
        self.keys.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// The number of a name, which is added if it is new; none if there are 65,536 names already.
    pub(crate) fn add(&mut self, name: &str) -> Option<u16> {
        if let Some(number) = self.number(name) {
            return Some(number);
        }
        let number = u16::try_from(self.all.len()).ok()?;
        self.all.push(name.into());
        self.keys.push(key(name.as_bytes()));
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|name| &**name)
    }
}

fn key(name: &[u8]) -> u64 {
    let length = name.len().min(8);
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(&name[..length]);
    u64::from_be_bytes(bytes)
}
