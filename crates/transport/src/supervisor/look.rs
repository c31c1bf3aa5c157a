//! Looks at silent work: do its processes exist, and do they move?

use reveille_text::harmless::line_up_to;

use crate::escalate::Become;
use crate::session::Session;

use super::script::Verb;
use super::{Key, LOOK, SuperviseError, ask};

/// How much of a host's word messages show, in characters.
const WORD: usize = 32;

/// The result of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Processes of the work exist.
    Alive(Alive),
    /// The work has ended; its end is on its way.
    Finished,
    /// No process of it is left, and there is no status.
    Gone,
    /// The host can't find out.
    Unknown,
}

/// The work's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// Counters that grow while they move.
    pub counters: Counters,
    /// The load average of the last minute, as the host writes it.
    pub load: String,
    /// One of them reads from a terminal.
    pub asks: bool,
    /// One of them may read from its terminal; it belongs to another user, who alone can tell.
    pub may_ask: bool,
    /// A process that holds a lock of the package tools, if the work's processes include one of these tools.
    pub lock: Option<(u32, String)>,
}

/// Sums over all processes of the work. If one differs between two looks, something moved. Context switches are not
/// counted: a process that waits in a loop with a time-out, as apt does for a hanging mirror, wakes up all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Processes.
    pub processes: u64,
    /// Clock ticks of CPU time.
    pub cpu: u64,
    /// Bytes read and written, as far as the host reports them.
    pub bytes: u64,
    /// The highest pid.
    pub last_pid: u64,
}

/// Looks at the work of `key`; if the key has no place, at everything else that runs on this connection.
pub async fn look(session: &Session, escalate: Option<&Become>, key: &Key) -> Result<Look, SuperviseError> {
    let words = ask(session, escalate, key, Verb::Look, "", LOOK).await?;
    Ok(parse(&words))
}

/// An invalid answer counts as unknown, so nothing is killed for it.
fn parse(words: &str) -> Look {
    let mut words = words.splitn(9, ' ');
    match words.next() {
        Some("finished") => return Look::Finished,
        Some("gone") => return Look::Gone,
        Some("alive") => {}
        _ => return Look::Unknown,
    }
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (Some(processes), Some(cpu), Some(bytes), Some(last_pid)) = (number(), number(), number(), number())
    else {
        return Look::Unknown;
    };
    let load = line_up_to(words.next().unwrap_or("-"), WORD);
    let asks = words.next().unwrap_or("-");
    let holder = words.next().and_then(|word| word.parse().ok());
    let name = line_up_to(words.next().unwrap_or_default(), WORD);
    Look::Alive(Alive {
        counters: Counters {
            processes,
            cpu,
            bytes,
            last_pid,
        },
        load,
        asks: !matches!(asks, "-" | "?"),
        may_ask: asks == "?",
        lock: holder.map(|pid| (pid, name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(parse("gone"), Look::Gone);
        assert_eq!(parse("finished"), Look::Finished);
        for none in ["", "alive", "alive 1 2 3", "alive a b c d", "unknown", "x"] {
            assert_eq!(parse(none), Look::Unknown, "{none}");
        }
        let Look::Alive(alive) = parse("alive 3 42 1000 991 0.50 - 17 apt-get") else {
            panic!()
        };
        assert_eq!((alive.counters.cpu, alive.asks), (42, false));
        assert_eq!(alive.lock, Some((17, "apt-get".to_owned())));
        for (word, asks, may_ask) in [("-", false, false), ("?", false, true), ("77", true, false)] {
            let Look::Alive(alive) = parse(&format!("alive 3 42 1000 991 0.50 {word} - -")) else {
                panic!()
            };
            assert_eq!((alive.asks, alive.may_ask), (asks, may_ask), "{word}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(words: String) {
            let _ = parse(&words);
        }
    }
}
