//! The words for how a host is reached. Inventories, options and recorded runs use the same ones.

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
    /// No network: a shell on this machine.
    Local,
}

/// What to do about a host key that is not known, or is not the known one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeyPolicy {
    /// Only known keys.
    Strict,
    /// New keys are accepted and recorded; changed ones are refused.
    #[default]
    AcceptNew,
    /// Nothing is checked and nothing recorded.
    Off,
}

/// A word that is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    word: String,
    known: String,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` is none of {}", self.word, self.known)
    }
}

impl std::error::Error for UnknownWord {}

/// Gives an enum its words.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ }) => {
        impl $name {
            /// All of them, in the order in which help lists them.
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
        assert_eq!(unknown.to_string(), "`ask` is none of strict, accept-new, off");
    }
}
