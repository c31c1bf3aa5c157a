//! Resolves blocks for one host: the first value wins.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reveille_account::SourceError;

use crate::block::{Condition, Criterion, Place, Test, Value};
use crate::tokens::Tokens;
use crate::wildcard::any;
use crate::{
    AddressFamily, Error, Hop, IdentityAgent, Query, Resolved, SshConfig, StrictHostKeyChecking, Written,
    exec,
};

/// How many identity files, and certificate files, a host may have; OpenSSH's bound.
const MAX_IDENTITIES: usize = 100;

/// Values found so far, with their places if they may contain tokens.
#[derive(Default)]
struct Found<'a> {
    host_name: Option<(&'a str, Place)>,
    /// The name after the first pass.
    final_name: Option<String>,
    port: Option<u16>,
    user: Option<&'a str>,
    identity_files: Vec<(&'a str, Place)>,
    identities_only: Option<bool>,
    identity_agent: Option<(&'a str, Place)>,
    certificate_files: Vec<(&'a str, Place)>,
    proxy_jump: Option<(&'a str, &'a [Hop])>,
    proxy_command: Option<&'a str>,
    user_known_hosts: Option<(&'a [String], Place)>,
    global_known_hosts: Option<(&'a [String], Place)>,
    strict: Option<StrictHostKeyChecking>,
    host_key_alias: Option<&'a str>,
    connect_timeout: Option<u64>,
    alive_interval: Option<u64>,
    alive_count: Option<u32>,
    address_family: Option<AddressFamily>,
    bind_address: Option<&'a str>,
    forward_agent: Option<&'a str>,
    preferred_authentications: Option<&'a str>,
    batch_mode: Option<bool>,
    tag: Option<&'a str>,
    /// The options behind the values above, in the order in which they were found.
    places: Vec<(&'static str, Place)>,
    warnings: Vec<SourceError>,
}

/// One pass over the blocks.
struct Pass<'a, 'q> {
    config: &'a SshConfig,
    query: &'q Query<'a>,
    /// The name that `Host` matches.
    name: &'q str,
    is_final: bool,
    /// Which blocks apply.
    active: Vec<bool>,
}

impl SshConfig {
    /// Resolves the configuration for a host.
    ///
    /// Fails if a token or a variable can't be expanded, or a command of `Match exec` can't be run.
    pub fn resolve(&self, query: &Query<'_>) -> Result<Resolved, Error> {
        let mut found = Found {
            port: query.port,
            user: query.user,
            ..Found::default()
        };
        self.pass(query, query.host, false, &mut found)?;
        let name = self.host_name(query, &found)?;
        if self.wants_final {
            found.final_name = Some(name.clone());
            self.pass(query, &name, true, &mut found)?;
        }
        self.finish(query, name, found).map_err(Error::from)
    }

    fn pass<'a>(
        &'a self,
        query: &Query<'a>,
        name: &str,
        is_final: bool,
        found: &mut Found<'a>,
    ) -> Result<(), Error> {
        let mut pass = Pass {
            config: self,
            query,
            name,
            is_final,
            active: vec![false; self.blocks.len()],
        };
        let named: &[u32] = self.by_name.get(name).map_or(&[], Vec::as_slice);
        let mut for_all = self.for_all.iter().peekable();
        let mut named = named.iter().peekable();
        // Both lists are in the order of the files.
        loop {
            let next = match (for_all.peek(), named.peek()) {
                (Some(left), Some(right)) if left < right => for_all.next(),
                (_, Some(_)) => named.next(),
                (_, None) => for_all.next(),
            };
            let Some(index) = next else { break };
            if pass.applies(*index, found)? {
                pass.active[*index as usize] = true;
                for setting in &self.blocks[*index as usize].settings {
                    found.take(&setting.value, setting.place);
                }
            }
        }
        Ok(())
    }

    /// The name to connect to, as far as it is known yet.
    fn host_name(&self, query: &Query<'_>, found: &Found<'_>) -> Result<String, Error> {
        let name = match found.host_name {
            None => query.host.to_owned(),
            Some((text, place)) => {
                host_tokens(text, query.host).map_err(|message| self.mistake(place, message))?
            }
        };
        Ok(if name.parse::<IpAddr>().is_ok() {
            name
        } else {
            name.to_ascii_lowercase()
        })
    }

    fn finish(&self, query: &Query<'_>, name: String, found: Found<'_>) -> Result<Resolved, SourceError> {
        let key_alias = found.host_key_alias.map(str::to_ascii_lowercase);
        let tokens = found.tokens(query, &name, key_alias.as_deref());
        let path =
            |text: &str, place: Place| tokens.path(text).map_err(|message| self.mistake(place, message));
        let paths = |texts: &[(&str, Place)]| -> Result<Vec<PathBuf>, SourceError> {
            texts
                .iter()
                .filter(|(text, _)| !text.eq_ignore_ascii_case("none"))
                .map(|(text, place)| path(text, *place))
                .collect()
        };
        let known = |files: Option<(&[String], Place)>| -> Result<Option<Vec<PathBuf>>, SourceError> {
            let Some((files, place)) = files else {
                return Ok(None);
            };
            let files = files.iter().filter(|file| !file.eq_ignore_ascii_case("none"));
            files
                .map(|file| path(file, place))
                .collect::<Result<_, _>>()
                .map(Some)
        };
        let written =
            |files: Option<(&[String], Place)>| files.map_or_else(Vec::new, |(files, _)| files.to_vec());
        let texts = |texts: &[(&str, Place)]| texts.iter().map(|(text, _)| (*text).to_owned()).collect();
        let identity_agent = match found.identity_agent {
            None => None,
            Some((text, _)) if text.eq_ignore_ascii_case("none") => Some(IdentityAgent::None),
            Some(("SSH_AUTH_SOCK", _)) => Some(IdentityAgent::Environment),
            Some((text, place)) => match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                Some("SSH_AUTH_SOCK") => Some(IdentityAgent::Environment),
                Some(name) => std::env::var(name)
                    .ok()
                    .map(|path| IdentityAgent::Socket(path.into())),
                None => Some(IdentityAgent::Socket(path(text, place)?)),
            },
        };
        let proxy_jump = found.proxy_jump.map(|(_, hops)| {
            tokens.hops(hops).map_err(|message| {
                let place = found.places.iter().find(|(keyword, _)| *keyword == "ProxyJump");
                match place {
                    Some((_, place)) => self.mistake(*place, message),
                    None => SourceError::whole(message, "ssh_config"),
                }
            })
        });
        let proxy_jump = proxy_jump.transpose()?;
        // `ProxyJump` and `ProxyCommand` exclude each other; the first of them counts.
        let proxy_command = found
            .proxy_command
            .filter(|command| !command.eq_ignore_ascii_case("none"));
        Ok(Resolved {
            port: found.port,
            user: found.user.map(str::to_owned),
            identity_files: paths(&found.identity_files)?,
            identities_only: found.identities_only,
            identity_agent,
            certificate_files: paths(&found.certificate_files)?,
            proxy_jump,
            proxy_command: proxy_command.map(str::to_owned),
            user_known_hosts_files: known(found.user_known_hosts)?,
            global_known_hosts_files: known(found.global_known_hosts)?,
            strict_host_key_checking: found.strict,
            host_key_alias: key_alias,
            connect_timeout: found.connect_timeout.map(Duration::from_secs),
            server_alive_interval: found.alive_interval.map(Duration::from_secs),
            server_alive_count_max: found.alive_count,
            address_family: found.address_family,
            bind_address: found.bind_address.map(str::to_owned),
            forward_agent: found.forward_agent.map(str::to_owned),
            preferred_authentications: found.preferred_authentications.map(str::to_owned),
            batch_mode: found.batch_mode,
            written: Written {
                identity_files: texts(&found.identity_files),
                certificate_files: texts(&found.certificate_files),
                user_known_hosts_files: written(found.user_known_hosts),
                global_known_hosts_files: written(found.global_known_hosts),
                proxy_jump: found.proxy_jump.map(|(text, _)| text.to_owned()),
            },
            warnings: found.warnings,
            origins: found
                .places
                .into_iter()
                .map(|(keyword, place)| (keyword, self.origin(keyword, place)))
                .collect(),
            host_name: name,
        })
    }
}

// === impl Pass ===

impl<'a> Pass<'a, '_> {
    fn applies(&self, index: u32, found: &mut Found<'a>) -> Result<bool, Error> {
        let block = &self.config.blocks[index as usize];
        if block.within.is_some_and(|within| !self.active[within as usize]) {
            return Ok(false);
        }
        match &block.condition {
            Condition::Always => Ok(true),
            Condition::Same(block) => Ok(self.active[*block as usize]),
            Condition::Host(patterns) => Ok(any(patterns, self.name)),
            Condition::Match(criteria) => {
                for criterion in criteria {
                    if self.passes(criterion, found)? == criterion.negated {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn passes(&self, criterion: &Criterion, found: &mut Found<'a>) -> Result<bool, Error> {
        let mistake = |message: String| self.config.mistake(criterion.place, message);
        Ok(match &criterion.test {
            Test::All => true,
            Test::Final => self.is_final,
            Test::Host(patterns) => any(patterns, &self.host(found).map_err(mistake)?.to_ascii_lowercase()),
            Test::OriginalHost(patterns) => any(patterns, &self.query.host.to_ascii_lowercase()),
            Test::User(patterns) => any(patterns, found.user.unwrap_or(&self.query.local.user)),
            Test::LocalUser(patterns) => any(patterns, &self.query.local.user),
            Test::Tagged(patterns) => any(patterns, found.tag.unwrap_or_default()),
            // Unsupported conditions fail with and without `!`.
            Test::Unsupported => criterion.negated,
            Test::Exec(command) => {
                let host = self.host(found).map_err(mistake)?;
                let tokens = found.tokens(self.query, &host, found.host_key_alias);
                let command = tokens.put_in(command).map_err(mistake)?;
                if self.query.run_exec {
                    exec::succeeds(self.config, &command).map_err(mistake)?
                } else {
                    let message = "the command of this `Match exec` was not run and counts as failed";
                    found.warnings.push(self.config.mistake(criterion.place, message));
                    false
                }
            }
        })
    }

    /// The name that `Match host` compares.
    fn host(&self, found: &Found<'a>) -> Result<String, String> {
        if let Some(name) = &found.final_name {
            return Ok(name.clone());
        }
        match found.host_name {
            Some((text, _)) => host_tokens(text, self.name),
            None => Ok(self.name.to_owned()),
        }
    }
}

// === impl Found ===

impl<'a> Found<'a> {
    /// The values of tokens for the host `host`, as far as they are known.
    fn tokens<'t>(&self, query: &'t Query<'_>, host: &'t str, key_alias: Option<&'t str>) -> Tokens<'t>
    where
        'a: 't,
    {
        let jump = self.proxy_jump.and_then(|(_, hops)| hops.last());
        Tokens {
            local: query.local,
            host,
            original: query.host,
            key_alias: key_alias.unwrap_or(query.host),
            port: self.port.unwrap_or(22),
            user: self.user.unwrap_or(&query.local.user),
            jump: jump.map_or("", |hop| &hop.address),
        }
    }

    fn take(&mut self, value: &'a Value, place: Place) {
        let keyword = value.keyword();
        let is_new = match value {
            Value::HostName(text) => first(&mut self.host_name, (text, place)),
            Value::Port(port) => first(&mut self.port, *port),
            Value::User(user) => first(&mut self.user, user),
            Value::IdentityFile(path) => add(&mut self.identity_files, path, place),
            Value::CertificateFile(path) => add(&mut self.certificate_files, path, place),
            Value::IdentitiesOnly(only) => first(&mut self.identities_only, *only),
            Value::IdentityAgent(text) => first(&mut self.identity_agent, (text, place)),
            Value::ProxyJump(text, hops) => {
                self.proxy_command.is_none() && first(&mut self.proxy_jump, (text, hops))
            }
            Value::ProxyCommand(command) => {
                // After `ProxyJump none` a command may still follow.
                self.proxy_jump.is_none_or(|(_, hops)| hops.is_empty())
                    && first(&mut self.proxy_command, command)
            }
            Value::UserKnownHostsFiles(files) => first(&mut self.user_known_hosts, (files, place)),
            Value::GlobalKnownHostsFiles(files) => first(&mut self.global_known_hosts, (files, place)),
            Value::StrictHostKeyChecking(strict) => first(&mut self.strict, *strict),
            Value::HostKeyAlias(alias) => first(&mut self.host_key_alias, alias),
            // `none` is the default, and a later value may still replace it.
            Value::ConnectTimeout(time) => time.is_some_and(|time| first(&mut self.connect_timeout, time)),
            Value::ServerAliveInterval(time) => {
                time.is_some_and(|time| first(&mut self.alive_interval, time))
            }
            Value::ServerAliveCountMax(count) => first(&mut self.alive_count, *count),
            Value::AddressFamily(family) => first(&mut self.address_family, *family),
            Value::BindAddress(address) => first(&mut self.bind_address, address),
            Value::ForwardAgent(word) => first(&mut self.forward_agent, word),
            Value::PreferredAuthentications(list) => first(&mut self.preferred_authentications, list),
            Value::BatchMode(on) => first(&mut self.batch_mode, *on),
            Value::Tag(tag) => first(&mut self.tag, tag),
            Value::CanonicalizeHostname(_) => false,
        };
        if is_new {
            self.places.push((keyword, place));
        }
    }
}

/// Sets a value that is not set yet.
fn first<T>(slot: &mut Option<T>, value: T) -> bool {
    let is_new = slot.is_none();
    slot.get_or_insert(value);
    is_new
}

/// Adds a file, unless it is already there.
fn add<'a>(files: &mut Vec<(&'a str, Place)>, path: &'a str, place: Place) -> bool {
    let is_new = files.len() < MAX_IDENTITIES && !files.iter().any(|(known, _)| *known == path);
    if is_new {
        files.push((path, place));
    }
    is_new
}

/// Expands the tokens in `HostName`; `%h` is the name in the query.
fn host_tokens(text: &str, host: &str) -> Result<String, String> {
    let mut name = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            name.push(character);
            continue;
        }
        match characters.next() {
            Some('h') => name.push_str(host),
            Some('%') => name.push('%'),
            Some(other) => return Err(format!("`HostName` can't contain `%{other}`, only `%h` and `%%`")),
            None => return Err("`HostName` ends in a single `%`".into()),
        }
    }
    Ok(name)
}
