//! Placeholder until the arguments land.
fn main() {}
