//! The real program against real servers on loopback, good ones and bad ones.

mod bad_peers;
mod ends;
mod files;
mod import;
mod rooms;
mod server;
mod tls;
