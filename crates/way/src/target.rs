//! Turns ways into destinations: reads keys and known hosts, and adds passwords.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{HostKeyPolicy, HostName, TransportKind};
use reveille_transport::{
    Authentication, Become, Identities, IdentityError, KeepAlive, Keyring, KnownHosts, OpenSsh, Secret,
    Target, Transport, Wanted, is_key,
};

use crate::find::NOWHERE;
use crate::way::{Agent, Link, Way, expand_home};
use crate::{Error, Operator, Passwords};

/// A host, ready to connect to.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name.
    pub name: HostName,
    /// Where to connect, and as which user.
    pub target: Arc<Target>,
    /// How to become the default user of steps.
    pub escalate: Option<Become>,
    /// How to become the user of steps that ask for it.
    pub becomes: Become,
    /// Further routes to it.
    pub routes: Vec<Detour>,
    /// Separates the host in the watchdog's history from hosts on which the same work takes a different time.
    pub label: Option<Arc<str>>,
    /// The host must not be dispatched.
    pub not_ready: bool,
}

/// A further route to a host, whose key is known under the usual address.
#[derive(Debug, Clone)]
pub struct Detour {
    /// Name or IP address.
    pub address: String,
    /// TCP port.
    pub port: u16,
    /// The jump host in front, or `Some(None)` for a direct connection; none for the jump host of the usual way.
    pub jump: Option<Option<Arc<Target>>>,
}

/// How a run trusts hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trust {
    /// How to treat host keys, unless a way sets its own policy.
    pub host_keys: HostKeyPolicy,
    /// Offer passwords even to hosts that are seen for the first time.
    pub password_to_new_hosts: bool,
}

// === impl Destination ===

impl Destination {
    /// Whether there is a password to offer to the host.
    pub fn has_password(&self) -> bool {
        self.target.authentication.password.is_some() || self.becomes.password.is_some()
    }
}

/// Builds destinations.
pub struct Destinations<'a> {
    trust: Trust,
    passwords: &'a Passwords,
    operator: &'a dyn Operator,
    agent: Option<PathBuf>,
    keys: Keyring<'a>,
    authentications: HashMap<Offer, Arc<Authentication>>,
    known_hosts: HashMap<Vec<PathBuf>, Arc<KnownHosts>>,
    warned: HashSet<String>,
}

/// The properties by which two authentications differ.
#[derive(PartialEq, Eq, Hash)]
struct Offer {
    keys: Vec<PathBuf>,
    more_keys: Vec<PathBuf>,
    last_keys: Vec<PathBuf>,
    certificates: Vec<PathBuf>,
    keys_only: bool,
    agent: Agent,
    password: Option<HashedSecret>,
}

/// A password as a key of a map.
#[derive(PartialEq, Eq)]
struct HashedSecret(Secret);

impl std::hash::Hash for HashedSecret {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
        // Equality tells passwords apart; the text is kept out of the hash.
    }
}

// === impl Destinations ===

impl<'a> Destinations<'a> {
    /// Prepares to build destinations with these passwords.
    pub fn new(trust: Trust, passwords: &'a Passwords, operator: &'a dyn Operator) -> Self {
        let passphrase = move |path: &Path| {
            operator
                .secret(&format!("passphrase of {}", path.display()), "add it to an agent")
                .ok()
                .filter(|answer| !answer.is_empty())
                .map(Secret::new)
        };
        Self {
            trust,
            passwords,
            operator,
            agent: std::env::var_os("SSH_AUTH_SOCK")
                .map(PathBuf::from)
                .filter(|path| path.exists()),
            keys: Keyring::asking(passphrase),
            authentications: HashMap::new(),
            known_hosts: HashMap::new(),
            warned: HashSet::new(),
        }
    }

    /// Reads the keys and the known hosts of a way. Files of several ways are read once.
    ///
    /// # Errors
    ///
    /// A key from an option or the inventory is not usable, or a known-hosts file can't be read.
    pub fn make(&mut self, name: HostName, way: &Way) -> Result<Destination, Error> {
        let jump = self.chain(&name, &way.jump)?;
        let routes = way.routes.iter().map(|route| {
            let jump = route.jump.as_ref().map(|links| self.chain(&name, links));
            Ok(Detour {
                address: route.address.clone(),
                port: route.port,
                jump: jump.transpose()?,
            })
        });
        let routes = routes.collect::<Result<_, Error>>()?;
        let transport = match way.transport {
            TransportKind::Native => Transport::Native,
            TransportKind::Local => Transport::Local,
            TransportKind::Openssh => Transport::OpenSsh(Arc::new(OpenSsh {
                config: way.ssh_config.clone(),
                options: way.ssh_options.clone(),
                ..OpenSsh::default()
            })),
        };
        let (login, escalate) = (self.passwords.login(&name), self.passwords.escalate(&name));
        for (wanted, found, what) in [
            (way.password, &login, "SSH password"),
            (way.become_password, &escalate, "become password"),
        ] {
            if wanted && found.is_none() {
                return Err(Error::input(format!(
                    "the inventory no longer has the {what} of {name}, which the run needs: check the host's entry, and \
                     the environment variables that it uses"
                )));
            }
        }
        let target = self.target(&name, &way.link, login, transport, jump)?;
        let becomes = |user: &String| Become {
            method: way.become_method,
            password: escalate.clone(),
            ..Become::sudo(user)
        };
        Ok(Destination {
            target: Arc::new(target),
            escalate: way.escalate.as_ref().map(becomes),
            becomes: becomes(&way.becomes),
            routes,
            label: way.label.as_deref().map(Arc::from),
            not_ready: way.not_ready,
            name,
        })
    }

