//! Scenario files: the plans of good ones, and the messages about mistakes.

use std::path::{Path, PathBuf};
use std::process::Command;

use reveille_load::scenario::{Given, Scenario};

use crate::server::{Bench, Server};

fn inputs(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .expect("the directory exists")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn mistakes_have_a_place_and_a_hint() {
    for path in inputs(&root().join("tests/inputs")) {
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mistakes = Scenario::parse(&text, &name, &Given::default()).expect_err(&name);
        let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(name.trim_end_matches(".yaml"), shown.join("\n\n"));
    }
}

#[test]
fn examples_have_a_plan() {
    for path in inputs(&root().join("examples")) {
        let output = Command::new(env!("CARGO_BIN_EXE_reveille-load"))
            .arg(&path)
            .arg("--plan")
            .env("REGISTRY_URL", "http://127.0.0.1:5000")
            .env("REG_USER", "puller")
            .env("REG_PASS", "not shown")
            .env("SHOP_URL", "http://127.0.0.1:8080")
            .output()
            .expect("started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {errors}", path.display());
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let plan = String::from_utf8_lossy(&output.stdout);
        assert!(!plan.contains("not shown"));
        insta::assert_snapshot!(format!("plan-{name}"), plan);
    }
}

#[test]
fn the_shop_and_the_soak_can_be_run() {
    let server = Server::start();
    for (example, load) in [
        ("shop.yaml", ["--users", "20"]),
        ("soak.yaml", ["--rate", "50/s"]),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_reveille-load"))
            .arg(root().join("examples").join(example))
            .args(load)
            .args(["--duration", "1s", "--quiet", "--threads", "1"])
            .env("SHOP_URL", server.url())
            .output()
            .expect("started");
        let screen = String::from_utf8_lossy(&output.stdout);
        assert!(screen.contains("PASS  errors < "), "{example}: {screen}");
    }
    assert!(server.count("/") > 0 && server.count("/login") > 0);
}

#[test]
fn a_mistake_is_exit_2_and_nothing_is_sent() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\ntasks: [{{get: '/{{{{ env.NOBODY_SETS_THIS }}}}'}}]\nstages: [{{users: 1, for: 1s}}]\n",
        server.url()
    ));
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("the environment variable NOBODY_SETS_THIS is not set\n  --> load.yaml:2:"),
        "{errors}"
    );
    assert_eq!(server.count("/"), 0);
}

#[test]
fn once_shows_requests_and_hides_secrets() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
bootstrap: {{steps: [{{get: /token, capture: {{token: {{json: $.token}}}}}}]}}
tasks:
  - get: /guarded
    headers: {{authorization: 'Bearer {{{{ token }}}}', x-copy: '{{{{ token }}}}'}}
",
        server.url()
    ));
    let output = bench.run(&["--once"]);
    let screen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    assert!(screen.contains("> GET") && screen.contains("< 200"), "{screen}");
    assert!(!screen.contains("secret-1"), "{screen}");
    assert_eq!((server.count("/token"), server.count("/guarded")), (1, 1));
}

#[test]
fn secrets_are_masked_in_every_form_before_text_is_shortened() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
vars: {{filler: {filler}}}
secrets: [buyer.number]
data: {{buyer: {{csv: users.csv}}}}
tasks:
  - post: /echo?x={{{{ env.SHOP_LOGIN }}}}&api_key=kkkk
    headers: {{x-auth-token: abcdef, x-number: '{{{{ buyer.number }}}}'}}
    auth: {{basic: {{user: ann, password: '{{{{ env.SHOP_LOGIN }}}}'}}}}
    body: '{{{{ filler }}}}{{{{ env.SHOP_LOGIN }}}}'
    expect: {{contains: x}}
  - post: /echo
    json: {{words: '{{{{ env.SHOP_LOGIN }}}}', number: '{{{{ buyer.number }}}}', why: '{{{{ buyer.password }}}}'}}
    expect: {{contains: words}}
  - post: /echo
    form: {{words: '{{{{ env.SHOP_LOGIN }}}}', password: clear}}
    expect: {{contains: words}}
",
        server.url(),
        filler = "x".repeat(396)
    ));
    std::fs::write(bench.path("users.csv"), "number,password\n7731,hunter2\n").expect("written");
    for argument in ["--plan", "--once"] {
        let output = bench
            .command(&[argument])
            .env("SHOP_LOGIN", "pässwört&\"1\"")
            .output()
            .expect("started");
        let (screen, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(output.status.code(), Some(0), "{screen}{errors}");
        assert!(screen.contains("<env.SHOP_LOGIN>"), "{screen}");
        // The value, its beginning at the end of the shortened body, percent-encoded, in Base64 with the user, and others.
        for piece in [
            "pä", "xp", "p%C3", "cMOk", "YW5uOn", "kkkk", "abcdef", "7731", "hunter2", "clear",
        ] {
            assert!(!screen.contains(piece), "{argument} shows {piece}: {screen}");
        }
    }
}

