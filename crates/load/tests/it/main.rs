//! The real program against real servers on loopback, good ones and bad ones.

mod bad_peers;
mod browser;
mod ends;
mod files;
mod import;
mod registry;
mod scenarios;
mod server;
mod tls;
mod wire;
