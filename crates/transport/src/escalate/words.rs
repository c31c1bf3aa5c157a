//! The shell code around a command that runs as another user.

use reveille_account::BecomeMethod;

use super::Become;
use crate::quote::{login_line, sh_quote};

/// Keeps the user's locale, because `su` itself runs in C.
const LOCALE: &str = "REVEILLE_LC_ALL";

/// What a command runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Pipes, which also carry the dialogue.
    Pipes,
    /// A terminal for the dialogue only; the command has pipes.
    Question,
    /// A terminal, also for the command.
    Terminal,
}

/// The command line for the login shell. The shell prints `mark` once the user is changed; sudo asks with `prompt`.
pub(super) fn line(other: &Become, command: &str, mark: &str, prompt: &str, ground: Ground) -> String {
    let inner = match ground {
        // On lines of their own, so that the mark is printed even if the command can't be parsed.
        Ground::Pipes => format!("echo {mark} >&2\n{command}"),
        Ground::Question => on_terminal(command, mark),
        // sudo may have created another terminal, with default settings.
        Ground::Terminal => format!("stty -echo -opost||exit 1;echo {mark}\n{command}"),
    };
    let user = sh_quote(&other.user);
    let outer = match (other.method, &other.password) {
        (BecomeMethod::Sudo, None) => sudo(&format!("-n -H -u {user}"), &inner),
        // `-k`: without it, a cached password would decide whether sudo asks.
        (BecomeMethod::Sudo, Some(_)) => sudo(&format!("-k -S -H -p {prompt} -u {user}"), &inner),
        (BecomeMethod::Doas, None) => format!("exec doas -n -u {user} sh -c {}", sh_quote(&inner)),
        (BecomeMethod::Doas, Some(_)) => format!("exec doas -u {user} sh -c {}", sh_quote(&inner)),
        // We know su's question in one language only. The other user may have any shell.
        (BecomeMethod::Su, _) => {
            let restored = format!(
                "if [ \"${LOCALE}\" ];then LC_ALL=${LOCALE};else unset LC_ALL;fi;unset {LOCALE};{inner}"
            );
            format!(
                "exec env \"{LOCALE}=$LC_ALL\" LC_ALL=C su {user} -c {}",
                sh_quote(&login_line(&restored))
            )
        }
    };
    login_line(&outer)
}

/// Runs `inner` by sudo. sudo itself runs in C, because we know its refusals in one language only; the command gets the
/// user's locale, unless sudo removes it.
fn sudo(options: &str, inner: &str) -> String {
    let restored = format!(
        "if [ -z \"$LC_ALL\" ];then :;elif [ \"$1\" ];then LC_ALL=$1;else unset LC_ALL;fi;set --;{inner}"
    );
    format!(
        "l=$LC_ALL;LC_ALL=C;export LC_ALL;exec sudo {options} -- sh -c {} sh \"$l\"",
        sh_quote(&restored)
    )
}

/// Makes the terminal raw, prints the mark, and runs `command` between two pipes: one is filled from the pieces of
/// input, the other is copied to the terminal.
fn on_terminal(command: &str, mark: &str) -> String {
    // A hang-up of the terminal signals its users; without a terminal nobody would be signalled either.
    let pieces = sh_quote(
        "echo $$;while IFS= read -r n&&[ \"$n\" -gt 0 ];do dd bs=\"$n\" count=1 iflag=fullblock 2>/dev/null;done",
    );
    let command = sh_quote(command);
    format!(
        "trap '' HUP;stty raw -echo||exit 1;echo {mark};\
         s=$({{ sh -c {pieces} 3>&- 4>&-|{{ IFS= read -r p;sh -c {command} 3>&- 4>&- 2>&1;s=$?;\
         kill -PIPE \"$p\" 2>/dev/null;echo \"$s\" >&3;}}|cat >&4 3>&-;}} 3>&1) 4>&1;exit \"$s\""
    )
}

/// Whether `text` ends with a question for a password.
pub(super) fn asks(method: BecomeMethod, text: &[u8], prompt: &str) -> bool {
    match method {
        BecomeMethod::Sudo => find(text, prompt.as_bytes()).is_some(),
        // "Password: ", "doas (user@host) password: "
        BecomeMethod::Su | BecomeMethod::Doas => {
            let end = text.trim_ascii_end();
            let from = end.len().saturating_sub("password:".len());
            end[from..].eq_ignore_ascii_case(b"password:")
        }
    }
}

