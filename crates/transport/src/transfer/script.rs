//! Prepares the host's side of copies for sending.

use std::sync::LazyLock;

use crate::supervisor::script::folded;

const SOURCE: &str = include_str!("transfer.sh");

/// A task of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Receive a file.
    Upload,
    /// Send a file.
    Download,
    /// List named files.
    Survey,
    /// Send the hashes of all files below a directory.
    Sums,
    /// Receive an archive and unpack it beside its destination.
    Unpack,
    /// Send a directory as an archive.
    Pack,
    /// Run lines of commands.
    Steps,
    /// Tell what an upload would replace.
    Compare,
    /// Tell a user's home directory.
    Home,
}

const VERBS: [(Verb, &str); 9] = [
    (Verb::Upload, "upload"),
    (Verb::Download, "download"),
    (Verb::Survey, "survey"),
    (Verb::Sums, "sums"),
    (Verb::Unpack, "unpack"),
    (Verb::Pack, "pack"),
    (Verb::Steps, "steps"),
    (Verb::Compare, "compare"),
    (Verb::Home, "home"),
];

impl Verb {
    /// The line to send first.
    pub(crate) fn script(self) -> &'static str {
        static SCRIPTS: LazyLock<[String; 9]> = LazyLock::new(|| VERBS.map(|(_, word)| folded(SOURCE, word)));
        &SCRIPTS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_one_line_of_valid_sh() {
        for (index, (verb, word)) in VERBS.into_iter().enumerate() {
            assert_eq!(verb as usize, index);
            let script = verb.script();
            assert_eq!(script.matches('\n').count(), 1, "{word}");
            for shell in [&["dash"][..], &["bash"], &["busybox", "ash"]] {
                let mut command = std::process::Command::new(shell[0]);
                let status = command
                    .args(&shell[1..])
                    .args(["-n", "-c", script])
                    .status()
                    .unwrap();
                assert!(status.success(), "{shell:?} {word}");
            }
        }
    }
}
