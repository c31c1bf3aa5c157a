//! The fake shell: prints the output of common commands without running any. It reports unknown commands as run, so
//! that a rehearsed job gets to its end.

use std::time::Duration;

use bytes::Bytes;

use crate::performance::{Act, Ending, Performance};
use crate::words::{self, After};

/// How many nested `sh -c` are interpreted.
const DEEPEST: u32 = 8;

/// The script that decodes the octal escapes of its argument, and runs the result.
const DECODES: &str = r#"eval "shift;$(printf %b "$1")""#;

/// The pause between the lines of a package manager.
const STEP: Duration = Duration::from_millis(20);

/// The machine that a command asks about.
pub(crate) struct Machine<'a> {
    pub(crate) name: &'a str,
    /// Seconds since the epoch.
    pub(crate) clock: u64,
    pub(crate) boot_id: String,
    pub(crate) id: String,
}

/// The state of interpreting a line.
struct Player<'a> {
    host: &'a Machine<'a>,
    acts: Vec<Act>,
    status: u32,
    exited: bool,
}

/// Interprets a command line.
pub(crate) fn interpret(host: &Machine<'_>, line: &[u8]) -> Performance {
    let mut player = Player {
        host,
        acts: Vec::new(),
        status: 0,
        exited: false,
    };
    player.line(&String::from_utf8_lossy(line), DEEPEST);
    Performance::new(player.acts, Ending::Exit(player.status))
}

// === impl Player ===

