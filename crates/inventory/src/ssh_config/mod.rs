//! `~/.ssh/config`: what the user has told `ssh` about hosts, read as OpenSSH reads it.
//!
//! [`SshConfig::load`] reads the user's file and the system's once; [`SshConfig::resolve`] then answers for each host, by the
//! rule that the first value wins. `Host` blocks without wildcards are found by name, so that tens of thousands of hosts and
//! blocks are no matter. A mistake has file, line, column and caret; like `ssh`, nothing is resolved with a file that has
//! one.
//!
//! What is understood: `Host`, `Match` (`all`, `canonical`, `final`, `host`, `originalhost`, `user`, `localuser`, `tagged`,
//! `exec`), `Include`, tokens (`%h` and the like), `~` and `${NAME}`, and the options that are fields of [`Resolved`]. Every
//! other option of OpenSSH is passed over; an unknown one is a mistake unless `IgnoreUnknown` names it.
//!
//! ```
//! use reveille_inventory::ssh_config::{Local, Query, SshConfig};
//!
//! let config = SshConfig::parse(
//!     "Host web*\n  HostName %h.example.org\n  User deploy\n  ProxyJump bastion\nHost *\n  Port 2222\n",
//!     "config",
//! )?;
//! let local = Local::current();
//! let resolved = config.resolve(&Query::new("web1", &local))?;
//! assert_eq!(resolved.host_name, "web1.example.org");
//! assert_eq!((resolved.user.as_deref(), resolved.port), (Some("deploy"), Some(2222)));
//! // A jump host has options of its own.
//! let hop = &resolved.proxy_jump.expect("one jump")[0];
//! assert_eq!(config.resolve(&Query::new(&hop.address, &local))?.port, Some(2222));
//! # Ok::<(), reveille_inventory::InventoryError>(())
//! ```

mod exec;
mod file;
mod keywords;
mod resolve;
mod tokens;
mod wildcard;
mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use reveille_account::SourceError;

use crate::InventoryError;
use crate::connection::Hop;

pub(crate) use self::words::seconds;

use self::wildcard::HostPattern;

/// The configuration of `ssh`, to be asked about hosts.
#[derive(Debug, Default)]
pub struct SshConfig {
    blocks: Vec<Block>,
    /// Blocks that can only apply to hosts of these names.
    by_name: HashMap<Box<str>, Vec<u32>>,
    /// Blocks that any host may match.
    for_all: Vec<u32>,
    files: Vec<String>,
    /// Some `Match` asks for the second pass.
    wants_final: bool,
    warnings: Vec<SourceError>,
    /// Answers of `Match exec`, by command line.
    answers: Mutex<HashMap<String, bool>>,
}

/// What is known of this machine and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The user's name.
    pub user: String,
    /// The user's home directory.
    pub home: PathBuf,
    /// The user's number.
    pub uid: u32,
    /// The name of this machine.
    pub host_name: String,
}

/// A question: how is this host reached?
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The name as it would be given to `ssh`.
    pub host: &'a str,
    /// A user that wins over the configuration.
    pub user: Option<&'a str>,
    /// A port that wins over the configuration.
    pub port: Option<u16>,
    /// This machine.
    pub local: &'a Local,
    /// Whether commands of `Match exec` may be run; if not, they count as failed, with a warning.
    pub run_exec: bool,
}

