//! Runs in a terminal: what a person sees, and what the keys do.

use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Reveille, binary};

/// A terminal in memory in which a command runs.
pub(crate) struct Terminal {
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    /// Everything that was written.
    written: Arc<Mutex<Vec<u8>>>,
    /// Told when more has been written.
    more: Arc<Condvar>,
}

impl Terminal {
    /// Runs `reveille` with these words, which a shell reads.
    fn start(reveille: &Reveille, columns: u16, rows: u16, words: &str) -> Self {
        Self::start_in(reveille, columns, rows, words, "C.UTF-8")
    }

    fn start_in(reveille: &Reveille, columns: u16, rows: u16, words: &str, locale: &str) -> Self {
        let program = format!("exec {} {words}", binary().display());
        Self::start_program(reveille, columns, rows, &program, locale)
    }

    /// Runs a line of the shell.
    pub(crate) fn start_program(
        reveille: &Reveille,
        columns: u16,
        rows: u16,
        program: &str,
        locale: &str,
    ) -> Self {
        let line = format!("stty cols {columns} rows {rows}; export LC_ALL={locale}; {program}");
        let mut child = reveille
            .through("script")
            .args(["-q", "-f", "-e", "-c", &line, "/dev/null"])
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 1000)));
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let mut output = child.stdout.take().unwrap();
        let (of_thread, all) = (Arc::clone(&screen), Arc::clone(&written));
        let more = Arc::<Condvar>::default();
        let told = Arc::clone(&more);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                of_thread.lock().unwrap().process(&bytes[..count]);
                all.lock().unwrap().extend_from_slice(&bytes[..count]);
                told.notify_all();
            }
        });
        Self {
            child,
            screen,
            written,
            more,
        }
    }

    /// Waits until the screen shows something.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        let mut screen = self.screen.lock().unwrap();
        loop {
            let text = screen.screen().contents();
            if is_there(&text) {
                return text;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "no {what} in:\n{text}");
            (screen, _) = self.more.wait_timeout(screen, Duration::from_secs(1)).unwrap();
        }
    }

    /// Types keys.
    pub(crate) fn press(&mut self, keys: &[u8]) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(keys).unwrap();
        input.flush().unwrap();
    }

    /// The exit status, and the whole screen with what has scrolled out of it.
    pub(crate) fn end(mut self) -> (i32, String, Vec<u8>) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let written = std::mem::take(&mut *self.written.lock().unwrap());
        // A tall terminal shows all of it.
        let columns = self.screen.lock().unwrap().screen().size().1;
        let mut tall = vt100::Parser::new(400, columns, 0);
        tall.process(&written);
        (code, tall.screen().contents(), written)
    }
}

/// A job whose steps wait for files of these names.
fn waiting_job(reveille: &Reveille) -> String {
    let gate = |name: &str| {
        format!(
            "while [ ! -e {0}/{name} ]; do sleep 0.02; done",
            reveille.path().display()
        )
    };
    reveille.file(
        "job.yaml",
        format!(
            "name: deploy-app\nserial: [2, 50%]\nsteps:\n  - {{name: refresh the lists of packages, run: 'echo one'}}\n  \
             - {{name: install, run: '{}; echo two'}}\n  - {{name: check, run: '{{% raw %}}test $(hostname) != nobody{{% endraw %}}; \
             case {{{{ inventory_hostname }}}} in web03) echo broken >&2; exit 100;; esac'}}\n",
            gate("first")
        ),
    )
}

const HOSTS: &str = "-w 'web[01-06]' --transport local";

#[test]
fn a_block_shows_the_run_and_wraps_no_line() {
    for columns in [60, 80, 120] {
        let reveille = Reveille::new();
        let job = waiting_job(&reveille);
        let terminal = Terminal::start(&reveille, columns, 24, &format!("run {job} {HOSTS}"));
        let text = terminal.until("block", |text| {
            text.contains("deploy-app  ") && text.contains("running 2")
        });
        assert!(text.contains("batch 1/") && text.contains(" 0 %"), "{text}");
        {
            let parser = terminal.screen.lock().unwrap();
            let screen = parser.screen();
            for row in 0..24 {
                assert!(
                    !screen.row_wrapped(row),
                    "row {row} at {columns}:\n{}",
                    screen.contents()
                );
            }
            assert!(!screen.hide_cursor() && !screen.alternate_screen());
        }
        reveille.file("first", "");
        let (code, text, _) = terminal.end();
        assert_eq!(code, 3, "{text}");
        assert!(!text.contains('░'), "the block is gone:\n{text}");
        for words in [
            "batch 2 of 3",
            "FAIL  web03  check: exit status 100: broken",
            "1 of 6 failed",
            "1 host: command_failed in check, exit status 100",
            "6 planned = 5 succeeded + 1 failed; all accounted for",
            "changed     6 hosts",
        ] {
            let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(joined.contains(&words), "{words} at {columns}:\n{text}");
        }
        // Commands to copy are one line each.
        let lines = text
            .lines()
            .filter(|line| !line.contains("reveille r") && !line.contains("web[01-06]"));
        let longest = lines.map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(longest < usize::from(columns), "{longest} of {columns}:\n{text}");
    }
}

