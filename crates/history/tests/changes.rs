//! What a step changed stays known until the host succeeds, so that steps which react to it are not skipped.

use reveille_account::{Class, EventKind, HostName, Loss, MachineRef, Outcome, StepRef};
use reveille_history::{End, Held, HostHistory, JobOutline, Next, Outline, RunView, StepOutline, decide};

fn step() -> StepRef {
    StepRef {
        index: 0,
        name: String::new(),
    }
}

fn started(attempt: u32, machine: MachineRef) -> EventKind {
    EventKind::StepStarted {
        step: step(),
        attempt,
        token: None,
        place: None,
        boot: None,
        machine,
        user: None,
        site: None,
        chosen: None,
    }
}

fn finished(attempt: u32, changed: bool) -> EventKind {
    EventKind::StepFinished {
        step: step(),
        attempt,
        class: Class::Ok,
        exit_status: None,
        signal: None,
        duration_ms: 1,
        stdout_bytes: 0,
        stderr_bytes: 0,
        dropped_bytes: 0,
        changed,
        empty_output: false,
        registered: None,
        message: String::new(),
        learned: None,
    }
}

fn lost(attempt: u32, loss: Loss) -> EventKind {
    EventKind::StepLost {
        step: step(),
        attempt,
        loss,
        message: String::new(),
    }
}

fn outcome(class: Class) -> EventKind {
    EventKind::OutcomeReached {
        outcome: Box::new(Outcome::new(class, "")),
    }
}

fn replaced() -> EventKind {
    EventKind::Replaced {
        address: "10.0.0.2".to_owned(),
        port: 22,
    }
}

fn own() -> MachineRef {
    MachineRef::Own(0)
}

fn delegate() -> MachineRef {
    MachineRef::Delegate(HostName::from("lb"))
}

/// Whether the step counts as changed after these events, each with its round.
fn has_changed(events: &[(u32, EventKind)]) -> bool {
    let mut history = HostHistory::new(1);
    for (round, kind) in events {
        history.apply(*round, kind).unwrap();
    }
    history.has_changed(0)
}

#[test]
fn a_change_is_known_in_later_rounds_until_the_host_succeeds() {
    let failed = || (1, outcome(Class::CommandFailed));
    let change = || vec![(1, started(1, own())), (1, finished(1, true)), failed()];
    assert!(has_changed(&change()));
    // A round in which the host could not be reached, and one in which the step found nothing to change.
    let mut events = change();
    events.push((2, outcome(Class::ConnectRefused)));
    events.extend([(3, started(2, own())), (3, finished(2, false))]);
    assert!(has_changed(&events));
    events.push((3, outcome(Class::Ok)));
    events.push((4, EventKind::Dispatched));
    assert!(!has_changed(&events));
    assert!(!has_changed(&[
        (1, started(1, own())),
        (1, finished(1, false)),
        failed()
    ]));
}

#[test]
fn an_attempt_with_an_unknown_end_may_have_changed_something() {
    for (loss, changed) in [
        (Loss::Plain, true),
        (Loss::Gone, true),
        (Loss::Rebooted, true),
        (Loss::Wiped, true),
        (Loss::Buried, false),
    ] {
        assert_eq!(
            has_changed(&[(1, started(1, own())), (1, lost(1, loss))]),
            changed,
            "{loss:?}"
        );
        // The end of an attempt that was left running is learned in the next round.
        let late = [
            (1, started(1, own())),
            (1, outcome(Class::ConnectionLost)),
            (2, lost(1, loss)),
        ];
        assert_eq!(has_changed(&late), changed, "{loss:?}");
    }
}

#[test]
fn a_replacement_of_the_host_has_no_changes_except_on_other_machines() {
    let on = |machine: MachineRef| {
        has_changed(&[(1, started(1, machine)), (1, finished(1, true)), (1, replaced())])
    };
    assert!(!on(own()));
    assert!(on(delegate()));
}

/// A host whose list is shorter than another's has no step for the items beyond it.
#[test]
fn a_step_that_the_host_lacks_is_passed_over() {
    let job = JobOutline::of(vec![StepOutline::default(); 3]);
    let outline = Outline {
        absent: &[1, 2],
        ..Outline::new(&job)
    };
    let (held, view) = (Held::default(), RunView::default());
    let mut history = HostHistory::new(1);
    assert_eq!(decide(&history, &held, &view, &outline), Next::Prepare(0));
    history.apply(1, &started(1, own())).unwrap();
    history.apply(1, &finished(1, true)).unwrap();
    let end = Next::Conclude(End::Success(Class::Ok));
    assert_eq!(decide(&history, &held, &view, &outline), end);
}
