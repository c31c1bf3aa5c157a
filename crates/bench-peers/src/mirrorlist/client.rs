//! Our own load: so many connections, each asking as soon as it was answered, every answer looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use xtask::failure::{Failure, Result};

use super::latencies::Latencies;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked, how, and how long.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    /// Taken in turn.
    pub(super) requests: Arc<[Vec<u8>]>,
    pub(super) connections: usize,
    pub(super) lasts: Duration,
    /// Words of which an answer may have one only.
    pub(super) exclusive: Option<[&'static str; 2]>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) latencies: Latencies,
    pub(super) failed: u64,
    pub(super) mixed: u64,
    /// Answers with the first and the second of the words.
    pub(super) seen: [u64; 2],
    pub(super) took: Duration,
}

// === impl Load ===

impl Load {
    /// Applies the load, on one thread.
    pub(super) fn apply(&self) -> Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let started = Instant::now();
        let mut total = Outcome::default();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..self.connections {
                tasks.spawn(self.clone().client(number, started));
            }
            while let Some(outcome) = tasks.join_next().await {
                let outcome = outcome.map_err(|error| Failure::failed(error.to_string()))?;
                total.add(&outcome);
            }
            Ok::<(), Failure>(())
        })?;
        total.took = started.elapsed();
        Ok(total)
    }

    async fn client(self, number: usize, started: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        let mut stream = None;
        let mut buffer = Vec::with_capacity(64 << 10);
        let mut turn = number;
        while started.elapsed() < self.lasts {
            let request = &self.requests[turn % self.requests.len()];
            turn += self.connections;
            let before = Instant::now();
            let answered =
                tokio::time::timeout(PATIENCE, ask(self.address, &mut stream, request, &mut buffer)).await;
            let good = matches!(answered, Ok(Ok(200)));
            outcome.latencies.add(before.elapsed());
            if good {
                self.look(&buffer, &mut outcome);
            } else {
                outcome.failed += 1;
            }
            if !good {
                stream = None;
            }
        }
        outcome
    }

    fn look(&self, answer: &[u8], outcome: &mut Outcome) {
        let Some(words) = self.exclusive else { return };
        let text = String::from_utf8_lossy(answer);
        let has = words.map(|word| text.contains(word));
        match has {
            [true, false] => outcome.seen[0] += 1,
            [false, true] => outcome.seen[1] += 1,
            _ => outcome.mixed += 1,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        self.failed += other.failed;
        self.mixed += other.mixed;
        self.seen[0] += other.seen[0];
        self.seen[1] += other.seen[1];
        self.took = self.took.max(other.took);
    }

    pub(super) fn a_second(&self) -> f64 {
        self.latencies.number() as f64 / self.took.as_secs_f64()
    }
}

/// Asks and reads the whole answer; tells its status.
async fn ask(
    address: SocketAddr,
    open: &mut Option<TcpStream>,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> std::io::Result<u16> {
    let stream = if let Some(stream) = open {
        stream
    } else {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        open.insert(stream)
    };
    stream.write_all(request).await?;
    buffer.clear();
    let mut end = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if end.is_none() {
            end = head_end(buffer);
        }
        if let Some((head, length)) = end
            && buffer.len() >= head + length
        {
            return Ok(status(buffer));
        }
    }
}

/// Where the body begins, and how long it is.
fn head_end(buffer: &[u8]) -> Option<(usize, usize)> {
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&buffer[..end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Some((end + 4, length.unwrap_or(0)))
}

fn status(buffer: &[u8]) -> u16 {
    buffer
        .get(9..12)
        .and_then(|word| std::str::from_utf8(word).ok())
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}
