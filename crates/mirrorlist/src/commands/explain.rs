//! `reveille-mirrorlist explain`

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reveille_mirrorlist::{Data, Snapshot, explain, mirrors};
use reveille_text::counted;

use super::failure::Failure;
use super::printer::print;
use super::{Choice, Files};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Address of the client
    #[arg(long, value_name = "ADDRESS", help_heading = "Request")]
    ip: IpAddr,
    /// Name of the repository
    #[arg(
        long,
        help_heading = "Request",
        value_name = "NAME",
        required_unless_present = "path",
        requires = "arch"
    )]
    repo: Option<String>,
    /// Architecture of the repository
    #[arg(long, value_name = "NAME", help_heading = "Request")]
    arch: Option<String>,
    /// Directory or file, instead of a repository
    #[arg(long, value_name = "PATH", conflicts_with = "repo", help_heading = "Request")]
    path: Option<String>,
    /// Countries that the client requests, separated by commas
    #[arg(long, value_name = "LIST", help_heading = "Request")]
    country: Option<String>,
    /// Protocols that the client requests, separated by commas
    #[arg(long, value_name = "LIST", help_heading = "Request")]
    protocol: Option<String>,
    #[command(flatten)]
    choice: Choice,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let sources = arguments.files.sources();
    let snapshot = Snapshot::load(&sources, None)?;
    let words = [
        ("repo", &arguments.repo),
        ("arch", &arguments.arch),
        ("path", &arguments.path),
        ("country", &arguments.country),
        ("protocol", &arguments.protocol),
    ];
    let query: Vec<String> = words
        .into_iter()
        .filter_map(|(name, value)| {
            Some(format!(
                "{name}={}",
                utf8_percent_encode(value.as_ref()?, NON_ALPHANUMERIC)
            ))
        })
        .collect();
    let explanation = explain(
        &snapshot,
        &query.join("&"),
        arguments.ip,
        arguments.choice.rules(),
    )
    .map_err(|refused| {
        // The text may list all repositories.
        let lines: Vec<&str> = refused.lines().take(12).collect();
        let text = lines.join("\n");
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        Failure::Input(format!("the client gets no list: {text}"))
    })?;
    let mut text = explanation.text;
    if let Data::Mirrors(list) = &sources.data {
        let excluded = mirrors::excluded(list, &explanation.directory)?;
        if !excluded.is_empty() {
            let number = counted(excluded.len(), "mirror");
            let _ = writeln!(text, "\n{number} left out by the last check:");
        }
        for (mirror, why) in excluded {
            let _ = writeln!(text, "     {mirror}: {why}");
        }
    }
    print(&text)
}
