//! The host's side of copies, made ready to travel.

use std::sync::LazyLock;

use crate::supervisor::script::folded;

const SOURCE: &str = include_str!("transfer.sh");

/// What a host is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Take a file.
    Upload,
    /// Give a file.
    Download,
    /// Tell how named things stand.
    Survey,
    /// Tell the hashes of all files below a directory.
    Sums,
    /// Take an archive and unpack it beside where it goes.
    Unpack,
    /// Give a directory as an archive.
    Pack,
    /// Run lines of commands.
    Steps,
}

const VERBS: [(Verb, &str); 7] = [
    (Verb::Upload, "upload"),
    (Verb::Download, "download"),
    (Verb::Survey, "survey"),
    (Verb::Sums, "sums"),
    (Verb::Unpack, "unpack"),
    (Verb::Pack, "pack"),
    (Verb::Steps, "steps"),
];

impl Verb {
    /// The one line that has to be sent first.
    pub(crate) fn script(self) -> &'static str {
        static SCRIPTS: LazyLock<[String; 7]> = LazyLock::new(|| VERBS.map(|(_, word)| folded(SOURCE, word)));
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
