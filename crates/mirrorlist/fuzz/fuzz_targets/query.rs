//! Any text behind the question mark.
#![no_main]

libfuzzer_sys::fuzz_target!(|query: &str| reveille_mirrorlist::fuzz::query(query));
