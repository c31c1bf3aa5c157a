//! The engine in the simulator: scenarios that are kept, and fresh ones.

mod fresh;
mod kept;
