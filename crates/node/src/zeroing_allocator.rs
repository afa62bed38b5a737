//! The process's allocator: what is freed is zeroized first.
//!
//! Guarantees: when the program gives memory back, every byte of it that the program could write is
//! zero before the allocator beneath sees it again; growing a block never leaves the old copy
//! behind. This is what covers the copies nobody thinks of: strings on their way through a parser,
//! buffers that grew, responses that were sent. Refuses to know: stacks
//! ([`adyton_keys::dead_stack`]), registers, and memory that C libraries take without asking here.

#![expect(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; this is the only place"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{Ordering, compiler_fence};

/// Zeroizes on its way back to the allocator beneath. Install it in the binary:
///
/// ```
/// use adyton_node::zeroing_allocator::ZeroingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: ZeroingAllocator = ZeroingAllocator::new();
/// ```
pub struct ZeroingAllocator<Beneath = System> {
    beneath: Beneath,
}

impl ZeroingAllocator {
    /// Over the system's allocator: it gives memory back soon after a load, which counts more here than its speed
    /// (`docs/adr/0009-allocator.md`).
    #[must_use]
    pub const fn new() -> Self {
        Self::over(System)
    }
}

impl Default for ZeroingAllocator {
    fn default() -> Self {
        Self::new()
    }
}

impl<Beneath> ZeroingAllocator<Beneath> {
    /// Over any allocator.
    #[must_use]
    pub const fn over(beneath: Beneath) -> Self {
        Self { beneath }
    }
}

/// Gives back to the kernel what was freed and is still kept for later: after a load, megabytes of
/// buffers that no request will need. Costs a few milliseconds; call it off the async threads.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: malloc_trim takes an integer, may be called at any time from any thread, and touches
    // only memory that nobody owns.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// musl, the enclave's, gives back by itself: a large block is a mapping of its own, and small ones go when the last of their
/// group does. Measured: `docs/adr/0009-allocator.md`.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}

// SAFETY: every call is passed on to an allocator that fulfils the contract, with the layout it
// was given; `realloc` is the default one of the trait (allocate, copy, deallocate) spelled out, so
// that the old block passes through `dealloc` here and never grows in place or moves unseen.
unsafe impl<Beneath: GlobalAlloc> GlobalAlloc for ZeroingAllocator<Beneath> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on unchanged.
        unsafe { self.beneath.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on unchanged.
        unsafe { self.beneath.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that `block` is a live block of this layout, so all its bytes
        // may be written, and that nobody uses it after this call.
        unsafe {
            block.write_bytes(0, layout.size());
            // The writes happen before anything that follows, and somebody may have looked.
            compiler_fence(Ordering::SeqCst);
            self.beneath.dealloc(black_box(block), layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `new_size` is not zero and, rounded up to the alignment,
        // does not overflow an `isize`; the alignment is that of a valid layout. The new block is
        // another one than the old, and both are at least as long as what is copied.
        unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            let new_block = self.alloc(new_layout);
            if !new_block.is_null() {
                let length = layout.size().min(new_size);
                std::ptr::copy_nonoverlapping(block, new_block, length);
                self.dealloc(block, layout);
            }
            new_block
        }
    }
}
