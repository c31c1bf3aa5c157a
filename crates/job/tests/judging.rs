//! Verdicts on finished commands.

use proptest::prelude::*;
use reveille_account::{Class, Stream};
use reveille_job::{Finished, Job, MAX_LINE_BYTES, Step, Verdict};

fn step(options: &str) -> Step {
    let text = format!("steps:\n  - run: x\n    {options}\n");
    Job::parse(&text, "j.yaml")
        .unwrap_or_else(|mistakes| panic!("{}", mistakes[0]))
        .steps
        .remove(0)
}

fn judge(options: &str, exit_status: i32, stdout: &str, stderr: &str) -> (Class, String) {
    let Verdict { class, message, .. } = step(options).judge(&Finished {
        exit_status: Some(exit_status),
        signal: None,
        stdout: stdout.as_bytes(),
        stderr: stderr.as_bytes(),
    });
    (class, message)
}

#[test]
fn success_needs_status_and_output() {
    assert_eq!(judge("name: x", 0, "", "warning").0, Class::Ok);
    assert_eq!(
        judge("name: x", 1, "", ""),
        (Class::CommandFailed, "exit status 1".into())
    );
    assert_eq!(judge("ok_codes: [0, 100]", 100, "", "").0, Class::Ok);
    assert_eq!(judge("ok_codes: 3", 0, "", "").0, Class::CommandFailed);
    assert_eq!(judge("expect: ^ready$", 0, "a\nready\nb", "").0, Class::Ok);
    assert_eq!(
        judge("expect: ^ready$", 0, "not ready\n", "ready\n").0,
        Class::ExpectMissing
    );
}

#[test]
fn a_fatal_line_wins() {
    let fatal = "fatal: [no candidate, '^E:']";
    let (class, message) = judge(fatal, 100, "fine\r\n", "x\nE: \u{1b}[31mbroken\r\n");
    assert_eq!(class, Class::FatalPattern);
    assert_eq!(message, "a fatal pattern matched: E: broken");
    assert_eq!(judge(fatal, 0, "has no candidate", "").0, Class::FatalPattern);
    let verdict = step(fatal).judge(&Finished {
        signal: Some("KILL"),
        ..Finished::default()
    });
    assert_eq!(
        (verdict.class, &*verdict.message),
        (Class::KilledBySignal, "ended by SIGKILL")
    );
}

#[test]
fn patterns_see_lines_without_their_colours_too() {
    let red = |text: &str| format!("\u{1b}[1;31m{text}\u{1b}[0m\n");
    assert_eq!(
        judge("fatal: '^E: .*broken$'", 0, "", &red("E: broken")).0,
        Class::FatalPattern
    );
    assert_eq!(judge("expect: ^ready$", 0, &red("ready"), "").0, Class::Ok);
    assert_eq!(
        judge("fail_on_stderr: ['^E:']", 0, "", &red("E: x")).0,
        Class::StderrRejected
    );
    assert_eq!(
        judge(
            "{fail_on_stderr: any, ignore_stderr: ^WARN}"
                .trim_matches(['{', '}'])
                .replace(", ", "\n    ")
                .as_str(),
            0,
            "",
            &red("WARN x")
        )
        .0,
        Class::Ok
    );
    // A pattern may name the escape sequence itself.
    assert_eq!(
        judge("fatal: '\\x1b\\[1;31mE'", 0, "", &red("E: x")).0,
        Class::FatalPattern
    );
}

#[test]
fn a_fatal_line_is_known_before_the_end() {
    let step = step("fatal: ^E");
    let mut judge = step.judging();
    judge.feed(Stream::Stderr, b"x\nE");
    assert!(!judge.is_fatal());
    judge.feed(Stream::Stderr, b" y\n");
    assert!(judge.is_fatal());
}

