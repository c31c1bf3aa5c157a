//! Any bytes as a snapshot: a catalogue or a message, and answers from what was taken.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reveille_mirrorlist::fuzz::protobuf(bytes));
