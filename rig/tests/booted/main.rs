//! The released image, booted and attacked. One program, so that boots run beside each other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    dead_code
)]

mod attacker;
mod boots_that_stop;
#[path = "../../../crates/sandbox/tests/caller/mod.rs"]
mod caller;
mod claims;
mod main_job;
mod marks;
#[path = "../../../crates/sandbox/tests/canary/mistakes.rs"]
mod mistakes;
#[path = "../../../crates/sandbox/tests/canary/needle.rs"]
mod needle;
mod refusals;
mod stage;

use needle::Needle;

/// The words of one mistake; the module of mistakes takes them from here.
pub struct Words {
    pub text: Needle,
    pub member: Needle,
    pub question: Needle,
    pub id: Needle,
    pub database: Needle,
    pub nonsense: Needle,
}
