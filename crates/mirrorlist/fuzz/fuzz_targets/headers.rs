//! Any value of the headers of proxies.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| reveille_mirrorlist::fuzz::headers(value));