#[test]
fn a_secret_with_an_unknown_name_is_a_mistake() {
    let bench = Bench::new(
        "base_url: http://127.0.0.1:1\nsecrets: [tokn]\ntasks: [{get: /, capture: {token: {json: $.token}}}]\n",
    );
    let output = bench.run(&["--plan"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("nothing is named `tokn`") && said.contains("did you mean `token`?"),
        "{said}"
    );
}

#[test]
fn every_output_is_written() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "name: all <outputs>\nbase_url: {}\nwait: 10ms\ntasks: [{{get: /}}]\nstages: [{{users: 2, for: 1200ms}}]\n",
        server.url()
    ));
    let output = bench.run(&[
        "--save", "s.json", "--csv", "s.csv", "--html", "s.html", "--events", "s.ndjson",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let read = |name: &str| std::fs::read_to_string(bench.path(name)).expect(name);
    assert!(read("s.csv").lines().count() == 3);
    let html = read("s.html");
    assert!(html.contains("all &lt;outputs&gt;") && html.contains("<svg") && html.ends_with("</html>\n"));
    assert!(
        !html.contains("http://www") && !html.contains("<script"),
        "it needs nothing from elsewhere"
    );
    for line in read("s.ndjson").lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(event["schema"], 1);
    }
    let again = bench.run(&["--baseline", "s.json"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("compared with"));
}

/// What `arguments` print to standard error. They must be bad input.
fn refused(bench: &Bench, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reveille-load"))
        .current_dir(bench.directory.path())
        .args(arguments)
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    format!("$ reveille-load {}\n{said}", arguments.join(" "))
}

#[test]
fn mistakes_in_a_quick_test_name_no_file() {
    let bench = Bench::new("");
    let mut all = Vec::new();
    for arguments in [
        &["ftp://shop.invalid/"][..],
        &["http://"],
        &["http://127.0.0.1/", "-X", "FETCH"],
        &["http://127.0.0.1/", "-H", "Content-Length: 3"],
        &["http://127.0.0.1/", "-H", "a: 1", "-H", "A: 2"],
        &["http://127.0.0.1/", "-H", "Bearer x"],
        &["http://127.0.0.1/", "--threshold", "p99 << 1ms"],
        &["http://127.0.0.1/", "--resolve", "shop.invalid:127.0.0.1"],
    ] {
        let said = refused(&bench, arguments);
        assert!(!said.contains("-->"), "{said}");
        all.push(said);
    }
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    let bench = Bench::new(
        "base_url: http://127.0.0.1:1
bootstrap: {tags: [auth], steps: [{get: /token, capture: {token: {json: $.token}}}]}
tasks: [{name: only, get: '/{{ token }}'}]
stages: [{users: 1, for: 1s}]
",
    );
    std::fs::write(bench.path("empty.json"), "{}").expect("written");
    let mut all = vec![
        refused(&bench, &["--users", "5"]),
        refused(&bench, &["gone.yaml"]),
    ];
    for arguments in [
        &["-H", "a: b", "-X", "POST"][..],
        &["--http2"],
        &["-k"],
        &["--body", "x", "--wait", "1s"],
        &["--ramp", "5s"],
        &["--users", "5"],
        &["--max-users", "5"],
        &["--plan", "--once"],
        &["--reset-after", "soon"],
        &["--reset-after", "ramp"],
        &["--reset-after", "1m"],
        &["--duration", "90"],
        &["--duration", "90s"],
        &["--threshold", "p99(onyl) < 1s"],
        &["--baseline", "x", "--format", "json"],
        &["--baseline", "gone.json"],
        &["--baseline", "empty.json"],
        &["--save", "x", "--csv", "x"],
        &["-e", "env=x"],
        &["-e", "x"],
        &["--skip-tags", "auth"],
    ] {
        all.push(refused(&bench, &[&["load.yaml"], arguments].concat()));
    }
    insta::assert_snapshot!(all.join("\n"));
    let output = bench.run(&["--exclude-tags", "auth", "-e", "token=x", "--plan"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_screen_of_once_reads_well() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
bootstrap: {{steps: [{{get: /token, capture: {{token: {{json: $.token}}}}}}]}}
tasks:
  - {{get: /guarded, headers: {{authorization: 'Bearer {{{{ token }}}}'}}}}
  - {{name: echo, post: /echo, json: {{id: 7}}, expect: {{contains: goodbye}}}}
  - {{get: /missing}}
",
        server.url()
    ));
    let output = bench.run(&["--once"]);
    assert_eq!(output.status.code(), Some(3));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"127\.0\.0\.1:\d+", "HOST");
    settings.add_filter(r"in [\d.]+ [mµ]?s", "in TIME");
    settings.add_filter(r"date: .*", "date: DATE");
    settings.add_filter(r"reveille-load/[\d.]+", "reveille-load/VERSION");
    settings.bind(|| insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout)));
}

