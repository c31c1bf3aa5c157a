//! `reveille-mirrorlist build`

use std::path::PathBuf;

use clap::Args;
use reveille_mirrorlist::mirrors;
use reveille_text::replace::replace;

use super::failure::Failure;
use super::printer::say;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// List of mirrors
    #[arg(value_name = "FILE.yaml")]
    mirrors: PathBuf,
    /// File to write; it replaces an earlier one in one step
    #[arg(short, long, value_name = "FILE.proto")]
    output: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bytes = mirrors::compile(&arguments.mirrors)?;
    replace(&arguments.output, &bytes)
        .map_err(|error| Failure::Input(format!("can't write {}: {error}", arguments.output.display())))?;
    say(&format!(
        "wrote {} ({} bytes)",
        arguments.output.display(),
        bytes.len()
    ));
    Ok(())
}
