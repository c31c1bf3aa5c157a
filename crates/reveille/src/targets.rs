//! From recorded ways to targets: keys are read, known hosts and passwords go where they belong.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reveille_account::HostName;
use reveille_fleet::{Before, HostPlan, Route};
use reveille_transport::{
    Authentication, Become, BecomeMethod, HostKeyPolicy, Identities, KeepAlive, Keyring, KnownHosts, OpenSsh,
    Secret, Target, Transport, Wanted,
};

use crate::failure::Failure;
use crate::options::{Options, host_key_policy};
use crate::passwords::Passwords;
use crate::printer::Printer;
use crate::prompt;
use crate::reach::{Agent, NOWHERE, Reached, Way, expand_home};
use crate::state;

/// Turns recorded ways into targets.
pub(crate) fn plans(
    hosts: impl IntoIterator<Item = (HostName, Reached, Option<Before>)>,
    options: &Options,
    passwords: &Passwords,
    printer: &Printer,
) -> Result<Vec<HostPlan>, Failure> {
    let mut maker = Maker {
        policy: options.policy(),
        password_to_new_hosts: options.password_to_new_hosts,
        agent: std::env::var_os("SSH_AUTH_SOCK")
            .map(PathBuf::from)
            .filter(|path| path.exists()),
        keys: Keyring::asking(passphrase),
        authentications: HashMap::new(),
        known_hosts: HashMap::new(),
        warnings: Vec::new(),
    };
    let mut plans = Vec::new();
    for (name, reached, before) in hosts {
        let jump = maker.chain(&name, &reached.jump)?;
        let routes = reached.routes.iter().map(|route| {
            let jump = route.jump.as_ref().map(|ways| maker.chain(&name, ways));
            Ok(Route {
                address: route.address.clone(),
                port: route.port,
                jump: jump.transpose()?,
            })
        });
        let routes = routes.collect::<Result<_, Failure>>()?;
        let transport = match reached.transport.as_deref() {
            Some("openssh") => Transport::OpenSsh(Arc::new(OpenSsh {
                config: reached.ssh_config.clone(),
                options: reached.ssh_options.clone(),
                ..OpenSsh::default()
            })),
            Some("local") => Transport::Local,
            _ => Transport::Native,
        };
        let target = maker.target(&name, &reached.way, passwords.login(&name), transport, jump)?;
        let becomes = |user: String| Become {
            method: match reached.become_method.as_deref() {
                Some("su") => BecomeMethod::Su,
                Some("doas") => BecomeMethod::Doas,
                _ => BecomeMethod::Sudo,
            },
            password: passwords.escalate(&name),
            ..Become::sudo(user)
        };
        plans.push(HostPlan {
            target: Arc::new(target),
            escalate: reached.escalate.clone().map(&becomes),
            becomes: becomes(reached.becomes.clone()),
            routes,
            label: reached.label.as_deref().map(Arc::from),
            before: before.map(Box::new),
            not_ready: reached.not_ready,
            name,
        });
    }
    for warning in maker.warnings {
        printer.warning(&warning);
    }
    Ok(plans)
}

/// Makes targets. What many hosts share is read and kept once.
struct Maker<'a> {
    policy: HostKeyPolicy,
    password_to_new_hosts: bool,
    agent: Option<PathBuf>,
    keys: Keyring<'a>,
    authentications: HashMap<Offer, Arc<Authentication>>,
    known_hosts: HashMap<Vec<PathBuf>, Arc<KnownHosts>>,
    warnings: Vec<String>,
}

/// What is offered to a host, as far as it tells one authentication from another.
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

/// A password as a key of a map, by identity of its text.
#[derive(PartialEq, Eq)]
struct HashedSecret(Secret);

impl std::hash::Hash for HashedSecret {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
        // Equality tells them apart; nothing of the text goes into a hash.
    }
}

// === impl Maker ===

