//! Runs the supervisor's script in three shells on this machine.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::{BOOTSTRAP, PROGRAM, Verb};
use crate::supervisor::channel::program;
use crate::supervisor::export;

const NONCE: &str = "n0nce";
const RUN: &str = "run";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SHELLS: [&str; 3] = ["dash", "bash", "busybox"];
/// The programs that the script needs on a host, except the shell.
const TOOLS: [&str; 15] = [
    "cat", "chmod", "dd", "df", "head", "id", "ln", "mkdir", "mkfifo", "mv", "rm", "sleep", "sh", "tail",
    "wc",
];

/// A shell with its home; busybox also has its own tools.
struct Host {
    directory: tempfile::TempDir,
}

/// A running script.
struct Script {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
    hello: Vec<String>,
}

impl Host {
    fn new(shell: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tools = directory.path().join("tools");
        fs::create_dir(&tools).unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        let path = which(shell);
        let names: &[&str] = if shell == "busybox" { &TOOLS } else { &["sh"] };
        for name in names {
            std::os::unix::fs::symlink(&path, tools.join(name)).unwrap();
        }
        Self { directory }
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn token(&self) -> PathBuf {
        self.home().join(".local/state/reveille").join(RUN).join(TOKEN)
    }

    /// Runs `verb` up to its hello, as a program on standard input. The shell code in `before` runs first, in the same
    /// mount namespace.
    fn run(&self, verb: Verb, before: &str) -> Script {
        self.run_in(verb, before, "-")
    }

    /// Like `run`, in a given place.
    fn run_in(&self, verb: Verb, before: &str, place: &str) -> Script {
        let orders = format!("{NONCE} {} {RUN} 1 {TOKEN} '{place}'", verb.word());
        let program = PROGRAM.replace("sh", "tools/sh");
        self.begin(
            before,
            &program,
            &format!("set -- orders {orders};{}", verb.script()),
        )
    }

    /// Like `run`, as a line that is read and evaluated, as for another user.
    fn evaluate(&self, verb: Verb) -> Script {
        let orders = format!("{NONCE} {} {RUN} 1 {TOKEN} -", verb.word());
        let evaluated = format!("exec tools/sh -c '{BOOTSTRAP}'");
        self.begin("", &evaluated, &format!("{}{orders}\n", verb.script()))
    }

    /// Runs shell code before each `sleep`.
    fn replace_sleep(&self, code: &str) {
        let sleep = self.directory.path().join("tools/sleep");
        let _ = fs::remove_file(&sleep);
        let text = format!("#!/bin/sh\n{code}\nexec {} \"$1\"\n", which("sleep").display());
        fs::write(&sleep, text).unwrap();
        fs::set_permissions(&sleep, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn begin(&self, before: &str, line: &str, said: &str) -> Script {
        let tools = self.directory.path().join("tools");
        let mut command = Command::new("unshare");
        if !is_root() {
            command.arg("--map-root-user");
        }
        let mut child = command
            .args(["--mount", "/bin/sh", "-c"])
            .arg(format!("{before}\n{line}"))
            .current_dir(self.directory.path())
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", tools.display()),
            )
            .env("HOME", self.home())
            // Like a connection, the script has its own process group, which is killed with the work.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(said.as_bytes()).unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let hello = line.trim_end().split(' ').map(str::to_owned).collect();
        Script {
            child,
            input: Some(input),
            output,
            hello,
        }
    }
}

impl Script {
    /// Starts the text.
    fn start(&mut self, text: &str, cap: u64) {
        self.start_after("", text, cap);
    }

    /// Starts the text after shell code on one line.
    fn start_after(&mut self, prelude: &str, text: &str, cap: u64) {
        let [_, _, boot, _, machine, _, mark, ..] = self.hello.as_slice() else {
            panic!("{:?}", self.hello)
        };
        let request = format!(
            "go {mark} {boot} {machine} {} {} {}\n{prelude}\n'sh' \"$1/s\"\n{text}\n{NONCE}\n",
            cap / 512,
            text.len() + 1 + NONCE.len() + 1,
            text.split('\n').count()
        );
        self.say(&request);
    }

    fn say(&mut self, words: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(words.as_bytes()).unwrap();
    }

    /// All output until the end, without NUL bytes.
    fn end(mut self) -> String {
        let mut said = Vec::new();
        let mut line = Vec::new();
        while self.output.read_until(b'\n', &mut line).unwrap() > 0 {
            said.extend(line.iter().copied().filter(|byte| *byte != 0));
            let words = String::from_utf8_lossy(&line).into_owned();
            if words.contains(&format!("\u{1e}{NONCE} end "))
                || words.contains(&format!("\u{1e}{NONCE} error "))
            {
                break;
            }
            line.clear();
        }
        self.input = None;
        let _ = self.output.read_to_end(&mut said);
        self.child.wait().unwrap();
        String::from_utf8_lossy(&said).replace(&format!("\u{1e}{NONCE} "), "> ")
    }
}

/// The text of `verb` as a program.
fn program_of(verb: Verb) -> String {
    let orders = format!("{} {RUN} 1 {TOKEN} '-'", verb.word());
    program(verb.script(), NONCE, &orders)
}

fn which(name: &str) -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&paths)
        .map(|path| path.join(name))
        .find(|path| path.exists())
        .unwrap()
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

/// Mounts a small file system as home.
fn small(home: &Path) -> String {
    format!("mount -t tmpfs -o size=6m none '{}' || exit", home.display())
}

/// A command whose environment had a variable `T` once ran a script of that directory instead of its own text.
#[test]
fn a_commands_environment_may_have_the_scripts_names() {
    let script = include_str!("supervisor.sh");
    let names: Vec<&str> = script
        .lines()
        .filter_map(|line| line.strip_prefix("unset "))
        .flat_map(str::split_whitespace)
        .collect();
    assert!(["T", "WORDS", "PRE"].iter().all(|name| names.contains(name)));
    let prelude: String = names
        .iter()
        .map(|name| export(name, &format!("of {name}")))
        .collect();
    for shell in SHELLS {
        let host = Host::new(shell);
        let mut script = host.run(Verb::Start, "");
        script.start_after(&prelude, "env", 1 << 20);
        let said = script.end();
        for name in &names {
            assert!(
                said.contains(&format!("{name}=of {name}\n")),
                "{shell}: {name}: {said}"
            );
        }
        assert!(said.ends_with("> end exit 0 - 0\n"), "{shell}: {said}");
    }
}

/// The channel ends although a daemon holds the command's output open, so that the next step need not wait for it.
#[test]
fn a_daemon_does_not_hold_the_channel_open() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let mut script = host.run(Verb::Start, "");
        script.start("sleep 30 & echo $! >\"$HOME/daemon\"; echo said", 1 << 20);
        // Until nobody has the other end of our pipe.
        let said = script.end();
        assert!(said.contains("said\n> end exit 0 - 0\n"), "{shell}: {said}");
        let daemon = fs::read_to_string(host.home().join("daemon")).unwrap();
        // That of a zombie is empty.
        let line = fs::read(format!("/proc/{}/cmdline", daemon.trim())).unwrap_or_default();
        assert!(
            line.starts_with(b"sleep"),
            "{shell}: the channel ended with the daemon"
        );
        Command::new("kill").arg(daemon.trim()).status().unwrap();
    }
}

