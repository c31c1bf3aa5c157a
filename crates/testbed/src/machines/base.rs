//! The root file system that all machines share, created once by debootstrap.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages in addition to Debian's smallest system: SSH, certificates for the package source, the ways of becoming
/// another user, and login shells that are not POSIX.
const PACKAGES: &str = "openssh-server,ca-certificates,sudo,opendoas,fish,csh";

/// Incremented when the base is made differently, so that an older one is replaced.
const RECIPE: u32 = 3;

/// Refuses to start services, because there is no init system.
const POLICY: &str = "#!/bin/sh\nexit 101\n";

const SSHD: &str = "\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
MaxSessions 20
Subsystem sftp internal-sftp
";

/// Creates the base in `directory/base` if needed, and returns its path. Other callers wait meanwhile.
pub(super) fn ensure(directory: &Path, say: &dyn Fn(&str)) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let lock = fs::File::create(directory.join("base.lock"))?;
    lock.lock()?;
    let base = directory.join("base");
    let stamp = directory.join("base.stamp");
    let release = codename()?;
    let wanted = format!("{release} {PACKAGES} recipe {RECIPE}\n");
    if base.is_dir() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(base);
    }
    let unfinished = directory.join("base.unfinished");
    for old in [&base, &unfinished] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    let mirror = mirror(&release);
    say(&format!(
        "making the base of all machines: debootstrap {release} from {mirror}"
    ));
    debootstrap(&release, &mirror, &unfinished, &directory.join("debootstrap.log"))?;
    configure(&unfinished)?;
    fs::rename(&unfinished, &base)?;
    fs::write(&stamp, wanted)?;
    Ok(base)
}

/// The release of this machine's Debian, which the machines use too.
fn codename() -> io::Result<String> {
    let text = fs::read_to_string("/etc/os-release")?;
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"'))
    };
    match (value("ID"), value("VERSION_CODENAME")) {
        (Some("debian"), Some(name)) => Ok(name.to_owned()),
        _ => Err(io::Error::other(
            "machines are made from this machine's Debian release, and this is not Debian",
        )),
    }
}

/// This machine's package mirror.
fn mirror(release: &str) -> String {
    let listed = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(CODENAME) $(COMPONENT) $(SITE)",
            "Created-By: Packages",
        ])
        .stdin(Stdio::null())
        .output();
    let wanted = format!("{release} main ");
    listed
        .ok()
        .and_then(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines()
                .find_map(|line| Some(line.strip_prefix(&wanted)?.to_owned()))
        })
        .unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// apt's proxy, which debootstrap's own downloads need.
fn apt_proxy() -> Option<String> {
    let output = Command::new("apt-config")
        .args(["shell", "proxy", "Acquire::http::Proxy"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let value = text.trim().strip_prefix("proxy='")?.strip_suffix('\'')?;
    (!value.is_empty()).then(|| value.to_owned())
}

fn debootstrap(release: &str, mirror: &str, to: &Path, log: &Path) -> io::Result<()> {
    let output = fs::File::create(log)?;
    let mut command = Command::new("debootstrap");
    command
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), release])
        .arg(to)
        .arg(mirror)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    if std::env::var_os("http_proxy").is_none()
        && let Some(proxy) = apt_proxy()
    {
        command.env("http_proxy", proxy);
    }
    let status = command.status().map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("can't start debootstrap (Debian package debootstrap): {error}"),
        )
    })?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let last: Vec<&str> = text.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(io::Error::other(format!(
        "debootstrap failed ({status}); the end of {}:\n{}",
        log.display(),
        last.join("\n")
    )))
}

fn configure(base: &Path) -> io::Result<()> {
    let policy = base.join("usr/sbin/policy-rc.d");
    fs::write(&policy, POLICY)?;
    fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::write(base.join("etc/ssh/sshd_config"), SSHD)?;
    // Machines live for one test, so nothing on them must survive a power loss.
    fs::write(base.join("etc/dpkg/dpkg.cfg.d/unsafe-io"), "force-unsafe-io\n")?;
    // Sources and apt's configuration are copied from this machine when a machine starts.
    for source in ["etc/apt/sources.list", "etc/machine-id"] {
        match fs::remove_file(base.join(source)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Logs start empty, so that they show only what was done on the machine itself.
    fs::write(base.join("var/log/dpkg.log"), "")?;
    for entry in fs::read_dir(base.join("etc/ssh"))? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_"))
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
