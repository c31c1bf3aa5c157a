//! The fleet, looked at from outside.

mod away;
mod client;
mod faults;
