//! Inventories of several files: directories, vars beside them, vaults, programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reveille_account::{Given, TransportKind};
use reveille_inventory::{Inventory, InventoryError, LoadOptions, Loaded, Secret, Source, VaultPasswords};
use reveille_ssh_config::StrictHostKeyChecking;
use serde_json::json;

/// The value alone.
fn value<T>(given: Option<Given<T>>) -> Option<T> {
    given.map(|given| given.value)
}

/// A directory of files for one test.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = Self(tempfile::tempdir().expect("a temporary directory"));
        for (name, text) in files {
            let path = directory.path(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
            fs::write(path, text).expect("writable");
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(self, name: &str) -> Self {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("changeable");
        self
    }

    fn load_with(&self, name: &str, options: LoadOptions) -> Result<Loaded, String> {
        Inventory::load_with(&[Source::File(self.path(name))], options).map_err(|error| {
            let place = format!("{}/", self.0.path().display());
            error.to_string().replace(&place, "")
        })
    }

    fn load(&self, name: &str) -> Result<Loaded, String> {
        self.load_with(name, LoadOptions::default())
    }
}

fn vault(passwords: &[(Option<&str>, &str)]) -> LoadOptions {
    let mut vault = VaultPasswords::default();
    for (id, password) in passwords {
        vault.add(*id, Secret::new(*password));
    }
    LoadOptions {
        vault,
        ..LoadOptions::default()
    }
}

/// `s3kr1t`, encrypted with the password `hunter2`.
const VAULTED: &str = include_str!("vault-sample");

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.trim().lines().map(|line| format!("      {line}")).collect();
    lines.join("\n") + "\n"
}

#[test]
fn what_a_vault_held_stays_secret() {
    let files = Files::new(&[
        ("hosts", "h\n[all:vars]\nplain=1\nansible_user={{ login }}\n"),
        (
            "group_vars/all.yml",
            &format!(
                "login: !vault |\n{}other: [!vault |\n{}]\nopen: 1\n",
                indented(VAULTED),
                indented(VAULTED)
            )
            .replace("[!vault |\n", "\n    - !vault |\n")
            .replace("]\n", "\n"),
        ),
    ]);
    let loaded = files
        .load_with("hosts", vault(&[(None, "hunter2")]))
        .expect("good");
    let inventory = loaded.inventory;
    assert_eq!(inventory.vars("h")["login"], json!("s3kr1t"));
    assert_eq!(inventory.vars("h")["other"], json!(["s3kr1t"]));
    for (var, secret) in [
        ("login", true),
        ("other", true),
        ("open", false),
        ("plain", false),
        ("db_password", true),
    ] {
        assert_eq!(inventory.is_secret("h", var), secret, "{var}");
    }
    let public: Vec<String> = inventory.public_vars("h").keys().cloned().collect();
    assert_eq!(public, ["plain", "ansible_user", "open"]);
    let mut of_vaults = inventory.vault_vars("h");
    of_vaults.sort();
    assert_eq!(of_vaults, ["login", "other"]);
    assert_eq!(
        value(inventory.connection("h").expect("reachable").user).as_deref(),
        Some("s3kr1t")
    );
    assert!(!format!("{inventory:?}").contains("s3kr1t"));
}

#[test]
fn a_vault_without_its_password_says_so() {
    let files = Files::new(&[
        ("hosts", "h\n"),
        ("host_vars/h.yml", VAULTED),
        (
            "inline.yml",
            &format!("all:\n  vars:\n    x: !vault |\n{}", indented(VAULTED)),
        ),
    ]);
    let shown = [
        files.load("hosts"),
        files.load_with("hosts", vault(&[(None, "wrong")])),
        files.load_with("hosts", vault(&[(None, "wrong"), (Some("dev"), "worse")])),
        files.load("inline.yml"),
        files.load_with("inline.yml", vault(&[(None, "wrong")])),
        // It can be decrypted, but its content is not a file of vars.
        files.load_with("hosts", vault(&[(None, "hunter2")])),
    ]
    .map(|loaded| loaded.expect_err("closed"));
    insta::assert_snapshot!(shown.join("\n\n"));
    assert!(!shown.join("").contains("s3kr1t"));
}

