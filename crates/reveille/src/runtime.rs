//! The threads that drive the sessions.

use crate::failure::Failure;

/// The number of sessions above which several threads drive them. Below, one thread costs less: at 512 real sessions, it
/// has less than half the context switches of two.
const SESSIONS_OF_A_THREAD: usize = 2000;

/// The runtime: one thread, or up to four for very many sessions.
pub(crate) fn runtime(sessions: usize) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = if sessions > SESSIONS_OF_A_THREAD {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)));
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::System(format!("can't start the runtime: {error}")))
}
