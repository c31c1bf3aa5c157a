//! The server over loopback sockets, with files that change while it answers; and the program.

mod clients;
mod command;
mod net;
mod reload;
mod requests;
mod tls;
