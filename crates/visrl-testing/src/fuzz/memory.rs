//! An allocator that counts what is held.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static START: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator with a count of live bytes and its peak.
pub struct Counting;

fn count(change: isize) {
    let live = LIVE.fetch_add(change, Relaxed) + change;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as for the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there at once.
        count(size as isize);
        // SAFETY: as for the caller.
        let new = unsafe { System.realloc(place, layout, size) };
        count(-(layout.size() as isize));
        new
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as for the caller.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Begins a case.
pub fn reset() {
    let live = LIVE.load(Relaxed);
    START.store(live, Relaxed);
    PEAK.store(live, Relaxed);
}

/// The most bytes held at once since the case began, those that were there before aside. A single
/// allocation counts from the moment it is asked for.
pub fn peak() -> usize {
    usize::try_from(PEAK.load(Relaxed) - START.load(Relaxed)).unwrap_or(0)
}
