use super::*;
use crate::watchdog::look::{KillReason, OnStuck};

const SECOND: Duration = Duration::from_secs(1);
const NONE: Duration = Duration::ZERO;

fn limit(seconds: u64, by: SetBy) -> Limit {
    Limit {
        length: Duration::from_secs(seconds),
        by,
    }
}

fn at(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

/// Looks when it is time to, and says the same each time, until something else than waiting is decided.
fn until_decided(watch: &mut Watch, evidence: &Evidence, start: Instant) -> (u64, Decision) {
    let rule = LookRule::default();
    let mut now = start;
    for _ in 0..10_000 {
        let (next, _) = watch.next(&rule, now, NONE);
        assert!(next >= now, "time goes on");
        now = next;
        let decision = watch.look(&rule, evidence.clone(), 0, None, now, NONE);
        if !matches!(decision, Decision::Extend { .. } | Decision::WarnAndWait { .. }) {
            return (now.duration_since(start).as_secs(), decision);
        }
    }
    panic!("nothing was ever decided");
}

#[test]
fn a_host_that_hangs_is_judged_when_its_deadline_passes() {
    let start = Instant::now();
    let mut watch = Watch::new(
        Some(limit(120, SetBy::Operator)),
        None,
        Terms::default(),
        start,
        NONE,
    );
    let why = KillReason::Operator {
        still: 3,
        unanswered: 0,
    };
    let killed = (120, Decision::Kill { why });
    assert_eq!(until_decided(&mut watch, &Evidence::Still, start), killed);
}

#[test]
fn without_consent_the_hard_cap_decides() {
    let start = Instant::now();
    for evidence in [Evidence::Still, Evidence::None] {
        for total in [None, Some(limit(600, SetBy::Auto))] {
            let mut watch = Watch::new(
                Some(limit(120, SetBy::Auto)),
                total,
                Terms::default(),
                start,
                NONE,
            );
            let killed = (
                7200,
                Decision::Kill {
                    why: KillReason::HardCap,
                },
            );
            assert_eq!(until_decided(&mut watch, &evidence, start), killed);
        }
    }
}

#[test]
fn what_moves_is_never_killed() {
    let start = Instant::now();
    let rule = LookRule::default();
    let mut watch = Watch::new(
        Some(limit(120, SetBy::Operator)),
        Some(limit(300, SetBy::Operator)),
        Terms {
            on_stuck: OnStuck::Kill,
            idempotent: true,
        },
        start,
        NONE,
    );
    let mut now = start;
    let mut looks = 0;
    while now < at(start, 20_000) {
        let (next, _) = watch.next(&rule, now, NONE);
        assert!(next > now || looks == 0, "no busy loop");
        now = next;
        let decision = watch.look(&rule, Evidence::Moves, 1000, None, now, NONE);
        assert!(matches!(
            decision,
            Decision::Extend {
                why: Extension::Slow,
                ..
            }
        ));
        looks += 1;
    }
    assert!(looks < 300, "{looks} looks");
}

#[test]
fn time_that_the_controller_lost_does_not_count() {
    let start = Instant::now();
    let rule = LookRule::default();
    let mut watch = Watch::new(
        Some(limit(120, SetBy::Operator)),
        None,
        Terms::default(),
        start,
        SECOND,
    );
    let lost = SECOND * 1001;
    assert_eq!(watch.silence(at(start, 1010), lost), SECOND * 10);
    assert_eq!(
        watch.next(&rule, at(start, 1010), lost),
        (at(start, 1108), Deadline::Idle)
    );
    let decision = watch.look(&rule, Evidence::Still, 0, None, at(start, 1010), lost);
    assert!(matches!(decision, Decision::Extend { .. }));
    watch.progress(at(start, 1030), lost);
    assert_eq!(watch.longest_silence(at(start, 1040), lost), SECOND * 30);
}

#[test]
fn many_who_overrun_together_are_waited_for_while_some_end() {
    let start = Instant::now();
    let rule = LookRule::default();
    let terms = Terms {
        on_stuck: OnStuck::Kill,
        idempotent: false,
    };
    let judge = |ending: bool| {
        let mut watch = Watch::new(None, Some(limit(100, SetBy::Auto)), terms, start, NONE);
        let mut now = start;
        for look in 0..1000 {
            now = watch.next(&rule, now, NONE).0;
            assert_eq!(watch.becomes_overdue(&rule), look == 0);
            let together = Together {
                overdue: 450,
                of: 500,
                ended_late: if ending { look + 1 } else { 0 },
            };
            match watch.look(&rule, Evidence::Still, 500, Some(together), now, NONE) {
                Decision::Extend { .. } => {}
                decision => return (now.duration_since(start).as_secs(), decision),
            }
        }
        (0, Decision::EarlyExit)
    };
    let (killed, decision) = judge(false);
    assert_eq!(
        decision,
        Decision::Kill {
            why: KillReason::OnStuck
        }
    );
    assert!((300..330).contains(&killed), "two extensions: {killed}");
    let (killed, _) = judge(true);
    assert!(
        (7200..7210).contains(&killed),
        "while some end, up to the hard cap: {killed}"
    );
}
