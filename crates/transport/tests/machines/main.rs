//! The transport against whole Debian machines: users, PAM, sudo, su, doas.

mod become_user;
mod secrets;
mod support;
mod table;