impl Player<'_> {
    fn line(&mut self, line: &str, depth: u32) {
        for command in words::split(line) {
            let runs = match command.after {
                After::Anything => true,
                After::Success => self.status == 0,
                After::Failure => self.status != 0,
            };
            if runs && !self.exited {
                self.command(&command.words, depth);
            }
        }
    }

    fn command(&mut self, words: &[String], depth: u32) {
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        let to_stderr = words.iter().any(|word| matches!(*word, ">&2" | "1>&2"));
        let to_file = take_redirections(&mut words);
        let assignments = words
            .iter()
            .take_while(|word| word.split_once('=').is_some_and(|(name, _)| is_name(name)))
            .count();
        let Some((program, arguments)) = words[assignments..].split_first() else {
            self.status = 0;
            return;
        };
        self.status = 0;
        let before = self.acts.len();
        self.play(program, arguments, to_stderr, depth);
        if to_file {
            let mut kept = self.acts.split_off(before);
            kept.retain(|act| !matches!(act, Act::Stdout(_)));
            self.acts.append(&mut kept);
        }
    }

    fn play(&mut self, program: &str, arguments: &[&str], to_stderr: bool, depth: u32) {
        match (program.rsplit('/').next().unwrap_or(program), arguments) {
            ("systemctl", ["reboot", ..]) | ("reboot", _) | ("shutdown", ["-r", ..]) => {
                self.acts.extend([Act::Wait(STEP), Act::Reboot]);
                self.exited = true;
            }
            ("systemctl", ["is-active", ..]) => self.say("active\n", to_stderr),
            (
                ":" | "true" | "set" | "cd" | "export" | "umask" | "sync" | "systemctl" | "service" | "mkdir"
                | "chmod" | "chown" | "rm" | "touch" | "ln" | "tee" | "test" | "[" | "install",
                _,
            ) => {}
            ("false", _) => self.status = 1,
            ("exit", _) => {
                self.status = number(arguments).unwrap_or(0) & 0xff;
                self.exited = true;
            }
            ("sleep", [duration, ..]) => match duration.trim_end_matches('s').parse::<f64>() {
                Ok(seconds) if (0.0..1e7).contains(&seconds) => {
                    self.acts.push(Act::Wait(Duration::from_secs_f64(seconds)));
                }
                _ => self.fail(&format!("sleep: invalid time interval '{duration}'\n"), 1),
            },
            ("echo", ["-n", words @ ..]) => self.say(&words.join(" "), to_stderr),
            ("echo", _) => self.say(&format!("{}\n", arguments.join(" ")), to_stderr),
            ("printf", [format, arguments @ ..]) => self.say(&printf(format, arguments), to_stderr),
            ("cat", []) => self.acts.push(Act::CopyInput),
            ("cat", ["/proc/sys/kernel/random/boot_id"]) => {
                self.say(&format!("{}\n", self.host.boot_id), to_stderr);
            }
            ("cat", ["/etc/machine-id"]) => self.say(&format!("{}\n", self.host.id), to_stderr),
            ("date", _) => self.say(&format!("{}\n", self.host.clock), to_stderr),
            ("hostname", _) => self.say(&format!("{}\n", self.host.name), to_stderr),
            ("uname", _) => self.say("Linux\n", to_stderr),
            ("whoami", _) => self.say("drill\n", to_stderr),
            ("id", ["-u"]) => self.say("1000\n", to_stderr),
            ("id", _) => self.say("uid=1000(drill) gid=1000(drill) groups=1000(drill)\n", to_stderr),
            ("uptime", _) => self.say(
                " 10:15:02 up 3 days,  1:02,  0 users,  load average: 0.00, 0.01, 0.05\n",
                to_stderr,
            ),
            // The form of a command for login shells that are not POSIX shells.
            ("sh", ["-c", DECODES, _, encoded]) if depth > 0 => self.line(&decoded(encoded), depth - 1),
            ("sh" | "bash" | "dash", [flags, line, ..]) if flags.starts_with('-') && flags.contains('c') => {
                if depth > 0 {
                    self.line(line, depth - 1);
                    // `exit` left only the inner shell.
                    self.exited = false;
                }
            }
            ("env" | "exec" | "nice" | "nohup" | "command" | "sudo", [_, ..]) if depth > 0 => {
                self.command(&without_options(arguments), depth - 1);
            }
            ("apt-get" | "apt", _) => self.apt(arguments),
            ("dpkg" | "rpm", _) => self.fail("dpkg-query: package is not installed\n", 1),
            (other, _) => self.say(&format!("drill: pretending to run {other}\n"), to_stderr),
        }
    }

    fn apt(&mut self, arguments: &[&str]) {
        let mut words = arguments.iter().filter(|word| !word.starts_with('-'));
        let verb = words.next().copied().unwrap_or_default();
        let package = words.next().copied().unwrap_or("package");
        let said = match verb {
            "update" => vec![
                "Get:1 http://deb.debian.org/debian trixie InRelease [140 kB]\n".to_owned(),
                "Get:2 http://deb.debian.org/debian trixie/main amd64 Packages [9,670 kB]\n".to_owned(),
                "Fetched 9,810 kB in 1s (9,122 kB/s)\nReading package lists...\n".to_owned(),
            ],
            // This package has left the archives, as people find out in practice.
            "install" if package == "tomcat9" => {
                self.say(
                    "Reading package lists...\nBuilding dependency tree...\nReading state information...\n",
                    false,
                );
                return self.fail("E: Package 'tomcat9' has no installation candidate\n", 100);
            }
            "install" => vec![
                "Reading package lists...\nBuilding dependency tree...\nReading state information...\n"
                    .to_owned(),
                format!("The following NEW packages will be installed:\n  {package}\n"),
                "0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.\n".to_owned(),
                format!("Selecting previously unselected package {package}.\nUnpacking {package} ...\n"),
                format!("Setting up {package} ...\n"),
            ],
            _ => vec!["Reading package lists...\n".to_owned()],
        };
        for lines in said {
            self.say(&lines, false);
            self.acts.push(Act::Wait(STEP));
        }
    }

    fn say(&mut self, text: &str, to_stderr: bool) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.acts.push(if to_stderr {
            Act::Stderr(bytes)
        } else {
            Act::Stdout(bytes)
        });
    }

    fn fail(&mut self, text: &str, status: u32) {
        self.say(text, true);
        self.status = status;
    }
}

/// Removes redirections, and everything after a pipe; returns whether standard output goes to a file.
fn take_redirections(words: &mut Vec<&str>) -> bool {
    if let Some(pipe) = words.iter().position(|word| *word == "|") {
        words.truncate(pipe);
    }
    let mut to_file = false;
    let mut skip = false;
    words.retain(|word| {
        let target = std::mem::take(&mut skip);
        let redirects =
            !target && (word.starts_with('>') || word.starts_with("1>") || word.starts_with("2>"));
        if redirects {
            skip = word.ends_with('>');
            to_file |= !word.starts_with("2>") && !word.ends_with("&2");
        }
        !redirects && !target
    });
    to_file
}

/// The command of `sudo -n -u root -- COMMAND` and the like.
fn without_options(arguments: &[&str]) -> Vec<String> {
    let mut words = arguments.iter().copied().peekable();
    while let Some(word) = words.next_if(|word| word.starts_with('-')) {
        match word {
            "--" => break,
            "-u" | "-g" => {
                words.next();
            }
            "-n" => {
                let is_number = |next: &&str| next.bytes().all(|byte| byte.is_ascii_digit());
                words.next_if(is_number);
            }
            _ => {}
        }
    }
    words.map(str::to_owned).collect()
}

