//! Passwords, and how hosts are reached: from the command line to a real machine.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use reveille_testbed::Testbed;
use reveille_testbed::machines::Machines;

use crate::support::Reveille;

const PASSWORD: &str = "correct-horse-battery";

struct Lab {
    machines: Machines,
    _directory: tempfile::TempDir,
    port: u16,
}

impl Lab {
    /// Starts a machine on which `ann` may run everything by sudo with her password, and sshd accepts passwords on a second
    /// port.
    fn up() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shared = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("machines");
        let machines = Machines::up(&shared, &directory.path().join("m"), 1, &|_| ()).unwrap();
        let machine = &machines.machines()[0];
        let script = format!(
            "useradd -m -s /bin/sh ann\nprintf 'ann:{PASSWORD}\\nroot:{PASSWORD}\\n' | chpasswd\n\
             echo 'ann ALL=(ALL) ALL' >/etc/sudoers.d/ann\nchmod 440 /etc/sudoers.d/ann\n"
        );
        machines.shell(machine, &script).unwrap();
        let port = machines
            .serve(
                machine,
                "PasswordAuthentication yes\nPubkeyAuthentication no\nUsePAM yes",
            )
            .unwrap();
        Self {
            machines,
            _directory: directory,
            port,
        }
    }

    fn address(&self) -> String {
        self.machines.machines()[0].address().to_string()
    }

    /// An inventory with several names of the machine, and these variables.
    fn inventory(&self, names: usize, vars: &str) -> String {
        let mut text = String::new();
        for number in 1..=names {
            let _ = writeln!(text, "n{number:03} ansible_host={}", self.address());
        }
        let _ = write!(text, "[all:vars]\nansible_user=ann\n{vars}\n");
        text
    }
}

fn contains(directory: &Path, secret: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contains(&path, secret));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn passwords_log_in_and_stay_secret() {
    let lab = Lab::up();
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "inventory.ini",
        lab.inventory(3, &format!("ansible_port={}", lab.port)),
    );
    let right = reveille.file("right", format!("{PASSWORD}\n"));
    let exec = |more: &[&str], code: i32| {
        let mut arguments = vec!["exec", "-i", &inventory];
        arguments.extend(more);
        arguments.extend(["--", "id -un"]);
        reveille.run(&arguments).expect(code)
    };
    // A password is not offered to a host that is seen for the first time, unless `--host-key` is given.
    let refused = exec(&["--password-file", &right], 3);
    assert!(refused.stderr.contains("auth_failed"), "{}", refused.stderr);
    std::fs::remove_file(reveille.state().join("known_hosts")).unwrap();
    let ann = exec(&["--password-file", &right, "--host-key", "accept-new"], 0);
    assert!(ann.stdout.ends_with("ann\n"), "{}", ann.stdout);
    let by = |method: &'static str| {
        [
            "--password-file",
            &right,
            "--become-password-file",
            &right,
            "-b",
            "--become-method",
            method,
        ]
        .map(str::to_owned)
    };
    for method in ["sudo", "su"] {
        let words = by(method);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let root = exec(&words, 0);
        assert!(root.stdout.ends_with("root\n"), "{method}: {}", root.stdout);
    }
    // The password comes from the inventory, which a retry reads again.
    let vars = format!(
        "ansible_port={}\nansible_password={PASSWORD}\nansible_become=true\nansible_become_password={PASSWORD}",
        lab.port
    );
    reveille.file("inventory.ini", lab.inventory(3, &vars));
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - run: id -un; [ -e /tmp/second ] || { touch /tmp/second; exit 1; }\n",
    );
    let arguments = ["run", &job, "-i", &inventory, "-c", "1"];
    reveille.run(&arguments).expect(3);
    reveille.run(&["retry"]).expect(0);
    std::fs::remove_file(&right).unwrap();
    std::fs::remove_file(&inventory).unwrap();
    assert_eq!(contains(reveille.path(), PASSWORD), Vec::<PathBuf>::new());
}

