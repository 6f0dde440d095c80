//! An allocator that counts, for the tests that show that something allocates nothing.

#![allow(unsafe_code, reason = "a global allocator cannot be had without; it only counts")]
#![allow(dead_code, reason = "every test crate has its own copy and uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How often this thread asks for memory in `work`.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    let before = so_far();
    work();
    so_far() - before
}

/// How often this thread has asked for memory.
pub(crate) fn so_far() -> u64 {
    ALLOCATIONS.get()
}

thread_local! {
    /// Of this thread alone: the harness's others allocate at will.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to `System` unchanged; counting touches no memory of the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// A thread that is ending has no counter any more.
fn count() {
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}