#[test]
fn the_exit_status_survives_a_full_disk() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let mut script = host.run(Verb::Start, &small(&host.home()));
        script.start(
            "head -c 20000000 /dev/zero >\"$HOME/fill\"; echo lost; exit 7",
            1 << 26,
        );
        let said = script.end();
        assert!(
            said.contains("[output after 0 bytes was lost here"),
            "{shell}: {said}"
        );
        assert!(said.ends_with("> end exit 7 - 3\n"), "{shell}: {said}");
        // The output itself fills the disk.
        let mut script = host.run(Verb::Start, &small(&host.home()));
        script.start("head -c 8000000 /dev/zero; exit 8", 1 << 26);
        let said = script.end();
        assert!(
            said.contains("lost here: the host could not keep it]"),
            "{shell}: {said}"
        );
        assert!(said.ends_with("> end exit 8 - 1\n"), "{shell}: {said}");
    }
}

#[test]
fn nothing_is_started_on_a_full_disk() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let mut script = host.run(Verb::Start, &small(&host.home()));
        // The disk can be filled through the shell's own mount namespace.
        let root = PathBuf::from(format!("/proc/{}/root", script.child.id()));
        let home = root.join(host.home().strip_prefix("/").unwrap());
        let mut fill = fs::File::create(home.join("fill")).unwrap();
        while fill.write(&[b'x'; 4096]).is_ok() {}
        script.start("echo ran >/dev/stdout", 1 << 20);
        let said = script.end();
        assert!(said.contains("> error place can't write to "), "{shell}: {said}");
        assert!(!said.contains("started"), "{shell}: {said}");
    }
}

