//! `--once`: each task once, with requests and answers on the screen; secrets are masked.

use std::collections::BTreeMap;

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, PROXY_AUTHORIZATION, SET_COOKIE};

use super::{Problem, print};
use crate::engine::{Exchange, Once};
use crate::report::human_harmless;
use crate::scenario::Scenario;

/// Characters of a body that are shown.
const SHOWN: usize = 400;

pub(crate) async fn once(scenario: &Scenario) -> Result<u8, Problem> {
    let mut once = Once::new(scenario).map_err(Problem::input)?;
    let mut failed = 0;
    let mut hidden: BTreeMap<String, String> = BTreeMap::new();
    if let Some(bootstrap) = &scenario.bootstrap {
        print("bootstrap\n")?;
        for step in &bootstrap.steps {
            let exchange = once.shared(step).await;
            once.hide(&mut hidden, scenario);
            show(&step.name, &exchange, &hidden)?;
            if exchange.failure.is_some() {
                return Err(Problem {
                    code: 3,
                    text: "the bootstrap failed; nothing else was sent".into(),
                });
            }
        }
    }
    for class in &scenario.classes {
        print(&format!("class {}\n", class.name))?;
        once.user(class);
        let tasks = class.tasks.iter().flat_map(|task| &task.steps);
        for step in class.on_start.iter().chain(tasks).chain(&class.on_stop) {
            let exchange = once.step(class, step).await;
            once.hide(&mut hidden, scenario);
            show(&step.name, &exchange, &hidden)?;
            failed += u32::from(exchange.failure.is_some());
        }
    }
    print(&format!("{failed} failed\n"))?;
    Ok(if failed > 0 { 3 } else { 0 })
}

fn show(name: &str, exchange: &Exchange, hidden: &BTreeMap<String, String>) -> Result<(), Problem> {
    let mut text = format!("  {name}\n");
    if let Some(request) = &exchange.request {
        text.push_str(&format!("    > {} {}\n", request.method, request.target));
        headers(&mut text, '>', &request.headers);
        body(&mut text, '>', &request.body);
    }
    if let Some(answer) = &exchange.answer {
        text.push_str(&format!(
            "    < {} in {:.1} ms, {} bytes\n",
            answer.status,
            exchange.latency.as_secs_f64() * 1e3,
            answer.bytes
        ));
        headers(&mut text, '<', &answer.headers);
        body(&mut text, '<', &answer.body);
    }
    match &exchange.failure {
        Some(failure) => text.push_str(&format!("    failed: {} ({})\n", failure.text, failure.kind)),
        None => text.push_str("    good\n"),
    }
    for (name, value) in hidden {
        // Short values would mask half of the screen.
        if value.len() >= 4 {
            text = text.replace(value.as_str(), &format!("<{name}>"));
        }
    }
    let lines: Vec<String> = text.lines().map(human_harmless).collect();
    print(&(lines.join("\n") + "\n")).map(|_| ())
}

fn headers(text: &mut String, sign: char, headers: &HeaderMap) {
    for (name, value) in headers {
        let secret = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name);
        let value = if secret {
            "<masked>".into()
        } else {
            String::from_utf8_lossy(value.as_bytes())
        };
        text.push_str(&format!("    {sign} {name}: {value}\n"));
    }
}

fn body(text: &mut String, sign: char, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let shown = String::from_utf8_lossy(body);
    let cut: String = shown.chars().take(SHOWN).collect();
    let more = if cut.len() < shown.len() { " …" } else { "" };
    for line in cut.lines() {
        text.push_str(&format!("    {sign}   {line}\n"));
    }
    text.push_str(more);
    if !more.is_empty() {
        text.push('\n');
    }
}
