//! The remote supervisor's protocol: a host's answers to a controller with durable work.
//!
//! A real host would receive a shell script and run it. Here the script is skipped, and only the dialogue after it
//! counts, line by line:
//!
//! ```text
//! controller                                     host
//! SCRIPT                                 (or, of a program: { set -- orders NONCE .. PLACE;SCRIPT})
//! NONCE VERB RUN EPOCH TOKEN PLACE
//!                                                ^NONCE hello BOOT PROC MACHINE NODE MARK PLACE
//! go MARK BOOT MACHINE CAP BYTES COUNT   (verb start)
//! PRELUDE, WORDS, COUNT lines, NONCE
//! attach OFFSET OFFSET CAP PID BORN      (verb attach)
//!                                                ^NONCE started PID BORN
//!                                                ^NONCE attached running AGE | attached finished TOOK
//!                                                output from the offsets on
//!                                                ^NONCE end, on standard error
//!                                                ^NONCE end exit STATUS SLAIN OVER | gone | rebooted
//!                                                ^NONCE end never | absent | elsewhere
//! clean
//!                                                ^NONCE cleaned
//! ```
//!
//! `^` is the byte 0x1e. The verbs `stop` (a second line, `PID BORN`), `clean` (a second line, `MACHINE MARK`), `look`
//! and `halt` are answered with one `end`. Scripts that copy files are recognised by their text. Other command lines go
//! to the plain [`Shell`].

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};

use crate::kept::{Found, Stage, Work};
use crate::listening::{BOOTSTRAP, PROGRAM, orders_of};
use crate::{Call, ChannelIo, Gone, Host, Script, ScriptFuture, Shell};

/// Only in the script that receives a file.
const UPLOAD: &str = "SIZE ID MODE OWNER GROUP";
/// Only in the script that sends a file.
const DOWNLOAD: &str = "read -r N K SIZE";
/// Only in the script that lists what exists of a directory.
const SURVEY: &str = "read -r N WHAT ID";
/// Only in the script that unpacks a directory, and in the one that installs it.
const UNPACK: [&str; 2] = ["tar -xpof", "do E=$(eval"];
/// The longest line to read.
const LONGEST_LINE: usize = 8 << 20;
/// The start time of every supervisor, as its kernel counts.
const BORN: u32 = 4242;
/// The unit of the spool's cap.
const BLOCK: u64 = 512;
/// How long an attached connection lives on a host that breaks every connection.
const BEFORE_CUT: Duration = Duration::from_millis(30);

/// The script of a host with a POSIX shell: it supports durable work and copies, and plays plain commands like
/// [`Shell`]. Work continues when its connection breaks, and a client that comes back with the token gets the rest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Supervisor;

/// A channel with lines and frames.
struct Talk {
    io: ChannelIo,
    host: Arc<Host>,
    held: BytesMut,
    nonce: String,
    /// The mark in hello.
    mark: String,
}

/// The line after the script.
struct Orders {
    verb: String,
    run: String,
    epoch: u64,
    token: String,
    place: String,
    /// The host chooses the place.
    chooses: bool,
}

// === impl Supervisor ===

impl Script for Supervisor {
    fn run(&self, call: Call) -> ScriptFuture<'_> {
        let evaluated = call
            .command
            .windows(BOOTSTRAP.len())
            .position(|window| window == BOOTSTRAP);
        let Some(who) = evaluated.or((call.command == PROGRAM).then_some(0)) else {
            return Shell.run(call);
        };
        let escalated = call.command[..who].windows(5).any(|window| window == b"sudo ");
        Box::pin(async move {
            let talk = Talk {
                io: call.io,
                host: call.host,
                held: BytesMut::new(),
                nonce: String::new(),
                mark: String::new(),
            };
            // If the client has gone, there is nobody to answer: its work continues.
            let _ = talk.answer(escalated).await;
        })
    }
}

// === impl Talk ===

impl Talk {
    async fn answer(mut self, escalated: bool) -> Result<(), Gone> {
        let Some(script) = self.line().await? else {
            return self.io.exit(0).await;
        };
        let orders = match orders_of(&script) {
            Some(orders) => Some(orders),
            None => self.line().await?,
        };
        let Some(orders) = orders else {
            return self.io.exit(0).await;
        };
        if script.contains(UPLOAD) {
            self.upload(&orders).await?;
        } else if script.contains(DOWNLOAD) {
            self.download(&orders).await?;
        } else if script.contains(SURVEY) {
            self.nonce = first_word(&orders);
            self.say("hello absent").await?;
        } else if UNPACK.iter().any(|mark| script.contains(mark)) {
            self.nonce = first_word(&orders);
            self.swallow().await?;
        } else {
            self.supervise(&orders, escalated).await?;
        }
        self.io.exit(0).await
    }