#[test]
fn what_might_have_been_said_in_lost_output_is_not_taken_for_good() {
    let judge = |options: &str, status: i32, stdout: &str| {
        let step = step(options);
        let mut judge = step.judging();
        judge.feed(Stream::Stdout, stdout.as_bytes());
        judge.miss();
        judge.finish(Some(status), None).class
    };
    assert_eq!(judge("name: x", 0, ""), Class::Ok);
    assert_eq!(judge("fatal: ^E", 0, "fine\n"), Class::ResultUnknown);
    assert_eq!(judge("fatal: ^E", 0, "E: x\n"), Class::FatalPattern);
    assert_eq!(judge("fatal: ^E", 1, ""), Class::CommandFailed);
    assert_eq!(judge("expect: ready", 0, "ready\n"), Class::Ok);
    assert_eq!(judge("expect: ready", 0, "r"), Class::ResultUnknown);
    assert_eq!(judge("fail_on_stderr: any", 0, ""), Class::ResultUnknown);
}

#[test]
fn standard_error_has_its_rules() {
    let any = "fail_on_stderr: any\n    ignore_stderr: ['^WARNING:', ^debconf]";
    assert_eq!(judge(any, 0, "", "WARNING: a\n\n  \ndebconf: b").0, Class::Ok);
    assert_eq!(judge(any, 0, "", "WARNING: a\nother\n").0, Class::StderrRejected);
    let some = "fail_on_stderr: [rror]\n    ignore_stderr: harmless";
    assert_eq!(judge(some, 0, "", "note\nharmless error\n").0, Class::Ok);
    assert_eq!(judge(some, 0, "Error", "Error").0, Class::StderrRejected);
    assert_eq!(judge(some, 1, "", "Error").0, Class::CommandFailed);
}

#[test]
fn endings_without_status_are_told_apart() {
    let verdict = step("name: x").judge(&Finished::default());
    assert_eq!(verdict.class, Class::EarlyExit);
    let verdict = step("name: x").judge(&Finished {
        exit_status: Some(0),
        ..Finished::default()
    });
    assert!(verdict.empty_output);
}

#[test]
fn endless_lines_are_cut() {
    let step = step("expect: end$\n    fatal: ^xx");
    let mut judge = step.judging();
    for _ in 0..100 {
        judge.feed(Stream::Stdout, &[b'y'; 4096]);
    }
    judge.feed(Stream::Stdout, b"end\n");
    assert_eq!(judge.finish(Some(0), None).class, Class::ExpectMissing);
    let mut judge = step.judging();
    judge.feed(Stream::Stdout, &vec![b'y'; MAX_LINE_BYTES - 3]);
    judge.feed(Stream::Stdout, b"end\n");
    assert_eq!(judge.finish(Some(0), None).class, Class::Ok);
}

proptest! {
    #[test]
    fn chunks_make_no_difference(
        stdout in "[ab\n\r]{0,60}",
        stderr in "[ab\n\r]{0,60}",
        cuts in prop::collection::vec((any::<bool>(), 0usize..9), 0..40),
        status in 0..2,
    ) {
        let step = step("expect: ^ab\n    fatal: [aaaa$]\n    fail_on_stderr: [bb]\n    ignore_stderr: ^a");
        let whole = step.judge(&Finished {
            exit_status: Some(status),
            signal: None,
            stdout: stdout.as_bytes(),
            stderr: stderr.as_bytes(),
        });
        let mut judge = step.judging();
        let (mut out, mut err) = (stdout.as_bytes(), stderr.as_bytes());
        for (first, length) in cuts {
            let (stream, rest) = if first { (Stream::Stdout, &mut out) } else { (Stream::Stderr, &mut err) };
            let (chunk, later) = rest.split_at(length.min(rest.len()));
            judge.feed(stream, chunk);
            *rest = later;
        }
        judge.feed(Stream::Stderr, err);
        judge.feed(Stream::Stdout, out);
        prop_assert_eq!(judge.finish(Some(status), None), whole);
    }
}
