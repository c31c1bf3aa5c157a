//! Parses the arguments of OpenSSH's `ssh` in `ansible_ssh_common_args` and the like.

use std::path::PathBuf;
use std::time::Duration;

use reveille_account::{Given, Origin};
use reveille_ssh_config::{Hop, StrictHostKeyChecking, port, seconds};

use crate::words;

/// Other settings from the ssh arguments of an inventory; they win over `~/.ssh/config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshOptions {
    /// `-F`: the file to read instead of `~/.ssh/config`.
    pub config_file: Option<Given<PathBuf>>,
    /// A `ProxyCommand` that is not a plain jump; only the system's ssh can run it.
    pub proxy_command: Option<Given<String>>,
    /// `UserKnownHostsFile`.
    pub user_known_hosts_files: Option<Given<Vec<String>>>,
    /// `StrictHostKeyChecking`, or `no` by `ansible_host_key_checking: false`.
    pub strict_host_key_checking: Option<Given<StrictHostKeyChecking>>,
    /// `HostKeyAlias`.
    pub host_key_alias: Option<Given<String>>,
    /// `IdentitiesOnly`.
    pub identities_only: Option<Given<bool>>,
    /// `ConnectTimeout`, or `ansible_timeout`.
    pub connect_timeout: Option<Given<Duration>>,
    /// `ServerAliveInterval`; zero means never.
    pub server_alive_interval: Option<Given<Duration>>,
    /// `ServerAliveCountMax`.
    pub server_alive_count_max: Option<Given<u32>>,
}

/// The settings in ssh arguments, as far as they are understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) port: Option<Given<u16>>,
    pub(crate) user: Option<Given<String>>,
    pub(crate) key_files: Vec<Given<String>>,
    /// Empty for `ProxyJump=none`.
    pub(crate) jump: Option<Given<Vec<Hop>>>,
    pub(crate) ssh: SshOptions,
    /// Arguments that `ssh` understands and Reveille does not.
    pub(crate) not_understood: Vec<String>,
}

/// Options whose value is the next word; `ssh`'s own table.
const WITH_VALUE: &str = "BbcDEeFIiJLlmOopQRSWw";
/// These share or silence connections of the system's `ssh`; they can be ignored.
const WITHOUT_MEANING: &[&str] = &[
    "controlmaster",
    "controlpath",
    "controlpersist",
    "loglevel",
    "batchmode",
];

// === impl Arguments ===

