//! `reveille-mirrorlist build`
use crate::Failure;
use clap::Args;
#[derive(Debug, Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &Arguments) -> Result<(), Failure> {
    Err(Failure::Found)
}
