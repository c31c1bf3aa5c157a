//! The vars that set how a host is reached: one table of their names and types.

use std::time::Duration;

use reveille_account::{BecomeMethod, Fault, Origin, TransportKind};
use reveille_document::ansible::{is_template, literal};
use reveille_text::is_secret;
use serde_json::Value;

use super::ssh_arguments::{Arguments, without_templates};

/// A setting of a connection.
pub(crate) struct Setting {
    /// The vars that set it, the strongest first; in Ansible the old names win.
    pub(crate) names: &'static [&'static str],
    form: Form,
}

/// The type of a setting.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Port,
    Seconds,
    Truth,
    Transport,
    Method,
    Arguments,
}

const fn setting(form: Form, names: &'static [&'static str]) -> Setting {
    Setting { names, form }
}

pub(crate) const ADDRESS: Setting = setting(Form::Text, &["ansible_ssh_host", "ansible_host"]);
pub(crate) const PORT: Setting = setting(Form::Port, &["ansible_ssh_port", "ansible_port"]);
pub(crate) const USER: Setting = setting(Form::Text, &["ansible_ssh_user", "ansible_user"]);
pub(crate) const KEY_FILE: Setting = setting(
    Form::Text,
    &["ansible_ssh_private_key_file", "ansible_private_key_file"],
);
pub(crate) const PASSWORD: Setting = setting(
    Form::Text,
    &["ansible_ssh_password", "ansible_ssh_pass", "ansible_password"],
);
pub(crate) const TRANSPORT: Setting = setting(Form::Transport, &["ansible_connection"]);
/// Ansible puts these before the options that it makes from other vars,
pub(crate) const FIRST_ARGUMENTS: Setting = setting(Form::Arguments, &["ansible_ssh_args"]);
/// and these after them.
pub(crate) const COMMON_ARGUMENTS: Setting = setting(Form::Arguments, &["ansible_ssh_common_args"]);
pub(crate) const EXTRA_ARGUMENTS: Setting = setting(Form::Arguments, &["ansible_ssh_extra_args"]);
pub(crate) const TIMEOUT: Setting = setting(Form::Seconds, &["ansible_ssh_timeout", "ansible_timeout"]);
pub(crate) const HOST_KEY_CHECKING: Setting = setting(
    Form::Truth,
    &["ansible_ssh_host_key_checking", "ansible_host_key_checking"],
);
pub(crate) const BECOME: Setting = setting(Form::Truth, &["ansible_become"]);
pub(crate) const BECOME_USER: Setting = setting(Form::Text, &["ansible_sudo_user", "ansible_become_user"]);
pub(crate) const BECOME_METHOD: Setting = setting(Form::Method, &["ansible_become_method"]);
pub(crate) const BECOME_PASSWORD: Setting = setting(
    Form::Text,
    &[
        "ansible_sudo_pass",
        "ansible_become_pass",
        "ansible_become_password",
    ],
);
pub(crate) const NOT_READY: Setting = setting(Form::Truth, &["reveille_not_ready"]);

const ALL: &[&Setting] = &[
    &ADDRESS,
    &PORT,
    &USER,
    &KEY_FILE,
    &PASSWORD,
    &TRANSPORT,
    &FIRST_ARGUMENTS,
    &COMMON_ARGUMENTS,
    &EXTRA_ARGUMENTS,
    &TIMEOUT,
    &HOST_KEY_CHECKING,
    &BECOME,
    &BECOME_USER,
    &BECOME_METHOD,
    &BECOME_PASSWORD,
    &NOT_READY,
];

/// Vars of Ansible for the remote Python or the sockets of the system's ssh. They need no warning.
const WITHOUT_MEANING: &[&str] = &[
    "ansible_remote_tmp",
    "ansible_pipelining",
    "ansible_ssh_pipelining",
    "ansible_ssh_control_path",
    "ansible_ssh_control_path_dir",
    "ansible_ssh_transfer_method",
    "ansible_scp_if_ssh",
    "ansible_sftp_batch_mode",
    "ansible_shell_allow_world_readable_temp",
];

/// A problem with a var.
pub(crate) enum Finding {
    /// The var can't be used.
    Mistake(Fault),
    /// The var has no effect; the first part identifies the subject of the warning.
    Warning(String, Fault),
}

/// Checks a var while its place is known.
pub(crate) fn examine(key: &str, value: &Value) -> Option<Finding> {
    if key == "ansible_group_priority" {
        return mistake(priority(value).is_none(), || {
            "a group's priority must be a whole number".to_owned()
        });
    }
    if let Some(setting) = ALL.iter().find(|setting| setting.names.contains(&key)) {
        return check(key, value, setting.form);
    }
    if !key.starts_with("ansible_") || WITHOUT_MEANING.contains(&key) || key.ends_with("_interpreter") {
        return None;
    }
    let fault = match key {
        "ansible_become_flags" | "ansible_become_exe" | "ansible_sudo_flags" | "ansible_sudo_exe" => {
            Fault::new(0, format!("`{key}` has no effect"))
                .hint("the program and the flags of sudo, su and doas can't be changed")
        }
        _ if is_secret(key) => Fault::new(0, format!("`{key}` is not used"))
            .hint("use `ansible_password` or `ansible_become_password`"),
        _ => Fault::new(0, format!("`{key}` is not understood and has no effect")),
    };
    Some(Finding::Warning(key.to_owned(), fault))
}

