//! Descriptors: every connection needs one, and services often start with a limit of 1,024.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::failure::Failure;

/// Descriptors for other things than connections of clients: the administrator, files, logs, listeners.
const OTHERS: u64 = 96;

/// Descriptors of the runtime of a thread that answers.
const OF_A_WORKER: u64 = 4;

/// How many of the wanted connections have descriptors, after the soft limit is raised as far as possible.
pub(super) fn connections(wanted: NonZeroUsize, workers: NonZeroUsize) -> Result<NonZeroUsize, Failure> {
    let limit = raise();
    let others = OTHERS.saturating_add(OF_A_WORKER.saturating_mul(workers.get() as u64));
    let left = usize::try_from(limit.saturating_sub(others)).unwrap_or(usize::MAX);
    let left = NonZeroUsize::new(left).ok_or_else(|| {
        Failure::Input(format!(
            "the limit of {limit} open files leaves none for clients; raise it with LimitNOFILE= in the unit, or with \
             `ulimit -n 4096`"
        ))
    })?;
    if left < wanted {
        tracing::warn!(
            "the limit of {limit} open files allows {left} connections at once, not {wanted}; raise it with LimitNOFILE= \
             in the unit or with `ulimit -n`, or set --max-connections"
        );
    }
    Ok(wanted.min(left))
}

/// Raises the soft limit as far as possible, and returns it.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // The kernel does not accept "unlimited" as a soft limit.
    let wanted = maximum.unwrap_or(1 << 20).min(1 << 20);
    let now = current.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    if now < wanted && setrlimit(Resource::Nofile, raised).is_ok() {
        wanted
    } else {
        now
    }
}
