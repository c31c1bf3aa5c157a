//! Which of its two deadlines an attempt is near.

/// Which deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// Nothing moved for too long.
    Idle,
    /// It took too long as a whole.
    Total,
}