impl Arguments {
    /// Parses arguments, split like a shell does.
    pub(crate) fn parse(text: &str, origin: &Origin) -> Result<Self, String> {
        let words = words::split(text).map_err(|fault| fault.message)?.words;
        let mut words = words.into_iter().map(|word| word.text.into_owned());
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                arguments.not_understood.push(word);
                continue;
            };
            let letter = letters.chars().next().unwrap_or_default();
            if !WITH_VALUE.contains(letter) {
                if !letters.chars().all(|letter| "qTtv".contains(letter)) {
                    arguments.not_understood.push(word);
                }
                continue;
            }
            let attached = &letters[letter.len_utf8()..];
            let value = if attached.is_empty() {
                words.next().ok_or_else(|| format!("`-{letter}` needs a value"))?
            } else {
                attached.to_owned()
            };
            match letter {
                'J' => _ = arguments.option("proxyjump", &value, origin)?,
                'p' => _ = arguments.option("port", &value, origin)?,
                'l' => _ = arguments.option("user", &value, origin)?,
                'i' => _ = arguments.option("identityfile", &value, origin)?,
                'F' => first(&mut arguments.ssh.config_file, value.into(), origin),
                'o' => {
                    let (name, setting) = value
                        .split_once(['=', ' '])
                        .ok_or_else(|| format!("`-o {value}` has no `=`"))?;
                    let setting = setting.trim_start_matches(['=', ' ']);
                    if !arguments.option(&name.trim().to_ascii_lowercase(), setting, origin)? {
                        arguments.not_understood.push(format!("-o {value}"));
                    }
                }
                _ => arguments.not_understood.push(format!("-{letter} {value}")),
            }
        }
        Ok(arguments)
    }

    /// Adds later arguments; as with `ssh`, the first of a kind wins.
    pub(crate) fn add(&mut self, later: Self) {
        self.port = self.port.take().or(later.port);
        self.user = self.user.take().or(later.user);
        let (ssh, other) = (&mut self.ssh, later.ssh);
        // As in ssh, the first of `ProxyJump` and `ProxyCommand` wins.
        if self.jump.is_none() && ssh.proxy_command.is_none() {
            self.jump = later.jump;
            ssh.proxy_command = other.proxy_command;
        }
        ssh.config_file = ssh.config_file.take().or(other.config_file);
        ssh.user_known_hosts_files = ssh.user_known_hosts_files.take().or(other.user_known_hosts_files);
        ssh.strict_host_key_checking = ssh
            .strict_host_key_checking
            .take()
            .or(other.strict_host_key_checking);
        ssh.host_key_alias = ssh.host_key_alias.take().or(other.host_key_alias);
        ssh.identities_only = ssh.identities_only.take().or(other.identities_only);
        ssh.connect_timeout = ssh.connect_timeout.take().or(other.connect_timeout);
        ssh.server_alive_interval = ssh.server_alive_interval.take().or(other.server_alive_interval);
        ssh.server_alive_count_max = ssh.server_alive_count_max.take().or(other.server_alive_count_max);
        self.key_files.extend(later.key_files);
        self.not_understood.extend(later.not_understood);
    }

    /// Parses an option of `ssh_config`; false for one that is not understood.
    fn option(&mut self, name: &str, value: &str, origin: &Origin) -> Result<bool, String> {
        match name {
            "port" => first(&mut self.port, port(value)?, origin),
            "user" => first(&mut self.user, value.to_owned(), origin),
            "identityfile" => self.key_files.push(Given::new(value.to_owned(), origin.clone())),
            "proxyjump" => first(&mut self.jump, Hop::chain(value)?, origin),
            "proxycommand" => match jump_of_command(value) {
                Some(hop) => first(&mut self.jump, vec![hop], origin),
                None if value.eq_ignore_ascii_case("none") => {}
                // As in ssh, the first of `ProxyJump` and `ProxyCommand` wins.
                None if self.jump.is_some() => {}
                None => first(&mut self.ssh.proxy_command, value.to_owned(), origin),
            },
            "userknownhostsfile" => {
                let words = words::split(value).map_err(|fault| fault.message)?.words;
                let files = words.into_iter().map(|word| word.text.into_owned()).collect();
                first(&mut self.ssh.user_known_hosts_files, files, origin);
            }
            "stricthostkeychecking" => {
                let strict = StrictHostKeyChecking::parse(value).ok_or_else(|| {
                    format!("`StrictHostKeyChecking` must be yes, no, ask or accept-new, not `{value}`")
                })?;
                first(&mut self.ssh.strict_host_key_checking, strict, origin);
            }
            "hostkeyalias" => first(&mut self.ssh.host_key_alias, value.to_owned(), origin),
            "identitiesonly" => {
                let only = match value.to_ascii_lowercase().as_str() {
                    "yes" | "true" => true,
                    "no" | "false" => false,
                    _ => return Err(format!("`IdentitiesOnly` must be yes or no, not `{value}`")),
                };
                first(&mut self.ssh.identities_only, only, origin);
            }
            "connecttimeout" => {
                if let Some(time) = time("ConnectTimeout", value)? {
                    first(&mut self.ssh.connect_timeout, time, origin);
                }
            }
            "serveraliveinterval" => {
                if let Some(time) = time("ServerAliveInterval", value)? {
                    first(&mut self.ssh.server_alive_interval, time, origin);
                }
            }
            "serveralivecountmax" => {
                let count = value
                    .parse()
                    .map_err(|_| format!("`ServerAliveCountMax` must be a number, not `{value}`"))?;
                first(&mut self.ssh.server_alive_count_max, count, origin);
            }
            _ if WITHOUT_MEANING.contains(&name) => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Sets a value that is not set yet: as with `ssh`, the first one wins.
fn first<T>(slot: &mut Option<Given<T>>, value: T, origin: &Origin) {
    slot.get_or_insert_with(|| Given::new(value, origin.clone()));
}

/// Parses a time of ssh_config; none for `none`.
fn time(name: &str, value: &str) -> Result<Option<Duration>, String> {
    if value == "none" {
        return Ok(None);
    }
    let time = seconds(value).ok_or_else(|| format!("`{name}` must be a time, not `{value}`"))?;
    Ok(Some(Duration::from_secs(time)))
}

/// Replaces every template with a word, so that the arguments can be checked before they are rendered.
pub(crate) fn without_templates(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        plain.push_str(&rest[..start]);
        // A template may be a port as well as a name.
        plain.push('1');
        let end = if rest[start..].starts_with("{{") {
            "}}"
        } else {
            "%}"
        };
        rest = rest[start + 2..].split_once(end).map_or("", |(_, after)| after);
    }
    plain + rest
}

/// Returns the jump host of `ssh -W %h:%p …`, which people wrote before `-J`.
fn jump_of_command(command: &str) -> Option<Hop> {
    let words = words::split(command).ok()?.words;
    let mut words = words.iter().map(|word| &*word.text);
    let program = words.next()?;
    if program != "ssh" && !program.ends_with("/ssh") {
        return None;
    }
    let mut hop: Option<Hop> = None;
    let (mut user, mut at_port, mut forwards) = (None, None, false);
    while let Some(word) = words.next() {
        match word {
            "-q" | "-T" | "-x" | "-a" => {}
            "-W" => forwards = matches!(words.next()?, "%h:%p" | "[%h]:%p"),
            "-p" => at_port = Some(port(words.next()?).ok()?),
            "-l" => user = Some(words.next()?.to_owned()),
            _ if word.starts_with('-') || hop.is_some() => return None,
            _ => hop = Some(Hop::parse(word).ok()?),
        }
    }
    let mut hop = hop.filter(|_| forwards)?;
    hop.user = hop.user.or(user);
    hop.port = hop.port.or(at_port);
    Some(hop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin::Default("a test");

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text, &ORIGIN)
    }

    fn given<T>(value: T) -> Given<T> {
        Given::new(value, ORIGIN)
    }

    fn hop(user: Option<&str>, address: &str, port: Option<u16>) -> Hop {
        Hop {
            user: user.map(str::to_owned),
            address: address.to_owned(),
            port,
        }
    }

    #[test]
    fn the_first_of_a_jump_and_a_command_wins_across_variables() {
        let joined = |first: &str, later: &str| {
            let mut arguments = parse(first).expect("good");
            arguments.add(parse(later).expect("good"));
            (arguments.jump.is_some(), arguments.ssh.proxy_command.is_some())
        };
        let (jump, command) = ("-J bastion", "-o ProxyCommand='nc %h %p'");
        assert_eq!(joined(jump, command), (true, false));
        assert_eq!(joined(command, jump), (false, true));
        assert_eq!(joined("-q", command), (false, true));
        assert_eq!(joined("", jump), (true, false));
    }

    #[test]
    fn jumps_are_understood() {
        for text in [
            "-J me@bastion:2222",
            "-Jme@bastion:2222",
            "-o ProxyJump=me@bastion:2222",
            "-oProxyJump=me@bastion:2222",
            "-o 'ProxyJump me@bastion:2222' -q",
            r#"-o ProxyCommand="ssh -W %h:%p -q -p 2222 me@bastion""#,
        ] {
            let arguments = parse(text).expect(text);
            assert_eq!(
                arguments.jump,
                Some(given(vec![hop(Some("me"), "bastion", Some(2222))])),
                "{text}"
            );
            assert!(arguments.not_understood.is_empty(), "{text}");
        }
        let chained = parse("-J a,b:23").expect("good");
        assert_eq!(
            chained.jump,
            Some(given(vec![hop(None, "a", None), hop(None, "b", Some(23))]))
        );
    }

    #[test]
    fn the_rest_is_named() {
        let arguments = parse("-o StrictHostKeyChecking=no -C -o ControlMaster=auto -p 24 -i ~/k -L 1:h:2 x")
            .expect("good");
        assert_eq!(arguments.not_understood, ["-C", "-L 1:h:2", "x"]);
        assert_eq!(
            arguments.ssh.strict_host_key_checking,
            Some(given(StrictHostKeyChecking::No))
        );
        assert_eq!(
            (arguments.port, arguments.key_files),
            (Some(given(24)), vec![given("~/k".to_owned())])
        );
        assert_eq!(
            parse("-o ProxyCommand='nc %h %p'")
                .expect("good")
                .ssh
                .proxy_command,
            Some(given("nc %h %p".to_owned()))
        );
        assert!(parse("-o ConnectTimeout=x").is_err());
        assert_eq!(
            parse("-o ConnectTimeout=1m -F /x").expect("good").ssh,
            SshOptions {
                config_file: Some(given("/x".into())),
                connect_timeout: Some(given(Duration::from_mins(1))),
                ..SshOptions::default()
            }
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(parse("-J"), Err("`-J` needs a value".into()));
        assert_eq!(
            parse("-p 99999"),
            Err("`99999` is not a port (1 to 65535)".into())
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-oJpW =\"'%hp{}a\\\\é]{0,30}") {
            let _ = parse(&text);
            let _ = without_templates(&text);
        }
    }
}
