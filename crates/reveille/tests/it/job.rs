//! The job language against real servers: templates, facts, tags, secrets.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use reveille_testbed::Testbed;

use crate::support::{Ended, Reveille};

const JOB: &str = "
vars:
  db_pw: {secret: {env: DB_PW}}
  api_key: {secret: {file: key.txt}}
  token: {secret: {command: 'echo tok-4711-secret'}}
steps:
  - name: configure
    template: {src: server.conf.j2, dest: '{{ env.TARGET }}/server.conf', mode: '0600'}
    register: conf
  - name: check
    run: |
      [ \"${PW#pw-0815-}\" = secret ] && [ \"${TOKEN#tok-4711-}\" = secret ] && echo right
    env: {PW: '{{ db_pw }}', TOKEN: '{{ token }}'}
    expect: ^right$
    tags: check
  - name: restart
    when: conf.changed
    run: echo restarted on {{ os.family }} {{ arch }}
  - name: never asked for
    run: exit 9
    tags: never
";

fn leaks(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            leaks(&path, found);
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            for secret in ["pw-0815-secret", "key-1234-secret", "tok-4711-secret"] {
                if bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes())
                {
                    found.push(format!("{secret} in {}", path.display()));
                }
            }
        }
    }
}

#[test]
fn templates_facts_and_secrets() {
    let testbed = Testbed::start(2, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = reveille.file("job.yaml", JOB);
    reveille.file("key.txt", "key-1234-secret\n");
    reveille.file(
        "server.conf.j2",
        "host {{ inventory_hostname }} of {{ groups.all | length }}\n{% if cpus > 0 %}\nkey {{ api_key }}\n{% endif %}\n",
    );
    let artifacts = reveille.path().join("artifacts");
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", &job, "-i", &inventory];
        arguments.extend(more);
        let output = reveille
            .command(&arguments)
            .env("DB_PW", "pw-0815-secret")
            .env("TARGET", testbed.home())
            .output()
            .unwrap();
        crate::support::Ended::of(&output)
    };
    let plan = run(&["--plan"]).expect(0).stdout;
    assert!(plan.contains("env: PW=(secret)"), "{plan}");
    let events = reveille.path().join("events.ndjson");
    let first = run(&[
        "-c",
        "1",
        "--format",
        "json",
        "--export-to",
        artifacts.to_str().unwrap(),
        "--events",
        events.to_str().unwrap(),
        "-v",
    ])
    .expect(0);
    let conf = std::fs::read_to_string(testbed.home().join("server.conf")).unwrap();
    assert_eq!(conf, "host host-002 of 2\nkey key-1234-secret\n");
    let said = reveille.run(&["logs", "host-001", "--raw"]).expect(0).stdout;
    assert!(said.contains("restarted on ") && !said.contains("{{"), "{said}");
    std::fs::remove_file(testbed.home().join("server.conf")).unwrap();
    std::fs::remove_file(reveille.path().join("key.txt")).unwrap();
    let mut found = Vec::new();
    leaks(&testbed.home(), &mut found);
    // The text of the job contains a command that writes a secret. It is recorded with the job.
    std::fs::remove_file(reveille.path().join("job.yaml")).unwrap();
    leaks(reveille.path(), &mut found);
    found.retain(|leak| !leak.contains("tok-4711-secret in") || !leak.contains("ledger.db"));
    assert!(found.is_empty(), "{found:#?}");
    for secret in ["pw-0815-secret", "key-1234-secret", "tok-4711-secret"] {
        assert!(!first.stdout.contains(secret) && !first.stderr.contains(secret));
    }
}