/// Whether a password, a user, an address or another text is used otherwise than it is written in `line`: `000000` is 0,
/// and in YAML `0123` is 83 and `yes` is true.
pub(crate) fn is_altered(key: &str, value: &Value, line: &str) -> bool {
    let is_text = |setting: &&Setting| matches!(setting.form, Form::Text) && setting.names.contains(&key);
    if !matches!(value, Value::Number(_) | Value::Bool(_))
        || !(is_secret(key) || ALL.iter().any(is_text))
        || !line.contains(key)
    {
        return false;
    }
    let used = scalar(value).unwrap_or_default();
    let ends = |beside: Option<char>| beside.is_none_or(|c| c.is_whitespace() || "=:,'\"{}[]".contains(c));
    !line
        .match_indices(&used)
        .any(|(at, _)| ends(line[..at].chars().next_back()) && ends(line[at + used.len()..].chars().next()))
}

fn check(key: &str, value: &Value, form: Form) -> Option<Finding> {
    let text = value.as_str().unwrap_or_default();
    if is_template(text) && !matches!(form, Form::Text | Form::Arguments) {
        return None;
    }
    let unsupported = |what: &str, hint: &str| {
        let fault = Fault::new(0, format!("the {what} `{text}` is not supported"));
        Finding::Warning(format!("{key} {text}"), fault.hint(hint))
    };
    match form {
        Form::Text => mistake(scalar(value).is_none(), || format!("`{key}` must be text")),
        Form::Port => {
            let text = scalar(value).ok_or_else(|| "a port must be a number".to_owned());
            let wrong = text.and_then(|text| reveille_ssh_config::port(&text)).err();
            wrong.map(|message| Finding::Mistake(Fault::new(0, message)))
        }
        Form::Seconds => mistake(seconds(value).is_none(), || {
            format!("`{key}` must be a number of seconds")
        }),
        Form::Truth => mistake(truth(value).is_none(), || {
            format!("`{key}` must be true or false")
        }),
        Form::Transport => transport(text).is_none().then(|| {
            let hint = "use `ssh` or `local`; these hosts can't be reached";
            unsupported("connection", hint)
        }),
        Form::Method => become_method(text)
            .is_none()
            .then(|| unsupported("become method", "use `sudo`, `su` or `doas`")),
        Form::Arguments => {
            let arguments = match Arguments::parse(&without_templates(text), &Origin::Default("a check")) {
                Ok(arguments) => arguments,
                Err(message) => return Some(Finding::Mistake(Fault::new(0, message))),
            };
            if arguments.ssh.proxy_command.is_some() {
                let fault = Fault::new(
                    0,
                    "a `ProxyCommand` other than `ssh -W %h:%p …` needs the system's ssh",
                )
                .hint("use `-J`, or run with `--transport openssh`");
                return Some(Finding::Warning("proxycommand".to_owned(), fault));
            }
            let shown = arguments.not_understood.join("`, `");
            (!shown.is_empty()).then(|| {
                let fault = Fault::new(0, format!("`{shown}` is not understood and has no effect"));
                Finding::Warning(format!("{key} {shown}"), fault)
            })
        }
    }
}

fn mistake(is_wrong: bool, message: impl FnOnce() -> String) -> Option<Finding> {
    is_wrong.then(|| Finding::Mistake(Fault::new(0, message())))
}

/// Parses a word of `ansible_connection`.
pub(crate) fn transport(text: &str) -> Option<TransportKind> {
    match text.strip_prefix("ansible.builtin.").unwrap_or(text) {
        "ssh" | "smart" | "paramiko" | "paramiko_ssh" | "openssh" => Some(TransportKind::Native),
        "local" => Some(TransportKind::Local),
        _ => None,
    }
}

/// Parses a word of `ansible_become_method`.
pub(crate) fn become_method(text: &str) -> Option<BecomeMethod> {
    let word = text.strip_prefix("ansible.builtin.").unwrap_or(text);
    word.strip_prefix("community.general.")
        .unwrap_or(word)
        .parse()
        .ok()
}

/// Parses a time in seconds, from one second to one day.
pub(crate) fn seconds(value: &Value) -> Option<Duration> {
    let number: f64 = scalar(value)?.trim().parse().ok()?;
    (number > 0.0 && number <= 86_400.0).then(|| Duration::from_secs_f64(number))
}

/// Parses `ansible_group_priority`: a whole number, possibly as text.
pub(crate) fn priority(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Returns a value as the text it was written as, unless it is a list or a dictionary.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => literal(value).map(str::to_owned),
    }
}

/// Parses Ansible's words for yes and no.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    match scalar(value)?.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" | "1" | "true" | "t" => Some(true),
        "n" | "no" | "off" | "0" | "false" | "f" | "" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_are_not_used_as_written_are_found() {
        for (line, key, value, altered) in [
            ("web1 ansible_password=000000", "ansible_password", json!(0), true),
            (
                "ansible_password=\"123#456\"",
                "ansible_password",
                json!(123),
                true,
            ),
            (
                "ansible_password: 0123456",
                "ansible_password",
                json!(42798),
                true,
            ),
            ("ansible_user: yes", "ansible_user", json!(true), true),
            ("db_password=1e5", "db_password", json!(100_000.0), true),
            (
                "ansible_password=123456 # old",
                "ansible_password",
                json!(123_456),
                false,
            ),
            (
                "ansible_password: 123456",
                "ansible_password",
                json!(123_456),
                false,
            ),
            (
                "ansible_password='000000'",
                "ansible_password",
                json!("000000"),
                false,
            ),
            ("ansible_port=0022", "ansible_port", json!(22), false),
            ("size=000", "size", json!(0), false),
        ] {
            assert_eq!(is_altered(key, &value, line), altered, "{line}");
        }
    }
}
