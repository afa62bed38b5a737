//! What calls that have returned left on a thread's stack: keys, names and plaintext that no destructor reaches, because a
//! moved value leaves its bytes where it was.
//!
//! Guarantees: after [`wipe`] the [`DEPTH`] bytes beneath the caller are zero, whatever calls had put there. Refuses to know:
//! registers, and what calls that have not returned hold.

use std::hint::black_box;

/// How much of a stack is wiped, in bytes: what was found left lay up to 99 KiB deep, in a node built without optimization, and
/// no thread of it went deeper than this. An eighth of what a thread has.
pub const DEPTH: usize = 256 << 10;

/// Overwrites what calls that have returned left beneath the caller. Costs some microseconds; made for threads that are about
/// to sleep.
#[inline(never)]
pub fn wipe() {
    // The optimizer must believe that somebody reads it.
    black_box(&mut [0_u8; DEPTH]);
}

/// Does some work, and wipes what it left on the stack, even if it panics.
pub fn wiped_after<T>(work: impl FnOnce() -> T) -> T {
    struct Wiping;

    impl Drop for Wiping {
        fn drop(&mut self) {
            wipe();
        }
    }

    let _wiping = Wiping;
    beneath(work)
}

/// A frame of its own, which is dead when the caller goes on.
#[inline(never)]
fn beneath<T>(work: impl FnOnce() -> T) -> T {
    work()
}