#[test]
fn a_missing_secret_is_an_error_before_anything_is_dispatched() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = |source: &str| {
        reveille.file(
            "job.yaml",
            format!("vars: {{pw: {{secret: {{{source}}}}}}}\nsteps: [{{run: exit 3, env: {{PW: '{{{{ pw }}}}'}}}}]\n"),
        )
    };
    for (source, words) in [
        (
            "env: NOT_SET_ANYWHERE",
            "the environment variable NOT_SET_ANYWHERE is not set",
        ),
        ("file: nowhere.txt", "nowhere.txt: No such file"),
        ("command: exit 7", "the command `exit 7` failed: exit status: 7"),
        ("command: yes", "the command `yes` wrote more than 65536 bytes"),
        ("file: /dev/zero", "has more than 65536 bytes"),
    ] {
        let job = job(source);
        let ended = reveille.run(&["run", &job, "-i", &inventory]).expect(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    reveille.run(&["runs"]).expect(2);
    // A retry without the secret opens no round.
    let job = job("env: PW_OF_TEST");
    let output = reveille
        .command(&["run", &job, "-i", &inventory])
        .env("PW_OF_TEST", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    reveille.run(&["retry"]).expect(2);
    let summary = reveille.run(&["show", "--format", "json"]).expect(0).json();
    assert_eq!(summary["hosts"][0]["round"], 1, "{summary}");
    assert_eq!(summary["state"], "closed");
}

#[test]
fn steps_are_chosen_by_tag() {
    let testbed = Testbed::start(1, "").unwrap();
    let reveille = Reveille::new();
    let inventory = reveille.file("inventory.ini", testbed.inventory());
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - {name: one, run: echo one, tags: [a]}\n  - {name: two, run: echo two, tags: [b]}\n  - {name: three, run: echo three}\n",
    );
    let said = |arguments: &[&str]| {
        let mut all = vec!["run", &job, "-i", &inventory];
        all.extend(arguments);
        reveille.run(&all).expect(0);
        reveille.run(&["logs", "host-001", "--raw"]).expect(0).stdout
    };
    assert_eq!(said(&["--tags", "b"]), "two\n");
    assert_eq!(said(&["--skip-tags", "a"]), "two\nthree\n");
    assert_eq!(said(&["--start-at", "three"]), "three\n");
    let ended = reveille
        .run(&["run", &job, "-i", &inventory, "--tags", "c,a"])
        .expect(2);
    assert!(
        ended.stderr.contains("--tags c: no step has this tag"),
        "{}",
        ended.stderr
    );
}

#[test]
fn variables_of_the_inventory_are_templates() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.yml",
        "all:\n  vars: {ansible_connection: \"{{ way | default('local') }}\", app: shop, dir: '/srv/{{ app }}', motd: !unsafe '{{ hi }}'}\n  \
         hosts: {a.x: {app: \"{{ inventory_hostname.split('.')[0] }}\"}, b.x: {}, c.x: {dir: '{{ ap }}'}}\n",
    );
    let job = reveille.file(
        "job.yaml",
        "steps:\n  - run: echo '{{ dir }} {{ motd }}'\n    register: r\n  - run: echo 'was {{ r.stdout }}'\n",
    );
    let run = ["run", &job, "-i", &inventory];
    let refused = reveille.run(&run).expect(2).stderr;
    assert!(
        refused.contains("c.x: the template in `dir` can't be rendered: `ap` is undefined"),
        "{refused}"
    );
    reveille.run(&[&run[..], &["-l", "a.x,b.x"]].concat()).expect(0);
    for (host, said) in [("a.x", "/srv/a {{ hi }}"), ("b.x", "/srv/shop {{ hi }}")] {
        let logs = reveille.run(&["logs", host, "--raw"]).expect(0).stdout;
        assert_eq!(logs, format!("{said}\nwas {said}\n"));
    }
}