#[test]
fn what_is_over_the_cap_never_vanishes_unsaid() {
    let cap = 1 << 20;
    for shell in SHELLS {
        for over in [0, 1, 5000, 2_000_000] {
            let host = Host::new(shell);
            let mut script = host.run(Verb::Start, "");
            script.start(&format!("head -c {} /dev/zero", cap + over), cap);
            let said = script.end();
            let gap = said.contains("[output over 1048576 bytes was dropped here]");
            assert_eq!(gap, over > 0, "{shell} {over}: {said}");
            let end = format!("> end exit 0 - {}\n", u8::from(gap));
            assert!(said.ends_with(&end), "{shell} {over}: {said}");
        }
    }
}

#[test]
fn a_long_text_arrives_whole_and_one_that_was_cut_off_does_not_run() {
    for shell in SHELLS {
        for lines in [1, 64, 65, 60_000] {
            let mut text =
                "# schön, a comment of some length that nobody reads, over and over again\n".repeat(lines);
            text.push_str("echo \"$#\" ran\nexit 5");
            let host = Host::new(shell);
            let mut script = host.run(Verb::Start, "");
            script.start(&text, 1 << 20);
            let said = script.end();
            assert!(
                said.ends_with("0 ran\n> end exit 5 - 0\n"),
                "{shell} {lines}: {said}"
            );
            let host = Host::new(shell);
            let mut script = host.run(Verb::Start, "");
            let [_, _, boot, _, machine, _, mark, ..] = script.hello.as_slice() else {
                panic!()
            };
            let count = text.split('\n').count();
            let length = text.len() + 1 + NONCE.len() + 1;
            let request =
                format!("go {mark} {boot} {machine} 2048 {length} {count}\n\n'sh' \"$1/s\"\n{text}");
            script.say(&request);
            // The script ends with the connection.
            script.input = None;
            assert_eq!(script.end(), "", "{shell} {lines}");
            assert!(!host.token().exists(), "{shell} {lines}");
        }
    }
}

#[test]
fn a_script_is_a_program_or_is_evaluated() {
    for shell in SHELLS {
        for evaluated in [false, true] {
            let host = Host::new(shell);
            let mut script = if evaluated {
                host.evaluate(Verb::Start)
            } else {
                host.run(Verb::Start, "")
            };
            script.start("echo \"$#\" ran; exit 5", 1 << 20);
            let said = script.end();
            assert!(said.ends_with("0 ran\n> end exit 5 - 0\n"), "{shell}: {said}");
            let mut script = host.run(Verb::Attach, "");
            script.say("attach 0 0 2048 - -\n");
            let said = script.end();
            assert!(said.ends_with("0 ran\n> end exit 5 - 0\n"), "{shell}: {said}");
        }
    }
}

#[test]
fn a_program_that_was_cut_off_does_nothing() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let whole = program_of(Verb::Start);
        for left in [1, 2, 12, 60, 100, whole.len() / 2, whole.len() - 5] {
            let mut child = Command::new(host.directory.path().join("tools/sh"))
                .env("HOME", host.home())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let cut = &whole.as_bytes()[..whole.len() - 1 - left];
            child.stdin.take().unwrap().write_all(cut).unwrap();
            let said = child.wait_with_output().unwrap().stdout;
            assert_eq!(String::from_utf8_lossy(&said), "", "{shell} {left}");
            assert!(!host.home().join(".local").exists(), "{shell} {left}");
        }
    }
}

