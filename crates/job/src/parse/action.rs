//! Reads the step kinds.

use std::time::Duration;

use reveille_document::{Fields, Node, Template, Value};

use crate::parse::Context;
use crate::quantity;
use crate::step::{Action, Condition, Placing, WaitFrom};

pub(crate) const KINDS: &[&str] = &[
    "run", "script", "upload", "template", "download", "wait_for", "reboot",
];
/// Keys of other tools, each with the hint for it.
pub(crate) const FOREIGN: &[(&str, &str)] = &[
    ("action", "write `run: COMMAND`; there are no modules"),
    (
        "apt",
        "write `run: apt-get install -y NAME` with `skip_if: {command: \"dpkg -s NAME | grep -q 'ok installed'\"}`",
    ),
    (
        "args",
        "`script` takes `args`; a command has its arguments in `run`",
    ),
    (
        "async",
        "omit it: `run` and `script` steps survive a lost connection",
    ),
    (
        "block",
        "list its steps one after the other; `on_failed` of the job replaces `rescue`",
    ),
    ("bench", "it is not supported yet"),
    (
        "changed_when",
        "give a command that changes nothing `check: true`; otherwise write the condition where you use the result",
    ),
    (
        "check_mode",
        "give a step that changes nothing `check: true`: it runs with --check too",
    ),
    (
        "args",
        "write the arguments into `run: COMMAND`; `creates` is `skip_if: {exists: PATH}`",
    ),
    ("assert", "write `run: test …` with `check: true`"),
    ("command", "write `run: COMMAND`"),
    ("copy", "use `upload`"),
    ("debug", "write `run: echo TEXT`"),
    ("delay", "use `backoff`"),
    ("delegate_to", "use `run_on`"),
    ("environment", "use `env`"),
    (
        "failed_when",
        "use `ok_codes`, `expect`, `fatal` or `fail_on_stderr`",
    ),
    ("fail", "write `run: echo WHY >&2; exit 1`"),
    ("fetch", "use `download`"),
    (
        "file",
        "write `run: mkdir -p PATH`, `ln -s`, `rm`, or give `mode` and `owner` to `upload`",
    ),
    (
        "get_url",
        "write `run: curl -fsSLo PATH URL` with `skip_if: {exists: PATH}`",
    ),
    ("include_tasks", "write the steps into the job"),
    ("import_tasks", "write the steps into the job"),
    ("lineinfile", "send the whole file with `template`"),
    ("handlers", "write a step with `when: RESULT.changed`"),
    ("loop_control", "omit it: templates see the item as `item`"),
    (
        "no_log",
        "declare a secret: `vars: {name: {secret: {env: NAME}}}`",
    ),
    (
        "notify",
        "give the step `register: RESULT`, and write a later one with `when: RESULT.changed`",
    ),
    ("pause", "use `settle: TIME`, or `wait_for`"),
    (
        "poll",
        "omit it: `run` and `script` steps survive a lost connection",
    ),
    (
        "package",
        "write `run:` with the command of the hosts' package manager",
    ),
    ("raw", "write `run: COMMAND`"),
    ("retries", "use `attempts`"),
    ("run_once", "use `once`"),
    ("service", "write `run: systemctl restart NAME`"),
    ("set_fact", "use `vars` of the job, or `register`"),
    (
        "stat",
        "use `skip_if: {exists: PATH}`, or `run: test -e PATH` with `register`",
    ),
    ("systemd", "write `run: systemctl restart NAME`"),
    ("throttle", "use `--concurrency`, or `serial` of the job"),
    ("timeout", "use `watchdog: {total: TIME}`"),
    ("unarchive", "write `run: tar -xf FILE -C DIRECTORY`"),
    ("until", "use `wait_for: {command: COMMAND}`"),
    ("with_dict", "write `loop: \"{{ MAPPING | dict2items }}\"`"),
    ("with_items", "use `loop`"),
    ("with_list", "use `loop`"),
    ("with_sequence", "write `loop: \"{{ range(1, 5) }}\"`"),
    (
        "yum",
        "write `run: dnf install -y NAME` with `skip_if: {command: rpm -q NAME}`",
    ),
    (
        "dnf",
        "write `run: dnf install -y NAME` with `skip_if: {command: rpm -q NAME}`",
    ),
];
/// Keys of plays, each with the hint for it.
pub(crate) const OF_PLAYS: &[(&str, &str)] = &[
    ("any_errors_fatal", "write `max_fail: {total: 0}`"),
    ("environment", "use `env`"),
    (
        "gather_facts",
        "omit it: facts are asked for where the job uses them",
    ),
    ("handlers", "write a step with `when: RESULT.changed`"),
    ("max_fail_percentage", "write `max_fail: {batch: N%}`"),
    ("post_tasks", "add the steps to the end of `steps`"),
    ("pre_tasks", "add the steps to the beginning of `steps`"),
    ("remote_user", "use `--user`, or `ansible_user` in the inventory"),
    ("roles", "write the steps into the job"),
    ("strategy", "omit it: hosts do not wait for each other"),
    ("tasks", "use `steps`"),
    ("vars_files", "use `-e @FILE`"),
    (
        "vars_prompt",
        "declare a secret: `vars: {NAME: {secret: {prompt: WORDS}}}`",
    ),
];
pub(crate) const SCRIPT: &[&str] = &["src", "args"];
pub(crate) const UPLOAD: &[&str] = &["src", "dest", "mode", "owner", "group"];
pub(crate) const DOWNLOAD: &[&str] = &["src", "to"];
pub(crate) const REBOOT: &[&str] = &["within", "only_if"];
pub(crate) const WAIT_FOR: &[&str] = &["port", "file", "command", "http", "within", "from", "every"];

