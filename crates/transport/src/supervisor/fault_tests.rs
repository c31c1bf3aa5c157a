//! Kills or stops the script at every program that it runs: wrappers count the calls, and at a given number kill or
//! stop the calling shell. busybox does not search `PATH` for its programs, so it is left out.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;

const SHELLS: [&str; 2] = ["dash", "bash"];
const FAULTS: [Fault; 3] = [Fault::KilledBefore, Fault::KilledAfter, Fault::Stopped];
/// The programs that the script runs, except the shell.
const PROGRAMS: [&str; 15] = [
    "cat", "chmod", "date", "dd", "df", "head", "id", "ln", "mkdir", "mkfifo", "mv", "rm", "sleep", "tail",
    "wc",
];
/// How many scenarios run at once: they mostly wait.
const AT_ONCE: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    KilledBefore,
    KilledAfter,
    Stopped,
}

/// A host whose programs count their calls.
struct Rigged {
    host: Host,
    shell: &'static str,
}

impl Rigged {
    fn new(shell: &'static str) -> Self {
        let rigged = Self {
            host: Host::new(shell),
            shell,
        };
        rigged.disarm();
        for name in PROGRAMS {
            rigged.stand_in(name);
        }
        rigged
    }

    fn file(&self, name: &str) -> PathBuf {
        self.host.directory.path().join(name)
    }

    fn stand_in(&self, name: &str) {
        let text = format!(
            "#!/bin/sh
I=0
read -r CALL AT HOW <'{fault}'
set -C
until true 2>/dev/null >\"$CALL.$I\"; do I=$((I + 1)); done
[ \"$I\" = \"$AT\" ] || exec {real} \"$@\"
[ \"$HOW\" != KilledBefore ] || {{ kill -KILL \"$PPID\"; exit; }}
{real} \"$@\"
STATUS=$?
case $HOW in
KilledAfter) kill -KILL \"$PPID\" ;;
Stopped) kill -STOP \"$PPID\"; echo \"$PPID\" >'{stopped}.new'; mv '{stopped}.new' '{stopped}' ;;
esac
exit \"$STATUS\"
",
            fault = self.file("fault").display(),
            stopped = self.file("stopped").display(),
            real = which(name).display(),
        );
        let path = self.file("tools").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Injects `fault` into call number `at` from now on.
    fn arm(&self, at: usize, fault: Fault) {
        self.set("call", &format!("{at} {fault:?}"));
    }

    fn disarm(&self) {
        self.set("other", "- -");
    }

    /// A call that is being counted keeps the earlier count.
    fn set(&self, count: &str, fault: &str) {
        let new = self.file("fault.new");
        fs::write(&new, format!("{} {fault}\n", self.file(count).display())).unwrap();
        fs::rename(new, self.file("fault")).unwrap();
    }

    fn called(&self, number: usize) -> bool {
        self.file(&format!("call.{number}")).exists()
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.file("runs")).map_or(0, |text| text.lines().count())
    }

    /// A command that records each of its runs.
    fn text(&self) -> String {
        format!("echo ran >>'{}'; echo ran; exit 5", self.file("runs").display())
    }

    /// Sends `request` after hello, and returns all output of `verb`.
    fn ask(&self, verb: Verb, request: &str) -> String {
        let run = self.host.token();
        let place = run.ancestors().nth(2).unwrap().display().to_string();
        let mut script = self.host.run_in(verb, "", &place);
        script.try_say(request);
        script.end()
    }

    /// Waits until a shell is stopped or all scripts are through; in the first case, does `meanwhile` and continues the
    /// shell.
    fn when_stopped<T>(&self, through: &AtomicBool, meanwhile: impl FnOnce() -> T) -> Option<T> {
        let pid = loop {
            match fs::read_to_string(self.file("stopped")) {
                Ok(pid) => break pid,
                Err(_) if through.load(Ordering::Acquire) => return None,
                Err(_) => thread::park_timeout(Duration::from_millis(2)),
            }
        };
        let done = meanwhile();
        let status = Command::new("kill").args(["-CONT", pid.trim()]).status().unwrap();
        assert!(status.success());
        Some(done)
    }
}

