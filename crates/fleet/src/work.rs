//! Turns a rendered step into the work to send to the host.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reveille_account::HostName;
use reveille_job::{Job, Placing, Rendered, RenderedAction, RenderedSkipIf, Step, WaitCondition, WaitFrom};
use reveille_text::{bounded, duration};
use reveille_transport::supervisor::{Interpreter, Payload, export};
use reveille_transport::transfer::{self, Destination};
use reveille_transport::{sh_path, sh_quote};

/// How long one request to a URL may take, in seconds.
const HTTP_SECONDS: u32 = 10;
/// The shortest time after which a wait on a host is overdue, beyond its own time.
const MARGIN: Duration = Duration::from_secs(10);
/// The size limit of a script.
const SCRIPT_LIMIT: u64 = 4 << 20;

/// The work of an attempt.
#[derive(Debug)]
pub(crate) enum Work {
    /// Runs a command, durably or plainly.
    Command {
        payload: Payload,
        durable: bool,
        /// Whether it runs on a terminal, and so not durably.
        pty: bool,
        plain: String,
        /// Set if it waits for a condition and gives up by itself.
        waits: Option<Waits>,
    },
    /// Sends a file.
    Upload {
        source: Source,
        destination: Destination,
        /// It contains secrets, so that no difference is shown.
        secret: bool,
    },
    /// Fetches a file.
    Download { source: String, target: PathBuf },
    /// Waits until this machine can connect to a port of the host.
    Port {
        port: u16,
        within: Duration,
        every: Duration,
    },
}

/// A wait that should give up by itself on the host, and what to report if it does not.
#[derive(Debug)]
pub(crate) struct Waits {
    within: Duration,
    /// The message for that case.
    pub(crate) words: String,
}

/// The contents of a file to send.
pub(crate) enum Source {
    /// A local file or directory.
    Path(PathBuf),
    /// A rendered template, which may contain secrets.
    Content(Bytes),
}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path(path) => formatter.debug_tuple("Path").field(path).finish(),
            Source::Content(content) => write!(formatter, "Content({} bytes)", content.len()),
        }
    }
}

/// The command that checks whether to skip a step, and its text for messages.
pub(crate) fn check(skip_if: &RenderedSkipIf) -> (String, String) {
    match skip_if {
        RenderedSkipIf::Command(command) => (command.clone(), format!("`{command}` succeeds")),
        RenderedSkipIf::Exists(path) => (format!("[ -e {} ]", sh_path(path)), format!("{path} exists")),
    }
}

