//! End-to-end tests: the real binary against real servers and real files.

mod check;
mod combined;
mod drill;
mod elsewhere;
mod flags;
mod fleet;
mod ghosts;
mod heal;
mod hostile;
mod input;
mod job;
mod killed;
mod lost;
mod machines;
mod moments;
mod options;
mod passwords;
mod proxy;
mod readers;
mod reboot;
mod screens;
mod stream;
mod support;
mod surroundings;
mod terminal;
mod watchdog;
