//! The kinds of failure. The list is closed, so that a broken service can't fill the memory.

use serde::{Deserialize, Serialize};

/// Defines the kinds, each with its name in machine output and its meaning for people.
macro_rules! kinds {
    ($($kind:ident $name:literal $meaning:literal)*) => {
        /// Why a request failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Kind {
            $(#[doc = $meaning] $kind,)*
        }

        impl Kind {
            /// The name in machine output.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)*
                }
            }

            /// The meaning, for people.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Kind::$kind => $meaning,)*
                }
            }
        }
    };
}

kinds! {
    Resolve "resolve" "the host name has no address"
    Refused "refused" "connection refused: nothing listens"
    Unreachable "unreachable" "the host can't be reached"
    ConnectTimeout "connect_timeout" "no connection within the limit"
    Tls "tls" "TLS failed"
    Reset "reset" "connection reset"
    Closed "closed" "connection closed before an answer"
    Timeout "timeout" "no answer within the limit"
    BodyTimeout "body_timeout" "the answer did not end within the limit"
    Protocol "protocol" "the answer is not valid HTTP"
    Incomplete "incomplete" "the connection ended in the middle of the answer"
    TooLarge "too_large" "the answer is longer than `max_body`"
    Redirect "redirect" "too many redirects, or a redirect to an invalid URL"
    Status "status" "unexpected status"
    Check "check" "a check failed"
    Capture "capture" "a value to capture is missing"
    Template "template" "a template can't be filled in"
    Script "script" "a script failed"
    Tester "tester" "the tester is out of file descriptors, ports or memory"
    Other "other" "another failure"
}
