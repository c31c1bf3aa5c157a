//! Keys of scenarios, with their effects on the service and on the statistics.

use crate::server::{Bench, Server, TURNS, assert_balanced, failures};

#[test]
fn the_bootstrap_runs_once_for_40_users_3_resets_and_2_workers() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
bootstrap:
  steps:
    - get: /token
      capture: {{token: {{json: $.token}}}}
wait: 50ms
tasks:
  - get: /guarded
    headers: {{authorization: 'Bearer {{{{ token }}}}'}}
stages: [{{users: 40, for: 2s}}]
",
        server.url()
    ));
    let (status, summary) = bench.summary(&[
        "--workers",
        "2",
        "--reset-after",
        "400ms",
        "--reset-after",
        "800ms",
        "--reset-after",
        "1200ms",
    ]);
    assert_eq!(status, 0, "{summary:#}");
    assert_eq!(server.count("/token"), 1);
    assert_eq!(
        (&summary["bootstraps"], &summary["resets"]),
        (&1.into(), &3.into())
    );
    assert_eq!(
        (&summary["peak_users"], &summary["requests"]["failed"]),
        (&40.into(), &0.into())
    );
    // The numbers count from the last reset; the server got more requests, and the tester ran longer.
    let whole = &summary["generator"]["seconds"];
    assert!(whole.as_f64() > summary["total_seconds"].as_f64(), "{summary:#}");
    assert!(summary["requests"]["started"].as_u64() < Some(server.count("/guarded")));
    assert_balanced(&summary);
}

#[test]
fn a_token_is_refreshed_once_and_no_request_fails_across_it() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
bootstrap:
  steps:
    - {{get: /token, capture: {{token: {{json: $.token}}, ttl: {{json: $.expires_in}}}}}}
  refresh: {{every: '{{{{ ttl }}}}s', early: 500ms}}
wait: 10ms
tasks:
  - get: /guarded
    headers: {{authorization: 'Bearer {{{{ token }}}}'}}
stages: [{{users: 20, for: 2500ms}}]
",
        server.url()
    ));
    let (status, summary) = bench.summary(&[]);
    assert_eq!(status, 0, "{summary:#}");
    // It is refreshed after 1.5 s, and on a slow machine perhaps again.
    let tokens = server.count("/token");
    assert!(tokens >= 2);
    assert_eq!(
        (&summary["bootstraps"], &summary["requests"]["failed"]),
        (&tokens.into(), &0.into())
    );
}

#[test]
fn a_slow_service_is_reported_as_the_limit_of_the_rate() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\nwait: 100ms\ntasks: [{{get: /slow}}]\nstages: [{{users: 50, for: 2s}}]\n",
        server.url()
    ));
    let (_, summary) = bench.summary(&["--grace", "5s"]);
    assert_balanced(&summary);
    let requests = &summary["requests"];
    let (offered, completed) = (
        requests["offered_rate"].as_f64().expect("a number"),
        requests["completed_rate"].as_f64().expect("a number"),
    );
    // 50 users that wait 100 ms offer 500 requests/s; at most one every 20 ms is answered.
    assert!(offered > completed * 4.0, "{requests}");
    let sentence = summary["sentences"][0].as_str().expect("a sentence");
    assert!(sentence.contains("⇒ at most"), "{sentence}");
    assert!(
        sentence.contains("the service, not the tester, sets the rate"),
        "{sentence}"
    );
}

#[test]
fn a_service_that_answers_at_once_does_not_set_the_rate() {
    let server = Server::start();
    // Timers have a resolution of a millisecond, which is much for such a wait.
    let bench = Bench::new(&format!(
        "base_url: {}\nwait: 1ms\ntasks: [{{get: /}}]\n{TURNS}\nstages: [{{users: 1, for: 5m}}]\n",
        server.url()
    ))
    .turns(200);
    let (_, summary) = bench.summary(&[]);
    let law = |name: &str| summary["law"][name].as_f64().expect("a number");
    let sentence = summary["sentences"][0].as_str().expect("a sentence");
    // On a machine so slow that users wait for answers, too, the sentence may differ.
    let share = law("wait_seconds") / (law("response_seconds") + law("wait_seconds"));
    assert!(
        share < 0.95 || sentence.contains("the scenario sets the rate"),
        "{summary:#}"
    );
}

#[test]
fn late_arrivals_are_counted_and_their_latency_includes_the_delay() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\ntasks: [{{get: /slow}}]\nstages: [{{arrive: 100/s, for: 2s, max_users: 5}}]\n",
        server.url()
    ));
    let (_, summary) = bench.summary(&["--grace", "5s"]);
    assert_balanced(&summary);
    let arrivals = &summary["arrivals"];
    let count = |name: &str| arrivals[name].as_u64().expect(name);
    assert_eq!(count("due"), 200);
    assert_eq!(count("due"), count("started") + count("never"));
    // At most 50 requests/s are answered.
    assert!(count("late") > 0 && count("never") > 50, "{arrivals}");
    let p99 = |start: &str| summary[start]["p99"].as_f64().expect("a number");
    assert!(p99("intended") > p99("actual"), "{summary:#}");
}

#[test]
fn arrivals_that_wait_at_a_reset_are_due_after_it() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\ntasks: [{{get: /slow}}]\nstages: [{{arrive: 200/s, for: 1s, max_users: 1}}]\n",
        server.url()
    ));
    // At most one every 20 ms is answered, so that after half of the time arrivals wait.
    let (_, summary) = bench.summary(&["--reset-after", "500ms", "--grace", "1m"]);
    let count = |name: &str| summary["arrivals"][name].as_u64().expect(name);
    assert_eq!(summary["resets"], 1);
    assert_eq!(count("due"), count("started") + count("never"), "{summary:#}");
    assert_balanced(&summary);
}