impl Maker<'_> {
    /// The nearest of jump hosts to the host, with the others in front of it.
    fn chain(&mut self, name: &HostName, ways: &[Way]) -> Result<Option<Arc<Target>>, Failure> {
        let mut jump = None;
        for way in ways {
            jump = Some(Arc::new(self.target(name, way, None, Transport::Native, jump)?));
        }
        Ok(jump)
    }

    fn target(
        &mut self,
        name: &HostName,
        way: &Way,
        password: Option<Secret>,
        transport: Transport,
        jump: Option<Arc<Target>>,
    ) -> Result<Target, Failure> {
        let authentication = match transport {
            // No one is asked on this machine.
            Transport::Local => Arc::default(),
            Transport::Native | Transport::OpenSsh(_) => self.authentication(way, password)?,
        };
        Ok(Target {
            host_keys: way.host_key.as_deref().map_or(self.policy, host_key_policy),
            host_key_alias: way.host_key_alias.clone(),
            known_hosts: way
                .known_hosts
                .as_ref()
                .map(|files| self.known_hosts(files))
                .transpose()?,
            jump,
            connect_timeout: way.connect_timeout_ms.map(Duration::from_millis),
            keep_alive: KeepAlive {
                interval: way.alive_interval_ms.map(Duration::from_millis),
                most: way.alive_count,
            },
            transport,
            ..Target::new(
                name.clone(),
                way.address.clone(),
                way.port,
                way.user.clone(),
                authentication,
            )
        })
    }

    fn authentication(
        &mut self,
        way: &Way,
        password: Option<Secret>,
    ) -> Result<Arc<Authentication>, Failure> {
        let offer = Offer {
            keys: way.keys.clone(),
            more_keys: way.more_keys.clone(),
            last_keys: way.last_keys.clone(),
            certificates: way.certificates.clone(),
            keys_only: way.keys_only,
            agent: way.agent.clone(),
            password: password.clone().map(HashedSecret),
        };
        if let Some(made) = self.authentications.get(&offer) {
            return Ok(Arc::clone(made));
        }
        let authentication = Arc::new(Authentication {
            identities: self.identities(way)?,
            password,
            password_to_new_hosts: self.password_to_new_hosts,
        });
        self.authentications.insert(offer, Arc::clone(&authentication));
        Ok(authentication)
    }

    fn identities(&mut self, way: &Way) -> Result<Identities, Failure> {
        let agent = match &way.agent {
            Agent::Usual => self.agent.clone(),
            Agent::None => None,
            Agent::Socket(path) => Some(path.clone()).filter(|path| path.exists()),
        };
        let refused = |error: reveille_transport::IdentityError| Failure::usage(error.to_string());
        if way.keys.is_empty() && way.more_keys.is_empty() && way.certificates.is_empty() && !way.keys_only {
            let directory = state::home().map(|home| home.join(".ssh")).unwrap_or_default();
            let (identities, warnings) = self.keys.defaults(&directory, agent);
            self.warn(warnings.iter().map(ToString::to_string));
            if !identities.is_empty() || way.last_keys.is_empty() {
                return Ok(identities);
            }
            let last = Wanted {
                keys: way.last_keys.iter().map(|path| expand_home(path)).collect(),
                ..Wanted::default()
            };
            return self.keys.load(&last).map_err(refused);
        }
        let mut keys: Vec<PathBuf> = way.keys.iter().map(|path| expand_home(path)).collect();
        // As ssh does, what its configuration names and isn't there is passed over.
        for path in &way.more_keys {
            if !path.exists() || keys.contains(path) {
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
            certificates: way
                .certificates
                .iter()
                .filter(|path| path.exists())
                .cloned()
                .collect(),
            agent,
            only: way.keys_only,
        };
        self.keys.load(&wanted).map_err(refused)
    }

    fn known_hosts(&mut self, files: &[PathBuf]) -> Result<Arc<KnownHosts>, Failure> {
        if let Some(known) = self.known_hosts.get(files) {
            return Ok(Arc::clone(known));
        }
        let nowhere = |path: &&PathBuf| path.as_path() != Path::new(NOWHERE);
        let record = files.first().filter(nowhere).cloned();
        let known = KnownHosts::load(files.get(1..).unwrap_or_default(), record)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let known = Arc::new(known);
        self.known_hosts.insert(files.to_vec(), Arc::clone(&known));
        Ok(known)
    }

    fn warn(&mut self, words: impl IntoIterator<Item = String>) {
        for words in words {
            if !self.warnings.contains(&words) {
                self.warnings.push(words);
            }
        }
    }
}

/// Asks for the passphrase of a key, where there is somebody to ask.
fn passphrase(path: &Path) -> Option<Secret> {
    prompt::hidden(&format!("passphrase of {}", path.display()), "add it to an agent")
        .ok()
        .filter(|answer| !answer.is_empty())
        .map(Secret::new)
}
