//! Writing.

/// A message in progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(Vec<u8>);

// === impl Message ===

impl Message {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn number(&mut self, field: u32, number: u64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(number);
        self
    }

    pub(crate) fn integer(&mut self, field: u32, integer: i64) -> &mut Self {
        self.number(field, integer.cast_unsigned())
    }

    pub(crate) fn text(&mut self, field: u32, text: &str) -> &mut Self {
        self.raw(field, text.as_bytes())
    }

    pub(crate) fn message(&mut self, field: u32, message: &Self) -> &mut Self {
        self.raw(field, &message.0)
    }

    fn raw(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }
}
