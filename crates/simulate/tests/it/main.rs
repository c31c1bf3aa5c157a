//! Tests the engine in the simulator, with kept and new scenarios.

mod costs;
mod crossings;
mod fresh;
mod kept;
