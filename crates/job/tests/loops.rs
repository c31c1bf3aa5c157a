//! Steps with `loop`.

use reveille_account::SourceError;
use reveille_job::{Becoming, Job, MAX_ITEMS, Registered, RenderedAction, Scope, Shared};
use serde_json::{Map, Value, json};

fn vars(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn shared() -> Shared {
    Shared::new("r-1", [], [])
}

fn parse(text: &str) -> Result<Job, Vec<SourceError>> {
    Job::parse(text, "job.yaml")
}

fn told(mistakes: &[SourceError]) -> String {
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    told.join("\n")
}

fn expanded(text: &str, hosts: &[(&str, Map<String, Value>)]) -> Result<Job, String> {
    let shared = shared();
    let mut job = parse(text).map_err(|mistakes| told(&mistakes))?;
    let scopes = hosts.iter().map(|(name, vars)| Scope::new(name, vars, &shared));
    job.expand(&scopes).map_err(|mistakes| told(&mistakes))?;
    let mistakes = job.check_all(scopes);
    if mistakes.is_empty() {
        Ok(job)
    } else {
        Err(told(&mistakes))
    }
}

fn commands(job: &Job, scope: &Scope<'_>) -> Vec<String> {
    let absent = job.absent(scope);
    let steps = (0u32..)
        .take(job.steps.len())
        .filter(|index| !absent.contains(index));
    let run = steps.filter(|index| job.when(*index as usize, scope).unwrap());
    run.map(|index| match job.render(index as usize, scope).unwrap().action {
        RenderedAction::Run { command, .. } => command,
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn each_host_runs_the_step_for_its_own_items() {
    let hosts = [
        (
            "a",
            vars(
                json!({"users": [{"name": "x", "uid": 1}, {"name": "y", "uid": 2}], "path": "/home/{{ item.name }}"}),
            ),
        ),
        ("b", vars(json!({"users": [], "path": "-"}))),
        (
            "c",
            vars(json!({"users": [{"name": "z", "uid": 3}], "path": "/srv/{{ item.name }}"})),
        ),
        ("d", vars(json!({"path": "-"}))),
    ];
    let text = "steps:\n- {run: 'add {{ item.name }} {{ item.uid }} {{ path }}', loop: '{{ users }}', when: users is defined and item.uid != 2}\n\
                - {run: 'install {{ item }}', loop: [nginx, 'php-{{ inventory_hostname }}']}\n";
    let job = expanded(text, &hosts).unwrap();
    let names: Vec<&str> = job.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "add {{ item.name }} {{ item.uid }} {{ path }} #1",
            "add {{ item.name }} {{ item.uid }} {{ path }} #2",
            "install {{ item }} #1",
            "install {{ item }} #2"
        ]
    );
    let shared = shared();
    let of = |index: usize| commands(&job, &Scope::new(hosts[index].0, &hosts[index].1, &shared));
    assert_eq!(of(0), ["add x 1 /home/x", "install nginx", "install php-a"]);
    assert_eq!(of(1), ["install nginx", "install php-b"]);
    assert_eq!(of(2), ["add z 3 /srv/z", "install nginx", "install php-c"]);
    assert_eq!(of(3), ["install nginx", "install php-d"]);
    let plan = |index: usize| {
        let scope = Scope::new(hosts[index].0, &hosts[index].1, &shared);
        job.plan(&scope, |_| Becoming::default()).unwrap()
    };
    insta::assert_snapshot!(format!("{}\n{}\n{}", plan(0), plan(1), plan(3)));
    // The record has the same steps, whatever the hosts have now.
    let again = Job::from_source(job.source()).unwrap();
    assert!(
        again
            .steps
            .iter()
            .map(|step| &step.name)
            .eq(job.steps.iter().map(|step| &step.name))
    );
    assert_eq!(again.source(), job.source());
}

#[test]
fn the_result_of_a_loop_has_those_of_its_items() {
    let text = "vars: {packages: [nginx, {name: php}]}\nsteps:\n- {name: install, run: 'x {{ item }}', loop: '{{ packages }}', register: r}\n\
                - {run: '{% raw %}{{ r.results[1].item.name }} {{ r.results[0].stdout }} {{ r.changed }} {{ r.skipped }}', when: r.changed}\n"
        .replace("{% raw %}", "");
    let job = expanded(&text, &[("a", Map::new())]).unwrap();
    let names: Vec<&str> = job.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names[..2], ["install (nginx)", "install (php)"]);
    let (shared, vars) = (shared(), Map::new());
    let mut scope = Scope::new("a", &vars, &shared);
    let result = |stdout: &str, changed, skipped| Registered {
        stdout: stdout.to_owned(),
        changed,
        skipped,
        ..Registered::default()
    };
    job.register(&mut scope, 0, result("one", false, false));
    job.register(&mut scope, 1, result("", false, true));
    assert_eq!(job.when(2, &scope), Ok(false));
    job.register(&mut scope, 1, result("", true, false));
    assert_eq!(job.when(2, &scope), Ok(true));
    let RenderedAction::Run { command, .. } = job.render(2, &scope).unwrap().action else {
        unreachable!()
    };
    assert_eq!(command, "php one True False");
}

#[test]
fn steps_of_a_loop_are_chosen_together() {
    let text = "steps:\n- {name: a, run: x, loop: [1, 2]}\n- {name: b, run: 'y {{ item }}', loop: [1, 2], tags: t}\n- {name: c, run: z}\n";
    let mut job = parse(text).unwrap();
    let selection = reveille_job::Selection {
        start_at: Some("b".to_owned()),
        ..reveille_job::Selection::default()
    };
    job.select(&selection).unwrap();
    let (shared, vars) = (shared(), Map::new());
    job.expand(&[Scope::new("a", &vars, &shared)]).unwrap();
    let again = Job::from_source(job.source()).unwrap();
    for job in [&job, &again] {
        let left: Vec<&str> = job
            .steps
            .iter()
            .filter(|step| step.left_out.is_none())
            .map(|step| step.name.as_str())
            .collect();
        assert_eq!(left, ["b (1)", "b (2)", "c"]);
    }
}

#[test]
fn items_that_can_not_be_used_are_refused() {
    let many: Vec<String> = (0..=MAX_ITEMS).map(|number| number.to_string()).collect();
    for (items, wanted) in [
        ("users", "write `loop: \"{{ users }}\"`"),
        ("'{{ text }}'", "split a text: `{{ text.split(',') }}`"),
        ("'{{ map }}'", "write `… | dict2items`"),
        ("3", "write a list: `[a, b]`"),
        (
            "'{{ r.stdout.split() }}'",
            "the items of `loop` must be known before anything is dispatched, and `r` is a result",
        ),
        (
            "'{{ range(cpus) }}'",
            "they can come from variables, not from results and facts",
        ),
        ("'{{ gone }}'", "`gone` is undefined (on a)"),
        ("'{{ api_tokens }}'", "the items of `loop` can't be secrets"),
        ("'{{ pw }}'", "`pw` is a secret"),
        (
            &format!("[{}]", many.join(", ")),
            "a loop can have 1000 items at most",
        ),
        ("['{{ oops }}']", "`oops` is undefined"),
    ] {
        let text = format!(
            "vars: {{pw: {{secret: {{env: PW}}}}}}\nsteps:\n- {{run: x, register: r}}\n- {{run: 'y {{{{ item }}}}', loop: {items}}}\n"
        );
        let vars = vars(json!({"text": "a,b", "map": {"a": 1}, "api_tokens": ["x"], "users": [1]}));
        let refused = expanded(&text, &[("a", vars)]).unwrap_err();
        assert!(refused.contains(wanted), "{items}: {refused}");
    }
    let vars = vars(json!({"users": [1]}));
    for (text, wanted) in [
        (
            "steps:\n- {run: x, loop: '{{ users }}', once: true}\n",
            "the items of a `once` step must be the same for all hosts",
        ),
        (
            "steps:\n- {run: x}\non_failed:\n- {run: x, loop: [1]}\n",
            "a step of `on_failed` can't have `loop`",
        ),
        ("steps:\n- {run: 'x {{ item }}'}\n", "`item` is undefined"),
        (
            "steps:\n- {run: x, loop: [1], register: r}\n- {run: '{{ r.stdout }}'}\n",
            "the result of a loop has no `stdout`",
        ),
        (
            "steps:\n- {run: x, loop: [1], register: r}\n- {run: y, when: r.results}\n",
            "`r.results` is a list",
        ),
        ("steps:\n- {run: x, with_items: [1]}\n", "use `loop`"),
    ] {
        let refused = expanded(text, &[("a", vars.clone())]).unwrap_err();
        assert!(refused.contains(wanted), "{refused}");
    }
    let full = format!("[{}]", many[1..].join(", "));
    let eleven = format!("- {{run: x, loop: {full}}}\n").repeat(11);
    let refused = expanded(&format!("steps:\n{eleven}"), &[("a", Map::new())]).unwrap_err();
    assert!(
        refused.contains("the job has 11000 steps; 10000 are possible"),
        "{refused}"
    );
}

#[test]
fn a_mistake_in_a_step_of_a_loop_is_reported_once() {
    let refused = expanded(
        "steps:\n- {run: 'x {{ item.nam }}', loop: [{name: a}, {name: b}]}\n",
        &[("a", Map::new()), ("b", Map::new())],
    )
    .unwrap_err();
    assert_eq!(refused.matches("is undefined").count(), 1, "{refused}");
}
