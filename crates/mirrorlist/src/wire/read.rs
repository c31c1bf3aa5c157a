//! Reading: a stream of top-level fields, and the fields of one message.

use std::io::{self, BufRead};

/// Longest entry of a snapshot. A larger length is a sign of damage.
const LONGEST: usize = 64 << 20;

/// The bytes are not a protocol buffer, or not one of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A value of fixed width, which no known field has.
    Fixed,
}

/// The fields of one message, in place.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// The top-level fields of a file, one at a time.
#[derive(Debug)]
pub(crate) struct Messages<R> {
    input: R,
    offset: u64,
    /// An entry that the input delivered in several pieces.
    buffer: Vec<u8>,
    /// The length of the last returned entry, which is still in the input.
    returned: usize,
}

/// Why a stream of fields ended early.
#[derive(Debug)]
pub(crate) enum Broken {
    Io(io::Error),
    Malformed(Malformed),
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("there is a number instead of text or a message")),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text is not UTF-8"))
    }

    pub(crate) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(Malformed("there is text or a message instead of a number")),
        }
    }

    pub(crate) fn integer(self) -> Result<i64, Malformed> {
        self.number().map(u64::cast_signed)
    }

    /// One value of a repeated number, or many of them packed into one field.
    pub(crate) fn integers(self, mut each: impl FnMut(i64)) -> Result<(), Malformed> {
        match self {
            Self::Number(number) => each(number.cast_signed()),
            Self::Bytes(mut bytes) => {
                while !bytes.is_empty() {
                    each(varint(&mut bytes)?.cast_signed());
                }
            }
            Self::Fixed => return Err(Malformed("a number has a fixed width")),
        }
        Ok(())
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    #[inline]
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let tag = varint(&mut self.0)?;
        let field = field_number(tag)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => self.skip(8)?,
            2 => {
                let length = varint(&mut self.0)?;
                let length = usize::try_from(length).map_err(|_| Malformed("a length is out of range"))?;
                let (bytes, rest) = self
                    .0
                    .split_at_checked(length)
                    .ok_or(Malformed("a message is cut off"))?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => self.skip(4)?,
            _ => return Err(Malformed("a field has a type that does not exist")),
        };
        Ok((field, value))
    }

    fn skip(&mut self, length: usize) -> Result<Value<'a>, Malformed> {
        let rest = self.0.get(length..).ok_or(Malformed("a number is cut off"))?;
        self.0 = rest;
        Ok(Value::Fixed)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

// === impl Messages ===

impl<R: BufRead> Messages<R> {
    pub(crate) fn of(input: R) -> Self {
        Self {
            input,
            offset: 0,
            buffer: Vec::new(),
            returned: 0,
        }
    }

    /// The number of bytes read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next top-level field. Its value is valid until the next call.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'_>)>, Broken> {
        self.input.consume(std::mem::take(&mut self.returned));
        let Some(tag) = self.varint(true)? else {
            return Ok(None);
        };
        let field = field_number(tag)?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint(false)?.unwrap_or_default()),
            1 => {
                self.bytes(8)?;
                Value::Fixed
            }
            2 => {
                let length = self.varint(false)?.unwrap_or_default();
                let length = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= LONGEST)
                    .ok_or(Malformed("an entry is longer than 64 MiB"))?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => {
                self.bytes(4)?;
                Value::Fixed
            }
            _ => return Err(Malformed("a field has a type that does not exist").into()),
        };
        Ok(Some((field, value)))
    }

    /// Returns bytes in place if the input has all of them, as it does for most entries; otherwise copies them.
    fn bytes(&mut self, length: usize) -> Result<&[u8], Broken> {
        self.offset += length as u64;
        if self.input.fill_buf()?.len() >= length {
            self.returned = length;
            return Ok(&self.input.fill_buf()?[..length]);
        }
        self.buffer.clear();
        // Grows with the bytes that arrive, because a damaged length may be large.
        while self.buffer.len() < length {
            let there = self.input.fill_buf()?;
            if there.is_empty() {
                return Err(Malformed("the file is cut off").into());
            }
            let part = there.len().min(length - self.buffer.len());
            self.buffer.extend_from_slice(&there[..part]);
            self.input.consume(part);
        }
        Ok(&self.buffer)
    }

    fn varint(&mut self, may_end: bool) -> Result<Option<u64>, Broken> {
        let mut number = 0;
        for place in 0..10 {
            let Some(&byte) = self.input.fill_buf()?.first() else {
                if place == 0 && may_end {
                    return Ok(None);
                }
                return Err(Malformed("the file is cut off").into());
            };
            self.input.consume(1);
            self.offset += 1;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                return Ok(Some(number));
            }
        }
        Err(Malformed("a number has more than 64 bits").into())
    }
}

