//! A deadline that was chosen, with the facts behind it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reveille_text::duration;

use crate::Deadline;

/// A deadline that was chosen, for the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Which deadline.
    pub deadline: Deadline,
    /// The class whose history was used.
    pub class: Arc<str>,
    /// Samples in that history.
    pub samples: u64,
    /// Hosts in the run (N).
    pub hosts: u32,
    /// The highest number of retries so far (R).
    pub retries: u32,
    /// The attempt that it applies to, from 1.
    pub attempt: u32,
    /// The deadline; `None` if only the hard cap bounds the attempt.
    pub limit: Option<Duration>,
    /// What decided it.
    pub reason: Reason,
}

/// What decided a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The operator set it.
    Operator,
    /// Too few samples for a learned deadline.
    NoHistory,
    /// The durations of the class.
    Durations,
    /// The durations of the class, extended because it has become slower.
    Drift,
    /// The operator's cap.
    Cap,
    /// The formula from hosts and retries.
    Prior,
    /// The minimum deadline.
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
            Self::Drift => "from earlier durations, extended after overruns",
            Self::Cap => "the operator's cap",
            Self::Prior => "from hosts and retries",
            Self::Floor => "the minimum",
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
