//! Identifiers: unique without a server, short enough to type.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The name of a host as the inventory has it; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostName(Arc<str>);

// === impl HostName ===

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for HostName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for HostName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &self.0)
    }
}

/// A run: a `UUIDv7` (48 bits of milliseconds, then randomness), shown as `r-20261121-101502-4f2a`.
///
/// The short form consists of the UTC time and the last 16 bits, so it sorts by time and is easy to type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(Uuid);

/// The error for a text that is not a run id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdError(String);

// === impl RunId ===

impl RunId {
    /// Makes an id from Unix milliseconds and ten random bytes (RFC 9562, version 7).
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// The 16 bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id from the 16 bytes of its UUID.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The UUID in its usual form, `018f…-….-7…`.
    pub fn uuid(&self) -> String {
        self.0.to_string()
    }

    /// Unix milliseconds of the moment the id was made.
    pub fn unix_ms(&self) -> u64 {
        (self.0.as_u128() >> 80) as u64
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 48 bits of milliseconds exceed jiff's calendar; no clock makes such an id.
        let moment = i64::try_from(self.unix_ms()).ok();
        let moment = moment.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let moment = moment.unwrap_or_default().strftime("%Y%m%d-%H%M%S");
        let random = self.0.as_u128() & 0xffff;
        formatter.pad(&format!("r-{moment}-{random:04x}"))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self} ({})", self.uuid())
    }
}

/// Parses the UUID form. The short form is not unique; the ledger resolves it.
impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| RunIdError(text.to_owned()))
    }
}

impl fmt::Display for RunIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is not a run's UUID", self.0)
    }
}

impl std::error::Error for RunIdError {}

/// 128 random bits that name one attempt of one step on one host in one round: the key of all its remote state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u128);

/// The error for a text that is not a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenError;

// === impl Token ===

impl Token {
    /// A token from random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(random))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{:032x}", self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TokenError);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| TokenError)
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a token is 32 hexadecimal digits")
    }
}

impl std::error::Error for TokenError {}

/// A controller process: the machine's name and the process id, `build7:4711`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(Arc<str>);

// === impl WorkerId ===

impl WorkerId {
    /// The name for the process `pid` on the machine `node`.
    pub fn new(node: &str, pid: u32) -> Self {
        Self(format!("{node}:{pid}").into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for WorkerId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_shows_its_moment_and_reads_its_uuid_back() {
        let id = RunId::new(1_795_256_102_000, [0xff; 10]);
        assert_eq!(id.to_string(), "r-20261121-101502-ffff");
        assert_eq!(id.unix_ms(), 1_795_256_102_000);
        assert_eq!(id.uuid().parse(), Ok(id));
        assert_eq!(&id.uuid()[14..15], "7");
        assert!("r-20261121-101502-ffff".parse::<RunId>().is_err());
    }

    #[test]
    fn no_moment_is_too_far() {
        assert!(
            RunId::new(0, [0; 10])
                .to_string()
                .starts_with("r-19700101-000000-")
        );
        assert!(
            RunId::from_bytes([0xff; 16])
                .to_string()
                .starts_with("r-19700101-")
        );
    }

    proptest::proptest! {
        #[test]
        fn tokens_survive_text(bytes: [u8; 16]) {
            let token = Token::new(bytes);
            proptest::prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Token>();
            let _ = text.parse::<RunId>();
        }
    }
}
