//! Requests that get no list.

use crate::query::{LONGEST_TARGET, MOST_PROTOCOLS};

/// Why there is no list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A path other than `/mirrorlist` and `/metalink`.
    NotServed,
    /// A method other than GET and HEAD.
    Method,
    /// Neither `path` nor `repo` and `arch`.
    NothingAsked,
    /// There is no such directory.
    InvalidPath,
    /// The operators disabled the repository.
    Disabled,
    /// There is no such repository.
    InvalidRepository {
        /// The line that repeats the request.
        header: String,
    },
    /// The repository's directory is not in the data.
    NoDirectory,
    /// `ip=` is not an address.
    InvalidAddress,
    /// The checksums of the requested file are unknown.
    NoMetalink {
        /// Directory and file.
        what: String,
    },
    /// No mirror has the requested protocols.
    NoMirror {
        /// The line that repeats the request.
        header: String,
    },
    /// `protocol=` names too many protocols.
    TooManyProtocols,
    /// Path and parameters are too long.
    TooLong,
    /// The client exceeds its rate limit.
    TooOften,
}

/// The names under which refusals are counted, as a match that must name every kind and as a list.
macro_rules! kinds {
    ($($refusal:pat => $name:literal,)*) => {
        /// All names, for counters that begin at zero.
        pub(crate) const KINDS: &[&str] = &[$($name),*];

        /// The name under which this refusal is counted.
        pub(crate) fn kind(&self) -> &'static str {
            match self {
                $($refusal => $name,)*
            }
        }
    };
}

// === impl Refusal ===

impl Refusal {
    /// The HTTP status; with strict compatibility, that of MirrorManager's server.
    pub(crate) fn status(&self, strict: bool) -> u16 {
        match self {
            Self::NothingAsked | Self::Disabled if strict => 200,
            Self::NoDirectory | Self::InvalidAddress if strict => 500,
            Self::NothingAsked | Self::InvalidAddress | Self::TooManyProtocols => 400,
            Self::NotServed
            | Self::InvalidPath
            | Self::Disabled
            | Self::InvalidRepository { .. }
            | Self::NoDirectory
            | Self::NoMetalink { .. }
            | Self::NoMirror { .. } => 404,
            Self::Method => 405,
            Self::TooLong => 414,
            Self::TooOften => 429,
        }
    }

    /// The text for the client; `listing` names all repositories.
    pub(crate) fn text(&self, listing: &str) -> String {
        match self {
            Self::NotServed => "not found: this server answers /mirrorlist and /metalink".to_owned(),
            Self::Method => "this server answers GET and HEAD only".to_owned(),
            Self::NothingAsked => "# either path=, or repo= and arch= must be specified".to_owned(),
            Self::InvalidPath => "error: invalid path".to_owned(),
            Self::Disabled => "repo disabled".to_owned(),
            Self::InvalidRepository { header } => {
                format!(
                    "{header}error: invalid repo or arch\n# following repositories are available:\n{listing}"
                )
            }
            Self::NoDirectory => "error: the repository's directory is not in the mirror data".to_owned(),
            Self::InvalidAddress => "error: ip= is not an IP address".to_owned(),
            Self::NoMetalink { what } => format!("{what} not found or has not metalink"),
            Self::NoMirror { header } => {
                format!("{header}\n# no mirror has this over the requested protocols\n")
            }
            Self::TooManyProtocols => format!("error: protocol= names more than {MOST_PROTOCOLS} protocols"),
            Self::TooLong => format!("error: path and parameters are longer than {LONGEST_TARGET} bytes"),
            Self::TooOften => "too many requests from this address; try again in a second".to_owned(),
        }
    }

    kinds! {
        Self::NotServed => "not_served",
        Self::Method => "method",
        Self::NothingAsked => "nothing_asked",
        Self::InvalidPath => "invalid_path",
        Self::Disabled => "disabled",
        Self::InvalidRepository { .. } => "invalid_repository",
        Self::NoDirectory => "no_directory",
        Self::InvalidAddress => "invalid_address",
        Self::NoMetalink { .. } => "no_metalink",
        Self::NoMirror { .. } => "no_mirror",
        Self::TooManyProtocols => "too_many_protocols",
        Self::TooLong => "too_long",
        Self::TooOften => "too_often",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_status_and_a_text() {
        let header = "# repo = a arch = b ".to_owned();
        let all = [
            Refusal::NotServed,
            Refusal::Method,
            Refusal::NothingAsked,
            Refusal::InvalidPath,
            Refusal::Disabled,
            Refusal::InvalidRepository {
                header: header.clone(),
            },
            Refusal::NoDirectory,
            Refusal::InvalidAddress,
            Refusal::NoMetalink {
                what: "a/b".to_owned(),
            },
            Refusal::NoMirror { header },
            Refusal::TooManyProtocols,
            Refusal::TooLong,
            Refusal::TooOften,
        ];
        assert_eq!(all.each_ref().map(Refusal::kind), *Refusal::KINDS);
        let texts = all.map(|refusal| {
            let (status, strict) = (refusal.status(false), refusal.status(true));
            let text = refusal.text("# repo=c&arch=d\n");
            format!("{} {status} {strict}\n{}\n", refusal.kind(), text.trim_end())
        });
        insta::assert_snapshot!(texts.join("\n"));
    }
}
