//! End-to-end tests: the real binary against real servers and real files.

mod drill;
mod hostile;
mod input;
mod killed;
mod machines;
mod support;