// === impl Broken ===

impl From<Malformed> for Broken {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn field_number(tag: u64) -> Result<u32, Malformed> {
    match u32::try_from(tag >> 3) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Malformed("a field has a number that does not exist")),
    }
}

/// Fast for numbers of one or two bytes, which most are.
#[inline]
fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    match **bytes {
        [one @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(u64::from(one))
        }
        [one, two @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(u64::from(one & 0x7f) | u64::from(two) << 7)
        }
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for (place, &byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *bytes = &bytes[place + 1..];
            return Ok(number);
        }
    }
    Err(Malformed("a number is cut off, or has more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::super::write::Message;
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            for field in Fields::of(&bytes) {
                let Ok((_, value)) = field else { break };
                let _ = value.integers(|_| ());
            }
            let mut messages = Messages::of(bytes.as_slice());
            while let Ok(Some(_)) = messages.next() {}
        }

        #[test]
        fn what_is_written_is_read_back(number: u64, text: String, list: Vec<i64>) {
            let mut message = Message::default();
            message.number(1, number).text(2, &text);
            for value in &list {
                message.integer(3, *value);
            }
            let mut read = Vec::new();
            for field in Fields::of(message.bytes()) {
                match field.unwrap() {
                    (1, value) => assert_eq!(value.number(), Ok(number)),
                    (2, value) => assert_eq!(value.text(), Ok(text.as_str())),
                    (3, value) => value.integers(|value| read.push(value)).unwrap(),
                    _ => unreachable!("three fields were written"),
                }
            }
            assert_eq!(read, list);
        }
    }

    proptest::proptest! {
        /// Entries are complete for all ways to cut the input into pieces.
        #[test]
        fn entries_may_be_in_pieces(texts: Vec<String>, capacity in 1_usize..40) {
            let mut message = Message::default();
            for text in &texts {
                message.text(4, text).number(1, 7);
            }
            let mut messages = Messages::of(std::io::BufReader::with_capacity(capacity, message.bytes()));
            for text in &texts {
                let (field, value) = messages.next().unwrap().unwrap();
                assert_eq!((field, value.text()), (4, Ok(text.as_str())));
                let (field, value) = messages.next().unwrap().unwrap();
                assert_eq!((field, value.number()), (1, Ok(7)));
            }
            assert!(messages.next().unwrap().is_none());
            assert_eq!(messages.offset(), message.bytes().len() as u64);
        }
    }

    #[test]
    fn packed_numbers_are_numbers() {
        let mut read = Vec::new();
        Value::Bytes(&[1, 0x96, 1, 3])
            .integers(|number| read.push(number))
            .unwrap();
        assert_eq!(read, [1, 150, 3]);
    }

    #[test]
    fn an_entry_of_gigabytes_is_an_error() {
        let mut messages = Messages::of([0x0a, 0xff, 0xff, 0xff, 0xff, 0x07].as_slice());
        assert!(matches!(messages.next(), Err(Broken::Malformed(_))));
    }
}