    /// Builds the chain of jump hosts; returns the nearest to the host.
    fn chain(&mut self, name: &HostName, links: &[Link]) -> Result<Option<Arc<Target>>, Error> {
        let mut jump = None;
        for link in links {
            jump = Some(Arc::new(self.target(
                name,
                link,
                None,
                Transport::Native,
                jump,
            )?));
        }
        Ok(jump)
    }

    fn target(
        &mut self,
        name: &HostName,
        link: &Link,
        password: Option<Secret>,
        transport: Transport,
        jump: Option<Arc<Target>>,
    ) -> Result<Target, Error> {
        let authentication = match transport {
            // This machine needs no authentication.
            Transport::Local => Arc::default(),
            Transport::Native | Transport::OpenSsh(_) => self.authentication(link, password)?,
        };
        Ok(Target {
            host_keys: link.host_key.unwrap_or(self.trust.host_keys),
            host_key_alias: link.host_key_alias.clone(),
            known_hosts: link
                .known_hosts
                .as_ref()
                .map(|files| self.known_hosts(files))
                .transpose()?,
            jump,
            connect_timeout: link.connect_timeout_ms.map(Duration::from_millis),
            keep_alive: KeepAlive {
                interval: link.alive_interval_ms.map(Duration::from_millis),
                most: link.alive_count,
            },
            transport,
            ..Target::new(
                name.clone(),
                link.address.clone(),
                link.port,
                link.user.clone(),
                authentication,
            )
        })
    }

    fn authentication(
        &mut self,
        link: &Link,
        password: Option<Secret>,
    ) -> Result<Arc<Authentication>, Error> {
        let offer = Offer {
            keys: link.keys.clone(),
            more_keys: link.more_keys.clone(),
            last_keys: link.last_keys.clone(),
            certificates: link.certificates.clone(),
            keys_only: link.keys_only,
            agent: link.agent.clone(),
            password: password.clone().map(HashedSecret),
        };
        if let Some(made) = self.authentications.get(&offer) {
            return Ok(Arc::clone(made));
        }
        let authentication = Arc::new(Authentication {
            identities: self.identities(link)?,
            password,
            password_to_new_hosts: self.trust.password_to_new_hosts,
        });
        self.authentications.insert(offer, Arc::clone(&authentication));
        Ok(authentication)
    }

    fn identities(&mut self, link: &Link) -> Result<Identities, Error> {
        let agent = match &link.agent {
            Agent::Usual => self.agent.clone(),
            Agent::None => None,
            Agent::Socket(path) => Some(path.clone()).filter(|path| path.exists()),
        };
        let refused = |error: IdentityError| Error::input(error.to_string());
        let certificates = link.certificates.iter().filter(|path| path.exists());
        let certificates: Vec<PathBuf> = certificates.cloned().collect();
        if link.keys.is_empty() && link.more_keys.is_empty() {
            let directory = std::env::home_dir()
                .map(|home| home.join(".ssh"))
                .unwrap_or_default();
            let wanted = Wanted {
                agent,
                certificates,
                only: link.keys_only,
                ..Wanted::default()
            };
            let (identities, warnings) = self.keys.defaults(&directory, &wanted);
            self.warn(warnings.iter().map(ToString::to_string));
            if !identities.is_empty() || link.last_keys.is_empty() {
                return Ok(identities);
            }
            let last = Wanted {
                keys: link.last_keys.iter().map(|path| expand_home(path)).collect(),
                ..Wanted::default()
            };
            return self.keys.load(&last).map_err(refused);
        }
        let mut keys: Vec<PathBuf> = link.keys.iter().map(|path| expand_home(path)).collect();
        // Like ssh, skips missing files of its configuration.
        for path in &link.more_keys {
            if !is_key(path) || keys.contains(path) {
                continue;
            }
            let alone = Wanted {
                keys: vec![path.clone()],
                agent: agent.clone(),
                ..Wanted::default()
            };
            match self.keys.load(&alone) {
                Ok(_) => keys.push(path.clone()),
                Err(error) => self.warn([error.to_string()]),
            }
        }
        let wanted = Wanted {
            keys,
            certificates,
            agent,
            only: link.keys_only,
        };
        self.keys.load(&wanted).map_err(refused)
    }

    fn known_hosts(&mut self, files: &[PathBuf]) -> Result<Arc<KnownHosts>, Error> {
        if let Some(known) = self.known_hosts.get(files) {
            return Ok(Arc::clone(known));
        }
        let nowhere = |path: &&PathBuf| path.as_path() != Path::new(NOWHERE);
        let record = files.first().filter(nowhere).cloned();
        let known = KnownHosts::load(files.get(1..).unwrap_or_default(), record)
            .map_err(|error| Error::input(error.to_string()))?;
        let known = Arc::new(known);
        self.known_hosts.insert(files.to_vec(), Arc::clone(&known));
        Ok(known)
    }

    fn warn(&mut self, words: impl IntoIterator<Item = String>) {
        for words in words {
            if self.warned.insert(words.clone()) {
                self.operator.warn(&words);
            }
        }
    }
}
