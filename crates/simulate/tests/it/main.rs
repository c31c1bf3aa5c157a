//! The engine in the simulator: scenarios that are kept, and fresh ones.

mod costs;
mod crossings;
mod fresh;
mod kept;
