mod model;

use std::fs;
use std::path::Path;

use reveille_account::{Class, EventKind, HostName, MachineRef, Outcome, RunState, StepRef, Token};
use rusqlite::Connection;

use super::*;

fn roll(hosts: usize) -> Vec<RollEntry> {
    (0..hosts)
        .map(|index| RollEntry::new(format!("web{index}")))
        .collect()
}

fn spec() -> RunSpec {
    RunSpec {
        seed: u64::MAX,
        vars: serde_json::json!({"package": "tomcat10"}),
        user: "deploy".to_owned(),
        ..RunSpec::new(RunKind::Run, "steps: []")
    }
}

fn ended(class: Class) -> EventKind {
    EventKind::OutcomeReached {
        outcome: Box::new(Outcome::new(class, "")),
    }
}

fn step(index: u32) -> StepRef {
    StepRef {
        index,
        name: format!("step {index}"),
    }
}

fn finished(index: u32, attempt: u32, registered: Option<&str>) -> EventKind {
    EventKind::StepFinished {
        step: step(index),
        attempt,
        class: Class::Ok,
        exit_status: Some(0),
        signal: None,
        duration_ms: 5,
        stdout_bytes: 0,
        stderr_bytes: 0,
        dropped_bytes: 0,
        changed: true,
        empty_output: true,
        registered: registered.map(str::to_owned),
        message: String::new(),
        learned: None,
    }
}

#[tokio::test]
async fn acknowledged_entries_survive_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let roll = roll(50);
    let run = {
        let ledger = Ledger::open(directory.path()).unwrap();
        let handle = ledger.create_run(&spec(), &roll).unwrap();
        let recorded = roll.iter().map(|entry| {
            let handle = handle.clone();
            let host = entry.host.clone();
            tokio::spawn(async move {
                handle.record_host(&host, EventKind::Dispatched).await.unwrap();
                handle.record_host(&host, ended(Class::Ok)).await.unwrap()
            })
        });
        for number in recorded.collect::<Vec<_>>() {
            number.await.unwrap();
        }
        handle.run()
    };
    let ledger = Ledger::open_existing(directory.path()).unwrap();
    let record = ledger.run(run).unwrap();
    assert_eq!((record.spec.seed, record.state), (u64::MAX, RunState::Open));
    assert_eq!(record.spec.vars["package"], "tomcat10");
    assert_eq!(ledger.roll(run, 1).unwrap(), roll);
    assert_eq!(ledger.account(run).unwrap().success, 50);
    let numbers: Vec<u64> = ledger.events(run, None).map(|event| event.unwrap().seq).collect();
    assert_eq!(numbers, (1..=101).collect::<Vec<_>>());
    assert_eq!(ledger.events(run, Some(&"web7".into())).count(), 2);
    assert_eq!(ledger.outcomes(run).unwrap().len(), 50);
}

/// Aborts the process in the middle of its work, repeatedly; no acknowledged entry may be missing.
#[tokio::test]
async fn an_abort_loses_nothing_acknowledged() {
    const CHILD: &str = "REVEILLE_LEDGER_TEST_CHILD";
    if let Some(state) = std::env::var_os(CHILD) {
        let ledger = Ledger::open(Path::new(&state)).unwrap();
        let roll = roll(2000);
        let handle = ledger.create_run(&spec(), &roll).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for (index, entry) in roll.into_iter().enumerate() {
            let handle = handle.clone();
            tasks.spawn(async move {
                handle
                    .record_host(&entry.host, EventKind::Dispatched)
                    .await
                    .unwrap();
                handle.record_host(&entry.host, ended(Class::Ok)).await.unwrap();
                println!("acknowledged {}", entry.host);
                if index == 1234 {
                    std::process::abort();
                }
            });
        }
        tasks.join_all().await;
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "tests::an_abort_loses_nothing_acknowledged",
            "--nocapture",
        ])
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    assert!(!child.status.success());
    let acknowledged: Vec<HostName> = String::from_utf8(child.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once("acknowledged "))
        .map(|(_, host)| HostName::from(host))
        .collect();
    assert!(acknowledged.contains(&"web1234".into()));
    let ledger = Ledger::open_existing(directory.path()).unwrap();
    let run = ledger.resolve_run("last").unwrap();
    assert_eq!(ledger.holder(run).unwrap(), None);
    let succeeded = ledger.hosts_with(run, Selector::Class(Class::Ok)).unwrap();
    for host in acknowledged {
        assert!(succeeded.contains(&host), "{host} was acknowledged and is lost");
    }
    assert!(ledger.account(run).unwrap().balanced());
    let handle = ledger.take_over(run, "build7").unwrap();
    assert_eq!(handle.epoch(), 2);
    let hosts = ledger.round(run).unwrap();
    let remaining = hosts.iter().filter(|host| host.outcome.is_none()).count();
    assert_eq!(remaining + succeeded.len(), 2000);
}

