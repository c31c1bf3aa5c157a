//! A host's state of durable work, which outlives connections and their controllers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::performance::{Act, Ending, Performance};

/// A shell's wait status for a command that was killed by TERM.
const TERMINATED: u32 = 128 + 15;

/// The pid of the first supervisor.
const FIRST_SUPERVISOR: u32 = 1000;
/// How many files a host keeps; the oldest is dropped first.
const MOST_FILES: usize = 64;

/// The state of a host.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The highest epoch of each run.
    epochs: BTreeMap<String, u64>,
    /// The host accepts every controller.
    open: bool,
    /// The host accepted a controller after another one had taken over.
    overruled: bool,
    /// By run and token.
    works: BTreeMap<(String, String), Arc<Work>>,
    /// The marks of the runs' directories.
    marks: BTreeMap<String, String>,
    /// The number of marks created.
    marks_made: u64,
    /// The number of supervisors started.
    begun: u32,
    /// Work whose directory was wiped during the run, by supervisor.
    swept: BTreeMap<u32, Arc<Work>>,
    /// Uploaded files: path, size, hash. Their content is not kept.
    files: VecDeque<(String, u64, u64)>,
}

/// The work of one token.
#[derive(Debug)]
pub(crate) struct Work {
    /// The supervisor's pid; none for a tombstone.
    pub(crate) supervisor: Option<u32>,
    /// The machine on which it began.
    machine: String,
    began: Instant,
    progress: Mutex<Progress>,
    changed: watch::Sender<()>,
}

/// The state of a token.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its work, or its tombstone.
    Work(Arc<Work>),
    /// There was nothing; now there is a tombstone.
    Absent,
}

#[derive(Debug)]
struct Progress {
    stage: Stage,
    /// When it reached that stage.
    since: Instant,
    stdout: Spool,
    stderr: Spool,
    /// How often its connection broke.
    cuts: u32,
    /// It hangs: it does nothing, and does not end.
    hangs: bool,
    /// How often it was looked at.
    looks: u64,
}

/// The stage of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It never started and never will, or its files were removed.
    Tombstone,
    /// It runs.
    Running,
    /// It ran to its end.
    Exited {
        /// As a POSIX shell reports it: more than 128 is a signal.
        status: u32,
        /// A controller had asked for its end.
        slain: bool,
    },
    /// It vanished without a status.
    Gone,
    /// It began in another boot.
    Rebooted,
}

/// One output stream. Pieces are shared, so a flood of equal pieces is cheap.
#[derive(Debug, Default)]
struct Spool {
    pieces: Vec<Bytes>,
    length: u64,
    cap: u64,
    over: bool,
}

/// A reader's position in the output.
#[derive(Debug)]
pub(crate) struct Cursor {
    stdout: (usize, usize),
    stderr: (usize, usize),
    cuts: u32,
}

/// The changes since the last look.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) stdout: Vec<Bytes>,
    pub(crate) stderr: Vec<Bytes>,
    /// The connection breaks now.
    pub(crate) cut: bool,
    pub(crate) stage: Stage,
    /// Output over the cap was dropped: 1 for standard output, 2 for standard error.
    pub(crate) over: u8,
}

// === impl Kept ===

impl Kept {
    /// Accepts a controller, unless a later one has been here; fails with that one's epoch.
    pub(crate) fn fence(&self, run: &str, epoch: u64) -> Result<(), u64> {
        let mut state = self.lock();
        let highest = state.epochs.entry(run.to_owned()).or_default();
        if *highest <= epoch {
            *highest = epoch;
        } else {
            let later = *highest;
            if !state.open {
                return Err(later);
            }
            state.overruled = true;
        }
        Ok(())
    }

    /// The mark of a run's directory, which is created if needed.
    pub(crate) fn mark(&self, run: &str, machine: &str) -> String {
        let mut state = self.lock();
        let made = state.marks_made + 1;
        let fresh = format!("mark-{made}-{machine}");
        let mark = state
            .marks
            .entry(run.to_owned())
            .or_insert_with(|| fresh.clone())
            .clone();
        if mark == fresh {
            state.marks_made = made;
        }
        mark
    }

