//! Where a value comes from, to answer "who set this?".

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A command-line option, such as `--port`.
    Option(Cow<'static, str>),
    /// An environment variable.
    Environment(Cow<'static, str>),
    /// A key in a file, such as an inventory var or an ssh_config keyword.
    File {
        /// The key.
        key: Arc<str>,
        /// The file's name as the user gave it.
        file: Arc<str>,
        /// Line, from 1; 0 if unknown.
        line: u32,
    },
    /// A built-in default, or a value derived from others; the text names which.
    Default(&'static str),
}

/// A value and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Its source.
    pub origin: Origin,
}

// === impl Origin ===

impl Origin {
    /// The place without the key, for readers who already see the key.
    pub fn place(&self) -> String {
        match self {
            Self::Option(name) | Self::Environment(name) => name.to_string(),
            Self::File { file, line, .. } => format!("{file}:{line}"),
            Self::Default(why) => (*why).to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(option) => write!(formatter, "{option} on the command line"),
            Self::Environment(variable) => write!(formatter, "{variable} in the environment"),
            Self::File { key, file, line: 0 } => write!(formatter, "{key} in {file}"),
            Self::File { key, file, line } => write!(formatter, "{key} at {file}:{line}"),
            Self::Default(why) => formatter.write_str(why),
        }
    }
}

// === impl Given ===

impl<T> Given<T> {
    /// A value with its source.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    /// Converts the value and keeps its source.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Given<U> {
        Given {
            value: make(self.value),
            origin: self.origin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_after_a_value() {
        let file = |line| Origin::File {
            key: "Port".into(),
            file: "~/.ssh/config".into(),
            line,
        };
        assert_eq!(file(12).to_string(), "Port at ~/.ssh/config:12");
        assert_eq!(file(0).to_string(), "Port in ~/.ssh/config");
        assert_eq!(
            Origin::Option("--port".into()).to_string(),
            "--port on the command line"
        );
    }
}
