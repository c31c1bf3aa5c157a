//! Makes the engine's plan from a scenario and the ledger, as `reveille run` and `reveille resume` do from an
//! inventory. The only place that knows both forms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reveille_account::{EventKind, HostName};
use reveille_fleet::{Before, HostPlan, Recalled, RollHost, RunPlan, Settings, World as Machine};
use reveille_history::HostState;
use reveille_job::{Job, Shared};
use reveille_ledger::{RollEntry, RunHandle};
use reveille_transport::{Authentication, Become, Secret, Target};
use reveille_way::{Destination, Detour};
use serde_json::Map;

use crate::life::Life;
use crate::scenario::{HostSpec, Scenario};
use crate::world::World;

/// The right password.
pub(crate) const PASSWORD: &str = "right";

/// Makes the plan that a controller gives to the engine.
pub(crate) fn plan(
    job: &Arc<Job>,
    handle: &RunHandle,
    life: &Life,
) -> Result<RunPlan, reveille_ledger::Error> {
    let world = &life.world;
    let scenario = &world.scenario;
    let ledger = handle.ledger();
    let fresh = life.number == 1;
    let recalled = if fresh {
        let roll = scenario.hosts.iter().map(|spec| RollHost {
            name: HostName::from(spec.name.as_str()),
            state: HostState::Waiting,
            ready: true,
            place: None,
        });
        Recalled {
            remaining: scenario
                .hosts
                .iter()
                .map(|spec| (RollEntry::new(spec.name.as_str()), Before::default()))
                .collect(),
            roll: roll.collect(),
            ..Recalled::default()
        }
    } else {
        reveille_fleet::recall(ledger, handle.run(), job)?
    };
    let hosts: Vec<HostPlan> = recalled
        .remaining
        .into_iter()
        .filter_map(|(entry, before)| {
            let spec = scenario
                .hosts
                .iter()
                .find(|spec| spec.name == entry.host.as_str())?;
            Some(host_plan(spec, Some(before), life))
        })
        .collect();
    let delegates = scenario.delegates.iter().map(|name| {
        let spec = HostSpec {
            name: name.clone(),
            ..HostSpec::default()
        };
        (HostName::from(name.as_str()), host_plan(&spec, None, life).to)
    });
    Ok(RunPlan {
        job: Arc::clone(job),
        hosts,
        roll: recalled.roll,
        halted: recalled.halted,
        once: recalled.once,
        resumed: is_resumed(handle)?,
        delegates: delegates.collect::<HashMap<_, _>>(),
        shared: Shared::new(&handle.run().to_string(), [], []),
        vars: Arc::new(|_| Map::new()),
        hidden: HashMap::new(),
        settings: settings(scenario, world),
    })
}

/// Whether another controller began the current round.
fn is_resumed(handle: &RunHandle) -> Result<bool, reveille_ledger::Error> {
    let mut resumed = false;
    handle.ledger().replay(
        handle.run(),
        |_| false,
        |event| match event.kind {
            Ok(EventKind::RunOpened { .. }) => resumed = false,
            Ok(EventKind::RunResumed { .. }) => resumed = true,
            _ => {}
        },
    )?;
    Ok(resumed)
}

/// The roll of a scenario's first round.
pub(crate) fn roll(scenario: &Scenario) -> Vec<RollEntry> {
    scenario
        .hosts
        .iter()
        .map(|spec| RollEntry::new(spec.name.as_str()))
        .collect()
}

fn host_plan(spec: &HostSpec, before: Option<Before>, life: &Life) -> HostPlan {
    let password = spec
        .password
        .then(|| Secret::new(if life.wrong_password() { "wrong" } else { PASSWORD }));
    let authentication = Authentication {
        password,
        ..Authentication::default()
    };
    let name = HostName::from(spec.name.as_str());
    let target = Target::new(
        name.clone(),
        spec.name.as_str(),
        22,
        "user",
        Arc::new(authentication),
    );
    let to = Destination {
        name,
        target: Arc::new(target),
        escalate: None,
        becomes: Become::sudo("root"),
        routes: spec
            .routes
            .iter()
            .map(|address| Detour {
                address: address.clone(),
                port: 22,
                jump: None,
            })
            .collect(),
        label: None,
        not_ready: spec.not_ready,
    };
    HostPlan {
        to,
        before: before.map(Box::new),
    }
}

fn settings(scenario: &Scenario, world: &Arc<World>) -> Settings {
    let pacing = &scenario.pacing;
    let portion = |text: &String| text.parse().ok();
    let tokens = Arc::clone(world);
    let replaced = Arc::clone(world);
    let told = Arc::clone(world);
    Settings {
        sessions: pacing.sessions,
        serial: pacing.serial.iter().filter_map(portion).collect(),
        max_fail: pacing.max_fail.as_ref().and_then(portion),
        canary: pacing.canary,
        hard_cap: Duration::from_mins(30),
        seed: scenario.seed,
        world: Machine {
            tokens: Arc::new(move || tokens.token()),
            watched: false,
            threads: false,
            hear: None,
            on_record: Some(Arc::new(move |host, history| told.on_record(host, history))),
            replace: Arc::new(move |replacement| {
                let world = Arc::clone(&replaced);
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    Ok(world.replace(replacement.host.as_str()).into_bytes())
                })
            }),
        },
        ..Settings::default()
    }
}
