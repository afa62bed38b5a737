//! What a call left on its thread's stack is there until it is wiped. Seen by the kernel's view of this process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use adyton_keys::dead_stack::{DEPTH, wipe, wiped_after};

const SECRET: &[u8; 32] = b"a secret that nobody cleaned up.";

/// Puts the secret on the stack, deep beneath the caller, and returns where.
#[inline(never)]
fn leave<const BENEATH: usize>() -> usize {
    let mut between = [0_u8; BENEATH];
    black_box(&mut between);
    put()
}

#[inline(never)]
fn put() -> usize {
    let mut here = [0_u8; 4096];
    here[..32].copy_from_slice(SECRET);
    black_box(&mut here).as_ptr().addr()
}

fn memory() -> File {
    File::open("/proc/self/mem").unwrap()
}

/// What stands at an address. One system call, so that reading leaves the stack as it was.
#[inline(never)]
fn at(memory: &File, address: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    memory.read_exact_at(&mut bytes, address as u64).unwrap();
    bytes
}

#[test]
fn what_a_call_left_is_wiped_as_deep_as_said() {
    let memory = memory();
    for leave in [
        leave::<4096>,
        leave::<{ 64 << 10 }>,
        leave::<{ DEPTH - (16 << 10) }>,
    ] {
        let address = leave();
        assert_eq!(&at(&memory, address), SECRET, "it is left");
        wipe();
        assert_eq!(at(&memory, address), [0; 32], "it is wiped");
    }
}

#[test]
fn what_work_left_is_wiped_and_its_result_is_not() {
    let memory = memory();
    let (address, seen, result) = wiped_after(|| {
        let address = leave::<{ 32 << 10 }>();
        (address, at(&memory, address), SECRET.to_vec())
    });
    assert_eq!(&seen, SECRET, "it was left");
    assert_eq!(at(&memory, address), [0; 32], "it is wiped");
    assert_eq!(result, SECRET);
}

#[test]
fn work_that_panics_is_wiped() {
    let memory = memory();
    let mut address = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        wiped_after(|| {
            address = leave::<{ 32 << 10 }>();
            assert_eq!(&at(&memory, address), SECRET, "it was left");
            panic!("on purpose");
        })
    }));
    let said = panicked.unwrap_err();
    assert_eq!(said.downcast_ref(), Some(&"on purpose"));
    assert_eq!(at(&memory, address), [0; 32], "it is wiped");
}
