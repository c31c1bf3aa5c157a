//! The screens of a run in progress, from its events, as people see them.

use reveille_account::{
    Account, Class, Event, EventKind, HostName, MachineRef, Outcome, Phase, PhaseTimings, RunId, StepRef,
    Token, WorkerId,
};
use reveille_view::{Clock, Detail, Head, Notes, RunView, Size, block, lines};

/// 2026-11-21 10:15:02 UTC, in milliseconds.
const BEGIN: u64 = 1_795_256_102_000;
const STEPS: [&str; 5] = [
    "refresh package lists",
    "install",
    "settings",
    "restart",
    "it answers",
];

/// A run that is told event by event.
struct Told {
    view: RunView,
    notes: Notes,
    lines: Vec<reveille_view::Note>,
    seq: u64,
    now: u64,
}

impl Told {
    fn new(planned: u64, detail: Detail) -> Self {
        let head = Head {
            run: RunId::new(BEGIN, [0x4f; 10]),
            name: "deploy-app".to_owned(),
            durable: true,
            steps: STEPS.map(str::to_owned).to_vec(),
            planned,
            before: Account::default(),
        };
        let mut told = Self {
            view: RunView::new(head),
            notes: Notes::new(detail),
            lines: Vec::new(),
            seq: 0,
            now: BEGIN,
        };
        told.run(0, EventKind::RunOpened { planned });
        told
    }

    /// An event of the run, some seconds after its beginning.
    fn run(&mut self, seconds: u64, kind: EventKind) {
        self.event(seconds, None, kind);
    }

    fn host(&mut self, seconds: u64, host: &str, kind: EventKind) {
        self.event(seconds, Some(HostName::from(host)), kind);
    }

    fn event(&mut self, seconds: u64, host: Option<HostName>, kind: EventKind) {
        let before = self.now;
        self.now = self.now.max(BEGIN + seconds * 1000);
        self.seq += 1;
        let event = Event {
            seq: self.seq,
            run: self.view.head.run,
            round: 1,
            host,
            worker: WorkerId::from("w"),
            epoch: 1,
            wall_ms: BEGIN + seconds * 1000,
            mono_ms: seconds * 1000,
            kind,
        };
        self.view.take(&event);
        let notes = self.notes.take(&event, &self.view);
        self.lines.extend(notes);
        if self.now > before {
            let due = self.notes.due(self.now, false);
            self.lines.extend(due);
        }
    }

    fn dispatch(&mut self, seconds: u64, host: &str) {
        self.host(seconds, host, EventKind::Dispatched);
        let connecting = EventKind::Connecting {
            tries: 1,
            address: format!("{host}.example.org:22"),
            machine: MachineRef::Own(0),
        };
        self.host(seconds, host, connecting);
    }

    fn start(&mut self, seconds: u64, host: &str, index: u32) {
        let started = EventKind::StepStarted {
            step: step(index),
            attempt: 1,
            token: None,
            place: None,
            boot: None,
            machine: MachineRef::Own(0),
            user: None,
            site: None,
            chosen: None,
        };
        self.host(seconds, host, started);
    }

    fn finish(&mut self, seconds: u64, host: &str, index: u32, class: Class, duration_ms: u64) {
        let finished = EventKind::StepFinished {
            step: step(index),
            attempt: 1,
            class,
            exit_status: Some(if class == Class::Ok { 0 } else { 100 }),
            signal: None,
            duration_ms,
            stdout_bytes: 0,
            stderr_bytes: 0,
            dropped_bytes: 0,
            changed: class == Class::Ok,
            empty_output: false,
            registered: None,
            message: String::new(),
            learned: None,
        };
        self.host(seconds, host, finished);
    }

    fn end(&mut self, seconds: u64, host: &str, outcome: Outcome) {
        let outcome = Box::new(Outcome {
            duration_ms: seconds * 500,
            ..outcome
        });
        self.host(seconds, host, EventKind::OutcomeReached { outcome });
    }