#[test]
fn enter_asks_who_runs_what() {
    let reveille = Reveille::new();
    let job = waiting_job(&reveille);
    let mut terminal = Terminal::start(&reveille, 80, 24, &format!("run {job} {HOSTS} --serial 6"));
    terminal.until("block", |text| text.contains("install 6"));
    terminal.press(b"\n");
    let text = terminal.until("answer", |text| text.contains("oldest"));
    assert!(text.contains("6 hosts are running, 0 wait:"), "{text}");
    assert!(text.contains("install  web[01-06]"), "{text}");
    // The block is still there, once.
    let text = terminal.until("block", |text| text.contains("install 6"));
    assert_eq!(text.matches("recovering 0").count(), 1, "{text}");
    reveille.file("first", "");
    assert_eq!(terminal.end().0, 3);
}

#[test]
fn the_message_of_ctrl_c_stays() {
    let reveille = Reveille::new();
    let job = waiting_job(&reveille);
    let mut terminal = Terminal::start(
        &reveille,
        80,
        24,
        &format!("run {job} {HOSTS} --grace 1h --serial 6"),
    );
    terminal.until("block", |text| text.contains("install 6"));
    terminal.press(b"\x03");
    let text = terminal.until("stop", |text| {
        text.contains("stopping, ") && text.contains("STOP")
    });
    assert!(
        text.contains("No new hosts start; 6 running hosts have 1 h to finish."),
        "{text}"
    );
    terminal.press(b"\x03");
    let (code, text, _) = terminal.end();
    assert_eq!(code, 5, "{text}");
    assert!(
        text.contains("STOP  No new hosts start") && text.contains("Detached."),
        "{text}"
    );
    assert!(
        text.contains("6 hosts; commands continue, and resume collects their results"),
        "{text}"
    );
    assert!(text.contains("next        reveille resume"), "{text}");
    reveille.file("first", "");
    reveille.run(&["resume"]).expect(3);
}

#[test]
fn output_is_shown_as_it_comes_above_the_block() {
    let reveille = Reveille::new();
    let job = waiting_job(&reveille);
    let terminal = Terminal::start(
        &reveille,
        80,
        40,
        &format!("run {job} {HOSTS} --serial 6 --stream"),
    );
    let text = terminal.until("output", |text| text.matches("> install").count() == 6);
    assert!(
        text.contains("web01 | one") && text.contains("web01 = refresh the lists of packages: ok"),
        "{text}"
    );
    assert!(!text.contains("| two"), "{text}");
    reveille.file("first", "");
    let (code, text, written) = terminal.end();
    assert_eq!(code, 3);
    assert!(
        text.contains("web03 ! broken") && text.contains("web03 = check: command_failed, exit status 100"),
        "{text}"
    );
    assert!(
        String::from_utf8_lossy(&written).contains("\u{1b}["),
        "names have colours"
    );
}