#[test]
fn a_retry_uses_the_recorded_environment_and_the_directory_of_the_job() {
    let reveille = Reveille::new();
    reveille.file("hidden", "s3cret\n");
    reveille.file("conf.j2", "{{ env.COLOR }}");
    let job = reveille.file(
        "job.yaml",
        "vars: {hidden: {secret: {command: cat ./hidden}}}\n\
         steps:\n\
         - {template: {src: conf.j2, dest: OUT}}\n\
         - run: 'echo \"{{ env.COLOR }} {{ env.ABSENT | default(''absent'') }} ${#HIDDEN} $TOKEN $(cat OUT)\"; exit 7'\n  \
           env: {HIDDEN: '{{ hidden }}', TOKEN: '{{ env.API_TOKEN }}'}\n"
            .replace("OUT", &reveille.path().join("out").display().to_string()),
    );
    let inventory = reveille.file("hosts.ini", "a ansible_connection=local\n");
    let elsewhere = reveille.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = reveille.command(arguments);
        command.current_dir(&elsewhere).envs(variables.iter().copied());
        Ended::of(&command.output().unwrap())
    };
    run(
        &["run", &job, "-i", &inventory],
        &[("COLOR", "red"), ("API_TOKEN", "one")],
    )
    .expect(3);
    // Nothing of the job runs here.
    run(&["clean"], &[]).expect(0);
    let refused = run(&["retry"], &[("COLOR", "blue")]).expect(2);
    assert!(refused.stderr.contains("API_TOKEN"), "{}", refused.stderr);
    reveille.file("conf.j2", "changed");
    let again = run(&["retry"], &[("ABSENT", "set"), ("API_TOKEN", "two")]).expect(3);
    assert!(
        again
            .stderr
            .contains("conf.j2 has changed since; using the recorded one"),
        "{}",
        again.stderr
    );
    let logs = run(&["logs", "a"], &[]).expect(0).stdout;
    assert!(
        logs.contains("red absent 6 one red") && logs.contains("red absent 6 two red"),
        "{logs}"
    );
    let wrong = reveille.file("env.j2", "{% for name in env %}{{ name }}{% endfor %}");
    let job = reveille.file(
        "wrong.yaml",
        format!("steps: [{{template: {{src: {wrong}, dest: /tmp/x}}}}]\n"),
    );
    let refused = run(&["lint", &job], &[]).expect(2);
    assert!(refused.stderr.contains("`env` alone"), "{}", refused.stderr);
}

/// A step that reacts to a change died; the retry finds nothing to change, and must not take that for a success.
#[test]
fn a_change_of_an_earlier_round_still_counts_in_a_retry() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", "a ansible_connection=local\n");
    reveille.file("conf.j2", "new\n");
    let here = reveille.path().display().to_string();
    for reaction in [
        // The change is found once more, or its step is skipped.
        "- {template: {src: conf.j2, dest: HERE/conf}, register: made}",
        "- {run: touch HERE/conf, skip_if: {exists: HERE/conf}, register: made}",
        // The step that made it ran for all hosts.
        "- {template: {src: conf.j2, dest: HERE/conf}, once: true, register: made}",
    ] {
        let text = format!(
            "steps:\n{reaction}\n- {{name: restart, when: made.changed, run: test -e HERE/well && touch HERE/restarted}}\n"
        )
        .replace("HERE", &here);
        let job = reveille.file("job.yaml", text);
        let run = |arguments: &[&str]| reveille.run(arguments).code;
        assert_eq!(run(&["run", &job, "-i", &inventory]), 3, "{reaction}");
        assert_eq!(run(&["retry"]), 3, "the restart fails again: {reaction}");
        reveille.file("well", "");
        assert_eq!(run(&["retry"]), 0, "{reaction}");
        assert!(reveille.path().join("restarted").exists(), "{reaction}");
        // A new run finds the host as it should be.
        for name in ["restarted", "well"] {
            std::fs::remove_file(reveille.path().join(name)).unwrap();
        }
        assert_eq!(run(&["run", &job, "-i", &inventory]), 0, "{reaction}");
        assert!(!reveille.path().join("restarted").exists(), "{reaction}");
        std::fs::remove_file(reveille.path().join("conf")).unwrap();
    }
}

