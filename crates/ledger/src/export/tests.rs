use std::fs;

use reveille_account::{Class, EventKind, Outcome, RunState, StepRef};

use super::*;
use crate::{Entry, Ledger, RollEntry, RunHandle, RunKind, RunSpec};

async fn finished_run(ledger: &Ledger) -> RunHandle {
    let roll: Vec<_> = ["web1", "web2", "web3", "web4"]
        .into_iter()
        .enumerate()
        .map(|(index, host)| RollEntry {
            address: Some(format!("10.0.0.{}", 9 - index)),
            ..RollEntry::new(host)
        })
        .collect();
    let handle = ledger
        .create_run(&RunSpec::new(RunKind::Exec, "uptime"), &roll)
        .unwrap();
    let step = StepRef {
        index: 0,
        name: "=uptime".to_owned(),
    };
    let classes = [Class::Ok, Class::CommandFailed, Class::Stopped];
    let mut entries = vec![Entry::host(&roll[3].host, EventKind::Dispatched)];
    for (entry, class) in roll.iter().zip(classes) {
        if class != Class::Stopped {
            entries.push(Entry::host(&entry.host, EventKind::Dispatched));
        }
        let mut outcome = Outcome::new(class, "");
        if class == Class::CommandFailed {
            "=cmd said \"no\"".clone_into(&mut outcome.message);
            outcome.stderr_tail = "\u{1b}[31m<boom>\u{1b}[0m\n".to_owned();
            outcome.exit_status = Some(3);
            outcome.step = Some(step.clone());
            outcome.duration_ms = 1500;
        }
        let outcome = Box::new(outcome);
        entries.push(Entry::host(&entry.host, EventKind::OutcomeReached { outcome }));
    }
    handle.record(entries).await.unwrap();
    handle.set_state(RunState::Closed, None).await.unwrap();
    handle
}

#[tokio::test]
async fn exports_a_run_and_replaces_its_own_export_only() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&directory.path().join("state")).unwrap();
    let handle = finished_run(&ledger).await;
    let target = directory.path().join("artifacts");
    for _ in 0..2 {
        let export = Export::begin(&target).unwrap();
        let summary = ledger.summary(handle.run(), SummaryOptions::default()).unwrap();
        write_files(&ledger, &summary, export.path()).unwrap();
        export.finish().unwrap();
    }
    let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&read("summary.json")).unwrap();
    assert_eq!(summary["schema"], 1);
    assert_eq!(summary["exit_code"], 4);
    assert_eq!(summary["account"]["total"], 4);
    assert_eq!(summary["account"]["ghost"], 1);
    assert_eq!(summary["account"]["balanced"], true);
    assert_eq!(summary["hosts"][1]["class"], "command_failed");
    assert_eq!(summary["hosts"][1]["duration_s"], 1.5);
    assert_eq!(summary["hosts"][3]["status"], "ghost");
    assert_eq!(summary["timing"]["slowest"][0]["host"], "web2");
    assert_eq!(read("events.ndjson").lines().count(), 8);
    assert!(read("hosts.csv").contains("\"'=cmd said \"\"no\"\"\"\n"));
    assert!(read("hosts.csv").contains(",\"'=uptime\","));
    let junit = read("junit.xml");
    assert!(junit.contains("tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\""));
    assert!(junit.contains("[31m&lt;boom&gt;[0m&#10;</failure>"));
    assert_eq!(
        read("benchmark_ips_artifact.log"),
        "10.0.0.6\n10.0.0.8\n10.0.0.9\n"
    );
    assert_eq!(read("successful_ips_artifact.log"), "10.0.0.9\n");
    assert_eq!(read("failed_ips_artifact.log"), "10.0.0.8\n");
    assert_eq!(read("missing_ips_artifact.log"), "10.0.0.6\n");
    assert_eq!(read("not_dispatched_ips_artifact.log"), "10.0.0.7\n");
    assert_eq!(read("total_registry_ips_artifact.log").lines().count(), 4);
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        2,
        "nothing is left beside the target"
    );

    fs::remove_file(target.join(MARKER)).unwrap();
    assert!(matches!(Export::begin(&target), Err(Error::ForeignTarget { .. })));
    assert!(target.join("junit.xml").exists());
}

#[test]
fn an_aborted_export_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a").join("b");
    let export = Export::begin(&target).unwrap();
    fs::write(export.path().join("file"), "x").unwrap();
    drop(export);
    assert_eq!(fs::read_dir(directory.path().join("a")).unwrap().count(), 0);
}