#[test]
fn a_wrong_password_is_offered_to_two_hosts_at_most() {
    let lab = Lab::up();
    let reveille = Reveille::new();
    let vars = format!(
        "ansible_port={}\nansible_ssh_private_key_file={}",
        lab.machines.port(),
        lab.machines.key().display()
    );
    let inventory = reveille.file("inventory.ini", lab.inventory(100, &vars));
    // Without `--host-key`, the password is not offered to a host whose key is new.
    let right = reveille.file("right", format!("{PASSWORD}\n"));
    let arguments = [
        "exec",
        "-i",
        &inventory,
        "-l",
        "n001",
        "-b",
        "--become-password-file",
        &right,
        "--format",
        "json",
        "--",
        "id -un",
    ];
    let summary = reveille.run(&arguments).expect(3).json();
    assert_eq!(summary["hosts"][0]["class"], "host_key_unknown", "{summary}");
    let message = summary["hosts"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("asks for the password, which was not sent"),
        "{message}"
    );
    let wrong = reveille.file("wrong", "no-such-password\n");
    let arguments = [
        "exec",
        "-i",
        &inventory,
        "--host-key",
        "accept-new",
        "-b",
        "--become-password-file",
        &wrong,
        "--format",
        "json",
        "--",
        "id -un",
    ];
    let summary = reveille.run(&arguments).expect(3).json();
    let of_class = |class: &str| {
        summary["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|host| host["class"] == class)
            .count()
    };
    assert_eq!(of_class("become_failed"), 2, "{summary}");
    assert_eq!(of_class("stopped"), 98);
    assert_eq!(summary["account"]["balanced"], true);
    // A right password is offered to all hosts.
    let arguments = [
        "exec",
        "-i",
        &inventory,
        "-l",
        "n00*",
        "--host-key",
        "accept-new",
        "-b",
        "--become-password-file",
        &right,
        "--format",
        "json",
        "--",
        "id -un",
    ];
    let summary = reveille.run(&arguments).expect(0).json();
    assert_eq!(summary["account"]["success"], 9, "{summary}");
}

#[test]
fn the_users_own_ssh_config_is_followed() {
    let testbed = Testbed::start(3, "").unwrap();
    let reveille = Reveille::new();
    let ssh = reveille.path().join(".ssh");
    std::fs::create_dir(&ssh).unwrap();
    let config = format!(
        "Host bastion\n  HostName {}\n  Port {port}\nHost web* !web9\n  HostName {}\n  ProxyJump bastion\n  Port {port}\n\
         Host db\n  HostName {}\n  ProxyCommand ssh -F none -i {key} -p {port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -W %h:%p \
         {user}@{}\n  Port {port}\nHost *\n  User {user}\n  IdentityFile {key}\n  \
         IdentityFile ~/.ssh/none\n  UserKnownHostsFile ~/.ssh/mine\n  StrictHostKeyChecking accept-new\n",
        testbed.address(0),
        testbed.address(1),
        testbed.address(2),
        testbed.address(0),
        port = testbed.port(),
        key = testbed.key().display(),
        user = whoami(),
    );
    std::fs::write(ssh.join("config"), config).unwrap();
    let said = |host: &str, more: &[&str]| {
        let mut arguments = vec!["exec", "-w", host];
        arguments.extend(more);
        arguments.extend(["--", "echo $SSH_CONNECTION"]);
        reveille.run(&arguments).expect(0)
    };
    let ended = said("web1", &[]);
    let address = testbed.address(1).to_string();
    assert!(ended.stdout.contains(&format!(" {address} ")), "{}", ended.stdout);
    let known = std::fs::read_to_string(ssh.join("mine")).unwrap();
    assert!(
        known.contains(&address) && known.contains(&testbed.address(0).to_string()),
        "{known}"
    );
    // Hosts whose configuration only the system's ssh supports are reached by it.
    let ended = said("db", &[]);
    assert!(
        ended.stdout.contains(&testbed.address(2).to_string()),
        "{}",
        ended.stdout
    );
    assert!(ended.stderr.contains("the system's ssh"), "{}", ended.stderr);
    let ended = reveille
        .run(&["exec", "-w", "db", "--transport", "native", "--", "true"])
        .expect(2);
    assert!(ended.stderr.contains("--transport openssh"), "{}", ended.stderr);
    said("web1", &["--transport", "openssh"]);
    // `none` records new keys nowhere, not even in the system's file.
    let global = reveille.path().join("global_known_hosts");
    std::fs::write(&global, "").unwrap();
    let text = std::fs::read_to_string(ssh.join("config")).unwrap();
    let nowhere = format!(
        "UserKnownHostsFile none\n  GlobalKnownHostsFile {}",
        global.display()
    );
    std::fs::write(
        ssh.join("config"),
        text.replace("UserKnownHostsFile ~/.ssh/mine", &nowhere),
    )
    .unwrap();
    said("web1", &[]);
    assert_eq!(std::fs::read_to_string(&global).unwrap(), "");
    // Without the file, web1 is unknown.
    reveille
        .run(&[
            "exec",
            "-w",
            "web1.invalid",
            "-F",
            "none",
            "--connect-timeout",
            "1s",
            "--",
            "true",
        ])
        .expect(3);
    std::fs::write(ssh.join("config"), "Hots x\n").unwrap();
    let ended = reveille.run(&["exec", "-w", "web1", "--", "true"]).expect(2);
    assert!(ended.stderr.contains(".ssh/config:1:1"), "{}", ended.stderr);
}

#[test]
fn identities_only_still_offers_the_default_keys() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let ssh = reveille.path().join(".ssh");
    std::fs::create_dir(&ssh).unwrap();
    std::fs::copy(testbed.key(), ssh.join("id_ed25519")).unwrap();
    let config = format!(
        "Host web1\n  HostName {}\n  Port {}\n  IdentitiesOnly yes\n",
        testbed.address(0),
        testbed.port()
    );
    std::fs::write(ssh.join("config"), config).unwrap();
    reveille.run(&["exec", "-w", "web1", "--", "true"]).expect(0);
}