#[tokio::test]
async fn a_run_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let first = ledger.create_run(&spec(), &roll(1)).unwrap();
    let run = first.run();
    let held = ledger.take_over(run, "build7").unwrap_err();
    assert_eq!(
        held.to_string(),
        format!(
            "{run} is being worked on by localhost:{}, started by deploy; wait for it or stop it",
            std::process::id()
        )
    );
    assert_eq!(ledger.holder(run).unwrap().as_ref(), Some(first.worker()));
    assert!(matches!(ledger.forget(run), Err(Error::Held { .. })));

    // An operator deletes the lock file under the owner; the epoch still protects the run.
    fs::remove_file(ledger.run_directory(run).join("lock")).unwrap();
    let second = ledger.take_over(run, "build7").unwrap();
    let refused = first
        .record_host(&"web0".into(), EventKind::Dispatched)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Fenced { epoch: 1, .. }), "{refused}");
    let refused = first.record_run(EventKind::Cleaned).await.unwrap_err();
    assert!(
        matches!(refused, Error::Fenced { .. } | Error::Stopped { .. }),
        "{refused}"
    );
    second
        .record_host(&"web0".into(), ended(Class::Ok))
        .await
        .unwrap();
    let workers: Vec<_> = ledger
        .events(run, None)
        .map(|event| event.unwrap())
        .map(|event| (event.epoch, event.worker.as_str().starts_with("build7")))
        .collect();
    assert_eq!(workers, [(1, false), (2, true), (2, true)]);
    drop((first, second));
    ledger.forget(run).unwrap();
    assert!(matches!(ledger.run(run), Err(Error::NoSuchRun(_))));
    assert!(!ledger.run_directory(run).exists());
}

#[tokio::test]
async fn a_second_outcome_is_refused_without_affecting_other_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let handle = ledger.create_run(&spec(), &roll(3)).unwrap();
    let (web0, web1) = (HostName::from("web0"), HostName::from("web1"));
    handle.record_host(&web0, ended(Class::Ok)).await.unwrap();
    let (innocent, guilty) = tokio::join!(
        handle.record_host(&web1, ended(Class::Ok)),
        handle.record_host(&web0, ended(Class::CommandFailed)),
    );
    innocent.unwrap();
    assert_eq!(
        guilty.unwrap_err().to_string(),
        "web0 already has an outcome in round 1; the second one was not recorded"
    );
    handle.record_run(EventKind::Cleaned).await.unwrap();
    assert_eq!(ledger.account(handle.run()).unwrap().success, 2);
}

#[tokio::test]
async fn an_intent_keeps_its_token() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let handle = ledger.create_run(&spec(), &roll(2)).unwrap();
    let host = HostName::from("web0");
    let intent = |token: u8| EventKind::StepStarted {
        step: step(0),
        attempt: 1,
        token: Some(Token::new([token; 16])),
        place: Some("/var/tmp/reveille-0".to_owned()),
        boot: None,
        machine: MachineRef::default(),
        user: None,
        site: None,
        chosen: None,
    };
    handle.record_host(&host, intent(1)).await.unwrap();
    handle.record_host(&host, intent(1)).await.unwrap();
    let refused = handle.record_host(&host, intent(2)).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("another token for step 1, attempt 1"),
        "{refused}"
    );
}

#[tokio::test]
async fn replay_returns_the_wanted_events_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let handle = ledger.create_run(&spec(), &roll(3)).unwrap();
    let run = handle.run();
    let host = HostName::from("web1");
    let kinds = [
        EventKind::Dispatched,
        EventKind::StepStarted {
            step: step(2),
            attempt: 1,
            token: Some(Token::new([7; 16])),
            place: Some("/var/tmp/reveille-0".to_owned()),
            boot: None,
            machine: MachineRef::Delegate("balancer".into()),
            user: None,
            site: None,
            chosen: None,
        },
        finished(2, 1, Some("{\"changed\":true}")),
    ];
    let entries = kinds.clone().map(|kind| Entry::host(&host, kind)).to_vec();
    handle.record(entries).await.unwrap();
    handle
        .record_host(&"web2".into(), ended(Class::Ok))
        .await
        .unwrap();
    drop(handle);

    let hosts = ledger.round(run).unwrap();
    let known: Vec<_> = hosts
        .iter()
        .map(|host| (host.entry.host.as_str(), host.dispatched, host.outcome))
        .collect();
    let expected = [
        ("web0", false, None),
        ("web1", true, None),
        ("web2", false, Some(Class::Ok)),
    ];
    assert_eq!(known, expected);
    let mut of_run = 0;
    let mut of_host = Vec::new();
    ledger
        .replay(
            run,
            |host| host == "web1",
            |event| match event.host {
                None => of_run += 1,
                Some(_) => of_host.push(event.kind.unwrap()),
            },
        )
        .unwrap();
    assert_eq!(of_host, kinds);
    assert_eq!(of_run, 1);
    // The machine that reported the directory is the one to clean.
    let places = ledger.places(run).unwrap();
    assert_eq!(places.len(), 1);
    assert_eq!(places[0].host.as_str(), "balancer");
    assert_eq!(places[0].place, "/var/tmp/reveille-0");
}

