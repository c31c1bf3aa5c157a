//! What a host reports about itself and about work that has begun, and how much of it is accepted.

/// The longest word that is accepted.
const WORD_LIMIT: usize = 64;
/// The longest path that is accepted, as on most systems.
const PLACE_LIMIT: usize = 1024;
/// Stands for an unknown value.
const UNKNOWN: &str = "-";

/// A host's report about itself in hello; `-` for unknown values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The boot id.
    pub boot: String,
    /// The machine id.
    pub machine: String,
    /// The machine's own name.
    pub node: String,
    /// The directory for durable work.
    pub place: String,
    /// A random word in that directory, created once per run: a different mark means a different directory.
    pub mark: String,
}

/// The supervisor of work that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Its process.
    pub pid: u32,
    /// When that process started, as the host's kernel counts.
    pub born: String,
}

// === impl Hello ===

impl Hello {
    /// Parses `BOOT PROC MACHINE NODE MARK PLACE`.
    pub(super) fn parse(words: &str) -> Self {
        let mut words = words.splitn(6, ' ');
        let mut next = || word(words.next().unwrap_or_default()).to_owned();
        let (boot, _, machine, node, mark) = (next(), next(), next(), next(), next());
        Self {
            boot,
            machine,
            node,
            place: words.next().unwrap_or_default().to_owned(),
            mark,
        }
    }
}

// === impl Begun ===

impl Begun {
    /// Parses `PID BORN`; a pid of 0 is none.
    pub(super) fn parse(words: &str) -> Self {
        let (pid, born) = words.split_once(' ').unwrap_or((words, "0"));
        Self {
            pid: pid.parse().unwrap_or(0),
            born: word(born).to_owned(),
        }
    }
}

/// The recorded supervisor, for the host.
pub(super) fn recorded(begun: Option<&Begun>) -> String {
    match begun {
        Some(begun) if begun.pid > 0 => format!("{} {}", begun.pid, word(&begun.born)),
        _ => format!("{UNKNOWN} {UNKNOWN}"),
    }
}

/// Returns `text` if it is a single harmless word, otherwise the word for an unknown value.
pub(super) fn word(text: &str) -> &str {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !text.is_empty() && text.len() <= WORD_LIMIT && text.bytes().all(harmless) {
        text
    } else {
        UNKNOWN
    }
}

/// Whether `place` can be a directory for our work: absolute, without detours and control characters, and with one of
/// the supervisor's names. A host may send anything.
pub fn plausible_place(place: &str) -> bool {
    let name = place.rsplit('/').next().unwrap_or_default();
    let ours = name == "reveille"
        || name
            .strip_prefix("reveille-")
            .is_some_and(|user| !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit()));
    ours && place.starts_with('/')
        && place.len() <= PLACE_LIMIT
        && !place.chars().any(char::is_control)
        && !place.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_ours() {
        for place in [
            "/home/a b/.local/state/reveille",
            "/var/tmp/reveille-1000",
            "/tmp/reveille-0",
        ] {
            assert!(plausible_place(place), "{place}");
        }
        for place in [
            "",
            "/",
            "/etc",
            "reveille",
            "-",
            "/reveille/",
            "/tmp/reveille-",
            "/tmp/reveille-x",
            "/tmp/../etc/reveille",
            "/tmp/a\nb/reveille",
        ] {
            assert!(!plausible_place(place), "{place}");
        }
    }

    #[test]
    fn what_is_no_word_is_unknown() {
        let hello = Hello::parse("b-1 1 m $(x) k /home/a b/reveille");
        assert_eq!(
            (hello.boot.as_str(), hello.machine.as_str(), hello.node.as_str()),
            ("b-1", "m", "-")
        );
        assert_eq!(
            (hello.mark.as_str(), hello.place.as_str()),
            ("k", "/home/a b/reveille")
        );
        assert_eq!(recorded(None), "- -");
        assert_eq!(recorded(Some(&Begun::parse("12 345"))), "12 345");
        assert_eq!(recorded(Some(&Begun::parse("x"))), "- -");
    }

    proptest::proptest! {
        #[test]
        fn no_words_panic(words: String) {
            let _ = Hello::parse(&words);
            let _ = Begun::parse(&words);
            let _ = plausible_place(&words);
        }
    }
}
