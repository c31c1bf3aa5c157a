use super::super::{Headroom, Pressure};
use super::*;

const MIB: u64 = 1 << 20;

fn pressed(some: f64, full: f64) -> Readings {
    Readings {
        memory: Some(Pressure { some, full }),
        ..Readings::default()
    }
}

fn at(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn pressure_slows_and_calm_brings_it_back() {
    let start = Instant::now();
    let mut admission = Admission::new(Thresholds::default(), 512, 512);
    let mut lines = Vec::new();
    let mut open = 512;
    for second in 0..100 {
        let readings = if second < 30 {
            pressed(14.2, 0.0)
        } else {
            pressed(2.0, 0.0)
        };
        let step = admission.observe(&readings, open, at(start, second));
        lines.extend(step.change.map(|change| format!("{second}: {change}")));
        // Sessions end and are replaced as far as the limit allows.
        open = step.sessions;
        match second {
            0 => assert_eq!(step.sessions, 460),
            33 => assert_eq!(step.sessions, 17, "not calm for long enough"),
            _ => {}
        }
    }
    assert_eq!(admission.limit(), 512);
    assert_eq!(
        lines[..3],
        [
            "0: memory pressure 14 %: 512 → 460 sessions",
            "3: memory pressure 14 %: 460 → 334 sessions",
            "6: memory pressure 14 %: 334 → 243 sessions",
        ]
    );
    assert!(lines.last().unwrap().ends_with("→ 512 sessions"), "{lines:?}");
    assert!(lines.len() < 30, "{lines:?}");
}

#[test]
fn a_stall_pauses_new_sessions_but_never_all() {
    let start = Instant::now();
    let mut admission = Admission::new(Thresholds::default(), 512, 512);
    assert_eq!(admission.observe(&pressed(50.0, 6.0), 200, start).sessions, 200);
    assert_eq!(
        admission.observe(&pressed(50.0, 6.0), 90, at(start, 1)).sessions,
        90
    );
    let step = admission.observe(&pressed(50.0, 6.0), 0, at(start, 2));
    assert_eq!(step.sessions, 4);
    let words = "all tasks wait for memory 6 % of the time: 90 → 4 sessions";
    assert_eq!(step.change.unwrap().to_string(), words);
}

#[test]
fn a_run_smaller_than_the_least_is_left_alone() {
    let start = Instant::now();
    let mut admission = Admission::new(Thresholds::default(), 2, 2);
    let step = admission.observe(&pressed(90.0, 90.0), 2, start);
    assert_eq!((step.sessions, step.handshakes, step.change), (2, 2, None));
}

#[test]
fn without_pressure_stall_information_swap_decides() {
    let start = Instant::now();
    let mut admission = Admission::new(Thresholds::default(), 100, 100);
    let swapped = |pages| Readings {
        swapped_in: Some(pages),
        ..Readings::default()
    };
    assert_eq!(admission.observe(&swapped(1_000_000), 100, start).sessions, 100);
    assert_eq!(
        admission.observe(&swapped(1_000_100), 100, at(start, 1)).sessions,
        100
    );
    let step = admission.observe(&swapped(1_005_100), 100, at(start, 2));
    let words = "5000 pages per second swapped in: 100 → 90 sessions";
    assert_eq!(step.change.unwrap().to_string(), words);
}

/// A process in a control group of 150 MiB, of which other processes use 20.
fn confined(resident: u64) -> Readings {
    let left = (130 * MIB).saturating_sub(resident);
    Readings {
        group: Some(Headroom { left, of: 150 * MIB }),
        resident: Some(resident),
        ..Readings::default()
    }
}

#[test]
fn sessions_fit_into_the_group_and_do_not_ratchet_down() {
    let start = Instant::now();
    let mut admission = Admission::new(Thresholds::default(), 2000, 512);
    let step = admission.observe(&confined(15 * MIB), 0, start);
    assert_eq!(step.sessions, 942);
    let words = "120.6 MB of memory left at 102.4 KB a session: 2000 → 942 sessions";
    assert_eq!(step.change.unwrap().to_string(), words);
    // Each costs 200 KiB.
    let step = admission.observe(&confined(55 * MIB), 205, at(start, 1));
    assert_eq!(admission.session_bytes() / 1024, 199);
    assert_eq!(step.sessions, 471);
    // Most of them end and the allocator keeps their memory; the few left must not be charged for it.
    let step = admission.observe(&confined(55 * MIB), 10, at(start, 2));
    assert_eq!(step.sessions, 471);
    let step = admission.observe(&confined(56 * MIB), 20, at(start, 3));
    assert_eq!((admission.session_bytes() / 1024, step.sessions), (204, 460));
}

/// The allocator returns little memory. What it keeps serves the next sessions, and must not block them.
#[test]
fn memory_of_ended_sessions_is_no_pressure() {
    let start = Instant::now();
    let mut admission = Admission::new(Thresholds::default(), 2000, 512);
    admission.observe(&confined(15 * MIB), 0, start);
    let mut step = admission.observe(&confined(126 * MIB), 500, at(start, 1));
    for second in 2..60 {
        step = admission.observe(&confined(126 * MIB), 100, at(start, second));
    }
    assert!(step.sessions > 300, "{}", step.sessions);
}

/// Sessions are opened while they fit, whatever they turn out to cost: memory never fills up.
#[test]
fn memory_does_not_fill_up_bit_by_bit() {
    for each in [60_u64, 150, 400, 1500] {
        let start = Instant::now();
        let mut admission = Admission::new(Thresholds::default(), 2000, 512);
        let (base, mut open) = (15 * MIB, 0);
        let mut step = admission.observe(&confined(base), 0, start);
        for tick in 1..200 {
            open = step.sessions.min(open + 20).max(open);
            let used = base + open as u64 * each * 1024;
            step = admission.observe(&confined(used), open, at(start, tick));
        }
        let used = base + open as u64 * each * 1024;
        assert!(
            used < 120 * MIB,
            "{open} sessions of {each} KiB take {} MiB",
            used / MIB
        );
        let fit = 115 * 1024 / each;
        assert!(open as u64 > fit * 6 / 10, "{open} of {fit} that fit");
    }
}

#[test]
fn cpu_pressure_slows_handshakes_only() {
    let start = Instant::now();
    let mut admission = Admission::new(Thresholds::default(), 512, 512);
    let busy = Readings {
        cpu: Some(Pressure {
            some: 99.0,
            full: 0.0,
        }),
        ..Readings::default()
    };
    let mut step = admission.observe(&busy, 512, start);
    assert_eq!((step.sessions, step.handshakes), (512, 460));
    for second in 1..100 {
        step = admission.observe(&busy, 512, at(start, second));
    }
    assert_eq!((step.sessions, step.handshakes, step.change), (512, 16, None));
}

proptest::proptest! {
    #[test]
    fn it_stays_within_its_bounds(
        wanted in 0usize..3000,
        looks in proptest::collection::vec(
            (0.0f64..100.0, 0.0f64..100.0, 0u64..4_000_000_000, 0usize..5000, 0u64..3000, 0u64..4_000_000_000),
            1..60,
        ),
    ) {
        let mut now = Instant::now();
        let mut admission = Admission::new(Thresholds::default(), wanted, wanted);
        let mut told = wanted.max(1);
        for (some, full, left, open, wait, resident) in looks {
            now += Duration::from_millis(wait);
            let readings = Readings {
                memory: Some(Pressure { some, full }),
                machine: Some(Headroom { left, of: 4_000_000_000 }),
                swapped_in: Some(resident),
                resident: Some(resident),
                ..Readings::default()
            };
            let step = admission.observe(&readings, open, now);
            proptest::prop_assert!(step.sessions >= 4.min(wanted.max(1)) && step.sessions <= wanted.max(1));
            proptest::prop_assert!(step.handshakes >= 16.min(wanted.max(1)) && step.handshakes <= wanted.max(1));
            if let Some(change) = step.change {
                proptest::prop_assert_eq!((change.from, change.to), (told, step.sessions));
                told = step.sessions;
            }
        }
    }
}
