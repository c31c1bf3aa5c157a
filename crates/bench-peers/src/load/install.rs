//! Tools that Debian does not package: where they are, and how they get there.

use std::fs;
use std::path::PathBuf;

use xtask::failure::Result;
use xtask::packages;
use xtask::workspace::{self, Workspace};

use crate::python;

const LOCUST: &str = "locust==2.47.0";
const OHA: &str = "1.16.0";

/// Goose is a library, with which a load test is a program. This is the smallest one.
const GOOSE_MANIFEST: &str = r#"[package]
name = "bench-goose"
version = "0.1.0"
edition = "2024"

[dependencies]
goose = { version = "=0.19.0", default-features = false, features = ["rustls-tls"] }
tokio = { version = "1", features = ["rt"] }

[workspace]
"#;
const GOOSE_PROGRAM: &str = r#"use std::time::Duration;

use goose::prelude::*;

async fn one(user: &mut GooseUser) -> TransactionResult {
    let _ = user.get("").await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), GooseError> {
    let wait = std::env::var("WAIT_MS").ok().and_then(|text| text.parse().ok());
    let wait = Duration::from_millis(wait.unwrap_or(0));
    let scenario = scenario!("one").register_transaction(transaction!(one)).set_wait_time(wait, wait)?;
    GooseAttack::initialize()?.register_scenario(scenario).execute().await?;
    Ok(())
}
"#;

pub(super) fn locust(workspace: &Workspace) -> PathBuf {
    python::environment(workspace).join("bin/locust")
}

/// The oha that `--install` builds, or else the one on PATH.
pub(super) fn oha(workspace: &Workspace) -> PathBuf {
    let own = root(workspace).join("bin/oha");
    if own.is_file() { own } else { "oha".into() }
}

pub(super) fn has_oha(workspace: &Workspace) -> bool {
    oha(workspace).is_absolute() || packages::is_there("oha")
}

pub(super) fn goose(workspace: &Workspace) -> PathBuf {
    root(workspace).join("bin/bench-goose")
}

/// Installs the missing tools.
pub(super) fn all(workspace: &Workspace) -> Result {
    let cargo_install = || {
        let mut install = workspace.cargo();
        install.arg("install").arg("--root").arg(root(workspace));
        install
    };
    if !locust(workspace).is_file() {
        python::install(workspace, &[LOCUST])?;
    }
    if !has_oha(workspace) {
        workspace::run(cargo_install().args(["oha", "--version", OHA, "--locked"]))?;
    }
    if !goose(workspace).is_file() {
        let sources = root(workspace).join("goose");
        fs::create_dir_all(sources.join("src"))?;
        fs::write(sources.join("Cargo.toml"), GOOSE_MANIFEST)?;
        fs::write(sources.join("src/main.rs"), GOOSE_PROGRAM)?;
        workspace::run(cargo_install().arg("--path").arg(&sources))?;
    }
    Ok(())
}

fn root(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bench-tools")
}
