//! Tests the fleet from outside.

mod away;
mod calibration;
mod client;
mod dialect;
mod faults;
mod real;
mod sshd;
