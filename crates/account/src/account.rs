//! The account: outcomes compared with the roll.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Exit, Status};

/// `planned = success + failed + quarantined + cancelled + pending + running + ghost`.
///
/// `pending` and `running` exist only while a run is open or interrupted, `ghost` only in a closed one. `extra` counts
/// outcomes of hosts that are not on the roll; it must be zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Hosts on the roll.
    pub planned: u64,
    /// Hosts that succeeded.
    pub success: u64,
    /// Hosts that failed.
    pub failed: u64,
    /// Hosts given up after their recoveries.
    pub quarantined: u64,
    /// Hosts that were not finished because the run was stopped.
    pub cancelled: u64,
    /// Hosts not dispatched yet.
    pub pending: u64,
    /// Hosts dispatched, without an outcome, in a run that is not closed.
    pub running: u64,
    /// Hosts dispatched, without an outcome, in a closed run.
    pub ghost: u64,
    /// Outcomes without an entry on the roll.
    pub extra: u64,
}

// === impl Account ===

impl Account {
    /// An account of `planned` hosts, with nothing counted yet.
    pub fn planned(planned: u64) -> Self {
        Self {
            planned,
            ..Self::default()
        }
    }

    /// Counts one final status.
    pub fn add(&mut self, status: Status) {
        match status {
            Status::Success => self.success += 1,
            Status::Failed => self.failed += 1,
            Status::Quarantined => self.quarantined += 1,
            Status::Cancelled => self.cancelled += 1,
            Status::Ghost => self.ghost += 1,
        }
    }

    /// Hosts that have an outcome.
    pub fn ended(&self) -> u64 {
        self.success + self.failed + self.quarantined + self.cancelled
    }

    /// Whether each planned host is counted exactly once, and no other host is.
    pub fn balanced(&self) -> bool {
        self.planned == self.ended() + self.pending + self.running + self.ghost && self.extra == 0
    }

    /// The exit status for this account, with `unallowed` failures beyond the allowance.
    pub fn exit(&self, unallowed: u64) -> Exit {
        if !self.balanced() || self.ghost > 0 {
            Exit::Unbalanced
        } else if self.pending + self.running > 0 {
            Exit::Interrupted
        } else if unallowed > 0 {
            Exit::HostsFailed
        } else {
            Exit::Success
        }
    }
}

/// The equation without its zero terms: `512 planned = 509 succeeded + 3 failed`.
impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = [
            (self.success, "succeeded"),
            (self.failed, "failed"),
            (self.quarantined, "quarantined"),
            (self.cancelled, "cancelled"),
            (self.pending, "pending"),
            (self.running, "running"),
            (self.ghost, "unaccounted for"),
        ];
        let terms: Vec<String> = terms
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let sum = if terms.is_empty() {
            "0".to_owned()
        } else {
            terms.join(" + ")
        };
        let sign = if self.balanced() || self.extra > 0 {
            "="
        } else {
            "≠"
        };
        write!(formatter, "{} planned {sign} {sum}", self.planned)?;
        if self.extra > 0 {
            write!(formatter, ", and {} extra that nobody planned", self.extra)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_host_unbalances() {
        let mut account = Account::planned(2);
        account.add(Status::Success);
        assert!(!account.balanced());
        assert_eq!(account.exit(0), Exit::Unbalanced);
        assert_eq!(account.to_string(), "2 planned ≠ 1 succeeded");
        account.pending = 1;
        assert_eq!(account.exit(1), Exit::Interrupted);
        account.pending = 0;
        account.ghost = 1;
        assert!(account.balanced());
        assert_eq!(account.exit(0), Exit::Unbalanced);
    }

    #[test]
    fn an_extra_outcome_unbalances() {
        let account = Account {
            planned: 1,
            success: 1,
            extra: 1,
            ..Account::default()
        };
        assert!(!account.balanced());
        assert_eq!(
            account.to_string(),
            "1 planned = 1 succeeded, and 1 extra that nobody planned"
        );
    }
}