    /// Lines that stay, and the block below them.
    fn screen(&self, columns: usize, rows: usize, colour: bool) -> String {
        let clock = Clock::utc();
        let size = Size { columns, rows };
        let above = self
            .lines
            .iter()
            .flat_map(|note| lines::on_terminal(note, columns, &clock));
        let block = block(&self.view, self.now, size, &clock, false);
        let all: Vec<_> = above.chain(block).collect();
        for line in &all {
            assert!(
                line.width() < columns,
                "{} cells: {}",
                line.width(),
                line.text(false)
            );
        }
        let texts: Vec<String> = all
            .iter()
            .map(|line| line.text(colour).trim_end().to_owned())
            .collect();
        texts.join("\n")
    }
}

fn step(index: u32) -> StepRef {
    StepRef {
        index,
        name: STEPS[index as usize].to_owned(),
    }
}

fn failed(status: i32, message: &str, stderr: &str) -> Outcome {
    Outcome {
        step: Some(step(1)),
        exit_status: Some(status),
        stderr_tail: stderr.to_owned(),
        ..Outcome::new(Class::CommandFailed, message)
    }
}

/// The run of the mock-ups, with fewer hosts.
fn deploy() -> Told {
    let mut told = Told::new(120, Detail::Usual);
    let batch = |batch, hosts| EventKind::BatchOpened { batch, of: 4, hosts };
    told.run(0, batch(1, 5));
    for host in 1..=40 {
        let host = format!("web-{host:03}");
        told.dispatch(0, &host);
        told.host(
            1,
            &host,
            EventKind::Connected {
                tries: 1,
                phases: PhaseTimings::default(),
            },
        );
        told.start(1, &host, 0);
        told.finish(4, &host, 0, Class::Ok, 3000);
        told.start(4, &host, 1);
        told.finish(28, &host, 1, Class::Ok, 24_000);
        told.end(30, &host, Outcome::new(Class::Ok, ""));
    }
    told.run(30, batch(2, 115));
    for host in 3..=9 {
        let host = format!("db-{host:03}");
        told.dispatch(31, &host);
        told.start(32, &host, 1);
        told.finish(35, &host, 1, Class::CommandFailed, 3000);
        told.end(
            35,
            &host,
            failed(
                100,
                "exit status 100",
                "E: Package 'tomcat10' has no installation candidate\n",
            ),
        );
    }
    told.dispatch(36, "db-041");
    told.end(
        36,
        "db-041",
        failed(
            3,
            "exit status 3",
            "E: Package 'tomcat10' has no installation candidate\n",
        ),
    );
    for host in 200..=240 {
        let host = format!("web-{host}");
        told.dispatch(40, &host);
        told.start(41, &host, 1);
    }
    for host in 300..=310 {
        let host = format!("web-{host}");
        told.dispatch(50, &host);
        told.start(51, &host, 3);
    }
    let pressure = EventKind::SessionsLimited {
        sessions: 173,
        queued: 12,
        reason: Some("memory pressure 10 %: 192 → 173 sessions".to_owned()),
    };
    told.run(60, pressure);
    let lost = EventKind::ConnectionLost {
        step: step(1),
        message: "connection reset by peer".to_owned(),
    };
    told.host(63, "web-205", lost.clone());
    told.host(64, "web-206", lost);
    let back = EventKind::Reattached {
        step: step(1),
        token: Token::new([7; 16]),
        found: "running".to_owned(),
    };
    told.host(70, "web-206", back);
    told.dispatch(75, "web-164");
    let failed = EventKind::ConnectFailed {
        tries: 1,
        machine: MachineRef::Own(0),
        phase: Phase::Banner,
        class: Class::HandshakeStalled,
        message: "no SSH banner within 15 s".to_owned(),
        throttled: false,
        retry_in_ms: Some(4000),
        away: false,
    };
    told.host(90, "web-164", failed);
    let looked = EventKind::Looked {
        step: step(1),
        deadline: "silence".to_owned(),
        evidence: "silent for 1 m 00 s; waits for the package lock held by apt-get (pid 8812)".to_owned(),
        decision: "deadline extended".to_owned(),
        stuck: false,
    };
    told.host(101, "web-218", looked);
    told
}