#[test]
fn sequences_cookies_redirects_captures_data_and_scripts_work_together() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
data: {{buyer: {{csv: users.csv, on_end: stop}}}}
classes:
  - name: buyer
    sequence:
      - post: /login
        form: {{user: '{{{{ buyer.name }}}}', 'odd name': a b&c}}
        expect: {{status: 200, json: {{'$.items[0].id': 7}}, under: 10s}}
        capture: {{item: {{json: '$.items[0].id'}}, csrf: {{regex: '\"csrf\": \"(\\w+)\"'}}}}
      - name: buy
        post: /echo
        json: {{item: '{{{{ item }}}}', text: 'id {{{{ item }}}}', who: '{{{{ buyer.name }}}}', list: [1, true, null]}}
        expect: {{contains: '{{\"item\":7,\"text\":\"id 7\",\"who\":\"', headers: {{content-type: ^application/json$}}}}
        script: |
          if !body.contains(\"list\") {{ throw \"no list\" }}
          vars.total = vars.item * 2;
      - get: /total/{{{{ total }}}}/{{{{ csrf }}}}
stages: [{{users: 3, for: 5m}}]
",
        server.url()
    ));
    std::fs::write(bench.path("users.csv"), "name\nann\n\"bob, jr\"\n").expect("written");
    let (status, summary) = bench.summary(&[]);
    assert_eq!(status, 0, "{summary:#}");
    assert_eq!(summary["requests"]["failed"], 0, "{summary:#}");
    // Each row is used once; then no row is left.
    assert_eq!(server.count("/total/14/x1"), 2);
    let sentences = summary["sentences"].to_string();
    assert!(
        sentences.contains("3 users stopped because no row of data was left"),
        "{sentences}"
    );
    let names: Vec<&str> = summary["tasks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|task| task["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "buyer / POST /login",
            "buyer / buy",
            "buyer / GET /total/{{ total }}/{{ csrf }}"
        ]
    );
}

#[test]
fn failures_have_their_kinds_and_thresholds_are_missed() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
tasks:
  - {{name: gone, get: /missing}}
  - {{name: wrong, get: /, expect: {{contains: goodbye}}}}
  - {{name: lost, get: /, capture: {{x: {{json: $.x}}}}}}
  - {{name: good, get: /missing, expect: {{status: 404}}}}
wait: 5ms
{TURNS}
stages: [{{users: 8, for: 5m}}]
thresholds: ['errors < 1%', 'p99(good) < 1m']
",
        server.url()
    ))
    .turns(200);
    let (status, summary) = bench.summary(&["--seed", "1", "--junit", "thresholds.xml"]);
    assert_eq!(status, 6, "{summary:#}");
    for kind in ["status", "check", "capture"] {
        assert!(failures(&summary, kind) > 0, "{kind}: {summary:#}");
    }
    let held: Vec<bool> = summary["thresholds"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|threshold| threshold["holds"].as_bool())
        .collect();
    assert_eq!(held, [false, true]);
    let junit = std::fs::read_to_string(bench.path("thresholds.xml")).expect("written");
    assert!(
        junit.contains("failures=\"1\"") && junit.contains("errors &lt; 1%"),
        "{junit}"
    );
}

#[test]
fn weights_and_tags_choose_tasks() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}
classes:
  - {{name: a, weight: 3, wait: 5ms, tasks: [{{get: /a, tags: read}}, {{get: /never, tags: [write]}}]}}
  - {{name: b, wait: 5ms, tasks: [{{get: /b}}]}}
{TURNS}
stages: [{{users: 8, for: 5m}}]
",
        server.url()
    ))
    .turns(64);
    bench.summary(&["--skip-tags", "write"]);
    assert_eq!(server.count("/never"), 0);
    let (a, b) = (server.count("/a"), server.count("/b"));
    assert!(a > b && b > 0, "{a} {b}");
    let before = server.count("/b");
    bench.summary(&["--tags", "write"]);
    assert!(server.count("/never") > 0);
    assert_eq!(server.count("/b"), before);
}

#[test]
fn a_task_of_one_request_pauses_after_it() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\ntasks: [{{get: /, pause: 50ms}}]\n{TURNS}\nstages: [{{users: 1, for: 5m}}]\n",
        server.url()
    ))
    .turns(3);
    let (_, summary) = bench.summary(&[]);
    // The wait has no upper limit, because a busy machine takes longer.
    assert!(
        summary["law"]["wait_seconds"].as_f64() >= Some(0.05),
        "{summary:#}"
    );
}

#[test]
fn users_with_a_pace_keep_it() {
    let server = Server::start();
    let bench = Bench::new(&format!(
        "base_url: {}\nwait: {{throughput: 10/s}}\ntasks: [{{get: /}}]\nstages: [{{users: 4, for: 1s}}]\n",
        server.url()
    ));
    let (_, summary) = bench.summary(&[]);
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let offered = number(&summary["requests"]["offered"]);
    assert!(offered >= 36.0, "{offered}");
    // There are never more than are due, however late the test ends.
    let due = 4.0 * (number(&summary["total_seconds"]) * 10.0 + 2.0);
    assert!(server.count("/") as f64 <= due, "{summary:#}");
}
