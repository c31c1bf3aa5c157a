//! A deadline that was chosen, with everything it was chosen from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reveille_text::duration;

use crate::Deadline;

/// One deadline that was chosen, for the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Which deadline.
    pub deadline: Deadline,
    /// The class whose history was asked.
    pub class: Arc<str>,
    /// Samples that the history had.
    pub samples: u64,
    /// Hosts in the run (N).
    pub hosts: u32,
    /// The highest count of retries so far (R).
    pub retries: u32,
    /// The attempt that it is for, from 1.
    pub attempt: u32,
    /// The deadline; none means that only the hard cap bounds the attempt.
    pub limit: Option<Duration>,
    /// What decided.
    pub reason: Reason,
}

/// What decided about a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The operator set it.
    Operator,
    /// Too few samples for a deadline of its own.
    NoHistory,
    /// The durations of the class.
    Durations,
    /// The durations of the class, and more because it became slower lately.
    Drift,
    /// The operator's cap.
    Cap,
    /// The formula of hosts and retries.
    Prior,
    /// The shortest deadline there is.
    Floor,
    /// The longest silence of the class.
    Silences,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Operator => "set by the operator",
            Self::NoHistory => "no history yet",
            Self::Durations => "from earlier durations",
            Self::Drift => "from earlier durations, more after overruns",
            Self::Cap => "the operator's cap",
            Self::Prior => "from hosts and retries",
            Self::Floor => "the shortest there is",
            Self::Silences => "from earlier silences",
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.deadline {
            Deadline::Idle => "silence",
            Deadline::Total => "total",
        };
        match self.limit {
            Some(limit) => write!(formatter, "{name} {}", duration::shown(limit))?,
            None => write!(formatter, "{name} unbounded")?,
        }
        write!(
            formatter,
            ": {} ({} samples, {} hosts, {} retries, attempt {})",
            self.reason, self.samples, self.hosts, self.retries, self.attempt
        )
    }
}
