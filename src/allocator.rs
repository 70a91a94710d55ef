//! The module's allocator: the system's, with an emergency pool for small allocations.
//!
//! Rust ends the process where an allocation fails whose caller cannot return an error: a boxed
//! closure, a list of chunks, the message that says that memory is short. The standard library,
//! rayon and Arrow make such allocations in every call. What grows with the data is reserved
//! fallibly instead (`reserve`, `push` and the like in `error`), and never from this pool. So that
//! is what fails where memory is short, and the call ends with an error, for which the pool
//! lasts. libstdc++ has an emergency pool for its exceptions in the same way.
//!
//! The pool is claimed by compare-and-swap alone, without a lock: a process that was forked
//! meanwhile finds it whole.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::{copy_nonoverlapping, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

/// An allocation takes a run of units, which lies within one group.
const UNIT: usize = 512;
const GROUP: usize = 64 * UNIT;
/// Pages that no allocation has needed are never touched.
const BYTES: usize = 2 << 20;

/// The system's allocator, backed by the pool.
pub struct Allocator;

#[repr(align(512))]
struct Memory(UnsafeCell<[u8; BYTES]>);

struct Pool {
    memory: Memory,
    /// A bit for each unit, a number for each group.
    used: [AtomicU64; BYTES / GROUP],
}

// SAFETY: a unit belongs to whoever set its bit in `used`, until that clears it.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool::new();

/// Whether `memory` is part of the pool.
pub fn contains<T>(memory: *const T) -> bool {
    POOL.offset_of(memory.cast()) < BYTES
}

impl Pool {
    const fn new() -> Self {
        Self {
            memory: Memory(UnsafeCell::new([0; BYTES])),
            used: [const { AtomicU64::new(0) }; BYTES / GROUP],
        }
    }

    /// Where `memory` lies in the pool; [`BYTES`] or more if outside.
    fn offset_of(&self, memory: *const u8) -> usize {
        memory.addr().wrapping_sub(self.memory.0.get().addr())
    }

    /// The bits of a run of units that holds `size` bytes, at the low end; none if no group can.
    fn run_of(size: usize) -> Option<u64> {
        let units = size.div_ceil(UNIT).max(1);
        (units <= 64).then(|| u64::MAX >> (64 - units))
    }

    /// Memory of an undefined value, or null.
    fn take(&self, layout: Layout) -> *mut u8 {
        let Some(run) = Self::run_of(layout.size()) else { return null_mut() };
        if layout.align() > UNIT {
            return null_mut();
        }
        for (group, used) in self.used.iter().enumerate() {
            let mut seen = used.load(Ordering::Relaxed);
            while let Some(unit) = (0..=run.leading_zeros()).find(|at| seen & (run << at) == 0) {
                let claimed = seen | run << unit;
                match used.compare_exchange(seen, claimed, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => {
                        let start = group * GROUP + unit as usize * UNIT;
                        // SAFETY: the run ends within its group, and so within the pool.
                        return unsafe { self.memory.0.get().cast::<u8>().add(start) };
                    }
                    Err(now) => seen = now,
                }
            }
        }
        null_mut()
    }

    /// Gives back what [`Self::take`] returned for `layout`.
    fn give_back(&self, memory: *mut u8, layout: Layout) {
        let offset = self.offset_of(memory);
        if let Some(run) = Self::run_of(layout.size()) {
            let units = run << (offset % GROUP / UNIT);
            self.used[offset / GROUP].fetch_and(!units, Ordering::Release);
        }
    }
}

// SAFETY: memory is the system's or a run of units of the pool that nobody else has claimed, of
// the size and alignment of its layout; it goes back to where it came from.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() { POOL.take(layout) } else { memory }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        let memory = unsafe { System.alloc_zeroed(layout) };
        if !memory.is_null() {
            return memory;
        }
        let memory = POOL.take(layout);
        if !memory.is_null() {
            // SAFETY: just taken, of that size.
            unsafe { memory.write_bytes(0, layout.size()) };
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if contains(memory) {
            POOL.give_back(memory, layout);
        } else {
            // SAFETY: what does not lie in the pool is the system's.
            unsafe { System.dealloc(memory, layout) };
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let is_pooled = contains(memory);
        if !is_pooled {
            // SAFETY: what does not lie in the pool is the system's.
            let moved = unsafe { System.realloc(memory, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller promises that the size is valid with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as `wanted` is; the old memory is given back only once it was copied.
        unsafe {
            let moved = if is_pooled { self.alloc(wanted) } else { POOL.take(wanted) };
            if !moved.is_null() {
                copy_nonoverlapping(memory, moved, layout.size().min(size));
                self.dealloc(memory, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all memory of a size from a pool; checks that no two parts overlap.
    fn fill(pool: &Pool, size: usize) -> Vec<*mut u8> {
        let layout = Layout::from_size_align(size, 64).expect("a valid layout");
        let parts: Vec<_> =
            std::iter::from_fn(|| Some(pool.take(layout)).filter(|part| !part.is_null())).collect();
        let mut starts: Vec<_> = parts.iter().map(|&part| pool.offset_of(part)).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[0] + size <= pair[1]));
        assert!(starts.iter().all(|start| start + size <= BYTES && start % 64 == 0));
        for &part in &parts {
            pool.give_back(part, layout);
        }
        parts
    }

    #[test]
    fn the_pool_is_had_in_full_and_again() {
        static FULL: Pool = Pool::new();
        for (size, parts) in [
            (0, BYTES / UNIT),
            (1, BYTES / UNIT),
            (UNIT, BYTES / UNIT),
            (UNIT + 1, BYTES / UNIT / 2),
            (GROUP / 2 + 1, BYTES / GROUP),
            (GROUP, BYTES / GROUP),
            (GROUP + 1, 0),
        ] {
            assert_eq!(fill(&FULL, size).len(), parts, "{size} bytes");
        }
        let odd = Layout::from_size_align(1, 2 * UNIT).expect("a valid layout");
        assert!(FULL.take(odd).is_null());
        assert!(FULL.used.iter().all(|used| used.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn memory_of_the_pool_grows_out_of_it() {
        let layout = Layout::from_size_align(100, 8).expect("a valid layout");
        let pooled = POOL.take(layout);
        assert!(contains(pooled));
        // SAFETY: the memory and its layout are those of the allocator.
        unsafe {
            pooled.write_bytes(7, 100);
            let moved = Allocator.realloc(pooled, layout, 5000);
            assert!(!contains(moved));
            assert_eq!(std::slice::from_raw_parts(moved, 100), [7; 100]);
            Allocator.dealloc(moved, Layout::from_size_align_unchecked(5000, 8));
        }
    }
}
