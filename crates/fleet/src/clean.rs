//! Removing what a run left on its hosts: spools of finished work, and in the end the tombstones too.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use reveille_account::{HostName, RunId, Token};
use reveille_transport::supervisor::{self, Hello, Key};
use reveille_transport::{Become, Client, Session, Target, sh_quote};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

/// A host to clean, and where it keeps things.
#[derive(Debug, Clone)]
pub struct CleanPlan {
    /// Its name.
    pub name: HostName,
    /// Where and as whom to log in.
    pub target: Arc<Target>,
    /// Whom the run's steps may have become; nobody is tried first.
    pub becomes: Vec<Become>,
    /// What this very machine said of itself and of the directories that durable work was kept in. Nothing is done in a
    /// directory that another machine named, or that is not the one that was named.
    pub reported: Vec<Hello>,
}

/// What cleaning a host came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaned {
    /// Nothing is left but work that still runs, so many of it.
    Done {
        /// Work that still runs; it is left alone.
        running: u64,
    },
    /// It could not be cleaned.
    Failed(String),
}

/// Cleans hosts, `at_once` at a time, and tells each as it ends. With `tombstones` the run's directories go as well, if
/// nothing runs in them: no request of the run may still be under way then.
pub async fn clean(
    client: Arc<Client>,
    run: RunId,
    epoch: u64,
    hosts: Vec<CleanPlan>,
    at_once: usize,
    tombstones: bool,
    mut tell: impl FnMut(HostName, Cleaned),
) {
    let slots = Arc::new(Semaphore::new(at_once.max(1)));
    let mut tasks: JoinSet<(HostName, Cleaned)> = JoinSet::new();
    let mut rest = hosts.into_iter();
    loop {
        tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => {
                tell_ended(ended, &mut tell);
            }
            slot = Arc::clone(&slots).acquire_owned() => {
                let Some(host) = rest.next() else { break };
                let client = Arc::clone(&client);
                tasks.spawn(async move {
                    let cleaning = AssertUnwindSafe(one(&client, run, epoch, &host, tombstones)).catch_unwind();
                    let cleaned = cleaning.await.unwrap_or_else(|_| Err("a fault in Reveille".to_owned()));
                    drop(slot);
                    (host.name, cleaned.unwrap_or_else(Cleaned::Failed))
                });
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        tell_ended(ended, &mut tell);
    }
}

/// Panics are caught inside, and nobody ends a task.
fn tell_ended(ended: Result<(HostName, Cleaned), JoinError>, tell: &mut impl FnMut(HostName, Cleaned)) {
    if let Ok((name, cleaned)) = ended {
        tell(name, cleaned);
    }
}

async fn one(
    client: &Client,
    run: RunId,
    epoch: u64,
    host: &CleanPlan,
    tombstones: bool,
) -> Result<Cleaned, String> {
    let failed = |error: reveille_transport::ConnectError| error.message;
    let dialed = client.dial(&host.target).await.map_err(failed)?;
    let (session, _) = client.handshake(&host.target, dialed).await.map_err(failed)?;
    let mut running = 0;
    let mut places: Vec<&str> = host.reported.iter().map(|hello| hello.place.as_str()).collect();
    places.dedup();
    for place in places {
        running += clean_place(&session, run, epoch, host, place, tombstones).await?;
    }
    session.close().await;
    Ok(Cleaned::Done { running })
}

/// Cleans a directory as whoever may: its owner is not recorded, and everybody else is refused.
async fn clean_place(
    session: &Session,
    run: RunId,
    epoch: u64,
    host: &CleanPlan,
    place: &str,
    tombstones: bool,
) -> Result<u64, String> {
    let key = Key {
        run,
        epoch,
        // No work has it; the verb is about the whole run.
        token: Token::new([0; 16]),
        place: Some(place.to_owned()),
    };
    let mut refused =
        "another machine named it than the one that answers now; nothing was done there".to_owned();
    // A place that was emptied and made anew has had several marks.
    for reported in host.reported.iter().filter(|reported| reported.place == place) {
        for escalate in std::iter::once(None).chain(host.becomes.iter().map(Some)) {
            match supervisor::clean(session, escalate, &key, Some(reported)).await {
                Ok(Some(0)) if tombstones => return remove(session, escalate, run, place).await.map(|()| 0),
                Ok(Some(running)) => return Ok(running),
                Ok(None) => break,
                Err(error) => refused = error.to_string(),
            }
        }
    }
    Err(format!("{place}: {refused}"))
}

async fn remove(session: &Session, escalate: Option<&Become>, run: RunId, place: &str) -> Result<(), String> {
    if !supervisor::plausible_place(place) {
        return Err(format!("{place}: no directory that we keep things in"));
    }
    let command = format!("rm -rf -- {}", sh_quote(&format!("{place}/{}", run.uuid())));
    match crate::ask::ask(session, escalate, &command).await {
        Ok((Some(0), _)) => Ok(()),
        Ok((status, _)) => Err(format!("{place}: rm ended with {status:?}")),
        Err((_, message)) => Err(message),
    }
}
