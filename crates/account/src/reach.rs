//! The words for how to reach a host, shared by inventories, options and recorded runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The program that runs a command as another user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BecomeMethod {
    /// `sudo`.
    #[default]
    Sudo,
    /// `su`.
    Su,
    /// `doas`.
    Doas,
}

/// What carries the session to a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportKind {
    /// SSH in this process.
    #[default]
    Native,
    /// The system's `ssh`.
    Openssh,
    /// A shell on this machine, without a network.
    Local,
}

/// What to do if a host key is unknown or has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyPolicy {
    /// Accept known keys only.
    Strict,
    /// Accept and record new keys; refuse changed ones.
    #[default]
    AcceptNew,
    /// Check and record nothing.
    Off,
}

/// The error for a word that is not a known one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    word: String,
    known: String,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` is not one of {}", self.word, self.known)
    }
}

impl std::error::Error for UnknownWord {}

/// Declares an enum's words.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ }) => {
        impl $name {
            /// Every value, in the order of the help text.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            /// Their words, in the same order.
            pub const WORDS: &[&str] = &[$($word),+];

            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word).ok_or_else(|| UnknownWord {
                    word: word.to_owned(),
                    known: Self::WORDS.join(", "),
                })
            }
        }
    };
}

words!(BecomeMethod { Sudo = "sudo", Su = "su", Doas = "doas" });
words!(TransportKind { Native = "native", Openssh = "openssh", Local = "local" });
words!(HostKeyPolicy { Strict = "strict", AcceptNew = "accept-new", Off = "off" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_and_text_agree() {
        for policy in HostKeyPolicy::ALL {
            assert_eq!(serde_json::to_value(policy).expect("a word"), policy.as_str());
            assert_eq!(policy.as_str().parse(), Ok(*policy));
        }
        for transport in TransportKind::ALL {
            assert_eq!(
                serde_json::to_value(transport).expect("a word"),
                transport.as_str()
            );
        }
        for method in BecomeMethod::ALL {
            assert_eq!(serde_json::to_value(method).expect("a word"), method.as_str());
        }
        let unknown = "ask".parse::<HostKeyPolicy>().expect_err("unknown");
        assert_eq!(unknown.to_string(), "`ask` is not one of strict, accept-new, off");
    }
}