    /// The mark of a run's directory, if there is one.
    pub(crate) fn known_mark(&self, run: &str) -> Option<String> {
        self.lock().marks.get(run).cloned()
    }

    /// The work of a token, and whether this call started it.
    pub(crate) fn start(&self, run: &str, token: &str, machine: &str, cap: u64) -> (Arc<Work>, bool) {
        let mut state = self.lock();
        let key = (run.to_owned(), token.to_owned());
        if let Some(work) = state.works.get(&key) {
            return (Arc::clone(work), false);
        }
        state.begun += 1;
        let mut work = Work::new(Stage::Running, cap);
        work.supervisor = Some(FIRST_SUPERVISOR + state.begun);
        machine.clone_into(&mut work.machine);
        let work = Arc::new(work);
        state.works.insert(key, Arc::clone(&work));
        (work, true)
    }

    /// The state of a token, for a controller with or without a recorded supervisor. If there is nothing, the token can
    /// never start from now on.
    pub(crate) fn attach(&self, run: &str, token: &str, begun: Option<u32>) -> Found {
        let mut state = self.lock();
        let key = (run.to_owned(), token.to_owned());
        if let Some(work) = state.works.get(&key) {
            return Found::Work(Arc::clone(work));
        }
        // It leaves its status in the new directory.
        let swept = begun.and_then(|pid| state.swept.remove(&pid));
        if let Some(work) = swept.filter(|work| work.stage() == Stage::Running) {
            work.lose();
            state.works.insert(key, Arc::clone(&work));
            return Found::Work(work);
        }
        state.works.insert(key, Arc::new(Work::new(Stage::Tombstone, 0)));
        Found::Absent
    }

    /// Forgets the directory, as a cleaner of old files or a recreated disk would; running work continues.
    pub(crate) fn wipe(&self) {
        self.sweep();
        let mut state = self.lock();
        state.epochs.clear();
        state.marks.clear();
    }

    /// Forgets the directories of tokens, but keeps those of runs and their marks.
    pub(crate) fn sweep(&self) {
        let mut state = self.lock();
        let works = std::mem::take(&mut state.works);
        let running = works
            .into_values()
            .filter_map(|work| Some((work.supervisor?, work)));
        state.swept.extend(running);
    }

    /// Accepts every controller from now on.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// Whether a controller was accepted after another one had taken over.
    pub(crate) fn is_overruled(&self) -> bool {
        self.lock().overruled
    }

    /// The work of a token, if there is any.
    pub(crate) fn find(&self, run: &str, token: &str) -> Option<Arc<Work>> {
        let key = (run.to_owned(), token.to_owned());
        self.lock().works.get(&key).map(Arc::clone)
    }

    /// Work of a token whose directory was wiped, by its supervisor.
    pub(crate) fn swept(&self, supervisor: u32) -> Option<Arc<Work>> {
        self.lock().swept.get(&supervisor).cloned()
    }

    /// Forgets the finished work of a run on this machine; returns how many tokens still run.
    pub(crate) fn clean(&self, run: &str, machine: &str) -> usize {
        let state = self.lock();
        let of_run = state.works.iter().filter(|((of, _), _)| of == run);
        of_run
            .filter(|(_, work)| {
                if work.is_of(machine) {
                    !work.bury()
                } else {
                    !matches!(work.stage(), Stage::Exited { .. })
                }
            })
            .count()
    }

    /// Ends all running work because of a reboot.
    pub(crate) fn reboot(&self) {
        let mut state = self.lock();
        // These can't be found any more, because their directories are gone.
        for work in std::mem::take(&mut state.swept).into_values() {
            work.change(|progress| progress.stage = Stage::Gone);
        }
        for work in state.works.values() {
            work.change(|progress| progress.stage = Stage::Rebooted);
        }
    }

