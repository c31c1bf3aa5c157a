//! What chores share, whichever package they are in: the workspace and its cargo, Debian packages that they need, and how
//! they report what they do and why they failed.

pub mod failure;
pub mod packages;
pub mod tell;
pub mod workspace;