    async fn supervise(&mut self, orders: &str, escalated: bool) -> Result<(), Gone> {
        let Some((nonce, orders)) = Orders::parse(orders, escalated) else {
            return Ok(());
        };
        self.nonce = nonce;
        if orders.chooses && self.host.is_full() {
            self.host.exercise();
            let full = format!(
                "{0} has only 0 KiB free; /var/tmp/reveille-1000 has only 0 KiB free;",
                orders.place
            );
            return self.say(&format!("error place  {full}")).await;
        }
        let looks = matches!(orders.verb.as_str(), "look" | "halt");
        if !looks && !self.fence(&orders).await? {
            return Ok(());
        }
        let (boot, machine) = (self.host.boot_id(), self.host.machine_id());
        self.mark = match orders.verb.as_str() {
            "look" | "halt" => "-".to_owned(),
            "clean" => self.host.kept.known_mark(&orders.run).unwrap_or("-".to_owned()),
            _ => self.host.kept.mark(&orders.run, &machine),
        };
        let (name, mark, place) = (self.host.name(), &self.mark, &orders.place);
        self.say(&format!("hello {boot} 1 {machine} {name} {mark} {place}"))
            .await?;
        let end = match orders.verb.as_str() {
            "start" => return self.start(&orders).await,
            "attach" => return self.attach(&orders).await,
            "halt" => "unverified".to_owned(),
            "look" => self.look(&orders),
            "stop" => {
                let Some(known) = self.line().await? else {
                    return Ok(());
                };
                self.stop(&orders, supervisor(&known)).to_owned()
            }
            "clean" => {
                let Some(reported) = self.line().await? else {
                    return Ok(());
                };
                let differs = |(said, is): (&str, &String)| said != "-" && is != "-" && said != is;
                if reported.split(' ').zip([&machine, &self.mark]).any(differs) {
                    "elsewhere".to_owned()
                } else {
                    format!("cleaned {}", self.host.kept.clean(&orders.run, &machine))
                }
            }
            _ => return Ok(()),
        };
        self.say(&format!("end {end}")).await
    }

    /// Plain commands are unknown here.
    fn look(&self, orders: &Orders) -> String {
        match self.host.kept.find(&orders.run, &orders.token) {
            None if orders.chooses || orders.place.starts_with('-') => "unknown".to_owned(),
            None => "finished".to_owned(),
            Some(work) => match work.stage() {
                Stage::Exited { .. } | Stage::Tombstone => "finished".to_owned(),
                _ if !work.is_of(&self.host.machine_id()) => "unknown".to_owned(),
                Stage::Running => format!("alive 1 {} 0 4711 0.10 - - -", work.moved()),
                Stage::Gone | Stage::Rebooted => "gone".to_owned(),
            },
        }
    }

