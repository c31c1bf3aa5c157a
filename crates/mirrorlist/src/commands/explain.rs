//! `reveille-mirrorlist explain`

use std::net::IpAddr;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reveille_mirrorlist::{Rules, Snapshot, explain};

use super::Files;
use crate::{Failure, print};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// The client
    #[arg(long, value_name = "ADDRESS")]
    ip: IpAddr,
    /// The repository
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "path",
        requires = "arch"
    )]
    repo: Option<String>,
    /// Its architecture
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// A directory or file, in place of a repository
    #[arg(long, value_name = "PATH", conflicts_with = "repo")]
    path: Option<String>,
    /// Countries that the client asks for
    #[arg(long, value_name = "LIST")]
    country: Option<String>,
    /// Protocols that the client asks for
    #[arg(long, value_name = "LIST")]
    protocol: Option<String>,
    /// As for `serve`
    #[arg(long, value_name = "N", default_value_t = 5)]
    minimum: usize,
    /// As for `serve`
    #[arg(long)]
    strict_compat: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let snapshot = Snapshot::load(&arguments.files.sources(), None)?;
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
    let rules = Rules {
        minimum: arguments.minimum,
        strict: arguments.strict_compat,
    };
    let text = explain(&snapshot, &query.join("&"), arguments.ip, rules).map_err(|refused| {
        let lines: Vec<&str> = refused.lines().take(12).collect();
        Failure::Input(format!("the client gets no list: {}", lines.join("\n")))
    })?;
    print(&text)
}
