//! The command-line arguments of `ssh`. None of them is secret, because everybody can read them.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use reveille_account::HostKeyPolicy;

use crate::known_hosts::KnownHosts;
use crate::quote::sh_quote;
use crate::target::{Deadlines, OpenSsh, Target};

/// The arguments for the master process and for those that use its connection; the address is last.
pub(super) fn of(
    how: &OpenSsh,
    target: &Target,
    known_hosts: &Arc<KnownHosts>,
    deadlines: &Deadlines,
    socket: &Path,
) -> Vec<OsString> {
    let mut arguments = vec!["-o".into(), format!("ControlPath={}", socket.display()).into()];
    arguments.extend(
        way(how, target, known_hosts, deadlines)
            .into_iter()
            .map(OsString::from),
    );
    arguments.extend(["--".into(), target.address.as_str().into()]);
    arguments
}

/// The options to reach and log in to a host, without its address.
fn way(how: &OpenSsh, target: &Target, known_hosts: &Arc<KnownHosts>, deadlines: &Deadlines) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    if let Some(config) = &how.config {
        arguments.extend(["-F".to_owned(), config.display().to_string()]);
    }
    let mut option = |text: String| arguments.extend(["-o".to_owned(), text]);
    for text in [
        "BatchMode=yes",
        "LogLevel=INFO",
        "ForwardX11=no",
        "ForwardAgent=no",
        "ClearAllForwardings=yes",
        "ControlPersist=no",
        "ServerAliveCountMax=3",
    ] {
        option(text.to_owned());
    }
    let within = target.connect_within(deadlines);
    option(format!("ConnectTimeout={}", within.as_secs().max(1)));
    option(format!(
        "ServerAliveInterval={}",
        deadlines.keep_alive.as_secs().max(1)
    ));
    let known = target.known_hosts.as_ref().unwrap_or(known_hosts);
    let (policy, files) = match target.host_keys {
        HostKeyPolicy::Strict => ("yes", listed(known)),
        HostKeyPolicy::AcceptNew => ("accept-new", listed(known)),
        HostKeyPolicy::Off => ("no", "/dev/null".to_owned()),
    };
    option(format!("StrictHostKeyChecking={policy}"));
    if !files.is_empty() {
        option(format!("UserKnownHostsFile={files}"));
    }
    if let Some(alias) = &target.host_key_alias {
        option(format!("HostKeyAlias={alias}"));
    }
    let identities = &target.authentication.identities;
    if identities.only.is_some() {
        option("IdentitiesOnly=yes".to_owned());
    }
    for file in &identities.certificate_files {
        option(format!("CertificateFile={}", quoted(file)));
    }
    if let Some(agent) = identities.agent.as_ref().filter(|_| !identities.files.is_empty()) {
        option(format!("IdentityAgent={}", quoted(agent)));
    }
    for more in &how.options {
        option(more.clone());
    }
    if let Some(jump) = &target.jump {
        option(format!(
            "ProxyCommand={}",
            through(how, jump, known_hosts, deadlines)
        ));
    }
    for file in &identities.files {
        arguments.extend(["-i".to_owned(), file.display().to_string()]);
    }
    arguments.extend(["-l".to_owned(), target.user.clone()]);
    arguments.extend(["-p".to_owned(), target.port.to_string()]);
    arguments
}

/// The proxy command for a jump host: `-J` would log in with different keys.
fn through(how: &OpenSsh, jump: &Target, known_hosts: &Arc<KnownHosts>, deadlines: &Deadlines) -> String {
    // `ssh` expands percent signs.
    let word = |word: &str| sh_quote(&word.replace('%', "%%"));
    let mut words = vec![word(&how.program.display().to_string())];
    let way = way(how, jump, known_hosts, deadlines);
    words.extend(["-o", "ControlPath=none"].map(word));
    words.extend(way.iter().map(|argument| word(argument)));
    words.extend([
        "-W".to_owned(),
        "'[%h]:%p'".to_owned(),
        "--".to_owned(),
        word(&jump.address),
    ]);
    words.join(" ")
}

/// The known-hosts files, starting with the one for new keys.
fn listed(known_hosts: &KnownHosts) -> String {
    known_hosts.files().map(quoted).collect::<Vec<_>>().join(" ")
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