/// Finds `wanted` in `text`.
pub(super) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the code for a terminal on pipes; only `stty` would notice, and it is replaced.
    fn run(command: &str, input: &[u8]) -> (String, Option<i32>) {
        let tools = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/bin/true", tools.path().join("stty")).unwrap();
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        let mut child = std::process::Command::new("sh")
            .args(["-c", &on_terminal(command, "MARK")])
            .env("PATH", path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, input).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            output.status.code(),
        )
    }

    #[test]
    fn input_comes_in_pieces_and_the_status_goes_out() {
        assert_eq!(
            run("cat;echo err >&2;exit 3", b"3\na\nb2\n\nc0\n"),
            ("MARK\na\nb\ncerr\n".to_owned(), Some(3))
        );
        // Unread input must not block, and missing input must not be waited for.
        assert_eq!(
            run("exec <&-;echo done", b"2\nab"),
            ("MARK\ndone\n".to_owned(), Some(0))
        );
        assert_eq!(run("echo done", b""), ("MARK\ndone\n".to_owned(), Some(0)));
    }

    #[test]
    fn sudo_runs_in_c_and_the_command_in_the_locale_of_the_user() {
        use std::os::unix::fs::PermissionsExt as _;

        let tools = tempfile::tempdir().unwrap();
        let sudo = tools.path().join("sudo");
        let script = "#!/bin/sh\necho \"sudo speaks $LC_ALL\" >&2\n\
                      while [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";
        std::fs::write(&sudo, script).unwrap();
        std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        for locale in [Some("de_DE.UTF-8"), None] {
            for ground in [Ground::Pipes, Ground::Terminal] {
                let command = "echo \"locale ${LC_ALL-unset}, $# arguments\"";
                let line = line(&Become::sudo("root"), command, "MARK", "PROMPT", ground);
                let mut shell = std::process::Command::new("bash");
                shell.args(["-c", &line]).env("PATH", &path).env_remove("LC_ALL");
                if let Some(locale) = locale {
                    shell.env("LC_ALL", locale);
                }
                if ground == Ground::Terminal {
                    std::os::unix::fs::symlink("/bin/true", tools.path().join("stty")).ok();
                }
                let output = shell.output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                let expected = format!("locale {}, 0 arguments", locale.unwrap_or("unset"));
                assert_eq!(text.lines().last(), Some(&*expected), "{output:?}");
                let talk = String::from_utf8_lossy(&output.stderr);
                assert!(talk.contains("sudo speaks C"), "{talk}");
            }
        }
    }

    #[test]
    fn a_command_that_can_not_be_parsed_has_begun() {
        use std::os::unix::fs::PermissionsExt as _;

        let tools = tempfile::tempdir().unwrap();
        let sudo = tools.path().join("sudo");
        let script = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";
        std::fs::write(&sudo, script).unwrap();
        std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/bin/true", tools.path().join("stty")).unwrap();
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
        for ground in [Ground::Pipes, Ground::Question, Ground::Terminal] {
            let line = line(&Become::sudo("root"), ")\n", "MARK", "PROMPT", ground);
            let mut shell = std::process::Command::new("sh");
            let output = shell.args(["-c", &line]).env("PATH", &path).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(
                said.contains("MARK\n") && said.contains("yntax error"),
                "{ground:?}: {said}"
            );
            assert_eq!(output.status.code(), Some(2), "{ground:?}: {said}");
        }
    }

    #[test]
    fn questions_are_recognised() {
        assert!(asks(BecomeMethod::Sudo, b"lecture\nn0nce", "n0nce"));
        assert!(!asks(BecomeMethod::Sudo, b"Password:", "n0nce"));
        assert!(asks(BecomeMethod::Su, b"Password: ", "x"));
        assert!(asks(BecomeMethod::Doas, b"\rdoas (u@h) password: ", "x"));
        assert!(!asks(
            BecomeMethod::Su,
            b"Password: \r\nsu: Authentication failure\r\n",
            "x"
        ));
    }
}
