//! Parsed files: blocks of options, each with the condition under which it applies.

use crate::wildcard::HostPattern;
use crate::{AddressFamily, Hop, StrictHostKeyChecking};

/// Options between one `Host`, `Match` or `Include` and the next.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) condition: Condition,
    /// The block that contains the `Include`; it must apply too.
    pub(crate) within: Option<u32>,
    pub(crate) settings: Vec<Setting>,
}

/// When a block applies.
#[derive(Debug)]
pub(crate) enum Condition {
    Always,
    /// Continues a block after an `Include`.
    Same(u32),
    Host(Vec<HostPattern>),
    Match(Vec<Criterion>),
}

/// One condition of a `Match`.
#[derive(Debug)]
pub(crate) struct Criterion {
    pub(crate) negated: bool,
    pub(crate) test: Test,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(crate) enum Test {
    All,
    /// `final` and `canonical`: only in the second pass.
    Final,
    Host(Vec<HostPattern>),
    OriginalHost(Vec<HostPattern>),
    User(Vec<HostPattern>),
    LocalUser(Vec<HostPattern>),
    Tagged(Vec<HostPattern>),
    Exec(String),
    /// A test of newer versions of OpenSSH that can't be made here; it never matches.
    Unsupported,
}

/// An option, its value and its place.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// The number of a file and a line, from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) file: u32,
    pub(crate) line: u32,
}

#[derive(Debug)]
pub(crate) enum Value {
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

// === impl Value ===

impl Value {
    /// The option's name as ssh_config(5) spells it.
    pub(crate) fn keyword(&self) -> &'static str {
        match self {
            Self::HostName(_) => "HostName",
            Self::Port(_) => "Port",
            Self::User(_) => "User",
            Self::IdentityFile(_) => "IdentityFile",
            Self::IdentitiesOnly(_) => "IdentitiesOnly",
            Self::IdentityAgent(_) => "IdentityAgent",
            Self::CertificateFile(_) => "CertificateFile",
            Self::ProxyJump(..) => "ProxyJump",
            Self::ProxyCommand(_) => "ProxyCommand",
            Self::UserKnownHostsFiles(_) => "UserKnownHostsFile",
            Self::GlobalKnownHostsFiles(_) => "GlobalKnownHostsFile",
            Self::StrictHostKeyChecking(_) => "StrictHostKeyChecking",
            Self::HostKeyAlias(_) => "HostKeyAlias",
            Self::ConnectTimeout(_) => "ConnectTimeout",
            Self::ServerAliveInterval(_) => "ServerAliveInterval",
            Self::ServerAliveCountMax(_) => "ServerAliveCountMax",
            Self::AddressFamily(_) => "AddressFamily",
            Self::BindAddress(_) => "BindAddress",
            Self::ForwardAgent(_) => "ForwardAgent",
            Self::PreferredAuthentications(_) => "PreferredAuthentications",
            Self::BatchMode(_) => "BatchMode",
            Self::CanonicalizeHostname(_) => "CanonicalizeHostname",
            Self::Tag(_) => "Tag",
        }
    }
}
