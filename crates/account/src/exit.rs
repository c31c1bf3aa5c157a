//! Exit statuses of the programs.

/// What a program's exit status means. Covered by semantic versioning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: every host succeeded, or the failures were allowed.
    Success,
    /// 1: an internal error, or the ledger can't be written.
    Internal,
    /// 2: bad usage or bad input; nothing was dispatched.
    Usage,
    /// 3: some host failed, is quarantined or was cancelled.
    HostsFailed,
    /// 4: the account does not balance, or a ghost exists.
    Unbalanced,
    /// 5: interrupted; the run can be resumed.
    Interrupted,
    /// 6: only thresholds were missed.
    BelowMark,
}

// === impl Exit ===

impl Exit {
    /// The number for the operating system.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::HostsFailed => 3,
            Exit::Unbalanced => 4,
            Exit::Interrupted => 5,
            Exit::BelowMark => 6,
        }
    }

    /// Returns the more severe of two: 2 before 1, 4, 5, 3, 6, and 0 last.
    #[must_use]
    pub fn or(self, other: Exit) -> Exit {
        const ORDER: [Exit; 7] = [
            Exit::Usage,
            Exit::Internal,
            Exit::Unbalanced,
            Exit::Interrupted,
            Exit::HostsFailed,
            Exit::BelowMark,
            Exit::Success,
        ];
        ORDER
            .into_iter()
            .find(|exit| *exit == self || *exit == other)
            .unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence() {
        assert_eq!(Exit::Internal.or(Exit::Usage), Exit::Usage);
        assert_eq!(Exit::Interrupted.or(Exit::Unbalanced), Exit::Unbalanced);
        assert_eq!(Exit::HostsFailed.or(Exit::Interrupted), Exit::Interrupted);
        assert_eq!(Exit::Success.or(Exit::BelowMark).code(), 6);
    }
}
