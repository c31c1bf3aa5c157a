//! `cargo xtask test`: everything the tests need, then all tests.

use std::process::Stdio;

use crate::simulate;
use xtask::failure::{Failure, Result};
use xtask::packages::{self, Package};
use xtask::tell;
use xtask::workspace::{self, Workspace};

/// What the tests run.
const PACKAGES: &[Package] = &[
    Package {
        name: "openssh-server",
        programs: &["sshd"],
        reason: "the servers that end-to-end tests connect to are real",
    },
    Package {
        name: "openssh-client",
        programs: &["ssh", "ssh-keygen", "ssh-agent", "ssh-add"],
        reason: "keys for those servers, an agent to log in with, and the transport of that name",
    },
    Package {
        name: "ansible-core",
        programs: &["ansible-inventory", "ansible-vault"],
        reason: "inventories are read as Ansible reads them",
    },
    Package {
        name: "busybox-static",
        programs: &["busybox"],
        reason: "the remote supervisor is tested with its shell and tools",
    },
    Package {
        name: "openssl",
        programs: &["openssl"],
        reason: "makes certificates, and serves them in the tests of docs/examples",
    },
    Package {
        name: "jq",
        programs: &["jq"],
        reason: "is in the commands of docs/notify.md, which a test runs",
    },
    Package {
        name: "curl",
        programs: &["curl"],
        reason: "hosts ask for URLs with it",
    },
    Package {
        name: "docker-registry",
        programs: &["docker-registry"],
        reason: "the load tester's example scenario pulls from it",
    },
    Package {
        name: "chromium",
        programs: &["chromium"],
        reason: "the load tester's report is drawn by a browser",
    },
    Package {
        name: "procps",
        programs: &["ps", "pgrep"],
        reason: "tests look at processes on the hosts",
    },
    Package {
        name: "faketime",
        programs: &["faketime"],
        reason: "the controller's clock jumps",
    },
    Package {
        name: "zsh",
        programs: &["zsh"],
        reason: "words are completed in it",
    },
    Package {
        name: "fish",
        programs: &["fish"],
        reason: "words are completed in it",
    },
    Package {
        name: "debootstrap",
        programs: &["debootstrap"],
        reason: "makes the Debian machines that packages are installed on; sudo, doas and other shells are in them",
    },
    Package {
        name: "util-linux",
        programs: &["unshare", "setsid"],
        reason: "namespaces for those machines, and sessions of their own for durable steps",
    },
    Package {
        name: "apt",
        programs: &["apt-get"],
        reason: "the mirrorlist server is asked by real clients",
    },
    Package {
        name: "dnf",
        programs: &["dnf"],
        reason: "the same",
    },
    Package {
        name: "mount",
        programs: &["mount"],
        reason: "overlay roots for those machines",
    },
];

/// What runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    Nextest,
    Cargo,
}

/// Runs the tests; with arguments for `cargo nextest run`, without documentation tests and the simulation.
pub(crate) fn run(install: bool, nextest: &[String]) -> Result {
    let workspace = Workspace::find()?;
    let runner = prepare(&workspace, install, nextest)?;
    if nextest.is_empty() {
        workspace::run(workspace.cargo().arg("machete"))?;
    }
    let binary = workspace.build_reveille("release")?;
    let mut tests = workspace.cargo();
    tests.env(workspace::BINARY, &binary);
    match runner {
        Runner::Nextest => {
            tests.args(["nextest", "run", "--locked"]);
            if !names_packages(nextest) {
                tests.arg("--workspace");
            }
            if nextest.is_empty() {
                // Everything that fails is told, not the first of it.
                tests.arg("--no-fail-fast");
            }
            tests.args(nextest);
        }
        Runner::Cargo => {
            tests.args([
                "test",
                "--workspace",
                "--all-targets",
                "--no-fail-fast",
                "--locked",
            ]);
        }
    }
    workspace::run(&mut tests)?;
    if nextest.is_empty() {
        workspace::run(
            workspace
                .cargo()
                .args(["test", "--doc", "--workspace", "--locked"]),
        )?;
        simulate::a_minute(&workspace)?;
    }
    tell::line("all tests passed");
    Ok(())
}

/// Tools of cargo that the tests need, with what each does.
const TOOLS: [(&str, &str); 2] = [
    ("nextest", "runs the tests, each in its own process"),
    ("machete", "finds dependencies that no crate uses"),
];

/// Installs what the tests need, or names what is missing.
fn prepare(workspace: &Workspace, install: bool, arguments: &[String]) -> Result<Runner> {
    let missing = packages::missing(PACKAGES);
    let tools: Vec<&str> = TOOLS
        .iter()
        .map(|(tool, _)| *tool)
        .filter(|tool| !has_tool(workspace, tool))
        .collect();
    if missing.is_empty() && tools.is_empty() {
        return Ok(Runner::Nextest);
    }
    packages::name_all(&missing);
    for (tool, reason) in TOOLS.iter().filter(|(tool, _)| tools.contains(tool)) {
        tell::line(&format!("missing: cargo-{tool}: {reason}"));
    }
    if !install {
        let mut text = "the tests need what is named above; nothing was installed. To install it:".to_owned();
        if !missing.is_empty() {
            text.push_str("\n    ");
            text.push_str(&packages::command_line(&missing));
        }
        for tool in tools {
            text.push_str(&format!("\n    cargo install --locked cargo-{tool}"));
        }
        text += "\nor let `cargo xtask test --install` do that";
        return Err(Failure::Missing(text));
    }
    if !missing.is_empty() {
        packages::install(&missing)?;
    }
    let mut runner = Runner::Nextest;
    for tool in tools {
        let installed = workspace::run(
            workspace
                .cargo()
                // They wait for others; without optimisation, they are built in half of the time.
                .args(["install", "--locked", "--debug", &format!("cargo-{tool}")]),
        );
        match installed {
            Ok(()) => {}
            Err(failure) if tool == "nextest" && arguments.is_empty() => {
                tell::line(&format!("{failure}; running the tests with `cargo test` instead"));
                runner = Runner::Cargo;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(runner)
}

/// Whether arguments say which packages are meant; `--workspace` would overrule them.
fn names_packages(arguments: &[String]) -> bool {
    arguments
        .iter()
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

fn has_tool(workspace: &Workspace, tool: &str) -> bool {
    workspace
        .cargo()
        .args([tool, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_are_named_are_not_overruled() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(names_packages(&words("-p xtask")) && names_packages(&words("--no-capture --package=xtask")));
        assert!(!names_packages(&words("--no-capture pace")));
    }
}
