//! The two deadlines of an attempt.

/// A deadline of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// The longest time without progress.
    Idle,
    /// The longest total time.
    Total,
}
