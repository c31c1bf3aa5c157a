//! Removes what a run left on its hosts: spools of finished work, and finally the tombstones.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use reveille_account::{HostName, RunId, Token};
use reveille_transport::supervisor::{self, Hello, Key};
use reveille_transport::{Become, Client, Session, Target, sh_quote};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

/// A host to clean, and its directories.
#[derive(Debug, Clone)]
pub struct CleanPlan {
    /// Its name.
    pub name: HostName,
    /// Its address and login.
    pub target: Arc<Target>,
    /// The users that the run's steps may have become; the login user is tried first.
    pub becomes: Vec<Become>,
    /// What this machine reported about itself and its directories for durable work. Nothing is done in a directory
    /// that another machine reported, or whose mark differs.
    pub reported: Vec<Hello>,
}

/// The result of cleaning a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleaned {
    /// Nothing is left but running work.
    Done {
        /// The number of running attempts, which are left alone.
        running: u64,
    },
    /// Cleaning failed.
    Failed(String),
}

/// Cleans hosts, `at_once` at a time, and reports each as it ends. With `tombstones` the run's directories are removed
/// as well, if nothing runs in them; then no request of the run may be in progress.
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
                    let cleaned = cleaning.await.unwrap_or_else(|_| Err("an internal error".to_owned()));
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

/// Panics are caught inside, and nobody aborts a task.
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

/// Cleans a directory as each user in turn: its owner is not recorded, and other users are refused.
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
        // No attempt has this token; the request concerns the whole run.
        token: Token::new([0; 16]),
        place: Some(place.to_owned()),
    };
    let mut refused =
        "another machine reported it, not the one that answers now; nothing was removed".to_owned();
    // A directory that was emptied and recreated has several marks on record.
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
        return Err(format!("{place}: not a directory that Reveille uses"));
    }
    let command = format!("rm -rf -- {}", sh_quote(&format!("{place}/{}", run.uuid())));
    match crate::ask::ask(session, escalate, &command).await {
        Ok((Some(0), _)) => Ok(()),
        Ok((status, _)) => Err(format!("{place}: rm exited with {status:?}")),
        Err((_, message)) => Err(message),
    }
}
