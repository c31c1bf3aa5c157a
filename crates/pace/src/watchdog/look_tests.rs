use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn case(by: SetBy) -> Case {
    Case {
        deadline: Deadline::Idle,
        by,
        limit: SECOND * 120,
        due: SECOND * 120,
        operator_total: None,
        elapsed: SECOND * 120,
        samples: 0,
        terms: Terms::default(),
        together: None,
    }
}

fn holder() -> Holder {
    Holder {
        pid: 812,
        name: "unattended-upgr".to_owned(),
    }
}

/// The rule's decision after these checks, all at the same time.
fn after(case: &Case, evidence: &[Evidence]) -> Decision {
    let (rule, mut looks) = (LookRule::default(), Looks::default());
    let mut last = None;
    for evidence in evidence {
        last = Some(rule.decide(case, evidence.clone(), &mut looks));
    }
    last.unwrap()
}

fn again(after: u32) -> Decision {
    Decision::Extend {
        until: SECOND * after,
        why: Extension::LookAgain,
    }
}

#[test]
fn certain_evidence_needs_one_check() {
    for by in [SetBy::Operator, SetBy::Auto] {
        let case = case(by);
        assert_eq!(after(&case, &[Evidence::ConnectionDead]), Decision::Reconnect);
        assert_eq!(after(&case, &[Evidence::Gone]), Decision::EarlyExit);
        let prompt = "Overwrite? [y/N]".to_owned();
        let asks = Evidence::WaitsForInput {
            prompt: prompt.clone(),
        };
        assert_eq!(after(&case, &[asks]), Decision::Ask { prompt });
        let slow = Decision::Extend {
            until: SECOND * 240,
            why: Extension::Slow,
        };
        assert_eq!(
            after(&case, &[Evidence::Still, Evidence::Still, Evidence::Moves]),
            slow
        );
    }
}

#[test]
fn two_of_three_checks_must_agree() {
    use Evidence::{Moves, None, Still};
    let case = case(SetBy::Operator);
    let kill = |still, unanswered| Decision::Kill {
        why: KillReason::Operator { still, unanswered },
    };
    assert_eq!(after(&case, &[Still]), again(125));
    assert_eq!(after(&case, &[Still, Still]), kill(2, 0));
    assert_eq!(after(&case, &[Still, Moves, Still]), kill(2, 0));
    assert_eq!(after(&case, &[Still, Moves, Moves, Still]), again(125));
    // For an operator's deadline, one check without an answer is enough.
    assert_eq!(after(&case, &[None]), kill(0, 1));
    assert_eq!(after(&case, &[Still, None]), kill(1, 1));
    let ours = self::case(SetBy::Auto);
    assert_eq!(after(&ours, &[None]), again(125));
}

#[test]
fn nothing_is_killed_before_the_deadline() {
    let mut case = case(SetBy::Operator);
    case.elapsed = SECOND * 117;
    assert_eq!(after(&case, &[Evidence::Still, Evidence::Still]), again(120));
    assert_eq!(after(&case, &[Evidence::None]), again(120));
}

#[test]
fn a_check_is_never_longer_than_its_deadline() {
    let rule = LookRule::default();
    let time = |by, limit, elapsed: f64| {
        let (limit, elapsed) = (Duration::from_secs_f64(limit), Duration::from_secs_f64(elapsed));
        rule.time_for_look(by, limit, limit, elapsed).as_millis()
    };
    // A chosen deadline: ten seconds, or the deadline.
    assert_eq!(time(SetBy::Auto, 120.0, 108.0), 10_000);
    assert_eq!(time(SetBy::Auto, 4.0, 3.6), 4000);
    // An operator's deadline: until a tenth of it has passed since, but with time for an answer.
    assert_eq!(time(SetBy::Operator, 30.0, 27.0), 6000);
    assert_eq!(time(SetBy::Operator, 6.0, 5.5), 1500);
    assert_eq!(time(SetBy::Operator, 600.0, 585.0), 10_000);
    assert_eq!(time(SetBy::Operator, 1.0, 0.9), 1000);
}

#[test]
fn a_chosen_deadline_kills_only_with_consent() {
    use Evidence::Still;
    let mut case = case(SetBy::Auto);
    let wait = Decision::WarnAndWait { until: SECOND * 240 };
    assert_eq!(after(&case, &[Still, Still]), wait);
    case.terms.idempotent = true;
    case.samples = 99;
    assert_eq!(after(&case, &[Still, Still]), wait);
    case.samples = 100;
    let kill = |why| Decision::Kill { why };
    assert_eq!(
        after(&case, &[Still, Still]),
        kill(KillReason::Idempotent { samples: 100 })
    );
    assert_eq!(after(&case, &[Evidence::None, Evidence::None]), wait);
    case.terms.on_stuck = OnStuck::Warn;
    assert_eq!(after(&case, &[Still, Still]), wait);
    case.elapsed = SECOND * 7200;
    assert_eq!(after(&case, &[Still, Still]), kill(KillReason::HardCap));
    case.elapsed = SECOND * 7190;
    assert_eq!(
        after(&case, &[Still, Still]),
        Decision::WarnAndWait { until: SECOND * 7200 }
    );
    case.terms = Terms {
        on_stuck: OnStuck::Kill,
        idempotent: false,
    };
    assert_eq!(after(&case, &[Still, Still]), kill(KillReason::OnStuck));
}