/// What the configuration says of a host; what it leaves open is none or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The name or address to connect to.
    pub host_name: String,
    /// `Port`, or the question's.
    pub port: Option<u16>,
    /// `User`, or the question's.
    pub user: Option<String>,
    /// `IdentityFile`, in the order to try them; `none` is left out.
    pub identity_files: Vec<PathBuf>,
    /// `IdentitiesOnly`.
    pub identities_only: Option<bool>,
    /// `IdentityAgent`.
    pub identity_agent: Option<IdentityAgent>,
    /// `CertificateFile`.
    pub certificate_files: Vec<PathBuf>,
    /// `ProxyJump`, from the nearest to this machine; empty for `none`.
    pub proxy_jump: Option<Vec<Hop>>,
    /// `ProxyCommand` as it is written; only the system's `ssh` can run it. None for `none`.
    pub proxy_command: Option<String>,
    /// `UserKnownHostsFile`; `none` is an empty list.
    pub user_known_hosts_files: Option<Vec<PathBuf>>,
    /// `GlobalKnownHostsFile`; `none` is an empty list.
    pub global_known_hosts_files: Option<Vec<PathBuf>>,
    /// `StrictHostKeyChecking`.
    pub strict_host_key_checking: Option<StrictHostKeyChecking>,
    /// `HostKeyAlias`, in lower case.
    pub host_key_alias: Option<String>,
    /// `ConnectTimeout`.
    pub connect_timeout: Option<Duration>,
    /// `ServerAliveInterval`; zero for never.
    pub server_alive_interval: Option<Duration>,
    /// `ServerAliveCountMax`.
    pub server_alive_count_max: Option<u32>,
    /// `AddressFamily`.
    pub address_family: Option<AddressFamily>,
    /// `BindAddress`.
    pub bind_address: Option<String>,
    /// `ForwardAgent`, as it is written: `yes`, `no`, a path or a variable.
    pub forward_agent: Option<String>,
    /// `PreferredAuthentications`.
    pub preferred_authentications: Option<String>,
    /// `BatchMode`.
    pub batch_mode: Option<bool>,
    /// The same values before tokens are put in, as `ssh -G` prints them.
    pub written: Written,
    /// What has no effect although it was written.
    pub warnings: Vec<SourceError>,
}

/// Values with their tokens, `~` and variables as they stand in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// `IdentityFile`.
    pub identity_files: Vec<String>,
    /// `CertificateFile`.
    pub certificate_files: Vec<String>,
    /// `UserKnownHostsFile`.
    pub user_known_hosts_files: Vec<String>,
    /// `GlobalKnownHostsFile`.
    pub global_known_hosts_files: Vec<String>,
    /// `ProxyJump`; `none` if there shall be none.
    pub proxy_jump: Option<String>,
}

/// What to do about a host key that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrictHostKeyChecking {
    /// Refuse it.
    Yes,
    /// Take it, and a changed one too.
    No,
    /// Ask the user.
    Ask,
    /// Take it, and refuse a changed one.
    AcceptNew,
}

/// Which agent holds keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityAgent {
    /// None.
    None,
    /// The one that `SSH_AUTH_SOCK` names.
    Environment,
    /// The one at this socket.
    Socket(PathBuf),
}

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// Both.
    Any,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

/// Options between one `Host`, `Match` or `Include` and the next.
#[derive(Debug)]
struct Block {
    condition: Condition,
    /// The block that an `Include` stands in; it must apply too.
    within: Option<u32>,
    settings: Vec<Setting>,
}

/// When a block applies.
#[derive(Debug)]
enum Condition {
    Always,
    /// It goes on after an `Include`.
    Same(u32),
    Host(Vec<HostPattern>),
    Match(Vec<Criterion>),
}

/// One condition of a `Match`.
#[derive(Debug)]
struct Criterion {
    negated: bool,
    test: Test,
    place: Place,
}

#[derive(Debug)]
enum Test {
    All,
    /// `final` and `canonical`: only in the second pass.
    Final,
    Host(Vec<HostPattern>),
    OriginalHost(Vec<HostPattern>),
    User(Vec<HostPattern>),
    LocalUser(Vec<HostPattern>),
    Tagged(Vec<HostPattern>),
    Exec(String),
    /// A test of newer versions of OpenSSH that can't be made here; it fails.
    Unsupported,
}

/// An option, its value and its place.
#[derive(Debug)]
struct Setting {
    value: Value,
    place: Place,
}

/// A file's number and a line, from 1.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: u32,
    line: u32,
}

