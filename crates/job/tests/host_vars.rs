//! Templates in inventory vars, as jobs see them.

use reveille_job::{Becoming, Job, Registered, RenderedAction, Scope, Shared};
use serde_json::{Map, Value, json};

fn shared() -> Shared {
    Shared::new(
        "r-1",
        [
            ("all".to_owned(), vec!["web1.example.org".to_owned()]),
            (
                "web".to_owned(),
                vec!["web1.example.org".to_owned(), "web2".to_owned()],
            ),
            ("all_web".to_owned(), vec!["web1.example.org".to_owned()]),
        ],
        [("TOKEN".to_owned(), "hunter2".to_owned())],
    )
}

fn vars(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn job(run: &str) -> Job {
    let text = format!(
        "vars: {{release: '1.{{{{ minor }}}}', secret_home: '{{{{ env.TOKEN }}}}', pw: {{secret: {{env: PW}}}}, url: 'x:{{{{ pw }}}}'}}\nsteps:\n  - run: echo first\n    register: first\n  - run: |-\n      {run}\n"
    );
    Job::parse(&text, "job.yaml").unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn inventory() -> Map<String, Value> {
    vars(json!({
        "app": "shop",
        "minor": 7,
        "dir": "/srv/{{ app }}/{{ release }}",
        "urls": ["http://{{ inventory_hostname.split('.')[0] }}/", {"deep": "{{ dir }}/x"}],
        "peers": "{{ groups['web'] }}",
        "mode": "{% if minor > 5 %}new{% else %}old{% endif %}",
        "said": "{{ first.stdout | upper }}",
        "lit": {"__ansible_unsafe": "{{ not this }}"},
        "lits": [{"__ansible_unsafe": "{{ nor this }}"}, "{{ app }}"],
        "turns": "{{ turns }}", "one": "{{ other }}", "other": "{{ one }}",
        "short": "{{ app | regex_replace('^(.)(.*)$', '\\2-\\1') }}",
        "nul": null, "of_nul": "[{{ nul }}]",
        "unset": "a {{ nothing_of_the_kind }}",
        "near": "{{ apps }}",
        "open": "{{ app",
        "filter": "{{ app | ipaddr }}",
        "leak": "{{ env.TOKEN }}",
        "arch_of": "{{ arch }}",
        "db": "db://{{ url }}",
        "unused": "{{ lookup('pipe', 'rm -rf /') }}",
    }))
}

fn rendered(run: &str) -> Result<String, String> {
    let (shared, vars) = (shared(), inventory());
    let mut scope = Scope::new("web1.example.org", &vars, &shared);
    scope.register(
        "first",
        Registered {
            stdout: "hello".into(),
            ..Registered::default()
        },
    );
    let job = job(run);
    match job
        .render(1, &scope)
        .map_err(|mistake| mistake.to_string())?
        .action
    {
        RenderedAction::Run { command, .. } => Ok(command),
        other => panic!("{other:?}"),
    }
}

#[test]
fn they_are_filled_in_where_they_are_used() {
    for (run, comes_to) in [
        ("{{ dir }}", "/srv/shop/1.7"),
        ("{{ urls[0] }} {{ urls[1].deep }}", "http://web1/ /srv/shop/1.7/x"),
        // A list remains a list.
        (
            "{{ peers | join(' ') }} {{ peers | length }}",
            "web1.example.org web2 2",
        ),
        ("{{ mode }}", "new"),
        (
            "{{ inventory_hostname_short }} {{ group_names | join(',') }} {{ 'db' in group_names }}",
            "web1 all_web,web False",
        ),
        ("{{ short }}", "hop-s"),
        ("<{{ nul }}> {{ of_nul }} {{ nul is none }}", "<> [] True"),
        ("{{ said }}", "HELLO"),
        (
            "{{ lit }} {{ lits | join(',') }}",
            "{{ not this }} {{ nor this }},shop",
        ),
        // The job's own templates may use the environment of this process.
        ("{{ secret_home }}", "hunter2"),
    ] {
        assert_eq!(rendered(run).as_deref(), Ok(comes_to), "{run}");
    }
}

#[test]
fn mistakes_name_the_host_and_the_var() {
    let told = ["turns", "one", "unset", "near", "open", "filter", "leak", "db"]
        .map(|name| rendered(&format!("{{{{ {name} }}}}")).unwrap_err());
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn a_plan_leaves_what_is_not_known_yet() {
    let (shared, vars) = (shared(), inventory());
    let scope = Scope::new("web1", &vars, &shared);
    let job = job("{{ said }} {{ dir }} {{ arch_of }}");
    assert!(job.needs_facts(1, &scope));
    assert!(job.check(&scope).is_empty());
    let plan = job.plan(&scope, |_| Becoming::default()).unwrap();
    assert!(plan.contains("{{ said }} /srv/shop/1.7 {{ arch_of }}"), "{plan}");
}

/// Values that a plan can't know are not replaced by text that could break expressions.
#[test]
fn what_comes_later_stands_in_no_expressions_way() {
    let (shared, vars) = (
        shared(),
        vars(json!({
            "workers": "{{ cpus }}", "whole": "{{ first }}", "out": "{{ first.stdout }}",
            "list": ["{{ first.stdout }}", "b"], "mixed": "x-{{ cpus }}",
        })),
    );
    let scope = Scope::new("web1", &vars, &shared);
    for run in [
        "{{ workers + 1 }}",
        "{{ workers | int * 2 }}",
        "{{ whole.stdout }}",
        "{{ out.split(':')[1] }}",
        "{{ list[0] | length }}",
        "{{ mixed.split('-')[1] | int }}",
    ] {
        let job = job(run);
        let mistakes = job.check(&scope);
        assert!(mistakes.is_empty(), "{run}: {mistakes:?}");
        assert!(
            job.plan(&scope, |_| Becoming::default()).unwrap().contains(run),
            "{run}"
        );
    }
}

/// Each var is rendered once, a few kilobytes do not grow to gigabytes, and a var named `env` gives no access.
#[test]
fn they_are_bounded() {
    let shared = shared();
    let mut many = Map::new();
    for level in 0..12 {
        let text = format!("{{{{ v{} }}}}", level + 1).repeat(20);
        many.insert(format!("v{level}"), text.into());
    }
    let said = |many: &Map<String, Value>, run: &str| {
        let scope = Scope::new("web1", many, &shared);
        job(run).render(1, &scope).map_err(|mistake| mistake.to_string())
    };
    many.insert("v12".to_owned(), "".into());
    assert!(said(&many, "x{{ v0 }}").is_ok());
    many.insert("v12".to_owned(), "x".into());
    let refused = said(&many, "x{{ v0 }}").unwrap_err();
    assert!(refused.contains("longer than 1 MiB"), "{refused}");
    for (template, why) in [
        (format!("{{{{ {}1 }}}}", "1+".repeat(30_000)), "longer than 4 KiB"),
        (format!("{{{{ {}1 }}}}", "not ".repeat(30_000)), "longer than"),
        (
            "{{ 'x' | indent(4000000000, true) }}".to_owned(),
            "can't make a text wider",
        ),
    ] {
        let vars = vars(json!({"t": template}));
        let refused = said(&vars, "{{ t }}").unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
    let vars = vars(json!({"env": "x", "leak": "{{ env.TOKEN }}"}));
    let refused = said(&vars, "{{ leak }}").unwrap_err();
    assert!(
        refused.contains("templates outside of the job can't use `env`"),
        "{refused}"
    );
    let vars = self::vars(json!({"db_password": "x{{hunter2 ! foo}}"}));
    let refused = said(&vars, "{{ db_password }}").unwrap_err();
    assert!(!refused.contains("hunter2"), "{refused}");
}
