//! What chores share, whichever package they are in: [`workspace`] finds the workspace and runs cargo, [`packages`]
//! finds and installs Debian packages, [`tell`] reports what a chore does, and [`failure`] why it failed.

pub mod failure;
pub mod packages;
pub mod tell;
pub mod workspace;