#[test]
fn a_scenario_that_sends_nothing_is_a_mistake() {
    for (scenario, words) in [
        (
            "tasks: [{get: '/{{ user.id }}'}]\nstages: [{users: 1, for: 1s}]\n",
            "this is a path, and the scenario has no `base_url`\n  --> load.yaml:1:15",
        ),
        (
            "base_url: http://127.0.0.1:1\ntasks: [{get: /}]\nstages: [{users: 0, for: 1s}, {arrive: 0/s, for: 1s}]\n",
            "the stages send nothing",
        ),
        (
            "base_url: http://127.0.0.1:1\ntasks: [{get: /}]\nstages: [{users: 5, for: 0s}]\n",
            "the stages send nothing",
        ),
        (
            "base_url: http://127.0.0.1:1\nclasses: [{name: a, weight: 0, tasks: [{get: /}]}]\nstages: [{users: 1, for: 1s}]\n",
            "weights of 0",
        ),
        (
            "base_url: http://127.0.0.1:1\nclasses: [{name: a, tasks: [{get: /}]}, {name: a, tasks: [{get: /b}]}]\n",
            "two classes are named `a`",
        ),
    ] {
        let output = Bench::new(scenario).run(&[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_wait_below_a_millisecond_is_a_wait() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_reveille-load"))
        .args(["http://127.0.0.1:1/", "--wait", "500us", "--plan"])
        .output()
        .expect("started");
    let plan = String::from_utf8_lossy(&output.stdout);
    assert!(plan.contains("a user offers 2000.000 requests/s"), "{plan}");
}

#[test]
fn unreadable_data_is_reported_once() {
    let bench = Bench::new(
        "base_url: http://127.0.0.1:1\ndata: {buyer: {csv: gone.csv}}\ntasks: [{get: '/{{ buyer.name }}'}]\n",
    );
    let output = bench.run(&["--plan"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(said.matches("-->").count(), 1, "{said}");
}

#[test]
fn steps_beyond_the_limit_are_a_mistake() {
    let steps = "  - {get: /}\n".repeat(1001);
    let bench = Bench::new(&format!("base_url: http://127.0.0.1:1\ntasks:\n{steps}"));
    let output = bench.run(&["--plan"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("a class has at most 1000 tasks") && said.contains("load.yaml:1003:"),
        "{said}"
    );
}

#[test]
fn the_bootstrap_has_the_headers_of_all_requests_that_use_no_captures() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
vars: {{who: tester}}
headers: {{x-request: '{{{{ who }}}}-{{{{ uuid }}}}', authorization: 'Bearer {{{{ token }}}}'}}
bootstrap: {{steps: [{{get: /token, capture: {{token: {{json: $.token}}}}}}]}}
tasks: [{{get: /guarded}}]
",
        server.url()
    ));
    let output = bench.run(&["--once"]);
    let screen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{screen}");
    let (bootstrap, class) = screen.split_once("class user").expect("both");
    assert!(
        bootstrap.contains("> x-request: tester-") && !bootstrap.contains("authorization"),
        "{screen}"
    );
    assert!(
        class.contains("> x-request: tester-") && class.contains("authorization"),
        "{screen}"
    );
}

#[test]
fn an_earlier_report_stays_until_a_new_one_is_complete() {
    let bench = Bench::new(
        "base_url: http://127.0.0.1:1\nbootstrap: {steps: [{get: /}]}\ntasks: [{get: /}]\nstages: [{users: 1, for: 1s}]\n",
    );
    std::fs::write(bench.path("saved.json"), "monday").expect("written");
    assert_eq!(bench.run(&["--save", "saved.json"]).status.code(), Some(3));
    assert_eq!(
        std::fs::read_to_string(bench.path("saved.json")).expect("there"),
        "monday"
    );
}