#[test]
fn a_run_in_progress() {
    let told = deploy();
    for columns in [50, 60, 80, 120, 200] {
        insta::assert_snapshot!(format!("in_progress_{columns}"), told.screen(columns, 30, false));
    }
    insta::assert_snapshot!("in_progress_low", told.screen(80, 8, false));
}

#[test]
fn colour_says_nothing_that_words_do_not() {
    let told = deploy();
    let escape = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
    let coloured = told.screen(80, 30, true);
    assert!(coloured.contains('\u{1b}'));
    let plain = told.screen(80, 30, false);
    let without: Vec<String> = coloured
        .lines()
        .map(|line| escape.replace_all(line, "").trim_end().to_owned())
        .collect();
    assert_eq!(without.join("\n"), plain);
}

#[test]
fn the_same_in_a_log() {
    let told = deploy();
    let clock = Clock::utc();
    let mut text: Vec<String> = told
        .lines
        .iter()
        .map(|note| lines::in_log(note, &clock).text(false))
        .collect();
    text.push(lines::progress(&told.view, told.now, &clock).text(false));
    insta::assert_snapshot!("log", text.join("\n"));
}

#[test]
fn who_runs_what() {
    let told = deploy();
    let answer = lines::who_runs_what(&told.view, told.now, 80, &Clock::utc());
    let answer: Vec<String> = answer.iter().map(|line| line.text(false)).collect();
    insta::assert_snapshot!("who_runs_what", answer.join("\n"));
}

#[test]
fn a_stop_counts_down() {
    let mut told = deploy();
    told.lines.clear();
    told.run(110, EventKind::Stopping { grace_ms: 10_000 });
    told.now += 2500;
    insta::assert_snapshot!("stopping", told.screen(80, 30, false));
}

#[test]
fn the_counts_are_the_hosts() {
    let told = deploy();
    let view = &told.view;
    let sum = view.ended.ended() + view.running() + view.recovering() + view.waiting();
    assert_eq!(sum, 120);
    assert_eq!(view.steps[1].running, 41, "{:?}", view.steps[1]);
    assert_eq!(
        (view.steps[1].ran(), view.steps[1].changed, view.steps[1].failed),
        (47, 40, 8)
    );
    assert_eq!(view.changed, 40);
}

#[test]
fn a_step_that_was_lost_or_never_started_has_failed() {
    let mut told = Told::new(3, Detail::Usual);
    let of_step = |class| Outcome {
        step: Some(step(1)),
        ..Outcome::new(class, "")
    };
    for host in ["lost", "unstarted", "left"] {
        told.dispatch(1, host);
    }
    told.start(2, "lost", 1);
    let lost = EventKind::StepLost {
        step: step(1),
        attempt: 1,
        loss: reveille_account::Loss::Gone,
        message: "its process is gone".to_owned(),
    };
    told.host(3, "lost", lost);
    told.end(4, "lost", of_step(Class::EarlyExit));
    told.end(4, "unstarted", of_step(Class::BecomeFailed));
    let install = &told.view.steps[1];
    assert_eq!((install.ran(), install.failed), (1, 2));
    assert_eq!(told.view.before_step(1), 1);
}

#[test]
fn a_flood_of_failures_is_ten_lines_a_second() {
    let mut told = Told::new(5000, Detail::Usual);
    for host in 0..5000 {
        let host = format!("h{host}");
        told.dispatch(1, &host);
        let word: String = host.bytes().map(|byte| char::from(byte % 26 + b'a')).collect();
        told.end(1, &host, failed(1, "", &format!("cause {word}\n")));
    }
    assert!(told.lines.len() <= 10, "{} lines", told.lines.len());
    let due = told.notes.due(told.now + 1000, false);
    assert!(due.len() <= 10, "{} lines", due.len());
    let all = told.notes.due(told.now + 2000, true);
    let named = all.iter().filter(|note| note.host.is_some()).count();
    assert!(
        named > 0 && told.lines.len() + due.len() + all.len() <= 1100,
        "{}",
        all.len()
    );
}