#[test]
fn a_lock_is_waited_for_up_to_the_total() {
    let lock = || [Evidence::WaitsForLock(holder())];
    let mut case = case(SetBy::Auto);
    let extended = |seconds| Decision::Extend {
        until: SECOND * seconds,
        why: Extension::Lock(holder()),
    };
    assert_eq!(after(&case, &lock()), extended(240));
    case.operator_total = Some(SECOND * 200);
    assert_eq!(after(&case, &lock()), extended(200));
    case.by = SetBy::Operator;
    case.deadline = Deadline::Total;
    case.elapsed = SECOND * 200;
    assert!(matches!(after(&case, &lock()), Decision::Kill { .. }));
    assert_eq!(
        Extension::Lock(holder()).to_string(),
        "waits for a package lock held by unattended-upgr (pid 812)"
    );
}

#[test]
fn many_together_get_more_time() {
    let mut case = case(SetBy::Auto);
    case.terms.on_stuck = OnStuck::Kill;
    let together = Together {
        overdue: 40,
        of: 500,
        ended_late: 0,
    };
    case.together = Some(together);
    assert_eq!(
        after(&case, &[Evidence::Still, Evidence::Still]),
        Decision::Extend {
            until: SECOND * 240,
            why: Extension::Together(together)
        }
    );
    case.limit = Duration::ZERO;
    assert!(
        matches!(after(&case, &[Evidence::Still, Evidence::Still]), Decision::Extend { until, .. } if until == SECOND * 125)
    );
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        Just(Evidence::ConnectionDead),
        Just(Evidence::Moves),
        Just(Evidence::WaitsForLock(holder())),
        any::<String>().prop_map(|prompt| Evidence::WaitsForInput { prompt }),
        Just(Evidence::Gone),
        Just(Evidence::Still),
        Just(Evidence::Still),
        Just(Evidence::None),
        Just(Evidence::None),
    ]
}

prop_compose! {
    fn cases()(
        operator: bool,
        total: bool,
        times in (0u64..10_000, 0u64..10_000, 0u64..10_000),
        operator_total in proptest::option::of(0u64..10_000),
        samples in 0u64..300,
        stuck in 0u8..3,
        idempotent: bool,
        together in proptest::option::of((5u32..100, 100u32..1000)),
    ) -> Case {
        Case {
            deadline: if total { Deadline::Total } else { Deadline::Idle },
            by: if operator { SetBy::Operator } else { SetBy::Auto },
            limit: SECOND.saturating_mul(u32::try_from(times.0).unwrap()),
            due: Duration::from_secs(times.1),
            elapsed: Duration::from_secs(times.2),
            operator_total: operator_total.map(Duration::from_secs),
            samples,
            terms: Terms {
                on_stuck: [OnStuck::Unsaid, OnStuck::Warn, OnStuck::Kill][usize::from(stuck)],
                idempotent,
            },
            together: together.map(|(overdue, of)| Together { overdue, of, ended_late: 0 }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn kills_are_rare_and_have_reasons(case in cases(), evidence in proptest::collection::vec(evidence(), 1..10)) {
        let (rule, mut looks) = (LookRule::default(), Looks::default());
        let mut seen: Vec<Evidence> = Vec::new();
        for evidence in evidence {
            let decision = rule.decide(&case, evidence.clone(), &mut looks);
            seen.push(evidence.clone());
            let latest = || seen.iter().rev().take(3);
            let still = latest().filter(|evidence| **evidence == Evidence::Still).count();
            let unmoved = latest().filter(|evidence| matches!(evidence, Evidence::Still | Evidence::None)).count();
            let locked = matches!(evidence, Evidence::WaitsForLock(_));
            match decision {
                Decision::Kill { why } => {
                    prop_assert!(matches!(evidence, Evidence::Still | Evidence::None) || locked, "killed after {evidence:?}");
                    prop_assert!(locked || case.elapsed >= case.due);
                    let unanswered = evidence == Evidence::None && case.by == SetBy::Operator;
                    prop_assert!(locked || unanswered || unmoved >= 2);
                    if case.by == SetBy::Auto {
                        let capped = case.elapsed >= rule.hard_cap;
                        prop_assert!(capped || case.together.is_none());
                        let consent = case.terms.on_stuck == OnStuck::Kill
                            || (case.terms.on_stuck == OnStuck::Unsaid && case.terms.idempotent && case.samples >= 100);
                        prop_assert!(capped || (consent && (still >= 2 || locked)), "{why}");
                    }
                }
                Decision::Extend { until, .. } => prop_assert!(until > case.elapsed),
                Decision::WarnAndWait { until } => {
                    prop_assert!(until > case.elapsed && until <= rule.hard_cap);
                    prop_assert_eq!(case.by, SetBy::Auto);
                }
                Decision::Reconnect => prop_assert_eq!(evidence, Evidence::ConnectionDead),
                Decision::Ask { .. } => {
                    prop_assert!(matches!(evidence, Evidence::WaitsForInput { .. }), "asked after {evidence:?}");
                }
                Decision::EarlyExit => prop_assert_eq!(evidence, Evidence::Gone),
            }
        }
    }
}