    /// Forgets everything, because the machine was replaced.
    pub(crate) fn forget(&self) {
        self.reboot();
        *self.lock() = State::default();
    }

    /// Records a file; returns whether this changed the host.
    pub(crate) fn put_file(&self, path: &str, size: u64, hash: u64) -> bool {
        let mut state = self.lock();
        if state
            .files
            .iter()
            .any(|file| *file == (path.to_owned(), size, hash))
        {
            return false;
        }
        state.files.retain(|(known, ..)| known != path);
        state.files.push_back((path.to_owned(), size, hash));
        if state.files.len() > MOST_FILES {
            state.files.pop_front();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Work ===

impl Work {
    fn new(stage: Stage, cap: u64) -> Self {
        let spool = || Spool {
            cap,
            ..Spool::default()
        };
        Self {
            supervisor: None,
            machine: String::new(),
            began: Instant::now(),
            progress: Mutex::new(Progress {
                stage,
                since: Instant::now(),
                stdout: spool(),
                stderr: spool(),
                cuts: 0,
                hangs: false,
                looks: 0,
            }),
            changed: watch::Sender::new(()),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.lock().stage
    }

    /// Whether it belongs to this machine; a tombstone belongs to every machine.
    pub(crate) fn is_of(&self, machine: &str) -> bool {
        self.supervisor.is_none() || self.machine == machine
    }

    /// Seconds since it started.
    pub(crate) fn age(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// How long it ran, once it has ended.
    pub(crate) fn took(&self) -> Duration {
        self.lock().since.saturating_duration_since(self.began)
    }

    /// Drops the existing output, whose files were removed.
    fn lose(&self) {
        let lost = || Spool {
            over: true,
            ..Spool::default()
        };
        let mut progress = self.lock();
        progress.stdout = lost();
        progress.stderr = lost();
    }

    /// The counter for a look at its processes: it changes with each look, unless the work hangs.
    pub(crate) fn moved(&self) -> u64 {
        let mut progress = self.lock();
        if !progress.hangs {
            progress.looks += 1;
        }
        progress.looks
    }

    /// Plays a performance to its end, or until the work is stopped. It needs no listener.
    pub(crate) async fn perform(&self, performance: Performance, reboot: impl Fn()) {
        for act in performance {
            match act {
                Act::Stdout(bytes) => self.change(|progress| progress.stdout.push(bytes)),
                Act::Stderr(bytes) => self.change(|progress| progress.stderr.push(bytes)),
                Act::Wait(duration) => tokio::select! {
                    biased;
                    () = sleep(duration) => {}
                    () = self.over() => {}
                },
                // Its input is /dev/null.
                Act::CopyInput => {}
                Act::Cut => self.change(|progress| progress.cuts += 1),
                Act::Reboot => reboot(),
                Act::End(ending) => self.end(ending),
            }
            if self.stage() != Stage::Running {
                return;
            }
        }
    }

    /// Stops running work, like TERM; returns the stage before.
    pub(crate) fn stop(&self) -> Stage {
        let before = self.stage();
        self.change(|progress| {
            progress.stage = Stage::Exited {
                status: TERMINATED,
                slain: true,
            };
        });
        before
    }

    /// Leaves a tombstone of ended work; false if the work still runs.
    pub(crate) fn bury(&self) -> bool {
        let mut progress = self.lock();
        if progress.stage == Stage::Running {
            return false;
        }
        *progress = Progress {
            stage: Stage::Tombstone,
            since: progress.since,
            stdout: Spool::default(),
            stderr: Spool::default(),
            cuts: progress.cuts,
            hangs: false,
            looks: 0,
        };
        true
    }

    /// A cursor at these offsets of the streams, and a receiver that is notified of changes.
    pub(crate) fn follow(&self, stdout: u64, stderr: u64) -> (Cursor, watch::Receiver<()>) {
        let progress = self.lock();
        let cursor = Cursor {
            stdout: progress.stdout.position(stdout),
            stderr: progress.stderr.position(stderr),
            cuts: progress.cuts,
        };
        (cursor, self.changed.subscribe())
    }

    /// The news beyond a cursor, which is advanced.
    pub(crate) fn news(&self, cursor: &mut Cursor) -> News {
        let progress = self.lock();
        let cut = progress.cuts > cursor.cuts;
        cursor.cuts = progress.cuts;
        News {
            stdout: progress.stdout.after(&mut cursor.stdout),
            stderr: progress.stderr.after(&mut cursor.stderr),
            cut,
            stage: progress.stage,
            over: u8::from(progress.stdout.over) + 2 * u8::from(progress.stderr.over),
        }
    }

    fn end(&self, ending: Ending) {
        let stage = match ending {
            Ending::Exit(status) => Stage::Exited { status, slain: false },
            Ending::Signal(signal) => Stage::Exited {
                status: 128 + number_of(signal),
                slain: false,
            },
            Ending::Vanish => Stage::Gone,
            // These look the same, because the supervisor holds the channel open.
            Ending::EofOnly | Ending::Hang => {
                self.lock().hangs = true;
                return;
            }
        };
        self.change(|progress| progress.stage = stage);
    }

    /// Changes running work, and notifies its followers.
    fn change(&self, change: impl FnOnce(&mut Progress)) {
        {
            let mut progress = self.lock();
            if progress.stage != Stage::Running {
                return;
            }
            change(&mut progress);
            if progress.stage != Stage::Running {
                progress.since = Instant::now();
            }
        }
        self.changed.send_replace(());
    }

    /// Waits until it no longer runs.
    async fn over(&self) {
        let mut changed = self.changed.subscribe();
        while self.stage() == Stage::Running {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number_of(signal: &str) -> u32 {
    match signal {
        "ABRT" => 6,
        "SEGV" => 11,
        "TERM" => 15,
        _ => 9,
    }
}

// === impl Spool ===

impl Spool {
    fn push(&mut self, mut bytes: Bytes) {
        let room = usize::try_from(self.cap.saturating_sub(self.length)).unwrap_or(usize::MAX);
        self.over |= bytes.len() > room;
        bytes.truncate(room);
        if !bytes.is_empty() {
            self.length += bytes.len() as u64;
            self.pieces.push(bytes);
        }
    }

    /// The piece and the offset in it for an offset of the stream; the end if it is beyond.
    fn position(&self, offset: u64) -> (usize, usize) {
        let mut left = offset;
        for (index, piece) in self.pieces.iter().enumerate() {
            match usize::try_from(left) {
                Ok(within) if within < piece.len() => return (index, within),
                _ => left -= piece.len() as u64,
            }
        }
        (self.pieces.len(), 0)
    }

    fn after(&self, (index, within): &mut (usize, usize)) -> Vec<Bytes> {
        let Some(rest) = self.pieces.get(*index..).filter(|rest| !rest.is_empty()) else {
            return Vec::new();
        };
        let mut pieces = rest.to_vec();
        pieces[0] = pieces[0].slice((*within).min(pieces[0].len())..);
        (*index, *within) = (self.pieces.len(), 0);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Host;

    /// The stage of existing work; none if there was nothing.
    fn found(kept: &Kept, token: &str, begun: Option<u32>) -> Option<Stage> {
        match kept.attach("run", token, begun) {
            Found::Work(work) => Some(work.stage()),
            Found::Absent => None,
        }
    }

    #[tokio::test]
    async fn a_reboot_ends_running_work() {
        let host = Host::new("drill-0001".into(), 0, None, 0, std::time::Duration::ZERO, 0);
        let boot = host.boot_id();
        let (work, _) = host.kept.start("run", "a", "m", 8);
        let acts = [
            Act::Stdout(Bytes::from_static(b"abc")),
            Act::Reboot,
            Act::Stdout(Bytes::from_static(b"def")),
        ];
        work.perform(Performance::new(acts, Ending::Exit(0)), || host.reboot())
            .await;
        assert_eq!(work.stage(), Stage::Rebooted);
        assert_eq!(found(&host.kept, "a", None), Some(Stage::Rebooted));
        assert_ne!(host.boot_id(), boot);
        assert!(host.away().is_some());
        let machine = host.machine_id();
        host.replace();
        assert_ne!(host.machine_id(), machine);
        assert!(host.kept.start("run", "a", "m", 8).1);
    }

    #[test]
    fn a_later_controller_fences_an_earlier_one() {
        let kept = Kept::default();
        assert_eq!(kept.fence("run", 2), Ok(()));
        assert_eq!(kept.fence("run", 1), Err(2));
        assert_eq!(kept.fence("run", 2), Ok(()));
        assert_eq!(kept.fence("other", 1), Ok(()));
    }

    #[test]
    fn a_token_starts_once_or_never() {
        let kept = Kept::default();
        let (work, began) = kept.start("run", "a", "m", 10);
        assert!(began && !kept.start("run", "a", "m", 10).1);
        assert_eq!(found(&kept, "a", None), Some(Stage::Running));
        assert_eq!(found(&kept, "b", None), None);
        assert_eq!(found(&kept, "b", None), Some(Stage::Tombstone));
        assert!(!kept.start("run", "b", "m", 10).1);
        assert_eq!((kept.clean("run", "m"), work.stop()), (1, Stage::Running));
        assert_eq!(kept.clean("run", "other"), 0);
        assert!(matches!(work.stage(), Stage::Exited { .. }));
        assert_eq!(kept.clean("run", "m"), 0);
        assert_eq!(kept.start("run", "a", "m", 10).0.stage(), Stage::Tombstone);
    }

    #[test]
    fn wiped_work_is_absent_or_known_by_its_supervisor() {
        let kept = Kept::default();
        let mark = kept.mark("run", "m");
        assert_eq!(kept.mark("run", "m"), mark);
        let (work, _) = kept.start("run", "a", "m", 10);
        kept.wipe();
        assert_ne!(kept.mark("run", "m"), mark);
        assert_eq!(found(&kept, "a", work.supervisor), Some(Stage::Running));
        assert_eq!(found(&kept, "b", work.supervisor), None);
        kept.wipe();
        assert_eq!(found(&kept, "a", None), None);
    }

    #[tokio::test]
    async fn a_client_that_comes_back_gets_the_rest() {
        let (work, _) = Kept::default().start("run", "a", "m", 8);
        let (mut cursor, _) = work.follow(0, 0);
        let acts = ["abc", "def", "ghi"].map(|text| Act::Stdout(Bytes::from_static(text.as_bytes())));
        let performance = Performance::new(acts, Ending::Signal("KILL"));
        work.perform(performance, || {}).await;
        let news = work.news(&mut cursor);
        assert_eq!(news.stdout.concat(), b"abcdefgh");
        assert_eq!(news.over, 1);
        let end = Stage::Exited {
            status: 137,
            slain: false,
        };
        assert_eq!(news.stage, end);
        assert!(work.news(&mut cursor).stdout.is_empty());
        for (offset, rest) in [(0, "abcdefgh"), (4, "efgh"), (6, "gh"), (8, ""), (99, "")] {
            let (mut cursor, _) = work.follow(offset, 0);
            assert_eq!(
                work.news(&mut cursor).stdout.concat(),
                rest.as_bytes(),
                "{offset}"
            );
        }
    }

    #[tokio::test]
    async fn hanging_work_can_be_stopped() {
        let (work, _) = Kept::default().start("run", "a", "m", 8);
        let acts = [Act::Wait(std::time::Duration::from_secs(1_000_000))];
        let performing = work.perform(Performance::new(acts, Ending::Hang), || {});
        let ((), before) = tokio::join!(performing, async { work.stop() });
        assert_eq!(before, Stage::Running);
    }
}