#[test]
fn a_mark_that_was_lost_is_made_anew() {
    for shell in SHELLS {
        let host = Host::new(shell);
        let run = host.token().parent().unwrap().to_owned();
        fs::create_dir_all(&run).unwrap();
        // As after a power loss.
        fs::write(run.join("mark"), "").unwrap();
        let mut script = host.run(Verb::Start, "");
        let mark = fs::read_to_string(run.join("mark")).unwrap();
        assert_eq!(script.hello[6], mark.trim_end(), "{shell}");
        script.start("exit 5", 1 << 20);
        assert!(script.end().ends_with("> end exit 5 - 0\n"), "{shell}");
    }
}

/// Files of a token after a power loss, or after someone tidied up.
#[test]
fn what_can_not_be_read_is_not_believed() {
    let lost = "\n[some of the output may be lost here: its file was removed or cut short]\n";
    for shell in SHELLS {
        // The status: empty, zeroes, a blank line, cut off.
        for status in ["", "\0\0\0\0\0\0", "\n", "x"] {
            let host = finished(shell);
            fs::write(host.token().join("exit"), status).unwrap();
            assert_eq!(
                attach(&host, "0 0", "- -"),
                "> attached running AGE\nran\n> end gone\n",
                "{shell} {status:?}"
            );
        }
        // The supervisor's pid, with and without a status, and with the controller's record of it.
        for pid in ["", "\0\0\0\0", "\n", "abc\n", "17\n"] {
            let host = finished(shell);
            let path = host.token().join("pid");
            fs::write(&path, pid).unwrap();
            let ended = "> attached finished TOOK\nran\n> end exit 5 - 0\n";
            assert_eq!(attach(&host, "0 0", "- -"), ended, "{shell} {pid:?}");
            fs::remove_file(host.token().join("exit")).unwrap();
            assert_eq!(attach(&host, "0 0", "- -"), "> end gone\n", "{shell} {pid:?}");
            assert_eq!(attach(&host, "0 0", "17 4"), "> end gone\n", "{shell} {pid:?}");
        }
        // The output: shorter than recorded, empty, or missing.
        for (offset, kept) in [(4, "r"), (4, ""), (0, "")] {
            let host = finished(shell);
            fs::write(host.token().join("out"), kept).unwrap();
            let said = attach(&host, &format!("{offset} 0"), "- -");
            assert_eq!(
                said,
                format!("> attached finished TOOK\n{lost}> end exit 5 - 1\n"),
                "{shell} {offset} {kept:?}"
            );
        }
        let host = finished(shell);
        fs::remove_file(host.token().join("out")).unwrap();
        let said = attach(&host, "0 0", "- -");
        assert_eq!(
            said,
            format!("> attached finished TOOK\n{lost}> end exit 5 - 1\n"),
            "{shell}"
        );
    }
}

/// The statement of a gap may be recorded in part when a connection breaks: the rest follows.
#[test]
fn what_states_a_gap_goes_on_where_it_broke_off() {
    let cap = 1 << 20;
    for shell in SHELLS {
        let host = Host::new(shell);
        let mut script = host.run(Verb::Start, "");
        script.start(
            &format!("head -c {} /dev/zero | tr '\\0' x; echo last", 2 * cap),
            cap,
        );
        let whole = script.end();
        let (_, gap) = whole.split_once("\n[output over").unwrap();
        for more in [0, 1, 20, 60] {
            let said = attach(&host, &format!("{} 0", cap + more), "- -");
            let rest = format!("\n[output over{gap}");
            let rest = &rest[usize::try_from(more).unwrap()..];
            assert_eq!(
                said,
                format!("> attached finished TOOK\n{rest}"),
                "{shell} {more}"
            );
        }
    }
}

