//! What a controller needs to continue a run: the roll of its round, and the events so far.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use reveille_account::{Class, EventKind, HostName, RunId};

use crate::read::{parse_kind, read_entry};
use crate::sql::{host, rows};
use crate::{Error, Ledger, Result, RollEntry};

/// A host on the roll of the current round.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundHost {
    /// The host and its address.
    pub entry: RollEntry,
    /// Whether it was handed to the engine in this round.
    pub dispatched: bool,
    /// The class of its outcome in this round.
    pub outcome: Option<Class>,
}

/// An event as it is replayed, without fields that only readers of files need.
#[derive(Debug)]
pub struct Replayed<'a> {
    /// The round.
    pub round: u32,
    /// The host, if it is about one.
    pub host: Option<&'a str>,
    /// When, Unix milliseconds.
    pub wall_ms: u64,
    /// What happened; an error if this program can't read it.
    pub kind: Result<EventKind>,
}

/// The number of threads that parse events.
const PARSERS: usize = 2;
/// The number of events per piece, and of pieces queued per thread.
const PIECE: usize = 512;
const PIECES: usize = 4;

/// An event as stored.
struct Raw {
    round: u32,
    host: Option<String>,
    wall_ms: i64,
    body: String,
}

/// A host's directory for durable work of a run, as the host reported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The host that has it: the delegate if the step was delegated.
    pub host: HostName,
    /// The directory.
    pub place: String,
    /// The id of the machine that reported it; `-` if unknown.
    pub machine: String,
    /// The random word in it.
    pub mark: String,
}

// === impl Ledger ===

impl Ledger {
    /// The directories for a run's durable work in all rounds, each with the machine that reported it.
    pub fn places(&self, run: RunId) -> Result<Vec<Kept>> {
        self.snapshot(run, |connection, key| {
            rows(
                connection,
                "SELECT DISTINCT COALESCE(i.delegate, i.host) AS name, i.place,
                        COALESCE(json_extract(e.body, '$.site.machine'), '-'),
                        COALESCE(json_extract(e.body, '$.site.mark'), '-')
                 FROM intents i LEFT JOIN events e USING (run, seq)
                 WHERE i.run = ?1 AND i.place IS NOT NULL AND i.token IS NOT NULL
                 ORDER BY name, i.place",
                [key],
                |row| {
                    Ok(Kept {
                        host: host(row, 0)?,
                        place: row.get(1)?,
                        machine: row.get(2)?,
                        mark: row.get(3)?,
                    })
                },
            )
        })
    }

    /// The hosts of the current round, in the roll's order.
    pub fn round(&self, run: RunId) -> Result<Vec<RoundHost>> {
        #[cfg(feature = "memory")]
        if let Ok(state) = self.memory_of(run) {
            return Ok(state.round_hosts());
        }
        self.snapshot(run, |connection, key| {
            rows(
                connection,
                "SELECT r.host, r.address, r.port, r.vars, r.way, d.host IS NOT NULL, o.class
                 FROM roll r
                 LEFT JOIN dispatches d USING (run, round, host)
                 LEFT JOIN outcomes o USING (run, round, host)
                 WHERE r.run = ?1 AND r.round = (SELECT round FROM runs WHERE run = ?1)
                 ORDER BY r.ordinal",
                [key],
                |row| {
                    let entry = read_entry(row)?;
                    let class: Option<String> = row.get(6)?;
                    let damaged =
                        |class: &str| Error::damaged(format!("the outcome of {}", entry.host), &class);
                    let outcome = class.map(|class| class.parse().map_err(|_| damaged(&class)));
                    Ok(RoundHost {
                        dispatched: row.get(5)?,
                        outcome: outcome.transpose()?,
                        entry,
                    })
                },
            )
        })
    }

    /// Calls `each`, in order, for the events of the run as a whole and of the wanted hosts.
    ///
    /// Most of the time goes into parsing, which runs in separate threads.
    pub fn replay(
        &self,
        run: RunId,
        wanted: impl Fn(&str) -> bool + Sync,
        mut each: impl FnMut(Replayed<'_>),
    ) -> Result<()> {
        #[cfg(feature = "memory")]
        if let Ok(state) = self.memory_of(run) {
            for event in &state.events {
                let host = event.host.as_ref().map(HostName::as_str);
                if host.is_none_or(&wanted) {
                    each(Replayed {
                        round: event.round,
                        host,
                        wall_ms: event.wall_ms,
                        kind: Ok(event.kind.clone()),
                    });
                }
            }
            return Ok(());
        }
        thread::scope(|scope| {
            let mut parsers = Vec::new();
            let mut parsed = Vec::new();
            for _ in 0..PARSERS {
                let (rows, queue) = mpsc::sync_channel::<Vec<Raw>>(PIECES);
                let (events, piece) = mpsc::sync_channel(PIECES);
                let parse = move || {
                    for rows in queue {
                        let read: Vec<_> = rows.into_iter().map(|row| (parse_kind(&row.body), row)).collect();
                        if events.send(read).is_err() {
                            return;
                        }
                    }
                };
                start(scope, parse)?;
                parsers.push(rows);
                parsed.push(piece);
            }
            let wanted = &wanted;
            let reader = start(scope, move || self.read_events(run, wanted, &parsers))?;
            // Parsers take turns; the first one without a piece was the last.
            let mut turns = parsed.iter().cycle();
            while let Some(Ok(piece)) = turns.next().map(mpsc::Receiver::recv) {
                for (kind, row) in piece {
                    each(Replayed {
                        round: row.round,
                        host: row.host.as_deref(),
                        wall_ms: row.wall_ms.cast_unsigned(),
                        kind,
                    });
                }
            }
            reader.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Passes the wanted events, in pieces, to each parser in turn.
    fn read_events(
        &self,
        run: RunId,
        wanted: &(impl Fn(&str) -> bool + Sync),
        parsers: &[mpsc::SyncSender<Vec<Raw>>],
    ) -> Result<()> {
        self.snapshot(run, |connection, key| {
            let mut statement = connection.prepare_cached(
                "SELECT round, host, wall_ms, body FROM events WHERE run = ?1 ORDER BY seq",
            )?;
            let mut rows = statement.query([key])?;
            let mut turns = parsers.iter().cycle();
            let mut piece = Vec::with_capacity(PIECE);
            while let Some(row) = rows.next()? {
                let host = row.get_ref(1)?.as_str_or_null().map_err(rusqlite::Error::from)?;
                if host.is_some_and(|host| !wanted(host)) {
                    continue;
                }
                piece.push(Raw {
                    round: row.get(0)?,
                    host: host.map(str::to_owned),
                    wall_ms: row.get(2)?,
                    body: row.get(3)?,
                });
                if piece.len() == PIECE {
                    let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
                    // Fails only if the parser has panicked, which is reported elsewhere.
                    let _ = turns.next().map(|parser| parser.send(full));
                }
            }
            let _ = turns.next().map(|parser| parser.send(piece));
            Ok(())
        })
    }
}

/// Starts a reader thread.
fn start<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>> {
    thread::Builder::new()
        .name("replay".to_owned())
        .spawn_scoped(scope, work)
        .map_err(Error::io("start a thread to read", Path::new("the ledger")))
}