#[test]
fn variables_of_the_command_line_are_checked_before_anything_is_dispatched() {
    let reveille = Reveille::new();
    let inventory = reveille.file(
        "hosts.ini",
        "a ansible_connection=local ansible_become_user=app do_it=false\n",
    );
    let job = reveille.file(
        "job.yaml",
        "vars: {greeting: hi}\nsteps:\n- {run: 'echo {{ greeting }}', when: do_it | bool}\n- {run: id, become: true}\n",
    );
    let run = |arguments: &[&str]| reveille.run(&[&["run", &job, "-i", &inventory], arguments].concat());
    let plan = run(&["--plan", "-e", "greting=x do_it=true"]).expect(0);
    assert_eq!(
        plan.stderr,
        "warning: -e greting: the job does not use this variable; did you mean `greeting`?\n"
    );
    assert!(
        plan.stdout.contains("when: do_it | bool (holds)"),
        "{}",
        plan.stdout
    );
    assert!(plan.stdout.contains("as: app"), "{}", plan.stdout);
    let plan = run(&["--plan", "-e", "greeting='{{ inventory_hostname }} x' do_it=on"]).expect(0);
    assert_eq!(plan.stderr, "");
    assert!(plan.stdout.contains("echo a x"), "{}", plan.stdout);
    let refused = run(&["-e", "=1"]).expect(2);
    assert!(
        refused.stderr.contains("a name is missing before `=`"),
        "{}",
        refused.stderr
    );
    // The text `false` is not empty, and Ansible refuses it too.
    let job = reveille.file("text.yaml", "steps:\n- {run: 'exit 9', when: do_it}\n");
    for extra in [&[][..], &["-e", "do_it=no"]] {
        let arguments = [&["run", &job, "-i", &inventory][..], extra].concat();
        let refused = reveille.run(&arguments).expect(2);
        assert!(refused.stderr.contains("text.yaml:2:"), "{}", refused.stderr);
        assert!(refused.stderr.contains("`do_it | bool`"), "{}", refused.stderr);
    }
    assert_eq!(reveille.run(&["runs"]).stdout.lines().count(), 0);
}

/// The commands would go on for longer than any test.
#[test]
fn a_fatal_line_ends_the_command_at_once() {
    let reveille = Reveille::new();
    let inventory = reveille.file("hosts.ini", "a ansible_connection=local\n");
    for options in ["", "durable: false, "] {
        let job = reveille.file(
            "job.yaml",
            format!(
                "steps:\n- {{{options}attempts: 3, fatal: ^E, run: 'echo once >> {0}/runs; sleep 100000 & echo $! > {0}/pid; echo; echo E x >&2; wait'}}\n",
                reveille.path().display()
            ),
        );
        let ended = reveille
            .run(&["run", &job, "-i", &inventory, "--format", "json"])
            .expect(3);
        assert_eq!(ended.json()["hosts"][0]["class"], "fatal_pattern");
        let message = &ended.json()["hosts"][0]["message"];
        assert_eq!(message, "a fatal pattern matched: E x; the command was killed");
        let pid = std::fs::read_to_string(reveille.path().join("pid")).unwrap();
        // A process that has ended has no command line, even if nobody has asked for its status yet.
        let alive = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        assert!(alive.is_empty(), "{options}");
        let runs = std::fs::read_to_string(reveille.path().join("runs")).unwrap();
        assert_eq!(runs, "once\n");
        std::fs::remove_file(reveille.path().join("runs")).unwrap();
    }
}