/// Decodes octal escapes like `printf %b`.
fn decoded(text: &str) -> String {
    let mut parts = text.split("\\0");
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (escaped, part.get(3..)) {
            (Some(byte), Some(rest)) => {
                decoded.push(char::from(byte));
                decoded.push_str(rest);
            }
            _ => decoded.push_str(part),
        }
    }
    decoded
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn number(arguments: &[&str]) -> Option<u32> {
    arguments.first()?.parse().ok()
}

/// Formats `%s`, `%d`, `%%`, `\n`, `\t`, `\\`; everything else is kept.
fn printf(format: &str, arguments: &[&str]) -> String {
    let mut text = String::new();
    let mut arguments = arguments.iter();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => match characters.next() {
                Some('s' | 'd') => text.push_str(arguments.next().copied().unwrap_or_default()),
                Some('%') => text.push('%'),
                other => text.extend(std::iter::once('%').chain(other)),
            },
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('\\') | None => text.push('\\'),
                Some(other) => text.extend(['\\', other]),
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine<'static> {
        Machine {
            name: "drill-0001",
            clock: 1_763_721_302,
            boot_id: "a boot".to_owned(),
            id: "a machine".to_owned(),
        }
    }

    fn said(line: &str) -> (String, String, u32) {
        let (mut stdout, mut stderr, mut status) = (String::new(), String::new(), 0);
        for act in interpret(&machine(), line.as_bytes()) {
            match act {
                Act::Stdout(bytes) => stdout += &String::from_utf8_lossy(&bytes),
                Act::Stderr(bytes) => stderr += &String::from_utf8_lossy(&bytes),
                Act::End(Ending::Exit(exit)) => status = exit,
                _ => {}
            }
        }
        (stdout, stderr, status)
    }

    #[test]
    fn common_commands_have_their_usual_output() {
        let out = |text: &str| (text.to_owned(), String::new(), 0);
        assert_eq!(said("echo hello  world"), out("hello world\n"));
        assert_eq!(said("printf '%s-%d\\n' a 7"), out("a-7\n"));
        assert_eq!(said("hostname"), out("drill-0001\n"));
        assert_eq!(said("date +%s"), out("1763721302\n"));
        assert_eq!(said("cat /etc/machine-id || echo none"), out("a machine\n"));
        let boot = "cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boottime 2>/dev/null";
        assert_eq!(said(boot), out("a boot\n"));
        let reboots = "nohup sh -c 'sleep 1; reboot || systemctl reboot' >/dev/null 2>&1 &";
        assert!(interpret(&machine(), reboots.as_bytes()).any(|act| act == Act::Reboot));
        assert_eq!(said("A=b /bin/sh -c 'echo \"in here\"'"), out("in here\n"));
        assert_eq!(said("sudo -n true && echo yes || echo no"), out("yes\n"));
        let encoded = r#"exec sh -c 'eval "shift;$(printf %b "$1")"' sh 'echo a\0012echo \0047b  c\0047'"#;
        assert_eq!(said(encoded), out("a\nb  c\n"));
        assert_eq!(said("exit 100"), (String::new(), String::new(), 100));
        assert_eq!(said("sh -c 'exit 3'; echo x"), out("x\n"));
        assert_eq!(said("echo oops >&2; false").1, "oops\n");
        assert_eq!(said("nonsense -x"), out("drill: pretending to run nonsense\n"));
        let marked = "exec sudo -n -H -u 'root' -- sh -c 'echo mark >&2;echo hello'";
        assert_eq!(said(marked), ("hello\n".to_owned(), "mark\n".to_owned(), 0));
        assert_eq!(said("echo x > /etc/x; echo y >>/etc/y"), out(""));
        assert_eq!(said("echo x | tee /etc/x; echo y 2>/dev/null"), out("x\ny\n"));
        assert_eq!(said("apt-get install -y tomcat9").2, 100);
        assert_eq!(said(""), out(""));
        assert!(said("apt-get install -y tomcat10").0.contains("Setting up"));
    }

    proptest::proptest! {
        #[test]
        fn no_escape_panics(text: String) {
            decoded(&text.replace('a', "\\0"));
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            assert!(interpret(&machine(), &line).count() > 0);
        }
    }
}
