//! Options that choose hosts and set how to reach them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use reveille_account::{BecomeMethod, HostKeyPolicy, Origin, TransportKind, UnknownWord};
use reveille_text::duration;

/// Options that choose hosts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct Choice {
    /// Inventory: a file, a directory, a program, or a list such as web[01-40],db1 [default: $ANSIBLE_INVENTORY]
    ///
    /// Give it several times to merge inventories; later ones win. INI, YAML, directories, group_vars, host_vars, vaults
    /// and executable inventories are read as Ansible reads them.
    #[arg(short, long, value_name = "INV")]
    pub(crate) inventory: Vec<String>,
    /// List of hosts, such as web[01-40],db1; never a file. Replaces a configured inventory
    #[arg(short = 'w', long = "hosts", value_name = "LIST", id = "host_list")]
    pub(crate) list: Vec<String>,
    /// Limit the hosts to those that match a pattern
    ///
    /// A pattern is a host, a group, a glob (web*), a range (web[01-10]), a regular expression (~web0[1-3]), @FILE with a
    /// pattern a line, or the hosts of an earlier run (@last:failed, @RUN:STATUS, @RUN:CLASS). Patterns combine: a:b is a
    /// union, a:&b an intersection, a:!b a difference.
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) limit: Vec<String>,
    /// Vault password: a file, or a program that prints it [default: $ANSIBLE_VAULT_PASSWORD_FILE]
    #[arg(long, value_name = "[ID@]FILE", hide_short_help = true)]
    pub(crate) vault_password_file: Vec<String>,
}

// === impl Choice ===

impl Choice {
    /// Drops the inventories or the lists of hosts if the others come from a closer source: `-w` on the command line
    /// replaces a configured inventory, `-i` a configured list. Both together are merged.
    pub(crate) fn settle(&mut self, origins: &Origins, files: &[PathBuf]) {
        let [inventory, list] = ["inventory", "hosts"].map(|option| origins.rank(option, files));
        if list > inventory {
            self.inventory.clear();
        } else if inventory > list {
            self.list.clear();
        }
    }
}

/// Options that choose hosts and set how to reach them.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) link: Link,
    #[command(flatten)]
    pub(crate) passwords: PasswordArgs,
    /// The sources of the options.
    #[arg(skip)]
    pub(crate) origins: Origins,
}

/// The sources of passwords.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// Ask for the SSH password
    #[arg(short = 'k', long, help_heading = "Connection")]
    pub(crate) ask_pass: bool,
    /// Read the SSH password from the first line of FILE
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Connection",
        hide_short_help = true
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// Ask for the sudo/su password
    #[arg(short = 'K', long, help_heading = "Privilege")]
    pub(crate) ask_become_pass: bool,
    /// Read the sudo/su password from the first line of FILE
    #[arg(long, value_name = "FILE", help_heading = "Privilege", hide_short_help = true)]
    pub(crate) become_password_file: Option<PathBuf>,
}

/// Options that set how to reach hosts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Link {
    /// Log in as USER
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: Option<String>,
    /// Log in with this private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Connect to this port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Read FILE instead of ~/.ssh/config and /etc/ssh/ssh_config; `none` for no configuration
    #[arg(short = 'F', long, value_name = "FILE", hide_short_help = true)]
    pub(crate) ssh_config: Option<PathBuf>,
    /// What carries the sessions [default: native, or what the inventory sets]
    ///
    /// Without this option, hosts with a ProxyCommand are reached by openssh.
    #[arg(long, value_parser = words::<TransportKind>(), hide_short_help = true)]
    pub(crate) transport: Option<TransportKind>,
    /// Timeout of name resolution, and of the TCP connection [default: ConnectTimeout of ssh_config, or 10s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive, hide_short_help = true)]
    pub(crate) connect_timeout: Option<Duration>,
    /// How to check host keys [default: accept-new]
    ///
    /// Without this option, passwords are not offered to hosts that are seen for the first time.
    #[arg(long, value_parser = words::<HostKeyPolicy>(), hide_short_help = true)]
    pub(crate) host_key: Option<HostKeyPolicy>,
    /// Run commands as another user: root, or what the inventory sets
    #[arg(short = 'b', long = "become", help_heading = "Privilege")]
    pub(crate) escalate: bool,
    /// Run commands as USER; implies --become
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new(), help_heading = "Privilege")]
    pub(crate) become_user: Option<String>,
    /// Program that changes the user [default: what the inventory sets, or sudo]
    #[arg(long, value_parser = words::<BecomeMethod>(), help_heading = "Privilege", hide_short_help = true)]
    pub(crate) become_method: Option<BecomeMethod>,
}

/// The sources of an invocation's options, by their long names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(HashMap<String, Origin>);

impl Origins {
    pub(crate) fn note(&mut self, option: &str, origin: Origin) {
        self.0.insert(option.to_owned(), origin);
    }

    /// The source of an option's value.
    pub(crate) fn of(&self, option: &str) -> Origin {
        self.0
            .get(option)
            .cloned()
            .unwrap_or(Origin::Default("the command line"))
    }

    /// How closely the source of an option's value belongs to this invocation: the command line, then the environment,
    /// then files, the later ones of `files` first.
    pub(crate) fn rank(&self, option: &str, files: &[PathBuf]) -> usize {
        match self.0.get(option) {
            Some(Origin::Option(_)) => files.len() + 2,
            Some(Origin::Environment(_)) => files.len() + 1,
            Some(Origin::File { file, .. }) => files
                .iter()
                .position(|path| path.as_os_str() == file.as_ref())
                .map_or(0, |index| index + 1),
            Some(Origin::Default(_)) | None => 0,
        }
    }

    /// The first of `options` that is on the command line.
    pub(crate) fn on_the_command_line<'a>(&self, options: &[&'a str]) -> Option<&'a str> {
        let is_typed = |option: &&&str| matches!(self.0.get(**option), Some(Origin::Option(_)));
        options.iter().find(is_typed).copied()
    }
}

/// A parser of an enum's words, which help and completions list.
fn words<T: Word>() -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(T::values()).try_map(|word| word.parse::<T>())
}

/// An enum whose values are words.
trait Word: FromStr<Err = UnknownWord> + Clone + Send + Sync + 'static {
    /// The words with their meanings.
    fn values() -> Vec<PossibleValue>;
}

impl Word for HostKeyPolicy {
    fn values() -> Vec<PossibleValue> {
        let value = |policy: Self, help| PossibleValue::new(policy.as_str()).help(help);
        vec![
            value(Self::Strict, "Refuse hosts whose key is not known"),
            value(Self::AcceptNew, "Accept and record new keys, refuse changed ones"),
            value(Self::Off, "Accept every key, record nothing"),
        ]
    }
}

impl Word for TransportKind {
    fn values() -> Vec<PossibleValue> {
        let value = |transport: Self, help| PossibleValue::new(transport.as_str()).help(help);
        vec![
            value(Self::Native, "SSH in this program"),
            value(Self::Openssh, "The system's ssh"),
            value(Self::Local, "A shell on this machine"),
        ]
    }
}

impl Word for BecomeMethod {
    fn values() -> Vec<PossibleValue> {
        Self::WORDS.iter().map(|word| PossibleValue::new(*word)).collect()
    }
}