#[test]
fn no_colour_is_used_if_it_is_not_wanted() {
    let reveille = Reveille::new();
    let colour = regex::bytes::Regex::new("\u{1b}\\[[0-9]+m").unwrap();
    let exec = "exec -w a,b --transport local";
    for (option, expected) in [
        ("--color never", false),
        ("--color always", true),
        ("--color auto", true),
    ] {
        let words = format!("{exec} {option} --progress off -- 'echo hi; exit 3'");
        let (code, text, written) = Terminal::start(&reveille, 80, 24, &words).end();
        assert_eq!(code, 3);
        assert_eq!(colour.is_match(&written), expected, "{option}: {text}");
        assert!(text.contains("2 hosts: command_failed, exit status 3"), "{text}");
    }
    // Without a terminal.
    for (environment, options, expected) in [
        (&[][..], &[][..], false),
        (&[("CLICOLOR_FORCE", "1")][..], &[][..], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")][..], &[][..], false),
        (&[("NO_COLOR", "1")][..], &["--color", "always"][..], true),
        (&[("CLICOLOR_FORCE", "1")][..], &["--no-color"][..], false),
    ] {
        let mut arguments = vec!["exec", "-w", "a,b", "--transport", "local"];
        arguments.extend(options);
        arguments.extend(["--", "exit 3"]);
        let mut command = reveille.command(&arguments);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert_eq!(
            colour.is_match(&output.stderr),
            expected,
            "{environment:?} {options:?}"
        );
    }
}

#[test]
fn a_locale_without_unicode_gets_ascii() {
    let reveille = Reveille::new();
    let job = waiting_job(&reveille);
    let words = format!("run {job} {HOSTS} --serial 6");
    let terminal = Terminal::start_in(&reveille, 80, 24, &words, "C");
    let text = terminal.until("block", |text| text.contains("install 6"));
    assert!(text.is_ascii(), "{text}");
    assert!(text.contains("......"), "{text}");
    reveille.file("first", "");
    assert_eq!(terminal.end().0, 3);
}

#[test]
fn top_watches_a_run_and_restores_the_terminal() {
    let reveille = Reveille::new();
    let job = waiting_job(&reveille);
    let mut run = reveille
        .command(&[
            "run",
            &job,
            "-w",
            "web[01-06]",
            "--transport",
            "local",
            "--serial",
            "6",
            "-q",
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !reveille.run(&["runs"]).stdout.contains("running") {}
    let mut terminal = Terminal::start(&reveille, 80, 24, "top");
    let text = terminal.until("hosts", |text| text.matches("running     install").count() == 6);
    assert!(
        text.contains("[1 Hosts]  2 Failures 0  3 Steps  4 Events"),
        "{text}"
    );
    assert!(terminal.screen.lock().unwrap().screen().alternate_screen());
    terminal.press(b"/web03\r");
    terminal.until("filtered host", |text| {
        !text.contains("web02") && text.contains("> web03")
    });
    terminal.press(b"\r");
    terminal.until("events", |text| {
        text.contains("install: attempt 1 starts") && text.contains("Esc back")
    });
    terminal.press(b"l");
    terminal.until("output", |text| text.contains("| one"));
    terminal.press(b"\x1b");
    terminal.until("list", |text| text.contains("[1 Hosts]"));
    reveille.file("first", "");
    assert_eq!(run.wait().unwrap().code(), Some(3));
    terminal.press(b"2");
    terminal.until("failure", |text| {
        text.contains("closed") && text.contains("> web03") && text.contains("command_failed")
    });
    terminal.press(b"e");
    terminal.until("explanation", |text| text.contains("meaning"));
    terminal.press(b"e");
    terminal.press(b"3");
    let text = terminal.until("steps", |text| text.contains("CHANGED"));
    let install = text.lines().find(|line| line.contains("install")).unwrap();
    let numbers: Vec<&str> = install.split_whitespace().skip(1).take(6).collect();
    assert_eq!(numbers, ["0", "0", "6", "6", "0", "0"], "{text}");
    terminal.press(b"y");
    terminal.press(b"q");
    {
        let ended = terminal.child.wait().unwrap();
        assert_eq!(ended.code(), Some(0));
    }
    terminal.until("the screen of before", |text| !text.contains("Failures"));
    let screen = terminal.screen.lock().unwrap();
    assert!(!screen.screen().alternate_screen() && !screen.screen().hide_cursor());
}

#[test]
fn top_goes_on_with_a_retry() {
    let reveille = Reveille::new();
    let gate = reveille.path().join("go");
    let job = reveille.file(
        "job.yaml",
        format!(
            "name: deploy\nsteps:\n  - {{run: 'test {{{{ inventory_hostname }}}} != b || {{ while [ -e {0}.wait ] && [ ! -e {0} ]; \
             do sleep 0.02; done; false; }}'}}\n",
            gate.display()
        ),
    );
    reveille
        .run(&["run", &job, "-w", "a,b,c", "--transport", "local"])
        .expect(3);
    let mut terminal = Terminal::start(&reveille, 80, 24, "top last");
    terminal.until("end", |text| {
        text.contains("3/3") && text.contains("ok 2   failed 1")
    });
    reveille.file("go.wait", "");
    let mut retry = reveille
        .command(&["retry", "-q"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    terminal.until("retry", |text| {
        text.contains("2/3") && text.contains("ok 2   failed 0   running 1")
    });
    reveille.file("go", "");
    assert_eq!(retry.wait().unwrap().code(), Some(3));
    terminal.until("end", |text| {
        text.contains("closed") && text.contains("3/3") && text.contains("ok 2   failed 1")
    });
    terminal.press(b"q");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_ends_top_and_restores_the_terminal() {
    let reveille = Reveille::new();
    reveille
        .run(&["exec", "-w", "a,b", "--transport", "local", "--", "true"])
        .expect(0);
    let mut terminal = Terminal::start(&reveille, 80, 24, "top last");
    terminal.until("hosts", |text| text.contains("[1 Hosts]"));
    terminal.press(b"\x03");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    terminal.until("the screen of before", |text| !text.contains("Hosts"));
    let ended = reveille.run(&["top"]).expect(2);
    assert!(
        ended.stderr.contains("reveille show --follow"),
        "{}",
        ended.stderr
    );
}

#[test]
fn top_ends_when_its_terminal_goes_away() {
    let reveille = Reveille::new();
    reveille
        .run(&["exec", "-w", "a,b", "--transport", "local", "--", "true"])
        .expect(0);
    let pid = reveille.path().join("pid");
    // The shell becomes the program, with the same process id.
    let line = format!(
        "echo $$ > {}; exec {} top last",
        pid.display(),
        binary().display()
    );
    let mut terminal = Terminal::start_program(&reveille, 80, 24, &line, "C.UTF-8");
    terminal.until("hosts", |text| text.contains("[1 Hosts]"));
    let pid = std::fs::read_to_string(pid).unwrap();
    terminal.child.kill().unwrap();
    terminal.child.wait().unwrap();
    let began = Instant::now();
    let process = std::path::PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    while std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(began.elapsed() < Duration::from_mins(1), "top still runs");
        std::thread::yield_now();
    }
}
