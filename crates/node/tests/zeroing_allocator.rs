//! The allocator, watched from beneath: in this process every freed block is looked at.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
#![expect(unsafe_code, reason = "an allocator that watches is an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use adyton_node::zeroing_allocator::ZeroingAllocator;

static FREED: AtomicUsize = AtomicUsize::new(0);
static DIRTY: AtomicUsize = AtomicUsize::new(0);
static MOVED: AtomicUsize = AtomicUsize::new(0);

/// Looks at each block that comes back.
struct Watching;

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is live until it is passed on, and was just written from end to end.
        unsafe {
            let bytes = std::slice::from_raw_parts(block, layout.size());
            FREED.fetch_add(1, Ordering::Relaxed);
            if bytes.iter().any(|byte| *byte != 0) {
                DIRTY.fetch_add(1, Ordering::Relaxed);
            }
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        MOVED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on unchanged.
        unsafe { System.realloc(block, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: ZeroingAllocator<Watching> = ZeroingAllocator::over(Watching);

#[test]
fn every_block_comes_back_zeroed() {
    let before = FREED.load(Ordering::Relaxed);
    for size in (0..2_000).chain([4_095, 65_536, 1 << 20, 5 << 20]) {
        black_box(vec![0xAA_u8; size]);
        black_box(format!("{:size$}", "canary", size = size.min(60_000)));
    }
    assert!(FREED.load(Ordering::Relaxed) - before >= 4_000);
    assert_eq!(DIRTY.load(Ordering::Relaxed), 0);
}

#[test]
fn blocks_that_grow_or_shrink_keep_their_bytes_and_leave_none_behind() {
    let mut grown = Vec::new();
    for n in 0..300_000_u32 {
        grown.push(black_box(n));
    }
    assert!(grown.iter().copied().eq(0..300_000));
    grown.truncate(10);
    grown.shrink_to_fit();
    assert_eq!(grown, (0..10).collect::<Vec<_>>());
    drop(grown);
    assert_eq!(
        MOVED.load(Ordering::Relaxed),
        0,
        "the allocator beneath never moves a block"
    );
    assert_eq!(DIRTY.load(Ordering::Relaxed), 0);
}

#[test]
fn alignment_and_threads_are_no_exception() {
    #[repr(align(4096))]
    struct Aligned([u8; 8192]);
    let threads: Vec<_> = (0..8_u8)
        .map(|n| {
            std::thread::spawn(move || {
                for _ in 0..200 {
                    let block = black_box(Box::new(Aligned([n + 1; 8192])));
                    assert!(std::ptr::from_ref(&*block).addr().is_multiple_of(4096));
                    assert!(block.0.iter().all(|byte| *byte == n + 1));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(DIRTY.load(Ordering::Relaxed), 0);
}
