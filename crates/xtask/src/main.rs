//! Build, test and release chores.

fn main() {}