/// Prepares a step for one host; relative local paths start in the job file's directory.
pub(crate) fn prepare(job: &Job, step: &Step, rendered: Rendered, host: &HostName) -> Result<Work, String> {
    let mut prelude = String::new();
    for (name, value) in &rendered.env {
        prelude.push_str(&export(name, value));
    }
    if let Some(directory) = &rendered.cwd {
        let _ = write!(prelude, "cd {} || exit 126;", sh_path(directory));
    }
    let (durable, pty) = (step.durable, step.pty);
    match rendered.action {
        RenderedAction::Run { command, shell } => {
            let words: Vec<String> = shell.split_whitespace().map(str::to_owned).collect();
            let plain = if shell == "sh" {
                format!("{prelude}{command}")
            } else {
                format!("{prelude}exec {shell} -c {}", sh_quote(&command))
            };
            let payload = Payload {
                prelude,
                text: command,
                interpreter: Interpreter::Shell(words),
            };
            Ok(Work::Command {
                payload,
                durable,
                pty,
                plain,
                waits: None,
            })
        }
        RenderedAction::Script { src, args } => {
            let text = read_script(&job.resolve(&src))?;
            let interpreter = shebang(&text);
            let plain = format!(
                "{prelude}f=$(mktemp) && trap 'rm -f \"$f\"' EXIT && printf %s {} >\"$f\" && {} \"$f\" {}",
                sh_quote(&text),
                quoted(&interpreter),
                quoted(&args)
            );
            let interpreter = Interpreter::File {
                interpreter,
                arguments: args,
            };
            Ok(Work::Command {
                payload: Payload {
                    prelude,
                    text,
                    interpreter,
                },
                durable,
                pty,
                plain,
                waits: None,
            })
        }
        RenderedAction::Upload { src, to } => {
            let path = job.resolve(&src);
            // A path that ends with a slash stands for the directory's contents.
            let name = if src.ends_with('/') {
                String::new()
            } else {
                file_name(&path)
            };
            Ok(Work::Upload {
                source: Source::Path(path),
                destination: destination(name, to)?,
                secret: false,
            })
        }
        RenderedAction::Template {
            src,
            content,
            secret,
            to,
        } => {
            // In a directory it keeps its name, without the suffix of a template.
            let name = file_name(Path::new(&src));
            let name = name.strip_suffix(".j2").unwrap_or(&name).to_owned();
            Ok(Work::Upload {
                source: Source::Content(content.into()),
                destination: destination(name, to)?,
                secret,
            })
        }
        RenderedAction::Download { src, to, per_host } => {
            let target = if per_host {
                job.resolve(&to)
            } else {
                download_target(&job.resolve(&to), &src, host)?
            };
            Ok(Work::Download { source: src, target })
        }
        // `reboot.rs` handles it.
        RenderedAction::Reboot { .. } => Err("a reboot can't be prepared as work".to_owned()),
        RenderedAction::WaitFor {
            condition:
                WaitCondition::Port {
                    port,
                    from: WaitFrom::Controller,
                },
            within,
            every,
        } => Ok(Work::Port { port, within, every }),
        RenderedAction::WaitFor {
            condition,
            within,
            every,
        } => {
            let (script, words) = wait_script(&condition, within, every);
            let text = format!("{prelude}{script}");
            let payload = Payload {
                prelude: String::new(),
                text: text.clone(),
                interpreter: Interpreter::Shell(vec!["sh".into()]),
            };
            Ok(Work::Command {
                payload,
                durable: false,
                pty: false,
                plain: text,
                waits: Some(Waits { within, words }),
            })
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn destination(name: String, to: Placing<String>) -> Result<Destination, String> {
    for word in [Some(&to.dest), to.owner.as_ref(), to.group.as_ref()]
        .into_iter()
        .flatten()
    {
        if word.contains('\n') || word.is_empty() {
            return Err(format!("{word:?} can't be a path or a name on the host"));
        }
    }
    if let Some(name) = [&to.owner, &to.group]
        .into_iter()
        .flatten()
        .find(|name| name.contains(char::is_whitespace))
    {
        return Err(format!("{name:?} is not a user or group"));
    }
    Ok(Destination {
        path: to.dest,
        name,
        mode: to.mode.map(|mode| format!("{mode:04o}")),
        owner: to.owner,
        group: to.group,
    })
}

fn quoted(words: &[String]) -> String {
    words
        .iter()
        .map(|word| sh_quote(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn read_script(path: &Path) -> Result<String, String> {
    let wrong = |why: String| format!("can't send the script {}: {why}", path.display());
    let text = bounded::text(path, SCRIPT_LIMIT).map_err(|error| wrong(error.to_string()))?;
    if text.contains('\0') {
        Err(wrong("it is a binary file; use upload".to_owned()))
    } else {
        Ok(text)
    }
}

/// The interpreter in a script's first line, split as the kernel does: a path and one argument.
fn shebang(text: &str) -> Vec<String> {
    let line = text.lines().next().unwrap_or_default();
    let Some(line) = line.strip_prefix("#!").map(str::trim) else {
        return vec!["sh".to_owned()];
    };
    match line.split_once([' ', '\t']) {
        Some((path, argument)) => vec![path.to_owned(), argument.trim().to_owned()],
        None if line.is_empty() => vec!["sh".to_owned()],
        None => vec![line.to_owned()],
    }
}

/// The target of a fetched file: in `to`, a directory per host. The host's name and the last component of the remote
/// path are made safe for file names.
fn download_target(to: &Path, source: &str, host: &HostName) -> Result<PathBuf, String> {
    let name = transfer::safe_name(source).ok_or_else(|| format!("{source:?} does not name a file"))?;
    let host_directory = reveille_ledger::output::encode_host(host);
    Ok(to.join(host_directory).join(name))
}

// === impl Waits ===

impl Waits {
    /// How long it may take; a host that can measure time gives up first, with the same message.
    pub(crate) fn longest(&self) -> Duration {
        self.within.saturating_add(MARGIN.max(self.within / 10))
    }
}

/// Returns shell code that waits on the host and prints a message when it gives up, and that message.
///
/// The probes run in a separate process, so that a hung one does not keep the script from giving up. `sleep` measures
/// the time, because the host's clock may be set meanwhile.
fn wait_script(condition: &WaitCondition, within: Duration, every: Duration) -> (String, String) {
    let seconds = within.as_secs().max(1);
    let pause = every.as_secs().max(1);
    let mut first = String::new();
    let (probe, what) = match condition {
        WaitCondition::Port { port, .. } => (
            format!(
                "if [ -r /proc/net/tcp ]; then cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | \
                 grep -q '^ *[0-9]*: [0-9A-F]*:{port:04X} [0-9A-F]*:0000 0A '; else nc -z 127.0.0.1 {port}; fi"
            ),
            format!("port {port} is not open"),
        ),
        WaitCondition::File(path) => (
            format!("[ -e {} ]", sh_path(path)),
            format!("{path} does not exist"),
        ),
        WaitCondition::Http(url) => {
            "command -v curl >/dev/null 2>&1 || command -v wget >/dev/null 2>&1 || \
             { echo 'neither curl nor wget is here to ask with' >&2; exit 127; }\n"
                .clone_into(&mut first);
            let url_quoted = sh_quote(url);
            let probe = format!(
                "if command -v curl >/dev/null 2>&1; then curl -fsS -o /dev/null -m {HTTP_SECONDS} -- {url_quoted}; \
                 else wget -q -T {HTTP_SECONDS} -O /dev/null -- {url_quoted}; fi"
            );
            (probe, format!("{url} does not answer with success"))
        }
        WaitCondition::Command(command) => (command.clone(), "the command does not succeed".to_owned()),
    };
    let words = format!("{what} after {}", duration::shown(Duration::from_secs(seconds)));
    // Background processes must not hold the channel open.
    let apart = "</dev/null >/dev/null 2>&1 &";
    let script = format!(
        "{first}(\n  trap 'pkill -P \"$reveille_at\"; kill \"$reveille_at\"; exit 1' TERM\n  while :; do\n    \
         (\n{probe}\n) & reveille_at=$!\n    wait \"$reveille_at\" && exit 0\n    \
         sleep {pause} & reveille_at=$!\n    wait \"$reveille_at\"\n  done\n) {apart} reveille_tries=$!\n\
         (\n  trap 'kill \"$reveille_at\"; exit' TERM\n  sleep {seconds} & reveille_at=$!\n  wait \"$reveille_at\"\n  \
         kill \"$reveille_tries\"\n) {apart} reveille_ends=$!\n\
         wait \"$reveille_tries\"\nreveille_came=$?\nkill \"$reveille_ends\" 2>/dev/null\n\
         if [ \"$reveille_came\" -ne 0 ]; then echo {} >&2; exit 1; fi\n",
        sh_quote(&words)
    );
    (script, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_decides_the_interpreter() {
        assert_eq!(shebang("#!/bin/bash\n"), ["/bin/bash"]);
        assert_eq!(
            shebang("#! /usr/bin/env -S python3 -u \nx"),
            ["/usr/bin/env", "-S python3 -u"]
        );
        assert_eq!(shebang("echo"), ["sh"]);
    }

    #[test]
    fn downloads_stay_in_their_directory() {
        let host = HostName::from("../../evil");
        let target = download_target(Path::new("logs"), "/var/log/../../x", &host).unwrap();
        assert_eq!(target, Path::new("logs/%2E.%2F..%2Fevil/x"));
        assert!(download_target(Path::new("logs"), "/var/..", &host).is_err());
    }

    #[test]
    fn a_wait_ends_when_its_condition_holds_and_when_time_is_up() {
        let run = |(script, _): (String, String)| {
            std::process::Command::new("sh")
                .arg("-c")
                .arg(script)
                .output()
                .unwrap()
        };
        let second = Duration::from_secs(1);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = WaitCondition::Port {
            port,
            from: WaitFrom::Host,
        };
        assert!(run(wait_script(&open, second, second)).status.success());
        drop(listener);
        let output = run(wait_script(&open, second, second));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("port {port} is not open after 1 s\n")
        );
        assert!(
            run(wait_script(&WaitCondition::File("/".into()), second, second))
                .status
                .success()
        );
        let url = |port: u16| WaitCondition::Http(format!("http://127.0.0.1:{port}/"));
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let answers = std::thread::spawn(move || {
            for status in ["503 Later", "200 Well"] {
                let (mut stream, _) = server.accept().unwrap();
                let _ = std::io::Read::read(&mut stream, &mut [0; 1024]).unwrap();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
            }
        });
        assert!(run(wait_script(&url(port), 20 * second, second)).status.success());
        answers.join().unwrap();
        let output = run(wait_script(&url(port), second, second));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("http://127.0.0.1:{port}/ does not answer with success after 1 s\n")
        );
        let command = |command: &str| WaitCondition::Command(command.into());
        assert!(
            run(wait_script(&command("true # x"), second, second))
                .status
                .success()
        );
        // It does not wait for a hung probe, whatever the pause.
        let began = std::time::Instant::now();
        let output = run(wait_script(&command("sleep 97.25; true"), second, 60 * second));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "the command does not succeed after 1 s\n"
        );
        let output = run(wait_script(&command("false"), second, 60 * second));
        assert_eq!(output.status.code(), Some(1));
        assert!(began.elapsed() < 20 * second, "{:?}", began.elapsed());
        let left = std::process::Command::new("pgrep")
            .args(["-f", "^sleep 97.25$"])
            .output()
            .unwrap();
        assert!(left.stdout.is_empty(), "{left:?}");
    }
}
