//! Conditions of steps, and vars of the command line.

use std::collections::BTreeMap;

use reveille_account::SourceError;
use reveille_job::{Becoming, Extra, Job, Registered, RenderedAction, Scope, Shared};
use serde_json::{Map, Value, json};

fn shared() -> Shared {
    Shared::new("r-1", [("lb".to_owned(), vec!["lb1".to_owned()])], [])
}

fn vars(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn job(text: &str, extra: &[&str]) -> Job {
    let arguments: Vec<String> = extra.iter().map(|argument| (*argument).to_owned()).collect();
    let extra = Extra::read(&arguments).unwrap();
    Job::parse_with(text, "job.yaml", extra.values).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn messages(mistakes: &[SourceError]) -> Vec<String> {
    mistakes
        .iter()
        .map(|mistake| {
            let hint = mistake.hint.as_deref().unwrap_or_default();
            format!("{}; {hint}", mistake.message)
        })
        .collect()
}

#[test]
fn a_condition_must_be_true_or_false() {
    let (shared, vars) = (
        shared(),
        vars(json!({
            "text": "false", "number": 0, "list": [], "map": {}, "nothing": null, "yes": true, "no": false,
            "api_token": "s3cret", "later": "{{ first.stdout }}",
        })),
    );
    let scope = Scope::new("web1", &vars, &shared);
    let text = "`when` must be true or false, and ";
    for (when, wanted) in [
        ("text", "`text` is text; write `text | bool`, or compare it"),
        ("number", "`number` is a number; write `number != 0`"),
        ("list", "`list` is a list; write `list | length > 0`"),
        ("map", "`map` is a mapping; write `map | length > 0`"),
        (
            "no or text",
            "`no or text` is text; write `(no or text) | bool`, or compare it",
        ),
        (
            "first.stdout",
            "`first.stdout` is text; write `first.stdout | bool`, or compare it",
        ),
        (
            "first.exit_status",
            "`first.exit_status` is a number; write `first.exit_status != 0`",
        ),
        ("first", "`first` is a mapping; write `first | length > 0`"),
        (
            "api_token",
            "`api_token` is text; write `api_token | bool`, or compare it",
        ),
    ] {
        let job = job(
            &format!("steps:\n- {{run: x, register: first}}\n- {{run: y, when: {when}}}\n"),
            &[],
        );
        assert_eq!(
            messages(&job.check(&scope)),
            [format!("{text}{wanted}")],
            "{when}"
        );
    }
    for (when, holds) in [
        ("yes", true),
        ("no", false),
        ("nothing", false),
        ("text | bool", false),
        ("text == 'false'", true),
        ("not number", true),
        ("list is defined", true),
        ("first.changed", false),
    ] {
        let job = job(
            &format!("steps:\n- {{run: x, register: first}}\n- {{run: y, when: \"{when}\"}}\n"),
            &[],
        );
        assert!(job.check(&scope).is_empty(), "{when}");
        let mut scope = scope.clone();
        scope.register("first", Registered::default());
        assert_eq!(job.when(1, &scope), Ok(holds), "{when}");
    }
    // What is text only at run time is refused then.
    let job = job(
        "steps:\n- {run: x, register: first}\n- {run: y, when: later}\n",
        &[],
    );
    assert!(job.check(&scope).is_empty());
    let mut scope = scope.clone();
    scope.register("first", Registered::default());
    let refused = job.when(1, &scope).unwrap_err();
    assert!(refused.message.contains("`later` is text"), "{refused}");
}

#[test]
fn a_step_that_a_host_skips_is_not_checked_for_it() {
    let shared = shared();
    let text = "steps:\n- {run: 'echo {{ port }}', when: port is defined, run_on: '{{ lb }}'}\n- {run: 'echo {{ gone }}', when: 'false'}\n";
    let job = job(text, &[]);
    let (with, without) = (vars(json!({"port": 1, "lb": "lb1"})), Map::new());
    let scopes = [
        Scope::new("web1", &without, &shared),
        Scope::new("web2", &with, &shared),
    ];
    assert!(job.check_all(scopes.clone()).is_empty());
    assert_eq!(job.delegates(&scopes[0]).unwrap(), Vec::<String>::new());
    assert_eq!(job.delegates(&scopes[1]).unwrap(), ["lb1"]);
    let plan = job.plan(&scopes[0], |_| Becoming::default()).unwrap();
    assert!(
        plan.contains("when: port is defined (does not hold: skipped)\n  2."),
        "{plan}"
    );
    // The first host skips the step, and another one has the mistake, which does not depend on the host.
    let job = self::job("steps:\n- {run: 'echo {{ gone }}', when: port is defined}\n", &[]);
    assert_eq!(job.check_all(scopes).len(), 1);
}

#[test]
fn a_plan_names_the_user_that_commands_become() {
    let (shared, vars) = (shared(), Map::new());
    let scope = Scope::new("web1", &vars, &shared);
    let text = "steps:\n- {name: a, run: a}\n- {name: b, run: b, become: true}\n- {name: c, run: c, become: false}\n\
                - {name: d, run: d, become_user: app}\n- {name: e, run: e, run_on: lb1}\n";
    let plan = job(text, &[])
        .plan(&scope, |host| Becoming {
            always: (host == "web1").then(|| "deploy".to_owned()),
            on_request: "admin".to_owned(),
        })
        .unwrap();
    let users: Vec<&str> = plan
        .lines()
        .filter_map(|line| line.trim().strip_prefix("as: "))
        .collect();
    assert_eq!(users, ["deploy", "deploy", "app"], "{plan}");
    assert!(!plan.split("5. e").nth(1).unwrap().contains("as:"), "{plan}");
}

#[test]
fn a_mistake_contains_no_secret() {
    let (shared, vars) = (
        shared(),
        vars(json!({"vaulted": "hunter2", "api_token": "hunter2"})),
    );
    let hidden = ["vaulted".to_owned()];
    let scope = Scope::new("web1", &vars, &shared).hiding(&hidden);
    let text = "steps:\n- run: echo {{ vaulted | from_json }} {{ api_token | from_json }} {{ vaulted * [] }}\n\
                - wait_for: {port: '{{ vaulted }}'}\n";
    let mistakes = job(text, &[]).check(&scope);
    assert_eq!(mistakes.len(), 4, "{mistakes:?}");
    assert!(!messages(&mistakes).concat().contains("hunter2"), "{mistakes:?}");
}

#[test]
fn vars_of_the_command_line_are_templates() {
    let shared = shared();
    let vars =
        vars(json!({"app": "shop", "dir": "/srv/{{ app }}", "vault": "{{ api_token }}", "api_token": "t0k"}));
    let scope = Scope::new("web1", &vars, &shared);
    let run = |run: &str, extra: &[&str]| -> Result<String, String> {
        let job = job(
            &format!("vars: {{pw: {{secret: {{env: PW}}}}}}\nsteps:\n- run: {run}\n"),
            extra,
        );
        // Values are rendered once a scope.
        let scope = scope.clone();
        if let Some(mistake) = job.check(&scope).first() {
            return Err(mistake.message.clone());
        }
        match job.render(0, &scope).map(|rendered| rendered.action) {
            Ok(RenderedAction::Run { command, .. }) => Ok(command),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        run("echo {{ x }}", &["x={{ inventory_hostname }}-{{ app }}"]).unwrap(),
        "echo web1-shop"
    );
    // It overrides what templates of the inventory use.
    assert_eq!(
        run("echo {{ dir }}", &["app=x{{ 1 + 1 }}"]).unwrap(),
        "echo /srv/x2"
    );
    assert_eq!(run("echo {{ count + 1 }}", &["{count: 2}"]).unwrap(), "echo 3");
    for (value, wanted) in [
        (
            "x={{ gone }}",
            "the template in `x` can't be rendered: `gone` is undefined",
        ),
        (
            "x={{ x }}",
            "the template in `x` can't be rendered: it refers to itself",
        ),
        (
            "x={{ pw }}",
            "the template in `x` can't be rendered: `pw` is a secret of the job",
        ),
        (
            "x={{ env.HOME }}",
            "the template in `x` can't be rendered: templates outside of the job can't use `env`",
        ),
    ] {
        assert_eq!(run("echo {{ x }}", &[value]).unwrap_err(), wanted);
    }
    // A plan shows no secret of the inventory on this way either.
    let plan = job("steps:\n- run: echo {{ x }}\n", &["x={{ vault }}"])
        .plan(&scope, |_| Becoming::default())
        .unwrap();
    assert!(plan.contains("echo (secret)"), "{plan}");
}

#[test]
fn vars_without_effect_are_found() {
    let shared = shared();
    let vars = vars(json!({"motd": "{{ greeting_of_host }}"}));
    let text = "vars: {full: '{{ greeting }} {{ name }}'}\nsteps:\n- run: echo {{ full }} {{ motd }}\n  when: on | default(true)\n";
    let extra = Extra::read(&[
        "greting=x name=y greeting_of_host=z on=1 ansible_user=u".to_owned(),
        "other={{ inner }} inner=1".to_owned(),
    ])
    .unwrap();
    let job = Job::parse_with(text, "job.yaml", extra.values).unwrap();
    let unused = job.unused(&extra.typed, [Scope::new("web1", &vars, &shared)]);
    let told: BTreeMap<&str, Option<&str>> = unused
        .iter()
        .map(|unused| (unused.name.as_str(), unused.near.as_deref()))
        .collect();
    assert_eq!(
        told,
        BTreeMap::from([
            ("ansible_user", None),
            ("greting", Some("greeting")),
            ("other", None)
        ])
    );
}