#[test]
fn this_machine_needs_no_server() {
    let reveille = Reveille::new();
    let ended = reveille
        .run(&[
            "exec",
            "-w",
            "localhost",
            "--transport",
            "local",
            "--",
            "echo $0 here; exit 4",
        ])
        .expect(3);
    assert!(ended.stdout.contains("here"), "{}", ended.stdout);
    let inventory = reveille.file("inventory.ini", "this ansible_connection=local\n");
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - run: echo durable\n  - upload: {src: job.yaml, dest: copied.yaml}\n",
    );
    reveille.run(&["run", &job, "-i", &inventory]).expect(0);
    assert_eq!(
        reveille.run(&["logs", "this", "--raw"]).expect(0).stdout,
        "durable\n"
    );
}

fn whoami() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A host that accepts only keys has not refused the password.
#[test]
fn hosts_that_accept_no_password_do_not_stop_the_others() {
    let lab = Lab::up();
    let testbed = Testbed::start(3, "").unwrap();
    let reveille = Reveille::new();
    let other = reveille.path().join("other");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&other)
        .status();
    assert!(made.unwrap().success());
    let mut inventory = String::new();
    for index in 0..3 {
        let _ = writeln!(
            inventory,
            "key{index} ansible_host={} ansible_port={} ansible_ssh_private_key_file={}",
            testbed.address(index),
            testbed.port(),
            if index < 2 { other.clone() } else { testbed.key() }.display()
        );
    }
    for number in 0..3 {
        let _ = writeln!(
            inventory,
            "password{number} ansible_host={} ansible_port={} ansible_user=ann",
            lab.address(),
            lab.port
        );
    }
    let inventory = reveille.file("inventory.ini", inventory);
    let right = reveille.file("right", format!("{PASSWORD}\n"));
    let arguments = [
        "exec",
        "-i",
        &inventory,
        "--password-file",
        &right,
        "--host-key",
        "accept-new",
        "--format",
        "json",
        "--",
        "true",
    ];
    let summary = reveille.run(&arguments).expect(3).json();
    assert_eq!(summary["account"]["failed"], 2, "{summary}");
    assert_eq!(summary["account"]["success"], 4, "{summary}");
}

/// An address that does not answer: a listener whose queue is full.
#[test]
fn the_connect_timeout_of_ssh_config_is_used() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let deaf = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&deaf, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&deaf, 0).unwrap();
    let address = std::net::SocketAddr::try_from(getsockname(&deaf).unwrap()).unwrap();
    let moment = std::time::Duration::from_millis(200);
    let mut queue = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, moment) {
        queue.push(stream);
    }
    let reveille = Reveille::new();
    let ssh = reveille.path().join(".ssh");
    std::fs::create_dir(&ssh).unwrap();
    let config = format!(
        "Host deaf\n  HostName 127.0.0.1\n  Port {}\n  ConnectTimeout 1\n",
        address.port()
    );
    std::fs::write(ssh.join("config"), config).unwrap();
    let ended = reveille.run(&["exec", "-w", "deaf", "true"]).expect(3);
    assert!(
        ended.stderr.contains("connect_timeout") && ended.stderr.contains("within 1 s"),
        "{}",
        ended.stderr
    );
    let ended = reveille
        .run(&["exec", "-w", "deaf", "--connect-timeout", "500ms", "true"])
        .expect(3);
    assert!(ended.stderr.contains("within 500 ms"), "{}", ended.stderr);
}

