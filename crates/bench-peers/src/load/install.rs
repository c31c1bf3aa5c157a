//! Tools that no Debian package has: where they are, and how they get there.

use std::path::PathBuf;

use xtask::failure::Result;
use xtask::packages;
use xtask::workspace::{self, Workspace};

use super::write;
use crate::python;

const LOCUST: &str = "2.47.0";
const OHA: &str = "1.16.0";

/// Goose is a library: a load test with it is a program. This is the smallest one.
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

/// oha on PATH, or where `--install` puts it.
pub(super) fn oha(workspace: &Workspace) -> Option<PathBuf> {
    let own = workspace.target.join("bench-tools/bin/oha");
    if own.is_file() {
        return Some(own);
    }
    packages::is_there("oha").then(|| "oha".into())
}

pub(super) fn goose(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bench-tools/bin/bench-goose")
}

/// Installs what no Debian package has.
pub(super) fn all(workspace: &Workspace) -> Result {
    if !locust(workspace).is_file() {
        python::install(workspace, &[&format!("locust=={LOCUST}")])?;
    }
    if oha(workspace).is_none() {
        let mut build = workspace.cargo();
        build
            .args(["install", "oha", "--version", OHA, "--locked", "--root"])
            .arg(workspace.target.join("bench-tools"));
        workspace::run(&mut build)?;
    }
    if !goose(workspace).is_file() {
        let sources = workspace.target.join("bench-tools/goose");
        std::fs::create_dir_all(sources.join("src"))?;
        write(&sources, "Cargo.toml", GOOSE_MANIFEST)?;
        write(&sources.join("src"), "main.rs", GOOSE_PROGRAM)?;
        let mut build = workspace.cargo();
        build.args(["install", "--path"]).arg(&sources);
        build.arg("--root").arg(workspace.target.join("bench-tools"));
        workspace::run(&mut build)?;
    }
    Ok(())
}
