//! `--once`: runs each task once and prints requests and answers, with secrets masked.

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, PROXY_AUTHORIZATION, SET_COOKIE};
use reveille_text::{counted, duration, harmless};

use super::printer::print;
use super::problem::Problem;
use crate::engine::{Exchange, Once};
use crate::mask::{Mask, Secret, is_telling, named};
use crate::scenario::Scenario;

/// Characters of a body that `--once` prints.
const SHOWN: usize = 400;

pub(crate) async fn once(scenario: &Scenario) -> Result<u8, Problem> {
    let mut once = Once::new(scenario).map_err(Problem::input)?;
    let mut failed: u64 = 0;
    let mut mask = Mask::default();
    mask.add(scenario.known_secrets());
    if let Some(bootstrap) = &scenario.bootstrap {
        print("bootstrap\n")?;
        for step in &bootstrap.steps {
            let exchange = once.shared(step).await;
            mask.add(once.secrets());
            show(&step.name, &exchange, &mut mask)?;
            if exchange.failure.is_some() {
                return Err(Problem {
                    code: 3,
                    text: "the bootstrap failed; no task was run".into(),
                });
            }
        }
    }
    for class in &scenario.classes {
        print(&format!("class {}\n", class.name))?;
        once.user(class);
        let tasks = class.tasks.iter().flat_map(|task| &task.steps);
        for step in class.on_start.iter().chain(tasks).chain(&class.on_stop) {
            mask.add(once.secrets());
            let exchange = once.step(class, step).await;
            mask.add(once.secrets());
            show(&step.name, &exchange, &mut mask)?;
            failed += u64::from(exchange.failure.is_some());
        }
    }
    print(&format!("{} failed\n", counted(failed, "request")))?;
    Ok(if failed > 0 { 3 } else { 0 })
}

fn show(name: &str, exchange: &Exchange, mask: &mut Mask) -> Result<(), Problem> {
    if let Some(request) = &exchange.request {
        mask.add(credentials(&request.headers));
    }
    let mut text = format!("  {}\n", named(name));
    if let Some(request) = &exchange.request {
        let target = mask.all(&request.target.to_string());
        text.push_str(&format!("    > {} {target}\n", request.method));
        headers(&mut text, '>', &request.headers, mask);
        body(&mut text, '>', &request.body, mask);
    }
    if let Some(answer) = &exchange.answer {
        text.push_str(&format!(
            "    < {} in {}, {}\n",
            answer.status,
            duration::shown(exchange.latency),
            counted(answer.bytes, "byte")
        ));
        headers(&mut text, '<', &answer.headers, mask);
        body(&mut text, '<', &answer.body, mask);
    }
    text.push_str(&match &exchange.failure {
        None => "    passed\n".to_owned(),
        Some(failure) => {
            let why = mask.all(&failure.text);
            format!("    failed: {why} ({})\n", failure.kind.name())
        }
    });
    print(&harmless::block(&text)).map(|_| ())
}

/// Credentials in the headers of a request, to be masked where a service echoes them.
fn credentials(headers: &HeaderMap) -> impl Iterator<Item = Secret> {
    headers
        .iter()
        .filter(|(name, _)| is_secret(name))
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            Secret {
                name: name.to_string(),
                // Omits `Basic` or `Bearer`.
                value: value.rsplit(' ').next().unwrap_or_default().to_owned(),
                sure: true,
            }
        })
}

fn is_secret(name: &HeaderName) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, SET_COOKIE].contains(name) || is_telling(name.as_str())
}

fn headers(text: &mut String, sign: char, headers: &HeaderMap, mask: &Mask) {
    for (name, value) in headers {
        let value = if is_secret(name) {
            "<masked>".into()
        } else {
            mask.all(&String::from_utf8_lossy(value.as_bytes()))
        };
        text.push_str(&format!("    {sign} {name}: {value}\n"));
    }
}

fn body(text: &mut String, sign: char, body: &[u8], mask: &Mask) {
    if body.is_empty() {
        return;
    }
    let (shown, more) = mask.first(&String::from_utf8_lossy(body), SHOWN);
    for line in shown.lines() {
        text.push_str(&format!("    {sign}   {line}\n"));
    }
    if more {
        text.push_str("    …\n");
    }
}
