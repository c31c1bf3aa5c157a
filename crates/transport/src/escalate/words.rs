//! The shell text around a command that runs as another user.

use reveille_account::BecomeMethod;

use super::Become;
use crate::quote::{login_line, sh_quote};

/// Keeps a copy of the locale that `su` is not to speak in.
const LOCALE: &str = "REVEILLE_LC_ALL";

/// What a command stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Pipes, which are also asked and answered through.
    Pipes,
    /// A terminal for the question alone; the command has pipes.
    Question,
    /// A terminal, for the command too.
    Terminal,
}

/// The command line for the login shell. `mark` is said once the user is changed, `prompt` is what sudo asks with.
pub(super) fn line(other: &Become, command: &str, mark: &str, prompt: &str, ground: Ground) -> String {
    let inner = match ground {
        Ground::Pipes => format!("echo {mark} >&2;{command}"),
        Ground::Question => on_terminal(command, mark),
        // sudo may have made another terminal, which is as terminals are.
        Ground::Terminal => format!("stty -echo -opost||exit 1;echo {mark};{command}"),
    };
    let user = sh_quote(&other.user);
    let outer = match (other.method, &other.password) {
        (BecomeMethod::Sudo, None) => {
            format!("exec sudo -n -H -u {user} -- sh -c {}", sh_quote(&inner))
        }
        // `-k`: a password remembered from before must not make it depend on luck whether sudo asks.
        (BecomeMethod::Sudo, Some(_)) => {
            format!(
                "exec sudo -k -S -H -p {prompt} -u {user} -- sh -c {}",
                sh_quote(&inner)
            )
        }
        (BecomeMethod::Doas, None) => format!("exec doas -n -u {user} sh -c {}", sh_quote(&inner)),
        (BecomeMethod::Doas, Some(_)) => format!("exec doas -u {user} sh -c {}", sh_quote(&inner)),
        // What it asks is known in one language. The other user's shell may be any.
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

/// Makes the terminal pass bytes on as they are, says the mark, and runs `command` between two pipes: one is filled from
/// the pieces that come in, the other is emptied into the terminal.
fn on_terminal(command: &str, mark: &str) -> String {
    // A terminal that hangs up signals whoever uses it; without one nobody would be signalled either.
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

/// Where `wanted` begins in `text`.
pub(super) fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs what runs on a terminal, on pipes: `stty` is the only thing that notices.
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
        // Input that nobody reads holds nothing up, and none at all is not waited for.
        assert_eq!(
            run("exec <&-;echo done", b"2\nab"),
            ("MARK\ndone\n".to_owned(), Some(0))
        );
        assert_eq!(run("echo done", b""), ("MARK\ndone\n".to_owned(), Some(0)));
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
