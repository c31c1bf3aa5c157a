//! The server as its clients meet it: over loopback sockets, with files that change while it answers.

mod clients;
mod command;
mod files;
mod net;
mod reload;
mod requests;
mod tls;
