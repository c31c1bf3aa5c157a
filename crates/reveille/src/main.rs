//! reveille.

fn main() {}
