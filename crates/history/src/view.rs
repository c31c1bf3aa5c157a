//! What a host knows about the run.

use std::sync::Arc;

use reveille_account::Class;

use crate::run::OnceState;

/// What a host knows about the run.
#[derive(Debug, Clone, Default)]
pub struct RunView {
    /// The results of the `once` steps.
    pub once: Arc<[(u32, OnceState)]>,
    /// The class with which many hosts currently fail.
    pub suspected: Option<Class>,
    /// The run is being stopped.
    pub stop: bool,
}
