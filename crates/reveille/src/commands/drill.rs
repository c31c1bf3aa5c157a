//! `reveille drill`: a rehearsal.

use reveille_account::Exit;

use crate::cli::{DrillArgs, Globals};
use crate::failure::Failure;
use crate::printer::Printer;

pub(crate) fn run(_args: DrillArgs, _globals: &Globals, _printer: &Printer) -> Result<Exit, Failure> {
    Err(Failure::usage("not yet"))
}
