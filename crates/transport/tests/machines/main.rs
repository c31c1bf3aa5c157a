//! Tests the transport with real Debian machines: users, PAM, sudo, su, doas.

mod become_user;
mod host_keys;
mod jump;
mod secrets;
mod support;
mod table;
mod transports;