/// Records when all scripts are through, or have panicked.
struct Through<'a>(&'a AtomicBool);

impl Drop for Through<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Script {
    /// The script may be dead.
    fn try_say(&mut self, words: &str) {
        let _ = self.input.as_mut().unwrap().write_all(words.as_bytes());
    }

    fn said_hello(&self) -> bool {
        self.hello.len() > 6
    }

    fn try_start(&mut self, text: &str) {
        let (boot, machine, mark) = (&self.hello[2], &self.hello[4], &self.hello[6]);
        let request = format!(
            "go {mark} {boot} {machine} 2048 {} {}\n\n'sh' \"$1/s\"\n{text}\n{NONCE}\n",
            text.len() + 1 + NONCE.len() + 1,
            text.split('\n').count()
        );
        self.try_say(&request);
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.replace(&format!("\u{1e}{NONCE} "), "> ")
    }
}

/// The supervisor's pid and start time, if the output contains them.
fn told(said: &str) -> String {
    said.split_once("> started ")
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or("- -")
        .to_owned()
}

/// Runs `scenario` with a fault at each of its calls.
fn everywhere(scenario: impl Fn(&Rigged, usize, Fault) + Sync) {
    for shell in SHELLS {
        for fault in FAULTS {
            let next = AtomicUsize::new(0);
            let last = AtomicUsize::new(usize::MAX);
            thread::scope(|scope| {
                for _ in 0..AT_ONCE {
                    scope.spawn(|| {
                        loop {
                            let at = next.fetch_add(1, Ordering::Relaxed);
                            if at > last.load(Ordering::Relaxed) {
                                break;
                            }
                            let rigged = Rigged::new(shell);
                            scenario(&rigged, at, fault);
                            // The number of sleeps varies.
                            if !rigged.called(at) {
                                last.fetch_min(at, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            let met = last.load(Ordering::Relaxed);
            assert!(met >= 2, "{shell}: only {met} programs met {fault:?}");
        }
    }
}

/// Checks that nothing ran twice, and that all reports are true.
fn check(rigged: &Rigged, said: &[&str], at: usize, fault: Fault) {
    let place = format!("{} {fault:?} {at}: {said:?}", rigged.shell);
    let runs = rigged.runs();
    assert!(runs <= 1, "{runs} runs: {place}");
    for said in said {
        let end = said.rsplit("> end ").next().and_then(|end| end.lines().next());
        let end = end.unwrap_or_default();
        match end.split(' ').collect::<Vec<_>>()[..] {
            ["never" | "absent"] => assert_eq!(runs, 0, "{place}"),
            ["exit", status, _, gaps] => {
                assert_eq!(runs, 1, "{place}");
                // If a relay is killed, the command that writes to it dies, too.
                let whole = said.contains("ran\n") && status == "5";
                assert!(whole || gaps != "0" && fault != Fault::Stopped, "{place}");
            }
            // If the start was forbidden right after the supervisor was announced, `gone` is all that is known.
            ["gone"] if fault == Fault::Stopped => assert_eq!(runs, 0, "{place}"),
            _ => assert!(
                fault != Fault::Stopped || said.ends_with("running -\n"),
                "{place}"
            ),
        }
    }
}

#[test]
fn a_start_that_meets_a_fault_at_any_program_runs_once_or_never() {
    everywhere(|rigged, at, fault| {
        rigged.arm(at, fault);
        let (sent, through) = (AtomicBool::new(false), AtomicBool::new(false));
        let (first, second) = thread::scope(|scope| {
            let over = Through(&through);
            // Another client looks for the work while its starter is stopped.
            let other = scope.spawn(|| {
                let attached = rigged.when_stopped(&through, || {
                    rigged.disarm();
                    sent.load(Ordering::Acquire).then(|| {
                        let mut script = rigged.host.run(Verb::Attach, "");
                        script.try_say("attach 0 0 2048 - -\n");
                        let line = script.line();
                        (script, line)
                    })
                });
                let (mut script, line) = attached.flatten()?;
                if line.starts_with("> end ") {
                    script.input = None;
                }
                Some(line + &script.end())
            });
            let mut script = rigged.host.run(Verb::Start, "");
            if script.said_hello() {
                sent.store(true, Ordering::Release);
                script.try_start(&rigged.text());
            }
            let said = script.end();
            drop(over);
            (said, other.join().unwrap())
        });
        rigged.disarm();
        let last = rigged.ask(Verb::Attach, &format!("attach 0 0 2048 {}\n", told(&first)));
        let said = [first.as_str(), second.as_deref().unwrap_or(&first), &last];
        check(rigged, &said, at, fault);
        assert!(
            last.contains("> end "),
            "{} {fault:?} {at}: {said:?}",
            rigged.shell
        );
        if rigged.runs() == 0 {
            assert!(
                last.ends_with("> end never\n") || last.ends_with("> end absent\n"),
                "{last}"
            );
        }
    });
}

#[test]
fn an_attach_that_meets_a_fault_at_any_program_loses_nothing() {
    everywhere(|rigged, at, fault| {
        let mut script = rigged.host.run(Verb::Start, "");
        script.try_start(&rigged.text());
        let started = script.end();
        let attach = format!("attach 0 0 2048 {}\n", told(&started));
        rigged.arm(at, fault);
        let through = AtomicBool::new(false);
        let first = thread::scope(|scope| {
            let _through = Through(&through);
            scope.spawn(|| rigged.when_stopped(&through, || ()));
            // The work is cleaned only after its end was reported.
            rigged.ask(Verb::Attach, &format!("{attach}clean\n"))
        });
        rigged.disarm();
        let last = rigged.ask(Verb::Attach, &attach);
        check(rigged, &[&started, &first], at, fault);
        let place = format!("{} {fault:?} {at}: {first:?} {last:?}", rigged.shell);
        if !first.contains("> end exit 5") {
            assert!(last.ends_with("ran\n> end exit 5 - 0\n"), "{place}");
        }
        assert_eq!(rigged.runs(), 1, "{place}");
        let cleaned = rigged.ask(Verb::Clean, "- -\n");
        assert!(cleaned.ends_with("> end cleaned 0\n"), "{place} {cleaned:?}");
        let left: Vec<_> = fs::read_dir(rigged.host.token())
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        assert_eq!(left, ["go"], "{place}");
    });
}

#[test]
fn a_stop_that_meets_a_fault_at_any_program_can_be_asked_for_again() {
    everywhere(|rigged, at, fault| {
        let mut script = rigged.host.run(Verb::Start, "");
        script.try_start("exec /bin/sleep 1000");
        let begun = script.line();
        let supervisor = told(&begun);
        assert!(supervisor != "- -", "{begun}");
        rigged.arm(at, fault);
        let through = AtomicBool::new(false);
        let (first, second) = thread::scope(|scope| {
            let _through = Through(&through);
            scope.spawn(|| rigged.when_stopped(&through, || ()));
            let first = rigged.ask(Verb::Stop, &format!("{supervisor}\n"));
            rigged.disarm();
            let second = rigged.ask(Verb::Stop, &format!("{supervisor}\n"));
            // The starter itself may be the one that is stopped.
            script.end();
            (first, second)
        });
        let place = format!("{} {fault:?} {at}: {first:?} {second:?}", rigged.shell);
        let ended = ["verified", "finished"].map(|how| format!("> end slain {how}\n"));
        assert!(ended.contains(&second), "{place}");
        let last = rigged.ask(Verb::Attach, &format!("attach 0 0 2048 {supervisor}\n"));
        let killed = ["> end exit 143 ", "> end exit 137 ", "> end gone\n"];
        assert!(killed.iter().any(|end| last.contains(end)), "{place} {last:?}");
        assert!(!sleeps(&rigged.host.home()), "{place} {last:?}");
    });
}

/// Whether the command runs in a session with the home `home`.
fn sleeps(home: &Path) -> bool {
    let home = format!("HOME={}", home.display());
    let pids = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    pids.into_iter().any(|pid| {
        let said =
            |name: &str| String::from_utf8_lossy(&fs::read(pid.join(name)).unwrap_or_default()).into_owned();
        said("cmdline").starts_with("/bin/sleep\0") && said("environ").split('\0').any(|word| word == home)
    })
}