#[derive(Debug)]
enum Value {
    HostName(String),
    Port(u16),
    User(String),
    IdentityFile(String),
    IdentitiesOnly(bool),
    IdentityAgent(String),
    CertificateFile(String),
    ProxyJump(String, Vec<Hop>),
    ProxyCommand(String),
    UserKnownHostsFiles(Vec<String>),
    GlobalKnownHostsFiles(Vec<String>),
    StrictHostKeyChecking(StrictHostKeyChecking),
    HostKeyAlias(String),
    /// None for `none`.
    ConnectTimeout(Option<u64>),
    ServerAliveInterval(Option<u64>),
    ServerAliveCountMax(u32),
    AddressFamily(AddressFamily),
    BindAddress(String),
    ForwardAgent(String),
    PreferredAuthentications(String),
    BatchMode(bool),
    CanonicalizeHostname(bool),
    Tag(String),
}

/// The most that is read of a configuration file, bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Files that include each other; OpenSSH's bound.
const MAX_DEPTH: usize = 16;
/// Files that are read together.
const MAX_FILES: usize = 1_000;
/// Identity files, and certificate files, of a host; OpenSSH's bound.
const MAX_IDENTITIES: usize = 100;
/// Known-hosts files of a host; OpenSSH's bound.
const MAX_KNOWN_HOSTS: usize = 32;
/// How long a command of `Match exec` may take.
const EXEC_LIMIT: Duration = Duration::from_secs(10);
/// Different commands of `Match exec` whose answers are kept.
const MAX_ANSWERS: usize = 4_096;

// === impl SshConfig ===

impl SshConfig {
    /// Reads the user's file and, after it, the system's. A file that isn't there says nothing.
    ///
    /// Without `user_file` it is `~/.ssh/config`; the system's is `/etc/ssh/ssh_config` unless said otherwise. As `ssh` does
    /// it, a user's file that others may write to is refused.
    pub fn load(user_file: Option<&Path>, system_file: Option<&Path>) -> Result<Self, InventoryError> {
        let mut reader = file::Reader::new();
        let own = std::env::home_dir().map(|home| home.join(".ssh/config"));
        if let Some(path) = user_file.or(own.as_deref()) {
            reader.optional(path, true)?;
        }
        reader.optional(system_file.unwrap_or(Path::new("/etc/ssh/ssh_config")), false)?;
        reader.finish()
    }

    /// Reads one file and no other, as `ssh -F FILE` does; `none` is an empty configuration.
    pub fn only(path: &Path) -> Result<Self, InventoryError> {
        let mut reader = file::Reader::new();
        if !path.as_os_str().eq_ignore_ascii_case("none") {
            reader.required(path)?;
        }
        reader.finish()
    }

    /// Reads text in the form of a user's configuration; `name` stands for the file in messages.
    pub fn parse(text: &str, name: &str) -> Result<Self, InventoryError> {
        let mut reader = file::Reader::new();
        reader.text(text, name)?;
        reader.finish()
    }

    /// What has no effect although it was written, whatever the host.
    pub fn warnings(&self) -> &[SourceError] {
        &self.warnings
    }

    /// Whether there is no option at all.
    pub fn is_empty(&self) -> bool {
        self.blocks.iter().all(|block| block.settings.is_empty())
    }

    fn mistake(&self, place: Place, message: impl Into<String>) -> SourceError {
        let file = self.files.get(place.file as usize);
        let mut mistake = SourceError::whole(message, file.map_or("ssh_config", |file| file));
        mistake.line = place.line as usize;
        mistake
    }
}

// === impl Local ===

impl Local {
    /// This machine and the user who runs this process.
    pub fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let name = ["USER", "LOGNAME"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let user = tokens::user_of(uid).or(name).unwrap_or_else(|| "root".to_owned());
        Self {
            user,
            home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
            uid,
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

// === impl Query ===

impl<'a> Query<'a> {
    /// A question about a host, with nothing said beforehand; commands of `Match exec` are run, as `ssh` runs them.
    pub fn new(host: &'a str, local: &'a Local) -> Self {
        Self {
            host,
            user: None,
            port: None,
            local,
            run_exec: true,
        }
    }
}

// === impl StrictHostKeyChecking ===

impl StrictHostKeyChecking {
    /// The word of `ssh_config`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "yes" | "true" => Self::Yes,
            "no" | "false" | "off" => Self::No,
            "ask" => Self::Ask,
            "accept-new" => Self::AcceptNew,
            _ => return None,
        })
    }
}
