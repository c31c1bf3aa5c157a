//! What is shown, and in which colours.

use clap::ValueEnum;

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On terminals, as NO_COLOR and CLICOLOR_FORCE allow
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What is shown while a run goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shown {
    /// Live on a terminal, otherwise lines; lines also if CI or ACCESSIBLE is set
    #[default]
    Auto,
    /// A block that is redrawn in place
    Live,
    /// Lines: failures at once, progress every minute
    Lines,
    /// Nothing but failures and warnings
    Off,
}
