//! Job files: the results of good ones, and the mistakes in bad ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reveille_account::SourceError;
use reveille_job::{
    Amount, Becoming, CommandOptions, Facts, Job, JobSource, Limit, Order, Registered, RenderedAction, Scope,
    SecretSource, Shared, schema,
};
use serde_json::{Map, Value, json};

fn inputs(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/inputs")
        .join(kind);
    let entries = fs::read_dir(directory).expect("the directory exists");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn read(path: &Path) -> Result<Job, Vec<SourceError>> {
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    Job::parse_bytes(&fs::read(path).expect("readable"), &name, BTreeMap::new())
}

fn shared() -> Shared {
    Shared::new(
        "r-1",
        [("web".to_owned(), vec!["web1".to_owned(), "web2".to_owned()])],
        [("HOME".to_owned(), "/root".to_owned())],
    )
}

fn vars(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn together(mistakes: &[SourceError]) -> String {
    let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    shown.join("\n\n")
}

#[test]
fn good_files_make_a_plan() {
    let (shared, vars) = (shared(), vars(json!({"rack": 4})));
    for path in inputs("good") {
        let job = read(&path).unwrap_or_else(|mistakes| panic!("{}", together(&mistakes)));
        let scope = Scope::new("web1", &vars, &shared);
        let mistakes = job.check(&scope);
        assert!(mistakes.is_empty(), "{}", together(&mistakes));
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        insta::assert_snapshot!(name, job.plan(&scope, |_| Becoming::default()).expect("a plan"));
    }
}

#[test]
fn bad_files_say_why() {
    let (shared, vars) = (shared(), vars(json!({"rack": 4})));
    for path in inputs("bad") {
        let mistakes = match read(&path) {
            Err(mistakes) => mistakes,
            Ok(job) => job.check(&Scope::new("web1", &vars, &shared)),
        };
        assert!(!mistakes.is_empty(), "{}", path.display());
        let name = format!("bad-{}", path.file_stem().expect("a name").to_string_lossy());
        insta::assert_snapshot!(name, together(&mistakes));
    }
}

#[test]
fn options_have_their_defaults() {
    let job = read(&inputs("good")[1]).expect("good");
    assert_eq!(job.name, "install-tomcat");
    assert_eq!(
        job.serial,
        [Amount::Hosts(1), Amount::Percent(5.0), Amount::Percent(25.0)]
    );
    assert_eq!(job.max_fail.total, Some(Amount::Percent(2.0)));
    assert_eq!(job.order, Order::Shuffled);
    let options: Vec<(u32, bool, bool)> = job
        .steps
        .iter()
        .map(|step| (step.attempts, step.idempotent, step.durable))
        .collect();
    assert_eq!(
        options,
        [
            (3, true, true),
            (3, true, true),
            (3, true, false),
            (1, false, true),
            (1, false, true),
            (1, true, false),
            (1, false, true),
            (1, false, true),
            (3, true, false),
        ]
    );
    assert_eq!(job.steps[6].watchdog.idle, Limit::Off);
    assert_eq!(
        job.steps[6].watchdog.total,
        Limit::After(std::time::Duration::from_mins(30))
    );
    assert!(job.steps[0].class_name().starts_with("run-"));
    assert_ne!(job.steps[0].class_name(), job.steps[1].class_name());
}

#[test]
fn a_job_survives_its_record() {
    let text = "steps: [{run: 'echo {{ a }}{{ b }}'}]";
    let extra = BTreeMap::from([("a".to_owned(), json!("x"))]);
    let job = Job::parse_with(text, "jobs/j.yaml", extra).expect("good");
    assert_eq!(job.resolve("f.txt"), Path::new("jobs/f.txt"));
    let record = serde_json::to_string(job.source()).expect("serialisable");
    let source: JobSource = serde_json::from_str(&record).expect("readable");
    let again = Job::from_source(&source).expect("the same");
    let (shared, vars) = (shared(), vars(json!({"a": "weaker", "b": 2})));
    let rendered = again
        .render(0, &Scope::new("h", &vars, &shared))
        .expect("rendered");
    assert_eq!(
        rendered.action,
        RenderedAction::Run {
            command: "echo x2".into(),
            shell: "sh".into()
        }
    );
}

#[test]
fn commands_are_taken_as_they_are() {
    let job = Job::command(
        "docker ps --format '{{.Names}}'".into(),
        CommandOptions::default(),
    );
    let (shared, vars) = (shared(), Map::new());
    let scope = Scope::new("h", &vars, &shared);
    assert!(job.check(&scope).is_empty());
    let RenderedAction::Run { command, .. } = job.render(0, &scope).expect("rendered").action else {
        panic!("a command")
    };
    assert_eq!(command, "docker ps --format '{{.Names}}'");
    assert!(!job.steps[0].durable);
    let again = Job::from_source(job.source()).expect("the same");
    assert_eq!(again.steps[0].class_name(), job.steps[0].class_name());
}

#[test]
fn results_reach_later_steps() {
    let text = "
steps:
  - {run: id, register: who}
  - {run: 'echo {{ who.stdout }}', when: who.exit_status == 0 and not who.skipped}
";
    let job = Job::parse(text, "j.yaml").expect("good");
    let (shared, vars) = (shared(), Map::new());
    let mut scope = Scope::new("h", &vars, &shared);
    assert!(job.check(&scope).is_empty());
    assert!(job.when(1, &scope).is_err());
    scope.register(
        "who",
        Registered {
            stdout: "root".into(),
            exit_status: Some(0),
            ..Registered::default()
        },
    );
    assert_eq!(job.when(1, &scope), Ok(true));
    let RenderedAction::Run { command, .. } = job.render(1, &scope).expect("rendered").action else {
        panic!("a command")
    };
    assert_eq!(command, "echo root");
}

#[test]
fn the_same_mistake_of_many_hosts_is_one() {
    let job = Job::parse("steps: [{run: 'echo {{ rack }} {{ env.NOPE }}'}]", "j.yaml").expect("good");
    let shared = shared();
    let (with, without) = (vars(json!({"rack": 1})), Map::new());
    let scopes = [("a", &with), ("b", &without), ("c", &without), ("d", &without)];
    let mistakes = job.check_all(scopes.iter().map(|(host, vars)| Scope::new(host, vars, &shared)));
    insta::assert_snapshot!(together(&mistakes));
}

#[test]
fn strong_vars_win() {
    let text = "vars: {a: job, b: '{{ a }}!'}\nsteps: [{run: '{{ a }} {{ b }} {{ c }}'}]";
    let run = |job: &Job| {
        let (shared, vars) = (shared(), vars(json!({"a": "host", "c": "host"})));
        match job
            .render(0, &Scope::new("h", &vars, &shared))
            .expect("rendered")
            .action
        {
            RenderedAction::Run { command, .. } => command,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(run(&Job::parse(text, "j").expect("good")), "job job! host");
    let extra = BTreeMap::from([("a".to_owned(), json!("extra"))]);
    assert_eq!(
        run(&Job::parse_with(text, "j", extra).expect("good")),
        "extra extra! host"
    );
    let taken = BTreeMap::from([("groups".to_owned(), json!(1))]);
    assert!(Job::parse_with(text, "j", taken).is_err());
}

#[test]
fn large_files_are_refused() {
    let text = format!(
        "steps: [{{run: a}}]\n#{}",
        "x".repeat(reveille_job::MAX_FILE_BYTES)
    );
    let mistakes = Job::parse(&text, "j.yaml").expect_err("too large");
    assert_eq!(mistakes[0].message, "a job file can't be larger than 4 MiB");
}

#[test]
fn the_schema_describes() {
    insta::assert_json_snapshot!(schema());
}

#[test]
fn jobs_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Job>();
    crosses::<Shared>();
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"([a-c0-9:,{}'"|>&*!#\[\] -]|\n|\n  - |steps:|run: |when: |\{\{|\}\}|vars:|é|\t){0,60}"#) {
        if let Ok(job) = Job::parse(&text, "fuzz.yaml") {
            let (shared, vars) = (shared(), Map::new());
            let scope = Scope::new("h", &vars, &shared);
            let _ = job.check(&scope);
            let _ = job.plan(&scope, |_| Becoming::default());
        }
    }

    #[test]
    fn no_mangled_file_panics(at in 0usize..1500, with in "[\\x00-\\x7f]{0,3}") {
        let mut text = fs::read_to_string(&inputs("good")[1]).expect("readable");
        let at = at.min(text.len());
        if text.is_char_boundary(at) {
            let end = (at + with.len()).min(text.len());
            text.replace_range(at..end, &with);
            let _ = Job::parse(&text, "fuzz.yaml");
        }
    }
}

/// Parses a job as if it were beside this file, where its template files are.
fn beside(text: &str) -> Result<Job, Vec<SourceError>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/job.yaml");
    Job::parse(text, &file.display().to_string())
}

const CONFIGURE: &str = "
vars:
  db_pw: {secret: {env: DB_PW}}
  workers: '{{ cpus * 2 }}'
steps:
  - name: configure
    template: {src: server.conf.j2, dest: /etc/server.conf, mode: '0640', owner: tomcat}
    register: conf
  - name: restart
    run: systemctl restart server --workers {{ workers }}
    env: {DB_PW: '{{ db_pw }}'}
    when: conf.changed and os.family == 'debian'
  - name: tell
    run: echo {{ inventory_hostname }}
";

#[test]
fn template_files_facts_and_secrets() {
    let job = beside(CONFIGURE).unwrap_or_else(|mistakes| panic!("{}", together(&mistakes)));
    let (shared, vars) = (shared(), Map::new());
    let scope = Scope::new("web1", &vars, &shared);
    assert!(job.check(&scope).is_empty(), "{}", together(&job.check(&scope)));
    // A plan knows neither the facts nor the secret.
    insta::assert_snapshot!(job.plan(&scope, |_| Becoming::default()).expect("a plan"));
    assert!(job.needs_facts(0, &scope) && job.needs_facts(1, &scope) && !job.needs_facts(2, &scope));
    let secrets: Vec<_> = job.secrets().collect();
    assert_eq!(secrets, [("db_pw", &SecretSource::Env("DB_PW".into()))]);

    // The record contains the file, which is not read again.
    let source = serde_json::to_value(job.source()).expect("JSON");
    let JobSource::File { files, .. } = job.source() else {
        unreachable!()
    };
    assert!(files["server.conf.j2"].contains("workers {{ cpus }}"));
    let recorded: JobSource = serde_json::from_value(source).expect("a source");
    let job = Job::from_source(&recorded).unwrap_or_else(|mistakes| panic!("{}", together(&mistakes)));
    let shared = shared.with_secrets(BTreeMap::from([("db_pw".to_owned(), "hunter2".to_owned())]));
    assert!(!format!("{shared:?}").contains("hunter2"));
    let facts = Facts::parse("ID=debian\ncpus=4\n");
    let mut scope = Scope::new("web1", &vars, &shared).with_facts(Some(&facts));
    let RenderedAction::Template { content, to, .. } = job.render(0, &scope).expect("rendered").action else {
        unreachable!()
    };
    assert_eq!(
        (content.as_str(), to.dest.as_str()),
        (
            "# web1\nworkers 4\nserver web1\nserver web2\npassword hunter2\n",
            "/etc/server.conf"
        )
    );
    scope.register(
        "conf",
        Registered {
            changed: true,
            ..Registered::default()
        },
    );
    assert!(job.when(1, &scope).expect("a condition"));
    let rendered = job.render(1, &scope).expect("rendered");
    assert_eq!(rendered.env, [("DB_PW".to_owned(), "hunter2".to_owned())]);
}

/// What a filter makes of a secret is not known before the secret is.
#[test]
fn a_plan_shows_no_secret_and_refuses_nothing_for_one() {
    let job = beside(
        "vars: {pw: {secret: {env: PW}}, part: \"{{ vaulted.split(':')[1] }}\"}\n\
         steps:\n- run: echo {{ part }} {{ copied | from_json }} {{ plain }}\n  \
         env: {A: '{{ pw | int }}', B: '{{ pw }}{{ vaulted }}', C: '{{ api_token }}'}\n",
    )
    .unwrap_or_else(|mistakes| panic!("{}", together(&mistakes)));
    let shared = shared();
    let vars = serde_json::json!({
        "vaulted": "user:hunter2", "copied": "{{ vaulted }}", "plain": "open", "api_token": "hunter3",
    });
    let serde_json::Value::Object(vars) = vars else {
        unreachable!()
    };
    let hidden = ["vaulted".to_owned()];
    let scope = Scope::new("web1", &vars, &shared).hiding(&hidden);
    // `copied` is no JSON.
    assert_eq!(job.check(&scope).len(), 1, "{}", together(&job.check(&scope)));
    insta::assert_snapshot!(job.plan(&scope, |_| Becoming::default()).expect("a plan"));
    let shared = shared.with_secrets(BTreeMap::from([("pw".to_owned(), "7".to_owned())]));
    let mut vars = vars.clone();
    vars.insert("copied".into(), "5".into());
    let rendered = job
        .render(0, &Scope::new("web1", &vars, &shared))
        .expect("rendered");
    assert_eq!(rendered.env[0].1, "7");
}

#[test]
fn secrets_are_kept_out_of_sight_and_templates_are_checked() {
    let text = "
vars:
  db_pw: {secret: {env: DB_PW}}
  url: 'https://x:{{ db_pw }}@db'
  nested: {a: {secret: {env: X}}}
  two: {secret: {env: X, file: y}}
  none: {secret: {}}
steps:
  - run: mysql -p{{ db_pw }}
  - run: curl {{ url }}
  - run: mysql
    env: {PW: '{{ db_pw }}'}
    durable: false
  - template: {src: '{{ x }}.j2', dest: /x}
  - template: {src: nowhere.j2, dest: /x}
  - template: {src: /dev/zero, dest: /x}
  - run: echo {{ os.famly }}
";
    let mistakes = beside(text).expect_err("mistakes");
    let shown = together(&mistakes).replace(env!("CARGO_MANIFEST_DIR"), "");
    insta::assert_snapshot!(shown);
    let job = beside("steps:\n  - run: echo {{ os.famly }}\n").expect("good");
    let (shared, vars) = (shared(), Map::new());
    let mistakes = job.check(&Scope::new("web1", &vars, &shared));
    assert!(
        together(&mistakes).contains("`os` has family, name, version"),
        "{}",
        together(&mistakes)
    );
}

#[test]
fn a_secret_of_the_whole_job_stands_in_the_way_of_waits_alone() {
    let text = "vars: {pw: {secret: {env: PW}}}\nenv: {PW: '{{ pw }}'}\nsteps:\n  - run: x\n  - upload: {src: a, dest: /a}\n  \
                - reboot: {}\n";
    assert!(beside(text).is_ok());
    let mistakes = beside(&format!("{text}  - wait_for: {{port: 80}}\n")).expect_err("a mistake");
    assert!(
        together(&mistakes).contains("not to the whole job"),
        "{}",
        together(&mistakes)
    );
}

#[test]
fn a_terminal_is_for_commands_and_goes_with_its_connection() {
    let parse = |steps: &str| Job::parse(&format!("steps:\n{steps}"), "job.yaml");
    let job = parse("  - {run: top, pty: true}\n  - {run: top, pty: false}\n  - {run: top}\n").expect("good");
    let kinds: Vec<(bool, bool)> = job.steps.iter().map(|step| (step.pty, step.durable)).collect();
    assert_eq!(kinds, [(true, false), (false, true), (false, true)]);
    for (step, wanted) in [
        (
            "  - {run: top, pty: true, durable: true}\n",
            "a step on a terminal can't be durable, because the terminal ends with the connection",
        ),
        (
            "  - {upload: {src: a, dest: b}, pty: true}\n",
            "only commands can run on a terminal, and `upload` has none",
        ),
        (
            "  - {run: top, pty: maybe}\n",
            "expected true or false, found text",
        ),
    ] {
        let mistakes = together(&parse(step).expect_err("a mistake"));
        assert!(mistakes.starts_with(wanted), "{mistakes}");
        assert!(mistakes.contains("--> job.yaml:2:"), "{mistakes}");
    }
    let secret = "  - {run: mysql, pty: true, env: {PW: '{{ pw }}'}}\nvars: {pw: {secret: {env: PW}}}\n";
    let mistakes = together(&parse(secret).expect_err("a mistake"));
    assert!(mistakes.contains("hint: leave out `pty`"), "{mistakes}");
}