/// Secrets are not recorded. Without them, a host would fail for good although nothing is wrong with it.
#[test]
fn a_retry_refuses_to_start_without_the_secrets_of_its_hosts() {
    let reveille = Reveille::new();
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - {run: 'test $TOKEN = x; exit 7', env: {TOKEN: '{{ api_token }}'}, durable: false}\n",
    );
    let exec = ["exec", "--inventory=hosts.ini", "exit 7"];
    let run = ["run", "--inventory=hosts.ini", &job];
    for (command, with, without, wanted) in [
        (run, "a api_token=x", "b", "secret variable `api_token` of a"),
        (
            run,
            "a api_token=x",
            "a api_tokens=x",
            "secret variable `api_token` of a",
        ),
        (
            run,
            "a api_token=x ansible_password=x",
            "a api_token=x",
            "`ansible_password` of a",
        ),
        (exec, "a ansible_password=x", "a", "the SSH password of a"),
        (
            exec,
            "a ansible_become_password=x",
            "a",
            "the become password of a",
        ),
        (exec, "a ansible_password=x", "b", "the SSH password of a"),
    ] {
        let with = format!("{with} ansible_connection=local\n");
        let without = format!("{without} ansible_connection=local\n");
        reveille.file("hosts.ini", &with);
        reveille.run(&command).expect(3);
        let runs = reveille
            .run(&["runs", "--number", "1", "--format", "json"])
            .json();
        let id = runs["runs"][0]["run_id"].as_str().unwrap();
        reveille.file("hosts.ini", &without);
        let refused = reveille.run(&["retry", id]).expect(2);
        assert!(
            refused.stderr.contains(wanted),
            "{with}{without}{}",
            refused.stderr
        );
        reveille.file("hosts.ini", &with);
        let again = reveille.run(&["retry", id]).expect(3);
        assert!(again.stderr.contains("exit status 7"), "{}", again.stderr);
    }
}

/// A file that was a pipe, as `<(command)` is, can't be read again.
#[test]
fn a_retry_takes_passwords_from_other_files() {
    let reveille = Reveille::new();
    let first = reveille.file("first", "one\n");
    let other = reveille.file("other", "two\n");
    let run = |arguments: &[&str], code| reveille.run(arguments).expect(code).stderr;
    for option in ["--password-file", "--become-password-file"] {
        std::fs::write(&first, "one\n").unwrap();
        run(
            &[
                "exec",
                "-w",
                "localhost",
                "--transport",
                "local",
                option,
                &first,
                "exit 7",
            ],
            3,
        );
        std::fs::remove_file(&first).unwrap();
        let refused = run(&["retry"], 2);
        assert!(refused.contains("can't use the password file"), "{refused}");
        assert!(run(&["retry", option, &other], 3).contains("exit status 7"));
    }
    let refused = run(&["retry", "--vault-password-file", &other], 2);
    assert!(refused.contains("uses no secrets of its inventory"), "{refused}");
}

#[test]
fn a_resume_says_that_hosts_refuse_the_password() {
    let lab = Lab::up();
    let reveille = Reveille::new();
    let vars = format!(
        "ansible_port={}\nansible_ssh_private_key_file={}",
        lab.machines.port(),
        lab.machines.key().display()
    );
    let inventory = reveille.file("inventory.ini", lab.inventory(10, &vars));
    let file = reveille.file("password", format!("{PASSWORD}\n"));
    let job = reveille.file(
        "job.yaml",
        "steps:\n- run: 'echo $$ >> log; until [ -e go ]; do sleep 0.1; done'\n- {run: id -un, become: true}\n",
    );
    let arguments = [
        "run",
        &job,
        "-i",
        &inventory,
        "--host-key",
        "accept-new",
        "--become-password-file",
        &file,
    ];
    let mut child = reveille.command(&arguments).spawn().unwrap();
    let machine = &lab.machines.machines()[0];
    lab.machines
        .shell(machine, "cd /home/ann; until [ -s log ]; do sleep 0.1; done")
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    reveille.file("password", "no-such-password\n");
    lab.machines.shell(machine, "touch /home/ann/go").unwrap();
    let reason = "the password was refused; resume with the right one";
    let ended = reveille.run(&["resume"]).expect(5);
    assert!(
        ended.stderr.contains(&format!("stopped     {reason}")),
        "{}",
        ended.stderr
    );
    let shown = reveille.run(&["show", "--format", "json"]).expect(0).json();
    assert_eq!(shown["interruption"], reason);
    let right = reveille.file("right", format!("{PASSWORD}\n"));
    let ended = reveille
        .run(&["resume", "--become-password-file", &right])
        .expect(0);
    assert!(
        ended.stderr.contains("10 succeeded") && !ended.stderr.contains("stopped"),
        "{}",
        ended.stderr
    );
    let shown = reveille.run(&["show", "--format", "json"]).expect(0).json();
    assert!(shown["interruption"].is_null());
}