/// A damaged pid does not hide running work that the controller knows about.
#[test]
fn a_damaged_pid_does_not_hide_what_runs() {
    for shell in SHELLS {
        for pid in ["", "abc\n", "17\n"] {
            let host = Host::new(shell);
            assert!(
                Command::new("mkfifo")
                    .arg(host.home().join("word"))
                    .status()
                    .unwrap()
                    .success()
            );
            let mut script = host.run(Verb::Start, "");
            script.start("echo begun; read word <\"$HOME/word\"; echo ran; exit 5", 1 << 20);
            let mut started = String::new();
            script.output.read_line(&mut started).unwrap();
            let mut begun = String::new();
            script.output.read_line(&mut begun).unwrap();
            assert_eq!(begun, "begun\n");
            let supervisor = started.trim_end().split_once(" started ").unwrap().1.to_owned();
            fs::write(host.token().join("pid"), pid).unwrap();
            let mut other = host.run(Verb::Attach, "");
            other.say(&format!("attach 0 0 2048 {supervisor}\n"));
            let mut line = String::new();
            other.output.read_line(&mut line).unwrap();
            assert!(line.contains(" attached running "), "{shell} {pid:?}: {line}");
            fs::write(host.home().join("word"), "go\n").unwrap();
            assert!(
                script.end().ends_with("ran\n> end exit 5 - 0\n"),
                "{shell} {pid:?}"
            );
            assert!(
                other.end().ends_with("ran\n> end exit 5 - 0\n"),
                "{shell} {pid:?}"
            );
        }
    }
}

/// A host on which a command has finished, with its files.
fn finished(shell: &str) -> Host {
    let host = Host::new(shell);
    let mut script = host.run(Verb::Start, "");
    script.start("echo ran; exit 5", 1 << 20);
    let said = script.end();
    assert!(said.ends_with("> end exit 5 - 0\n"), "{shell}: {said}");
    host
}

/// The output of `attach`, without times.
fn attach(host: &Host, offsets: &str, supervisor: &str) -> String {
    let mut script = host.run(Verb::Attach, "");
    script.say(&format!("attach {offsets} 2048 {supervisor}\n"));
    let said = script.end();
    let lines = said
        .split_inclusive('\n')
        .map(|line| match line.rsplit_once(' ') {
            Some(("> attached finished", _)) => "> attached finished TOOK\n",
            Some(("> attached running", _)) => "> attached running AGE\n",
            _ => line,
        });
    lines.collect()
}

#[test]
fn a_status_is_the_commands_own_however_often_a_stop_was_asked_for() {
    let reap = include_str!("supervisor.sh")
        .split_once("\nreap() {")
        .expect("the function exists")
        .1;
    let reap = reap.split_once("\n}").expect("it ends").0;
    // Two signals at once: in about 2 of 100 rounds, bash lets the second one end a `wait` without a trap.
    let text = format!(
        "reap() {{{reap}
}}
trap 'AGAIN=1; kill -TERM \"$C\" 2>/dev/null; sleep 0.01' USR1
I=0
while [ \"$I\" -lt 200 ]; do
  sleep 1000 & C=$!
  {{ kill -USR1 $$; kill -USR1 $$; }} &
  reap \"$C\"
  echo \"$RET\"
  I=$((I + 1))
done"
    );
    for shell in SHELLS {
        let host = Host::new(shell);
        let ended = Command::new(host.directory.path().join("tools/sh"))
            .args(["-c", &text])
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ended.stdout),
            "143\n".repeat(200),
            "{shell}"
        );
    }
}

#[test]
fn the_end_is_not_slept_over() {
    for shell in SHELLS {
        let host = Host::new(shell);
        // This makes the streamer's sleep between two looks long.
        host.replace_sleep("case $1 in 0.10|0.30) set -- 20 ;; esac");
        let mut script = host.run(Verb::Start, "");
        let began = Instant::now();
        script.start("/bin/sleep 0.5; exit 5", 1 << 20);
        assert!(script.end().ends_with("> end exit 5 - 0\n"), "{shell}");
        assert!(began.elapsed() < Duration::from_secs(15), "{shell}");
    }
}

#[test]
fn a_sleep_that_knows_whole_seconds_only_waits_no_longer() {
    for shell in SHELLS {
        let host = Host::new(shell);
        host.replace_sleep("case $1 in *.*) exit 1 ;; esac");
        // Someone created the directory, and left.
        fs::create_dir_all(host.token()).unwrap();
        let mut script = host.run(Verb::Attach, "");
        let began = Instant::now();
        script.say("attach 0 0 2048 - -\n");
        assert_eq!(script.end(), "> end never\n", "{shell}");
        // Three seconds, not three hundred.
        assert!(began.elapsed() < Duration::from_mins(1), "{shell}");
    }
}

#[path = "fault_tests.rs"]
mod faults;
