//! The files of a set: keys, lists, and the initial content of each machine's layer.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{LIMIT, Machines};

/// Files of this machine to copy, so that the package manager works as it does here.
const COPIED: &[&str] = &[
    "etc/apt/sources.list",
    "etc/apt/sources.list.d",
    "etc/apt/apt.conf",
    "etc/apt/apt.conf.d",
    "etc/apt/auth.conf",
    "etc/apt/auth.conf.d",
    "etc/apt/keyrings",
    "etc/apt/preferences",
    "etc/apt/preferences.d",
    "etc/apt/trusted.gpg",
    "etc/apt/trusted.gpg.d",
    "etc/resolv.conf",
    "etc/ssl/certs",
    "usr/local/share/ca-certificates",
    "usr/share/keyrings",
];

/// Fills the upper layer with the machine's identity, and with apt's configuration.
pub(super) fn fill(upper: &Path, name: &str, public_key: &Path) -> io::Result<()> {
    let ssh = upper.join("etc/ssh");
    fs::create_dir_all(&ssh)?;
    // The top directory of the layer becomes the machine's `/`.
    fs::set_permissions(upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::copy(public_key, ssh.join("authorized_keys"))?;
    key(&ssh.join("ssh_host_ed25519_key"))?;
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid")?
        .trim()
        .replace('-', "");
    fs::write(upper.join("etc/machine-id"), format!("{id}\n"))?;
    fs::write(upper.join("etc/hostname"), format!("{name}\n"))?;
    fs::write(upper.join("etc/hosts"), format!("127.0.0.1 localhost {name}\n"))?;
    if let Ok(hosts) = fs::read_to_string("/etc/hosts") {
        let mine = fs::read_to_string(upper.join("etc/hosts"))?;
        fs::write(upper.join("etc/hosts"), mine + &hosts)?;
    }
    for path in COPIED {
        let from = Path::new("/").join(path);
        if !from.exists() {
            continue;
        }
        let to = upper.join(path);
        fs::create_dir_all(to.parent().unwrap_or(upper))?;
        if from.is_file() {
            // Links are followed, because their targets don't exist inside.
            fs::copy(&from, &to)?;
            continue;
        }
        let copied = Command::new("cp")
            .arg("-a")
            .arg(&from)
            .arg(&to)
            .stderr(Stdio::piped())
            .output()?;
        if !copied.status.success() {
            let said = String::from_utf8_lossy(&copied.stderr).trim().to_owned();
            return Err(io::Error::other(format!("can't copy {}: {said}", from.display())));
        }
    }
    if let Some(lines) = proxy_from_environment() {
        fs::create_dir_all(upper.join("etc/apt/apt.conf.d"))?;
        fs::write(upper.join("etc/apt/apt.conf.d/99-proxy"), lines)?;
    }
    Ok(())
}

/// Writes the inventory and the host keys of a running set.
pub(super) fn write_lists(set: &Machines) -> io::Result<()> {
    let (mut inventory, mut known) = ("[machines]\n".to_owned(), String::new());
    for machine in &set.all {
        let _ = writeln!(inventory, "{} ansible_host={}", machine.name, machine.address);
        let key = set
            .directory
            .join(&machine.name)
            .join("upper/etc/ssh/ssh_host_ed25519_key.pub");
        let _ = writeln!(
            known,
            "[{}]:{} {}",
            machine.address,
            set.port,
            fs::read_to_string(key)?.trim()
        );
    }
    let _ = write!(
        inventory,
        "\n[machines:vars]\nansible_port={}\nansible_user=root\nansible_ssh_private_key_file={}\n",
        set.port,
        set.key().display()
    );
    fs::write(set.known_hosts(), known)?;
    fs::write(set.inventory(), inventory)
}

/// Removes the files of a set, and no others.
pub(super) fn clear(directory: &Path) -> io::Result<()> {
    for number in 1..=LIMIT {
        remove(&directory.join(format!("m{number}")), fs::remove_dir_all)?;
    }
    for name in [
        "state",
        "inventory.ini",
        "known_hosts",
        "id_ed25519",
        "id_ed25519.pub",
    ] {
        remove(&directory.join(name), fs::remove_file)?;
    }
    Ok(())
}

fn remove(path: &Path, how: impl Fn(PathBuf) -> io::Result<()>) -> io::Result<()> {
    match how(path.to_owned()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io::Error::new(
            error.kind(),
            format!("can't remove {}: {error}", path.display()),
        )),
        _ => Ok(()),
    }
}

/// Creates a key pair without a passphrase.
pub(super) fn key(path: &Path) -> io::Result<()> {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "machine", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status()?;
    if made.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("ssh-keygen failed ({made})")))
    }
}

/// The proxies in this process's environment, in apt's syntax: sshd does not pass the environment on.
fn proxy_from_environment() -> Option<String> {
    let mut lines = String::new();
    for scheme in ["http", "https"] {
        if let Ok(proxy) = std::env::var(format!("{scheme}_proxy")) {
            let _ = writeln!(lines, "Acquire::{scheme}::Proxy \"{proxy}\";");
        }
    }
    (!lines.is_empty()).then_some(lines)
}