#[tokio::test]
async fn a_round_supersedes_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let handle = ledger.create_run(&spec(), &roll(3)).unwrap();
    let run = handle.run();
    for (host, class) in [
        ("web0", Class::Ok),
        ("web1", Class::CommandFailed),
        ("web2", Class::Dns),
    ] {
        handle.record_host(&host.into(), ended(class)).await.unwrap();
    }
    handle.set_state(RunState::Closed, None).await.unwrap();
    drop(handle);
    let failed = ledger.hosts_with(run, "failed".parse().unwrap()).unwrap();
    assert_eq!(failed, ["web1".into(), "web2".into()]);

    let handle = ledger.take_over(run, "build7").unwrap();
    assert_eq!(ledger.run(run).unwrap().state, RunState::Closed);
    let roll = failed.iter().rev().cloned().map(RollEntry::new).collect();
    assert_eq!(handle.open_round(roll).await.unwrap(), 2);
    assert_eq!(ledger.run(run).unwrap().state, RunState::Open);
    assert_eq!(
        ledger.account(run).unwrap().to_string(),
        "3 planned = 1 succeeded + 2 pending"
    );
    handle
        .record_host(&"web1".into(), ended(Class::Ok))
        .await
        .unwrap();
    handle
        .record_host(&"web2".into(), EventKind::Dispatched)
        .await
        .unwrap();
    assert_eq!(
        ledger.hosts_with(run, Selector::Running).unwrap(),
        ["web2".into()]
    );
    handle.set_state(RunState::Closed, None).await.unwrap();
    let audit = ledger.audit(run).unwrap();
    assert_eq!(
        audit.account.to_string(),
        "3 planned = 2 succeeded + 1 unaccounted for"
    );
    assert_eq!(audit.ghosts, ["web2".into()]);
    let outcomes: Vec<_> = ledger
        .outcomes(run)
        .unwrap()
        .into_iter()
        .map(|found| (found.host.as_str().to_owned(), found.round, found.outcome.class))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("web0".to_owned(), 1, Class::Ok),
            ("web1".to_owned(), 2, Class::Ok),
            ("web2".to_owned(), 1, Class::Dns)
        ]
    );
}

#[tokio::test]
async fn followers_miss_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let handle = ledger.create_run(&spec(), &roll(1)).unwrap();
    let mut follow = handle.follow(0);
    // More than a subscriber may lag behind.
    let warnings = u64::try_from(writer::PUBLISHED_EVENTS).unwrap() + 2000;
    for part in 0..10 {
        let entries = (0..warnings / 10)
            .map(|index| {
                Entry::run(EventKind::Warning {
                    message: format!("{part}.{index}"),
                })
            })
            .collect();
        handle.record(entries).await.unwrap();
    }
    let last = 1 + warnings / 10 * 10;
    for expected in 1..=last {
        assert_eq!(follow.next().await.unwrap().unwrap().seq, expected);
    }
    let live = tokio::spawn(async move {
        let event = follow.next().await.unwrap().unwrap();
        (event.seq, follow)
    });
    handle.record_run(EventKind::Cleaned).await.unwrap();
    let (seq, mut follow) = live.await.unwrap();
    assert_eq!(seq, last + 1);
    drop(handle);
    assert_eq!(follow.next().await.unwrap(), None);
}