    fn stop(&self, orders: &Orders, known: Option<u32>) -> &'static str {
        let kept = &self.host.kept;
        let work = kept
            .find(&orders.run, &orders.token)
            .filter(|work| work.supervisor.is_some() && work.stage() != Stage::Tombstone);
        let Some(work) = work else {
            let swept = known.and_then(|supervisor| kept.swept(supervisor));
            return match (swept.map(|work| work.stop()), known) {
                (Some(Stage::Running), _) => "slain verified",
                (_, Some(_)) => "slain unverified",
                (_, None) => "tombstone",
            };
        };
        if !work.is_of(&self.host.machine_id()) {
            return "elsewhere";
        }
        match work.stop() {
            Stage::Tombstone => "tombstone",
            Stage::Running | Stage::Gone => "slain verified",
            Stage::Exited { .. } => "slain finished",
            Stage::Rebooted => "rebooted",
        }
    }

    /// Starts the token's work, unless it exists already, and follows it to its end.
    async fn start(&mut self, orders: &Orders) -> Result<(), Gone> {
        let Some(go) = self.line().await? else {
            return Ok(());
        };
        let words: Vec<&str> = go.split(' ').collect();
        let &["go", mark, boot, machine, blocks, _, lines] = words.as_slice() else {
            return Ok(());
        };
        let (Ok(blocks), Ok(lines)) = (blocks.parse::<u64>(), lines.parse::<u64>()) else {
            return Ok(());
        };
        let agreed = [mark, boot, machine].map(str::to_owned);
        // The prelude and the interpreter's words.
        for _ in 0..2 {
            if self.line().await?.is_none() {
                return Ok(());
            }
        }
        let mut text = String::new();
        for _ in 0..lines {
            let Some(line) = self.line().await? else {
                return Ok(());
            };
            text.push_str(&line);
            text.push('\n');
        }
        if self.line().await?.as_ref() != Some(&self.nonce) {
            return Ok(());
        }
        // Otherwise this would be held for as long as the work runs.
        self.held = BytesMut::from(&self.held[..]);
        if !self.fence(orders).await? {
            return Ok(());
        }
        let known = self.host.kept.known_mark(&orders.run).unwrap_or_default();
        if agreed != [known, self.host.boot_id(), self.host.machine_id()] {
            return self.finish("elsewhere").await;
        }
        if self.host.is_full() && self.host.kept.find(&orders.run, &orders.token).is_none() {
            self.host.exercise();
            let directory = format!("{}/{}/{}", orders.place, orders.run, orders.token);
            return self.say(&format!("error place can't create {directory}")).await;
        }
        let cap = blocks.saturating_mul(BLOCK);
        let machine = self.host.machine_id();
        let (work, began) = self.host.kept.start(&orders.run, &orders.token, &machine, cap);
        if !began {
            return self.follow(&work, [0, 0], &orders.run).await;
        }
        self.host.count_token(&orders.token);
        let performance = self.host.perform(text.as_bytes());
        drop(text);
        let performed = Arc::clone(&work);
        let (cursor, changed) = work.follow(0, 0);
        let host = Arc::clone(&self.host);
        tokio::spawn(async move { performed.perform(performance, || host.reboot()).await });
        let supervisor = work.supervisor.unwrap_or_default();
        self.say(&format!("started {supervisor} {BORN}")).await?;
        self.stream(&work, cursor, changed).await
    }

    /// Follows the token's work to its end; missing work can never start afterwards.
    async fn attach(&mut self, orders: &Orders) -> Result<(), Gone> {
        let Some(line) = self.line().await? else {
            return Ok(());
        };
        let words: Vec<&str> = line.split(' ').collect();
        let &["attach", stdout, stderr, _, pid, _] = words.as_slice() else {
            return Ok(());
        };
        let (Ok(stdout), Ok(stderr)) = (stdout.parse(), stderr.parse()) else {
            return Ok(());
        };
        let known = supervisor(pid);
        if !self.fence(orders).await? {
            return Ok(());
        }
        match self.host.kept.attach(&orders.run, &orders.token, known) {
            Found::Absent => self.nothing(&orders.run, "absent").await,
            // It did begin, and was forgotten since.
            Found::Work(work) if work.stage() == Stage::Tombstone && known.is_some() => {
                self.finish("gone").await
            }
            Found::Work(work) => self.follow(&work, [stdout, stderr], &orders.run).await,
        }
    }

    /// Reports work that never existed. If the place was wiped and recreated since hello, this can't be known.
    async fn nothing(&mut self, run: &str, word: &str) -> Result<(), Gone> {
        let mark = self.host.kept.known_mark(run).unwrap_or_default();
        let end = if mark == self.mark { word } else { "elsewhere" };
        self.finish(end).await
    }

    /// Follows work that was started before.
    async fn follow(&mut self, work: &Work, [stdout, stderr]: [u64; 2], run: &str) -> Result<(), Gone> {
        let (cursor, changed) = work.follow(stdout, stderr);
        let stage = work.stage();
        let found = match stage {
            Stage::Tombstone => return self.nothing(run, "never").await,
            Stage::Exited { .. } => "finished",
            _ if !work.is_of(&self.host.machine_id()) => return self.finish("elsewhere").await,
            _ => "running",
        };
        let time = match stage {
            // Start times of another boot mean nothing.
            Stage::Rebooted => "-".to_owned(),
            Stage::Exited { .. } => (work.took().as_millis() / 10).to_string(),
            _ => work.age().to_string(),
        };
        self.say(&format!("attached {found} {time}")).await?;
        if self.host.breaks_again() {
            self.io.wait(BEFORE_CUT).await?;
            self.io.cut();
            return Err(Gone);
        }
        self.stream(work, cursor, changed).await
    }

    async fn stream(
        &mut self,
        work: &Work,
        mut cursor: crate::kept::Cursor,
        mut changed: tokio::sync::watch::Receiver<()>,
    ) -> Result<(), Gone> {
        loop {
            changed.mark_unchanged();
            let news = work.news(&mut cursor);
            for bytes in news.stdout {
                self.io.stdout(bytes).await?;
            }
            for bytes in news.stderr {
                self.io.stderr(bytes).await?;
            }
            if news.cut {
                self.io.cut();
                return Err(Gone);
            }
            let end = match news.stage {
                Stage::Running => None,
                Stage::Tombstone => return self.finish("never").await,
                Stage::Gone => Some("gone".to_owned()),
                Stage::Rebooted => Some("rebooted".to_owned()),
                Stage::Exited { status, slain } => {
                    let slain = if slain { "verified" } else { "-" };
                    Some(format!("exit {status} {slain} {}", news.over))
                }
            };
            if let Some(end) = end {
                self.finish(&end).await?;
                break;
            }
            tokio::select! {
                biased;
                // The host holds the work, so its sender stays alive.
                _ = changed.changed() => {}
                // At the end of the input nobody will send `clean`; the end is still reported.
                input = self.io.read() => if let Some(bytes) = input? {
                    self.held.extend_from_slice(&bytes);
                },
            }
        }
        if self.line().await?.as_deref() == Some("clean") && work.bury() {
            self.say("cleaned").await?;
        }
        Ok(())
    }

    async fn upload(&mut self, orders: &str) -> Result<(), Gone> {
        let mut words = orders.split(' ');
        words.next().unwrap_or_default().clone_into(&mut self.nonce);
        let size: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let asks = words.next() != Some("-");
        let mode = words.next().unwrap_or_default().to_owned();
        let (Some(path), Some(_name)) = (self.line().await?, self.line().await?) else {
            return Ok(());
        };
        self.say("hello").await?;
        if self.host.is_full() {
            self.host.exercise();
            return self
                .say(&format!("error can't write {path}: No space left on device"))
                .await;
        }
        if asks {
            self.say("state - 0 -").await?;
            self.line().await?;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(mode.as_bytes());
        let mut arrived = self.held.len() as u64;
        hasher.write(&self.held);
        self.held.clear();
        while let Some(bytes) = self.io.read().await? {
            arrived += bytes.len() as u64;
            hasher.write(&bytes);
        }
        if arrived != size {
            return self
                .say(&format!("error only {arrived} of {size} bytes arrived"))
                .await;
        }
        let changed = self.host.kept.put_file(&path, size, hasher.finish());
        self.say(&format!("end {}", u8::from(changed))).await
    }

    /// Accepts a directory, or the commands that install it, without keeping anything.
    async fn swallow(&mut self) -> Result<(), Gone> {
        self.say("hello - /home/drill/unpacked").await?;
        self.held.clear();
        while self.io.read().await?.is_some() {}
        self.say("end").await
    }

    async fn download(&mut self, orders: &str) -> Result<(), Gone> {
        self.nonce = first_word(orders);
        let Some(path) = self.line().await? else {
            return Ok(());
        };
        self.say("hello").await?;
        let file = format!("{} has no files; this stands for {path}\n", self.host.name());
        self.say(&format!("size {} - - -rw-r--r--", file.len())).await?;
        self.io.stdout(file).await
    }

    /// Whether this controller may work here; otherwise reports the later one's epoch.
    async fn fence(&self, orders: &Orders) -> Result<bool, Gone> {
        match self.host.kept.fence(&orders.run, orders.epoch) {
            Ok(()) => Ok(true),
            Err(later) => self.say(&format!("error fenced {later}")).await.map(|()| false),
        }
    }

    /// Reports the end on both streams, because their order relative to each other is not kept.
    async fn finish(&self, words: &str) -> Result<(), Gone> {
        self.io.stderr(format!("\u{1e}{} end\n", self.nonce)).await?;
        self.say(&format!("end {words}")).await
    }

    async fn say(&self, words: &str) -> Result<(), Gone> {
        self.io.stdout(format!("\u{1e}{} {words}\n", self.nonce)).await
    }

    /// The next line of input, without its newline; none at the end of the input.
    async fn line(&mut self) -> Result<Option<String>, Gone> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.held[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.held.split_to(searched + end);
                self.held.advance(1);
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            searched = self.held.len();
            if searched > LONGEST_LINE {
                return Err(Gone);
            }
            match self.io.read().await? {
                Some(bytes) => self.held.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// The supervisor that the controller has on record.
fn supervisor(words: &str) -> Option<u32> {
    words.split(' ').next()?.parse().ok()
}

fn first_word(orders: &str) -> String {
    orders.split(' ').next().unwrap_or_default().to_owned()
}

// === impl Orders ===

impl Orders {
    /// Parses the nonce and the orders after it.
    fn parse(line: &str, escalated: bool) -> Option<(String, Self)> {
        let mut words = line.splitn(6, ' ').map(str::to_owned);
        let nonce = words.next()?;
        let mut orders = Self {
            verb: words.next()?,
            run: words.next()?,
            epoch: words.next()?.parse().ok()?,
            token: words.next()?,
            place: words.next()?,
            chooses: false,
        };
        if orders.place == "-" {
            orders.chooses = true;
            let home = if escalated { "/root" } else { "/home/drill" };
            orders.place = format!("{home}/.local/state/reveille");
        }
        Some((nonce, orders))
    }
}
