use super::*;
use crate::watchdog::look::{KillReason, OnStuck};

const SECOND: Duration = Duration::from_secs(1);
const NONE: Duration = Duration::ZERO;
const KILL: Terms = Terms {
    on_stuck: OnStuck::Kill,
    idempotent: false,
};

fn limit(seconds: u64, by: SetBy) -> Limit {
    Limit {
        length: Duration::from_secs(seconds),
        by,
    }
}

fn at(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

/// One attempt in a cohort of its own.
struct Scene {
    start: Instant,
    rule: LookRule,
    cohort: Cohort,
    watch: Watch,
}

impl Scene {
    fn new(idle: Option<Limit>, total: Option<Limit>, terms: Terms) -> Self {
        let start = Instant::now();
        let mut cohort = Cohort::default();
        let watch = Watch::start(idle, total, terms, &mut cohort, start, NONE);
        Self {
            start,
            rule: LookRule::default(),
            cohort,
            watch,
        }
    }

    fn output(&mut self, second: u64) -> bool {
        self.watch.progress(at(self.start, second), NONE)
    }

    fn next(&self, second: u64) -> (u64, Deadline) {
        let (next, deadline) = self.watch.next(&self.rule, at(self.start, second), NONE);
        (next.duration_since(self.start).as_secs(), deadline)
    }

    fn look(&mut self, evidence: Evidence, second: u64) -> Decision {
        let now = at(self.start, second);
        self.watch
            .look(&self.rule, evidence, 500, &mut self.cohort, now, NONE)
    }

    /// Checks whenever it is time, with the same evidence, until the decision is not to wait.
    fn until_decided(&mut self, evidence: &Evidence) -> (u64, Decision) {
        let mut second = 0;
        for _ in 0..10_000 {
            let (next, _) = self.next(second);
            assert!(next >= second, "time advances");
            second = next;
            let decision = self.look(evidence.clone(), second);
            if !matches!(decision, Decision::Extend { .. } | Decision::WarnAndWait { .. }) {
                return (second, decision);
            }
        }
        panic!("no decision");
    }
}

#[test]
fn a_hung_host_is_judged_when_its_deadline_passes() {
    let mut scene = Scene::new(Some(limit(120, SetBy::Operator)), None, Terms::default());
    let why = KillReason::Operator {
        still: 3,
        unanswered: 0,
    };
    assert_eq!(
        scene.until_decided(&Evidence::Still),
        (120, Decision::Kill { why })
    );
}

#[test]
fn without_consent_the_hard_cap_decides() {
    for evidence in [Evidence::Still, Evidence::None] {
        for total in [None, Some(limit(600, SetBy::Auto))] {
            let mut scene = Scene::new(Some(limit(120, SetBy::Auto)), total, Terms::default());
            let why = KillReason::HardCap;
            assert_eq!(scene.until_decided(&evidence), (7200, Decision::Kill { why }));
        }
    }
}

#[test]
fn an_attempt_that_makes_progress_is_never_killed() {
    let terms = Terms {
        idempotent: true,
        ..KILL
    };
    let idle = Some(limit(120, SetBy::Operator));
    let mut scene = Scene::new(idle, Some(limit(300, SetBy::Operator)), terms);
    let (mut second, mut looks) = (0, 0);
    while second < 20_000 {
        let (next, _) = scene.next(second);
        assert!(next > second || looks == 0, "no busy loop");
        second = next;
        let decision = scene.look(Evidence::Moves, second);
        assert!(matches!(
            decision,
            Decision::Extend {
                why: Extension::Slow,
                ..
            }
        ));
        looks += 1;
    }
    assert!(looks < 300, "{looks} checks");
}

#[test]
fn output_after_an_extension_needs_no_further_check() {
    let idle = Some(limit(120, SetBy::Operator));
    let mut scene = Scene::new(idle, Some(limit(300, SetBy::Operator)), Terms::default());
    for second in 0..300 {
        assert!(!scene.output(second));
    }
    let extended = Decision::Extend {
        until: SECOND * 600,
        why: Extension::Slow,
    };
    assert_eq!(scene.look(Evidence::Moves, 300), extended);
    assert!(!scene.output(301));
    assert_eq!(scene.next(301), (409, Deadline::Idle), "silence is still watched");
    assert!(!scene.output(500));
    assert_eq!(scene.next(500), (585, Deadline::Total));
}

#[test]
fn a_silence_that_ends_leaves_the_cohort() {
    let mut scene = Scene::new(Some(limit(120, SetBy::Auto)), None, Terms::default());
    scene.look(Evidence::Still, 110);
    assert!(scene.output(115));
    assert!(!scene.output(116));
    let (now, lost) = (at(scene.start, 130), NONE);
    assert_eq!(scene.watch.longest_silence(now, lost), SECOND * 115);
    assert_eq!(scene.watch.end(true, &mut scene.cohort, now, lost), SECOND * 130);
    assert_eq!(scene.cohort.running(), 0);
}

#[test]
fn silent_progress_still_counts_as_silence_for_the_history() {
    let mut scene = Scene::new(Some(limit(120, SetBy::Auto)), None, Terms::default());
    for second in [108, 216, 324] {
        scene.look(Evidence::Moves, second);
    }
    let now = at(scene.start, 330);
    assert_eq!(scene.watch.silence(now, NONE), SECOND * 6);
    assert_eq!(scene.watch.longest_silence(now, NONE), SECOND * 330);
}

#[test]
fn time_lost_by_the_controller_does_not_count() {
    let (start, rule) = (Instant::now(), LookRule::default());
    let mut cohort = Cohort::default();
    let idle = Some(limit(120, SetBy::Operator));
    let mut watch = Watch::start(idle, None, Terms::default(), &mut cohort, start, SECOND);
    let lost = SECOND * 1001;
    assert_eq!(watch.silence(at(start, 1010), lost), SECOND * 10);
    assert_eq!(
        watch.next(&rule, at(start, 1010), lost),
        (at(start, 1108), Deadline::Idle)
    );
    let decision = watch.look(&rule, Evidence::Still, 0, &mut cohort, at(start, 1010), lost);
    assert!(matches!(decision, Decision::Extend { .. }));
    assert!(watch.progress(at(start, 1030), lost));
    assert_eq!(watch.longest_silence(at(start, 1040), lost), SECOND * 30);
}

#[test]
fn many_that_overrun_together_are_extended_while_some_end() {
    let judge = |ending: bool| {
        let mut scene = Scene::new(None, Some(limit(100, SetBy::Auto)), KILL);
        for _ in 0..450 {
            scene.cohort.started();
            scene.cohort.overdue();
        }
        let mut second = 0;
        for _ in 0..1000 {
            second = scene.next(second).0;
            if ending {
                scene.cohort.ended(at(scene.start, second), true, Ending::Late);
                scene.cohort.started();
                scene.cohort.overdue();
            }
            let decision = scene.look(Evidence::Still, second);
            if !matches!(decision, Decision::Extend { .. }) {
                return (second, decision);
            }
        }
        panic!("no decision");
    };
    let why = KillReason::OnStuck;
    assert_eq!(judge(false), (300, Decision::Kill { why }), "two extensions");
    let why = KillReason::HardCap;
    assert_eq!(judge(true), (7200, Decision::Kill { why }), "while some end");
}

#[test]
fn a_watch_is_small() {
    assert!(size_of::<Watch>() <= 208, "{}", size_of::<Watch>());
}

/// Re-attaching to work that has run for long gives it no more time than starting it.
#[test]
fn totals_count_from_the_start_of_re_attached_work() {
    let operator = |seconds| Some(limit(seconds, SetBy::Operator));
    let mut scene = Scene::new(operator(30), operator(100), KILL);
    scene.watch.began_before(SECOND * 80, at(scene.start, 1), NONE);
    assert_eq!(scene.watch.elapsed(at(scene.start, 2), NONE), SECOND * 82);
    assert_eq!(scene.watch.silence(at(scene.start, 2), NONE), SECOND);
    // A tenth before 100 seconds, of which 80 had passed.
    assert_eq!(scene.next(2), (10, Deadline::Total));
    let killed = scene.until_decided(&Evidence::Still);
    assert_eq!(killed.0, 20, "{killed:?}");
}

#[test]
fn one_unanswered_check_ends_an_attempt_with_an_operators_deadline() {
    let mut scene = Scene::new(Some(limit(20, SetBy::Operator)), None, Terms::default());
    let before = scene.look(Evidence::None, 18);
    assert!(
        matches!(before, Decision::Extend { until, .. } if until == SECOND * 20),
        "{before:?}"
    );
    let after = scene.look(Evidence::None, 20);
    assert!(matches!(after, Decision::Kill { .. }), "{after:?}");
}
