//! End-to-end tests: the real binary against real servers and real files.

mod killed;
mod support;
