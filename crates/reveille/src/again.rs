//! The command that runs a job again on the hosts that failed, with the files as they are now.

use std::path::Path;

use reveille_account::{Account, RunId};
use reveille_fleet::Typed;
use reveille_transport::sh_quote;

/// The command of a run, as it was typed, for the hosts of `run` that did not succeed.
pub(crate) fn command(typed: &Typed, run: RunId, account: &Account) -> String {
    let mut words = vec!["reveille".to_owned()];
    words.extend(without_limits(&typed.words).into_iter().map(|word| quoted(&word)));
    let statuses = [
        ("failed", account.failed),
        ("quarantined", account.quarantined),
        ("cancelled", account.cancelled),
        ("ghost", account.ghost),
    ];
    let hosts: Vec<String> = statuses
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(status, _)| format!("@{run}:{status}"))
        .collect();
    let limit = format!("-l {}", quoted(&hosts.join(",")));
    // Words after `--` belong to something else.
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.insert(end, limit);
    let command = words.join(" ");
    if depends_on_directory(typed) {
        format!(
            "cd {} && {command}",
            quoted(&typed.directory.display().to_string())
        )
    } else {
        command
    }
}

/// Whether the command means something else in another directory: a word is a path below it, or it has a configuration. The
/// line may be pasted elsewhere, so that the present directory does not matter.
fn depends_on_directory(typed: &Typed) -> bool {
    let is_below = |word: &str| {
        let path = word.rsplit(['=', '@']).next().unwrap_or(word);
        !path.is_empty() && Path::new(path).is_relative() && typed.directory.join(path).exists()
    };
    typed.directory.join("reveille.toml").exists() || typed.words.iter().any(|word| is_below(word))
}

/// The words without the limits among them, which the new one replaces.
fn without_limits(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word.clone());
            kept.extend(words.cloned());
            break;
        }
        if word == "--limit" {
            words.next();
        } else if word.starts_with("--limit=") {
        } else if let Some((flags, value)) = short_limit(word) {
            if value.is_empty() {
                words.next();
            }
            kept.extend((!flags.is_empty()).then(|| format!("-{flags}")));
        } else {
            kept.push(word.clone());
        }
    }
    kept
}

/// The flags before `l` in a word such as `-bl` or `-lweb`, and the value after it.
fn short_limit(word: &str) -> Option<(&str, &str)> {
    let letters = word
        .strip_prefix('-')
        .filter(|letters| !letters.starts_with('-'))?;
    let (flags, value) = letters.split_once('l')?;
    flags
        .chars()
        .all(|flag| "bkKqv".contains(flag))
        .then_some((flags, value.trim_start_matches('=')))
}

/// A word for a shell, quoted only if it needs that.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        sh_quote(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(words: &[&str]) -> String {
        let typed = Typed {
            directory: std::env::current_dir().unwrap(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let account = Account {
            failed: 2,
            cancelled: 1,
            ..Account::default()
        };
        let run = RunId::new(1_795_256_102_000, [0x4f; 10]);
        command(&typed, run, &account).replace(&run.to_string(), "RUN")
    }

    #[test]
    fn the_directory_is_named_if_the_command_depends_on_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("job.yaml"), "").unwrap();
        let again = |words: &[&str]| {
            let typed = Typed {
                directory: directory.path().to_owned(),
                words: words.iter().map(|word| (*word).to_owned()).collect(),
            };
            let account = Account {
                failed: 1,
                ..Account::default()
            };
            command(&typed, RunId::new(0, [0; 10]), &account)
        };
        let to = format!(
            "cd {} && reveille run ",
            quoted(&directory.path().display().to_string())
        );
        assert!(again(&["run", "job.yaml"]).starts_with(&to));
        assert!(again(&["run", "/x", "-e", "@job.yaml"]).starts_with(&to));
        assert!(again(&["run", "/x", "--inventory=job.yaml"]).starts_with(&to));
        let whole = directory.path().join("job.yaml").display().to_string();
        assert!(again(&["run", &whole, "-w", "a,b"]).starts_with("reveille run "));
        std::fs::write(directory.path().join("reveille.toml"), "").unwrap();
        assert!(again(&["run", &whole]).starts_with(&to));
    }

    #[test]
    fn the_limit_is_replaced() {
        let expected = "reveille run job.yaml -i hosts.ini -b -l @RUN:failed,@RUN:cancelled";
        for words in [
            &["run", "job.yaml", "-i", "hosts.ini", "-b"][..],
            &["run", "job.yaml", "-l", "web", "-i", "hosts.ini", "-b"],
            &["run", "job.yaml", "--limit=web", "-i", "hosts.ini", "-b"],
            &[
                "run",
                "job.yaml",
                "-lweb",
                "--limit",
                "db",
                "-i",
                "hosts.ini",
                "-b",
            ],
            &["run", "job.yaml", "-i", "hosts.ini", "-bl", "web"],
        ] {
            assert_eq!(again(words), expected, "{words:?}");
        }
        assert_eq!(
            again(&["run", "my job.yaml", "-e", "a=$b"]),
            "reveille run 'my job.yaml' -e 'a=$b' -l @RUN:failed,@RUN:cancelled"
        );
    }
}