#[test]
fn passwords_come_from_files_and_programs() {
    let files = Files::new(&[
        ("plain", "hunter2\n"),
        ("program", "#!/bin/sh\necho hunter2\n"),
        ("empty", "\n"),
        ("failing", "#!/bin/sh\necho no key >&2\nexit 3\n"),
    ])
    .program("program")
    .program("failing");
    for name in ["plain", "program"] {
        let mut passwords = VaultPasswords::default();
        passwords
            .add_file(&format!("prod@{}", files.path(name).display()))
            .expect("a password");
        let inventory = Files::new(&[
            ("hosts", "h\n"),
            (
                "x.yml",
                &format!(
                    "all:\n  hosts:\n    h:\n      x: !vault |\n{}",
                    indented(VAULTED).replace("      ", "          ")
                ),
            ),
        ]);
        let options = LoadOptions {
            vault: passwords,
            ..LoadOptions::default()
        };
        assert!(inventory.load_with("x.yml", options).is_ok(), "{name}");
    }
    for (name, said) in [
        ("empty", "is empty"),
        ("failing", "no key"),
        ("none", "No such file"),
    ] {
        let error = VaultPasswords::default()
            .add_file(&files.path(name).display().to_string())
            .expect_err(name)
            .to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn programs_that_fail_say_how() {
    let files = Files::new(&[
        (
            "exits",
            "#!/bin/sh\necho 'no credentials\u{1b}[31m' >&2\nexit 4\n",
        ),
        ("no-json", "#!/bin/sh\necho '{\"a\": '\n"),
        ("list", "#!/bin/sh\necho '[]'\n"),
        (
            "hosts-map",
            "#!/bin/sh\necho '{\"web\": {\"hosts\": {\"a\": 1}}}'\n",
        ),
        (
            "bad-name",
            "#!/bin/sh\necho '{\"web\": [\"-oProxyCommand=x\"], \"_meta\": {\"hostvars\": {}}}'\n",
        ),
        (
            "bad-port",
            "#!/bin/sh\necho '{\"web\": {\"hosts\": [\"a\"], \"vars\": {\"ansible_port\": 0}}, \"_meta\": {\"hostvars\": {}}}'\n",
        ),
        ("killed", "#!/bin/sh\nkill -9 $$\n"),
        ("no-interpreter", "#!/no/such/interpreter\n"),
    ]);
    let names = [
        "exits",
        "no-json",
        "list",
        "hosts-map",
        "bad-name",
        "bad-port",
        "killed",
        "no-interpreter",
    ];
    let shown: Vec<String> = names
        .iter()
        .map(|name| {
            fs::set_permissions(files.path(name), fs::Permissions::from_mode(0o755)).expect("changeable");
            files.load(name).expect_err(name)
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let files =
        Files::new(&[("hangs", "#!/bin/sh\nsleep 1000 &\necho $! > \"$0.pid\"\nwait\n")]).program("hangs");
    let start = Instant::now();
    let options = LoadOptions {
        script_limit: Duration::from_millis(800),
        ..LoadOptions::default()
    };
    let error = files.load_with("hangs", options).expect_err("too long");
    assert!(error.contains("took longer than"), "{error}");
    assert!(start.elapsed() < Duration::from_mins(1));
    let child = fs::read_to_string(files.path("hangs.pid")).expect("it was started");
    let status = Path::new("/proc").join(child.trim()).join("stat");
    // A killed process may be a zombie until init reaps it.
    while let Ok(text) = fs::read_to_string(&status) {
        if text.contains(") Z ") {
            break;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_program_that_floods_is_stopped() {
    let files = Files::new(&[("floods", "#!/bin/sh\nexec cat /dev/zero >&2\n")]).program("floods");
    let error = files.load("floods").expect_err("too much");
    assert!(error.contains("more than 1 MiB to its standard error"), "{error}");
}

#[test]
fn texts_with_the_executable_bit_are_read() {
    let files = Files::new(&[("hosts", "[web]\nw1\n"), ("hosts.yml", "web: {hosts: {w1: }}\n")])
        .program("hosts")
        .program("hosts.yml");
    assert_eq!(files.load("hosts").expect("INI").inventory.len(), 1);
    assert_eq!(files.load("hosts.yml").expect("YAML").inventory.len(), 1);
}

#[test]
fn directories_have_bounds_and_mistakes() {
    let files = Files::new(&[
        ("empty/.hidden", "x\n"),
        ("only-text/notes.txt", "x\n"),
        ("ini/hosts.ini", "x\n"),
        ("bad/a", "web1\n"),
        ("bad/b", "[web\n"),
        ("vars-list/hosts", "h\n"),
        ("vars-list/group_vars/all.yml", "- a\n"),
        ("toml/hosts.toml", "[all]\n"),
    ]);
    let shown =
        ["empty", "only-text", "bad", "vars-list", "toml"].map(|name| files.load(name).expect_err(name));
    insta::assert_snapshot!(shown.join("\n\n"));
    assert_eq!(files.load("ini").expect("read").inventory.len(), 1);
    // Reading a circle of directories ends.
    let circle = Files::new(&[("inv/hosts", "h\n")]);
    std::os::unix::fs::symlink(circle.path("inv"), circle.path("inv/again")).expect("linked");
    assert!(
        circle
            .load("inv")
            .expect_err("a circle")
            .contains("nested more than")
    );
}

#[test]
fn passwords_and_options_of_ssh_reach_the_connection() {
    let files = Files::new(&[(
        "hosts.yml",
        r#"
all:
  vars:
    vault_login: hunter2
    ansible_password: "{{ vault_login }}"
    ansible_become_pass: root-secret
    ansible_timeout: 20
    ansible_ssh_common_args: -F ~/c -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ServerAliveInterval=1m
  hosts:
    a:
    b: {ansible_ssh_extra_args: -o ProxyJump=none, ansible_ssh_args: -o ConnectTimeout=5 -p 24, ansible_port: 25}
    c: {ansible_ssh_common_args: -o ProxyCommand="nc %h %p", ansible_host_key_checking: false}
    d: {ansible_connection: local}
    e: {ansible_connection: community.docker.docker}
    f: {ansible_host: A, ansible_port: 22}
    g: {ansible_host: a, ansible_ssh_common_args: -J bastion}
"#,
    )]);
    let loaded = files.load("hosts.yml").expect("good");
    let inventory = &loaded.inventory;
    let a = inventory.connection("a").expect("reachable");
    assert_eq!(a.password.as_ref().map(Secret::expose), Some("hunter2"));
    assert_eq!(
        a.become_password.as_ref().map(Secret::expose),
        Some("root-secret")
    );
    assert!(!format!("{a:?}").contains("hunter2"));
    assert_eq!(
        value(a.ssh.strict_host_key_checking),
        Some(StrictHostKeyChecking::No)
    );
    assert_eq!(
        value(a.ssh.user_known_hosts_files),
        Some(vec!["/dev/null".to_owned()])
    );
    assert_eq!(value(a.ssh.connect_timeout), Some(Duration::from_secs(20)));
    assert_eq!(value(a.ssh.server_alive_interval), Some(Duration::from_mins(1)));
    assert!(a.ssh.config_file.is_some() && a.jump.is_none());
    let b = inventory.connection("b").expect("reachable");
    assert_eq!(value(b.jump), Some(Vec::new()));
    assert_eq!(
        (value(b.port), value(b.ssh.connect_timeout)),
        (Some(24), Some(Duration::from_secs(5)))
    );
    let c = inventory.connection("c").expect("reachable");
    assert_eq!(value(c.ssh.proxy_command).as_deref(), Some("nc %h %p"));
    assert_eq!(
        value(c.ssh.strict_host_key_checking),
        Some(StrictHostKeyChecking::No)
    );
    assert_eq!(
        value(inventory.connection("d").expect("local").transport),
        Some(TransportKind::Local)
    );
    assert!(matches!(
        inventory.connection("e"),
        Err(InventoryError::Connection { .. })
    ));
    let place = format!("{}/", files.0.path().display());
    let warnings: Vec<String> = loaded
        .warnings
        .iter()
        .map(|warning| warning.to_string().replace(&place, ""))
        .collect();
    insta::assert_snapshot!(warnings.join("\n\n"));
}

#[test]
fn templates_know_where_the_inventory_is() {
    let files = Files::new(&[
        (
            "inv/hosts",
            "web1.example.org ansible_host={{inventory_hostname_short}}.internal\n",
        ),
        (
            "inv/group_vars/all.yml",
            "ansible_ssh_private_key_file: '{{ inventory_dir }}/keys/id'\n",
        ),
    ]);
    let connection = files
        .load("inv")
        .expect("good")
        .inventory
        .connection("web1.example.org")
        .expect("reachable");
    assert_eq!(connection.address.value, "web1.internal");
    assert_eq!(
        connection.address.origin.to_string(),
        format!("ansible_host at {}:1", files.path("inv/hosts").display())
    );
    assert_eq!(connection.key_files[0].value, files.path("inv/keys/id"));
}

/// The values are those of Ansible 2.19.
#[test]
fn templates_are_those_of_ansible() {
    let files = Files::new(&[(
        "hosts.yml",
        r#"
all:
  vars:
    domain: example.org
    bastion: "{{ groups['bastions'] | first }}"
    machines: {web1: 10.0.0.1}
    ansible_host: "{{ inventory_hostname.split('.')[0] }}.{{ domain | default('internal') }}"
    ansible_user: "{{ login | default('deploy') }}"
    ansible_port: "{{ 2200 + offset | int if offset is defined else 22 }}"
    ansible_ssh_common_args: "-J {{ hostvars[bastion].way | lower }}@{{ bastion }}"
    ansible_ssh_private_key_file: "{{ lookup('env', 'REVEILLE_TEST_NOT_SET') }}"
    ansible_become_user: "{% if 'web' in group_names %}www{% else %}root{% endif %}"
    ansible_become_method: "{{ omit }}"
  children:
    bastions: {hosts: {gate: {way: JUMP, ansible_ssh_common_args: ""}}}
    web: {hosts: {web1.x: {login: web}, web1: {ansible_host: "{{ machines[inventory_hostname] }}", offset: "5"}}}
"#,
    )]);
    let inventory = files.load("hosts.yml").expect("good").inventory;
    let told = |host: &str| {
        let found = inventory.connection(host).expect(host);
        let jump = value(found.jump).unwrap_or_default();
        let becomes = value(found.become_user).unwrap_or_default();
        let key_files: Vec<_> = found.key_files.iter().map(|key| &key.value).collect();
        format!(
            "{host}: {:?}@{}:{:?} {jump:?} {becomes} {:?}",
            value(found.user),
            found.address.value,
            value(found.port),
            key_files
        )
    };
    insta::assert_snapshot!(["gate", "web1.x", "web1"].map(told).join("\n"));
}

/// A few kilobytes must not fill the memory, take minutes or overflow the stack.
#[test]
fn templates_are_bounded() {
    let nested = |levels: usize, repeat: usize, gap: &str| {
        let vars: Vec<String> = (0..levels)
            .map(|level| {
                format!(
                    "    v{level}: \"{}\"\n",
                    format!("{{{{ v{} }}}}{gap}", level + 1).repeat(repeat)
                )
            })
            .collect();
        vars.concat()
    };
    for (vars, host, why) in [
        (nested(5, 100, ""), "{{ v0 }}", "longer than 64 KiB"),
        (nested(30, 1, ""), "{{ v0 }}", "more than 16 deep"),
        (
            String::new(),
            &*format!("{{{{ {}1 }}}}", "1+".repeat(30_000)),
            "an expression in it is longer than 4 KiB",
        ),
        (
            String::new(),
            "{{ 'x' | indent(4000000000, true) }}",
            "can't make a text wider",
        ),
    ] {
        let last = vars.matches(": \"").count();
        let text = format!(
            "all:\n  vars:\n    v{last}: xxxxxxxxxx\n{vars}    ansible_host: \"{host}\"\n  hosts: {{h: }}\n"
        );
        let files = Files::new(&[("hosts.yml", &text)]);
        let inventory = files.load("hosts.yml").expect("good").inventory;
        let refused = inventory.connection("h").expect_err("bounded").to_string();
        assert!(refused.contains(why), "{refused}");
    }
    // Each var is rendered once, however often others refer to it.
    let text = format!(
        "all:\n  vars:\n    v12: ''\n{}    ansible_host: 'x{{{{ v0 }}}}'\n  hosts: {{h: }}\n",
        nested(12, 20, "")
    );
    let files = Files::new(&[("hosts.yml", &text)]);
    let inventory = files.load("hosts.yml").expect("good").inventory;
    assert_eq!(inventory.connection("h").expect("reachable").address.value, "x");
}

#[test]
fn no_message_holds_a_secret() {
    let text = format!(
        "all:\n  vars:\n    my_token: hunter2\n    shown: 'x{{{{ my_token }}}}'\n    boxed: !vault |\n{}\x20\x20\
           hosts:\n    a: {{ansible_password: 'x{{{{hunter2}}}}'}}\n    b: {{ansible_password: 'x{{% hunter2 %}}'}}\n    \
         c: {{ansible_port: '{{{{ my_token }}}}'}}\n    d: {{ansible_port: '{{{{ shown }}}}'}}\n    e: {{ansible_port: \"{{{{ my_token | \
         regex_replace('(', my_token) }}}}\"}}\n    f: {{ansible_port: \"{{{{ lookup('env', 'REVEILLE_TEST_SECRET') }}}}hunter2\"}}\n    \
         g: {{ansible_port: '{{{{ bad_token }}}}', bad_token: '{{{{ hunter2 }}}}'}}\n    h: {{ansible_host: '{{{{ my_token }}}}'}}\n    \
         i: {{ansible_host: '{{{{ my_token }}}}'}}\n",
        indented(VAULTED)
    );
    let files = Files::new(&[("hosts.yml", &text)]);
    let loaded = files
        .load_with("hosts.yml", vault(&[(None, "hunter2")]))
        .expect("good");
    for warning in &loaded.warnings {
        assert!(!warning.to_string().contains("hunter2"), "{warning}");
    }
    for host in ["a", "b", "c", "d", "e", "f", "g"] {
        let refused = loaded.inventory.connection(host).expect_err(host).to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn what_is_unsafe_is_no_template() {
    let files = Files::new(&[(
        "hosts.yml",
        "all:\n  vars:\n    pw: !unsafe 'a{{b'\n    list: !unsafe ['{{ c }}', d]\n    ansible_password: '{{ pw }}'\n    \
         ansible_become_password: !unsafe '{% e'\n  hosts: {h: {t: '{{ pw }}'}}\n",
    )]);
    let inventory = files.load("hosts.yml").expect("good").inventory;
    let found = inventory.connection("h").expect("reachable");
    assert_eq!(found.password.expect("one").expose(), "a{{b");
    assert_eq!(found.become_password.expect("one").expose(), "{% e");
    let shown = inventory.vars("h");
    assert_eq!(
        (&shown["pw"], &shown["list"]),
        (&json!("a{{b"), &json!(["{{ c }}", "d"]))
    );
    let told = inventory.template_vars("h");
    assert_eq!(told["pw"], json!({"__ansible_unsafe": "a{{b"}));
    assert_eq!(told["list"], json!([{"__ansible_unsafe": "{{ c }}"}, "d"]));
    assert_eq!(told["t"], "{{ pw }}");
}

#[test]
fn what_a_program_says_looks_nothing_up() {
    let files = Files::new(&[(
        "hosts",
        "#!/bin/sh\necho '{\"all\": {\"hosts\": [\"a\", \"b\", \"c\"]}, \"_meta\": {\"hostvars\": {\"a\": {\"ansible_host\": \"{{ lookup(\\\"env\\\", \\\"HOME\\\") }}\"}, \"b\": {\"x\": \"y\", \"ansible_host\": \"{{ x }}\"}, \"c\": {\"my_token\": \"z\", \"x\": \"{{ my_token }}\", \"ansible_host\": \"{{ x }}.evil\"}}}}'\n",
    )])
    .program("hosts");
    let inventory = files.load("hosts").expect("good").inventory;
    assert_eq!(inventory.connection("b").expect("reachable").address.value, "y");
    let refused = inventory.connection("c").expect_err("no secret").to_string();
    assert!(
        refused.contains("can't use `my_token`, which is secret"),
        "{refused}"
    );
    // Jobs can't see where a var comes from, so for them it is not a template.
    assert_eq!(
        inventory.template_vars("c")["x"],
        json!({"__ansible_unsafe": "{{ my_token }}"})
    );
    assert_eq!(inventory.template_vars("b")["ansible_host"], "{{ x }}");
    let refused = inventory.connection("a").expect_err("no lookup").to_string();
    assert!(
        refused.contains("a template from an inventory program can't use `lookup`"),
        "{refused}"
    );
}

#[test]
fn a_bad_value_from_a_vault_is_not_shown() {
    let files = Files::new(&[(
        "hosts.yml",
        &format!(
            "all:\n  hosts:\n    h:\n      login: !vault |\n{}      ansible_host: \"{{{{ login }}}}\"\n      ansible_port: \"{{{{ login }}}}\"\n",
            indented(VAULTED).replace("      ", "          ")
        ),
    )]);
    let loaded = files
        .load_with("hosts.yml", vault(&[(None, "hunter2")]))
        .expect("good");
    let error = loaded.inventory.connection("h").expect_err("no port").to_string();
    assert!(
        !error.contains("s3kr1t") && error.contains("ansible_port"),
        "{error}"
    );
    let direct = Files::new(&[(
        "hosts.yml",
        &format!(
            "all:\n  hosts:\n    h:\n      ansible_port: !vault |\n{}",
            indented(VAULTED).replace("      ", "          ")
        ),
    )]);
    let error = direct
        .load_with("hosts.yml", vault(&[(None, "hunter2")]))
        .expect_err("no port");
    assert!(
        !error.contains("s3kr1t") && error.contains("ansible_port"),
        "{error}"
    );
}

#[test]
fn whoever_wants_names_only_runs_no_program_and_opens_no_vault() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let ran = directory.path().join("ran");
    let program = write(
        "inventory/program",
        &format!("#!/bin/sh\ntouch '{}'\necho '{{}}'\n", ran.display()),
    );
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    write("inventory/hosts", "[web]\nweb[1:2]\n");
    write(
        "inventory/more.yaml",
        "all: {hosts: {db1: {a: !vault \"$ANSIBLE_VAULT;1.1;AES256\\n00\"}}}\n",
    );
    write(
        "inventory/group_vars/all.yaml",
        "a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  00\n",
    );
    let options = LoadOptions {
        names_only: true,
        ..LoadOptions::default()
    };
    let source = Source::File(directory.path().join("inventory"));
    let inventory = Inventory::load_with(&[source], options).unwrap().inventory;
    let names: Vec<&str> = inventory
        .hosts()
        .map(reveille_account::HostName::as_str)
        .collect();
    assert_eq!(names, ["web1", "web2", "db1"]);
    assert!(!ran.exists());
}