/// How long `reboot` waits by default.
const REBOOT_WITHIN: Duration = Duration::from_mins(10);
/// How long `wait_for` waits by default, and how often it checks.
const WAIT_WITHIN: Duration = Duration::from_mins(1);
const WAIT_EVERY: Duration = Duration::from_secs(1);

impl Context<'_> {
    /// Reads the action of a step.
    pub(crate) fn action(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let mut kinds = KINDS.iter().filter_map(|kind| fields.entry(kind));
        let Some((key, value)) = kinds.next() else {
            if fields.entry("shell").is_some() {
                self.reader.mistake_with_hint(
                    fields.place,
                    "this step has no command",
                    "write `run: COMMAND`; `shell` names the shell that runs it",
                );
            } else if !fields.incomplete {
                self.reader.mistake_with_hint(
                    fields.place,
                    "this step does nothing",
                    format!("write one of {}", KINDS.join(", ")),
                );
            }
            return None;
        };
        let kind = key_text(key);
        if let Some((second, _)) = kinds.next() {
            let message = format!("a step can do only one thing: `{kind}` or `{}`", key_text(second));
            self.reader
                .mistake_with_hint(&second.place, message, "write two steps");
            return None;
        }
        if kind != "run"
            && let Some((shell, _)) = fields.entry("shell")
        {
            self.reader
                .mistake(&shell.place, format!("`shell` belongs to `run`, not to `{kind}`"));
        }
        match kind {
            "run" => self.run(value, fields.get("shell")),
            "script" => self.script(value),
            "upload" => self.upload(value),
            "template" => self.template_file(value),
            "download" => self.download(value),
            "reboot" => self.reboot(value),
            _ => self.wait_for(value),
        }
    }

    fn run(&mut self, node: &Node, shell: Option<&Node>) -> Option<Action> {
        let command = self.template(node);
        let shell = shell.map(|shell| self.reader.filled(shell));
        let command = command?;
        let shell = match shell {
            Some(shell) => shell?,
            // A block stops at its first failure; a line decides for itself.
            None if command.source().trim_end().contains('\n') => "sh -e".to_owned(),
            None => "sh".to_owned(),
        };
        Some(Action::Run { command, shell })
    }

    fn script(&mut self, node: &Node) -> Option<Action> {
        let fields = self.reader.fields(node, "`script`", SCRIPT)?;
        let src = self.path(&fields, "src", "`script`");
        let mut args = Vec::new();
        if let Some(node) = fields.get("args") {
            if let Value::List(items) = &node.value {
                args.extend(items.iter().filter_map(|item| self.template(item)));
            } else {
                self.reader.expected(node, "a list of arguments");
            }
        }
        Some(Action::Script { src: src?, args })
    }

    fn upload(&mut self, node: &Node) -> Option<Action> {
        let fields = self.reader.fields(node, "`upload`", UPLOAD)?;
        let src = self.path(&fields, "src", "`upload`");
        let to = self.placing(&fields, "`upload`");
        Some(Action::Upload { src: src?, to: to? })
    }

    /// Reads where a file is put on a host.
    fn placing(&mut self, fields: &Fields<'_>, what: &str) -> Option<Placing<Template>> {
        let dest = self.path(fields, "dest", what);
        let mode = fields.get("mode").and_then(|node| self.mode(node));
        let owner = fields.get("owner").and_then(|node| self.one_line(node));
        let group = fields.get("group").and_then(|node| self.one_line(node));
        Some(Placing {
            dest: dest?,
            mode,
            owner,
            group,
        })
    }

    fn template_file(&mut self, node: &Node) -> Option<Action> {
        let fields = self.reader.fields(node, "`template`", UPLOAD)?;
        let src = fields.need("src", "`template`", &mut self.reader);
        let path = src.and_then(|node| self.reader.filled(node));
        let to = self.placing(&fields, "`template`");
        let (node, src) = (src?, path?);
        if src.contains("{{") {
            self.reader.mistake_with_hint(
                &node.place,
                "the file of a template can't contain templates, because it is checked before anything is dispatched",
                "use two steps with `when`",
            );
            return None;
        }
        self.read_template(&src, node)?;
        Some(Action::Template { src, to: to? })
    }

    fn mode(&mut self, node: &Node) -> Option<u32> {
        if let Value::Number(_) = node.value {
            // YAML reads an unquoted 0640 as six hundred and forty.
            let raw = self.reader.raw(node).to_owned();
            self.reader.mistake_with_hint(
                &node.place,
                "YAML reads a mode without quotes as a number",
                format!("quote it: `\"{raw}\"`"),
            );
            return None;
        }
        self.reader.parsed(node, quantity::mode)
    }

    fn download(&mut self, node: &Node) -> Option<Action> {
        let fields = self.reader.fields(node, "`download`", DOWNLOAD)?;
        let src = self.path(&fields, "src", "`download`");
        let to = self.path(&fields, "to", "`download`");
        Some(Action::Download { src: src?, to: to? })
    }

    fn reboot(&mut self, node: &Node) -> Option<Action> {
        if let Value::Null = node.value {
            return Some(Action::Reboot {
                within: REBOOT_WITHIN,
                only_if: None,
            });
        }
        let fields = self.reader.fields(node, "`reboot`", REBOOT)?;
        let within = match fields.get("within") {
            Some(node) => self.reader.duration(node)?,
            None => REBOOT_WITHIN,
        };
        let only_if = match fields.get("only_if") {
            Some(node) => Some(self.template(node)?),
            None => None,
        };
        Some(Action::Reboot { within, only_if })
    }

    fn wait_for(&mut self, node: &Node) -> Option<Action> {
        let fields = self.reader.fields(node, "`wait_for`", WAIT_FOR)?;
        let mut within = WAIT_WITHIN;
        if let Some(node) = fields.get("within") {
            within = self.reader.duration(node).unwrap_or(within);
        }
        let mut every = WAIT_EVERY;
        if let Some(node) = fields.get("every") {
            every = self.reader.duration(node).unwrap_or(every);
            if every.is_zero() {
                self.reader.mistake(&node.place, "`every` must be more than zero");
            }
        }
        let from = fields.get("from").and_then(|node| {
            let words = [("host", WaitFrom::Host), ("controller", WaitFrom::Controller)];
            self.reader.word(node, &words)
        });
        let mut found = ["port", "file", "command", "http"]
            .into_iter()
            .filter_map(|name| Some((name, fields.entry(name)?)));
        let Some((name, (_, value))) = found.next() else {
            self.reader.mistake(
                fields.place,
                "`wait_for` needs `port`, `file`, `command` or `http`",
            );
            return None;
        };
        if let Some((second, (key, _))) = found.next() {
            let message = format!("`wait_for` can wait for only one thing: `{name}` or `{second}`");
            self.reader.mistake(&key.place, message);
            return None;
        }
        if name != "port"
            && let Some((key, _)) = fields.entry("from")
        {
            self.reader.mistake(
                &key.place,
                "`from` belongs to `port`; only the host checks the others",
            );
        }
        let template = self.template(value)?;
        let condition = match name {
            "port" => {
                if template.expressions().next().is_none()
                    && let Err(message) = port(template.source())
                {
                    self.reader.mistake(&value.place, message);
                }
                Condition::Port(template)
            }
            "file" => Condition::File(template),
            "http" => {
                let is_url = ["http://", "https://"]
                    .iter()
                    .any(|scheme| template.source().starts_with(scheme));
                if !is_url && !template.source().starts_with("{{") {
                    self.reader.mistake(
                        &value.place,
                        "`http` must be a URL that begins with `http://` or `https://`",
                    );
                }
                Condition::Http(template)
            }
            _ => Condition::Command(template),
        };
        Some(Action::WaitFor {
            condition,
            from: from.unwrap_or(WaitFrom::Host),
            within,
            every,
        })
    }

    fn path(&mut self, fields: &Fields<'_>, name: &str, what: &str) -> Option<Template> {
        let node = fields.need(name, what, &mut self.reader)?;
        self.one_line(node)
    }

    /// Reads a path or a name, which is no text of several lines.
    fn one_line(&mut self, node: &Node) -> Option<Template> {
        let template = self.template(node)?;
        let is_fixed = template.expressions().next().is_none();
        if template.source().ends_with('\n') || is_fixed && template.source().contains('\n') {
            self.reader.mistake_with_hint(
                &node.place,
                "this can't contain a line break",
                "`>` and `|` add one at the end; write it on one line, or begin with `>-`",
            );
            return None;
        }
        Some(template)
    }
}

/// Parses a port between 1 and 65535.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("`{text}` is not a port (1 to 65535)"))
}

/// A key's name; keys that are not text were refused when the fields were read.
fn key_text(key: &Node) -> &str {
    match &key.value {
        Value::Text(text) => text,
        _ => "",
    }
}