#[test]
fn paths_on_the_host_begin_at_home_and_downloads_have_a_place_for_each_host() {
    let reveille = Reveille::new();
    // The host's name is also a part of the directory's.
    let inventory = reveille.file("hosts.ini", "log ansible_connection=local\n");
    reveille.file("there", "");
    std::fs::create_dir(reveille.path().join("a dir")).unwrap();
    let job = reveille.file(
        "job.yaml",
        "vars: {one: 'got/{{ inventory_hostname }}.txt'}\nsteps:\n\
         - {run: exit 9, skip_if: {exists: ~/there}}\n\
         - {wait_for: {file: ~/there, within: 1s}}\n\
         - {run: 'pwd > where', cwd: '~/a dir'}\n\
         - {download: {src: 'a dir/where', to: logs}}\n\
         - {download: {src: 'a dir/where', to: '{{ one }}'}}\n",
    );
    reveille.run(&["run", &job, "-i", &inventory]).expect(0);
    let read = |path: &str| std::fs::read_to_string(reveille.path().join(path)).unwrap();
    let place = format!("{}/a dir\n", reveille.path().display());
    assert_eq!(read("logs/log/where"), place);
    assert_eq!(read("got/log.txt"), place);
}

/// Whenever the controller is killed, each item runs once on each host.
#[test]
fn a_loop_runs_each_item_once_also_if_the_controller_is_killed() {
    let testbed = Testbed::start(1, "").unwrap();
    let job = "steps:\n\
        - {name: add, run: 'echo {{ item }} >> $HOME/{{ inventory_hostname }}', loop: '{{ items }}', register: added, when: item != 'no'}\n\
        - {name: tell, run: 'echo {{ added.results | map(attribute=\"item\") | join(\",\") }} {{ added.results | map(attribute=\"skipped\") | join(\",\") }}'}\n";
    let hosts = [
        ("h1", "['a', 'no', 'c']", "a\nc\n", "a,no,c False,True,False\n"),
        ("h2", "['d']", "d\n", "d False\n"),
        ("h3", "[]", "", "\n"),
    ];
    for events in [4, 9, 12, 16, 20, 1000] {
        let reveille = Reveille::new();
        let mut inventory = String::new();
        for (host, items, _, _) in hosts {
            let _ = writeln!(
                inventory,
                "{host} ansible_host={} items=\"{items}\"",
                testbed.address(0)
            );
            let _ = std::fs::remove_file(testbed.home().join(host));
        }
        let _ = write!(
            inventory,
            "[all:vars]\nansible_port={}\nansible_ssh_private_key_file={}\n",
            testbed.port(),
            testbed.key().display()
        );
        let inventory = reveille.file("inventory.ini", inventory);
        let job = reveille.file("job.yaml", job);
        let mut child = reveille
            .command(&["run", &job, "-i", &inventory, "--events", "-", "-q"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = lines.take(events).count();
        child.kill().unwrap();
        child.wait().unwrap();
        if seen == events {
            reveille.run(&["resume"]).expect(0);
        }
        for (host, _, ran, told) in hosts {
            let lines = std::fs::read_to_string(testbed.home().join(host)).unwrap_or_default();
            assert_eq!(lines, ran, "{host}, killed after {events} events");
            let logs = reveille.run(&["logs", host, "--raw"]).expect(0).stdout;
            assert_eq!(logs, told, "{host}, killed after {events} events");
        }
    }
}

#[test]
fn lint_finds_files_that_are_not_there() {
    let reveille = Reveille::new();
    reveille.file("there.sh", "true\n");
    let job = reveille.file(
        "job.yaml",
        "steps:\n- {script: {src: there.sh}}\n- {script: {src: gone.sh}}\n- {upload: {src: '{{ x }}', dest: /x}}\n\
         - {name: build, run: make, run_on: localhost}\n- {upload: {src: made, dest: /x}}\n",
    );
    let refused = reveille.run(&["lint", &job]).expect(2).stderr;
    assert!(refused.contains("`script gone.sh`: can't read "), "{refused}");
    assert!(
        !refused.contains("there.sh") && !refused.contains("made"),
        "{refused}"
    );
    reveille.file("gone.sh", "true\n");
    reveille.run(&["lint", &job]).expect(0);
}