#[tokio::test]
async fn runs_are_found_by_what_users_type() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    assert!(matches!(ledger.resolve_run("last"), Err(Error::NoSuchRun(_))));
    let older = RunSpec {
        started_ms: 1_795_256_102_000,
        ..spec()
    };
    let newer = RunSpec {
        started_ms: 1_795_256_162_000,
        ..spec()
    };
    let older = ledger.create_run(&older, &roll(1)).unwrap().run();
    let newer = ledger.create_run(&newer, &roll(1)).unwrap().run();
    assert_eq!(ledger.resolve_run("last").unwrap(), newer);
    assert_eq!(ledger.resolve_run(&older.to_string()).unwrap(), older);
    assert_eq!(ledger.resolve_run(&older.uuid()).unwrap(), older);
    assert_eq!(ledger.resolve_run("20261121-101502").unwrap(), older);
    assert!(matches!(
        ledger.resolve_run("r-20261121"),
        Err(Error::AmbiguousRun { .. })
    ));
    assert!(matches!(ledger.resolve_run("nonsense"), Err(Error::NoSuchRun(_))));
    assert!(matches!(ledger.resolve_run(""), Err(Error::NoSuchRun(_))));
    let runs: Vec<_> = ledger
        .runs()
        .unwrap()
        .into_iter()
        .map(|record| record.run)
        .collect();
    assert_eq!(runs, [newer, older]);
}

#[test]
fn a_host_is_on_the_roll_only_once() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let twice = [RollEntry::new("web1"), RollEntry::new("web1")];
    let error = ledger.create_run(&spec(), &twice).unwrap_err();
    assert_eq!(error.to_string(), "web1 is on the roll twice");
    assert!(ledger.runs().unwrap().is_empty());
}

#[test]
fn foreign_and_newer_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let opened = || Ledger::open(directory.path()).map(drop);

    fs::write(
        &path,
        "this is a shopping list, and a long one at that\n".repeat(100),
    )
    .unwrap();
    assert!(matches!(opened(), Err(Error::NotALedger { .. })));
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is"));

    fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE lists (item TEXT)").unwrap();
    drop(other);
    let error = opened().unwrap_err();
    assert!(
        error.to_string().contains("it is another program's database"),
        "{error}"
    );

    fs::remove_file(&path).unwrap();
    opened().unwrap();
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let error = opened().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has schema version 99, but this program supports up to 5"),
        "{error}"
    );

    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        Ledger::open_existing(empty.path()),
        Err(Error::NoLedger { .. })
    ));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_full_disk_uses_the_reserve_and_is_then_reported() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let handle = ledger.create_run(&spec(), &roll(3)).unwrap();
    let state = ledger.state();
    let big = || EventKind::Warning {
        message: "x".repeat(200_000),
    };
    // Without spare pages at first, and with 100 after the reserve was released.
    writer::faults::fill(&handle, 0, Some(100));
    handle.record_run(big()).await.unwrap();
    assert_eq!(*state.borrow(), LedgerState::DiskFull);
    assert!(!directory.path().join("reserve").exists());
    let before = ledger.account(handle.run()).unwrap();

    let error = handle.record_run(big()).await.and(handle.record_run(big()).await);
    assert!(matches!(error, Err(Error::DiskFull { .. })), "{error:?}");
    assert_eq!(ledger.account(handle.run()).unwrap(), before);

    // The operator frees space.
    writer::faults::fill(&handle, 1000, None);
    let seq = handle
        .record_host(&"web0".into(), ended(Class::Ok))
        .await
        .unwrap();
    let numbers = ledger
        .events(handle.run(), None)
        .map(|event| event.unwrap().seq)
        .collect::<Vec<_>>();
    assert_eq!(numbers, (1..=seq).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_glance_at_a_ledger_changes_and_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a state %#?");
    assert!(matches!(
        Ledger::look(&path),
        Err(Error::NoLedger { .. } | Error::StateDirectory { .. })
    ));
    assert!(!path.exists());
    let ledger = Ledger::open(&path).unwrap();
    let handle = ledger.create_run(&spec(), &roll(12)).unwrap();
    let run = handle.run();
    let hosts = |ledger: &Ledger| {
        let hosts = ledger.hosts_that_begin(run, "web1", 200).unwrap();
        hosts.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // While a controller writes, and when nobody has it open.
    assert_eq!(hosts(&Ledger::look(&path).unwrap()), ["web1", "web10", "web11"]);
    handle.set_state(RunState::Closed, None).await.unwrap();
    drop((handle, ledger));
    let files = || {
        let entries = fs::read_dir(&path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let look = Ledger::look(&path).unwrap();
    assert_eq!(hosts(&look), ["web1", "web10", "web11"]);
    assert_eq!(look.newest_runs(5).unwrap()[0].state, RunState::Closed);
    assert_eq!(look.newest_runs(0).unwrap(), []);
    drop(look);
    assert_eq!(files(), before);
}

#[test]
fn a_glance_at_a_ledger_of_an_older_program_migrates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    drop(Ledger::open(directory.path()).unwrap());
    let path = directory.path().join("ledger.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 4).unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();
    assert!(matches!(
        Ledger::look(directory.path()),
        Err(Error::NotALedger { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), before);
}
