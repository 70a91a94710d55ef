//! Output memory: large blocks on huge pages, kept when their consumer drops them.
//!
//! Fresh pages cost up to half of a fast decompression: the system faults in and clears
//! each one. So output goes into large blocks on huge pages (one fault per 2 MiB instead
//! of per 4 KiB), and blocks that their consumer has dropped are kept, up to
//! 64 MiB, and written again while their pages are warm.

use std::alloc::{Layout, alloc_zeroed};
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Mutex;

use memmap2::MmapMut;
#[cfg(target_os = "linux")]
use memmap2::RemapOptions;

use crate::allocator;
use crate::error::{OutOfMemory, Result, push, reserve};
use crate::process::PerProcess;

/// Bytes of a standard block: a few huge pages, yet a small part of a column, because a
/// slice of a column keeps all of its block alive.
pub const BLOCK_BYTES: usize = 4 << 20;

/// How much dropped memory is kept for the next columns.
const KEPT_BYTES: usize = 64 << 20;

/// Bytes of a huge page.
pub const HUGE_PAGE: usize = 2 << 20;

/// Less unused memory than this stays with its block.
const WORTH_RELEASING: usize = 256 << 10;

/// Asks the system to back fresh memory with huge pages where whole ones fit.
pub fn advise_huge_pages(memory: &mut [MaybeUninit<u8>]) {
    #[cfg(target_os = "linux")]
    advise(memory, HUGE_PAGE, libc::MADV_HUGEPAGE);
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Gives the pages of unused memory back to the system; the next write gets fresh ones.
/// The memory is a mapping of our own.
fn release_pages(memory: &mut [MaybeUninit<u8>]) {
    #[cfg(target_os = "linux")]
    advise(memory, 4 << 10, libc::MADV_DONTNEED);
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// Advises on the whole pages of `memory`.
#[cfg(target_os = "linux")]
fn advise(memory: &mut [MaybeUninit<u8>], page: usize, advice: libc::c_int) {
    let skipped = memory.as_ptr().align_offset(page).min(memory.len());
    let pages = &mut memory[skipped..];
    // SAFETY: the range is exclusively borrowed memory without a value, so that neither
    // advice can change one. A refusal costs nothing but speed or space.
    unsafe { libc::madvise(pages.as_mut_ptr().cast(), pages.len() / page * page, advice) };
}

/// Types whose all-zero bytes are a value.
///
/// # Safety
/// They are.
pub unsafe trait Zero: Copy {}

// SAFETY: an integer.
unsafe impl Zero for u8 {}
// SAFETY: an integer.
unsafe impl Zero for i64 {}
// SAFETY: an integer.
unsafe impl Zero for u64 {}
// SAFETY: an integer.
unsafe impl Zero for usize {}
// SAFETY: an integer.
unsafe impl Zero for u128 {}

/// Zeroes from the system's own fresh pages, which are not touched before they are written.
pub fn zeroed<T: Zero>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let failed = || OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) as u64 };
    let layout = Layout::array::<T>(len).map_err(|_| failed())?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is not empty, and is that of a vector of `len`; zero bytes are
    // values of `T`.
    unsafe {
        let start = NonNull::new(alloc_zeroed(layout).cast::<T>()).ok_or_else(failed)?;
        let zeros = Vec::from_raw_parts(start.as_ptr(), len, len);
        // The emergency pool is for those who cannot fail.
        if allocator::contains(zeros.as_ptr()) { Err(failed()) } else { Ok(zeros) }
    }
}

/// Fails where memory is short. For what would end the process there: to start a thread, the
/// standard library allocates without a way to fail, and past this crate's allocator.
pub fn probe() -> Result<(), OutOfMemory> {
    probe_for(64 << 10)
}

/// Fails where so many bytes cannot be had: for an allocation that cannot fail itself.
pub fn probe_for(bytes: usize) -> Result<(), OutOfMemory> {
    let mut probed: Vec<u8> = Vec::new();
    reserve(&mut probed, bytes)?;
    std::hint::black_box(probed);
    Ok(())
}

/// Collects what each chunk of a column becomes. A chunk takes small allocations that cannot fail;
/// those of thousands would use up the emergency pool, so memory is probed before each.
pub fn collect_chunks<T>(chunks: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut collected = Vec::new();
    reserve(&mut collected, chunks.size_hint().0)?;
    let mut chunks = chunks.fuse();
    loop {
        probe()?;
        match chunks.next() {
            Some(chunk) => push(&mut collected, chunk?)?,
            None => return Ok(collected),
        }
    }
}

/// Integers: any bytes are values of them.
pub trait Integer: Zero {}

impl Integer for u8 {}
impl Integer for i64 {}

/// Integers as memory to be filled, with initialised bytes.
pub fn as_uninit<T: Integer>(numbers: &mut [T]) -> &mut [MaybeUninit<u8>] {
    let len = size_of_val(numbers);
    // SAFETY: the same memory, borrowed as exclusively; what fills it leaves values.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), len) }
}

/// Integers as bytes.
pub fn as_bytes<T: Integer>(numbers: &[T]) -> &[u8] {
    // SAFETY: the same memory; integers have no padding.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Memory straight from the system, its usable part aligned to a huge page.
struct Region {
    map: MmapMut,
    start: usize,
    capacity: usize,
}

impl Region {
    fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let failed = || OutOfMemory { bytes: capacity as u64 };
        let padded = capacity.checked_add(HUGE_PAGE).ok_or_else(failed)?;
        let map = MmapMut::map_anon(padded).map_err(|_| failed())?;
        let start = map.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        let mut region = Self { map, start, capacity };
        advise_huge_pages(uninit(region.bytes_mut()));
        Ok(region)
    }

    /// Gives all but the first `capacity` bytes back to the system, if it can.
    fn truncate(&mut self, capacity: usize) {
        #[cfg(target_os = "linux")]
        {
            let len = self.start + capacity;
            // SAFETY: no file is mapped, and it only shrinks, where it is: nothing is borrowed.
            let done = unsafe { self.map.remap(len, RemapOptions::new().may_move(false)) };
            if done.is_ok() {
                self.capacity = capacity;
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = capacity;
    }

    fn bytes(&self) -> &[u8] {
        &self.map[self.start..][..self.capacity]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.start..][..self.capacity]
    }
}

/// Initialised bytes as memory to write to.
fn uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: same memory, same borrow. Kernels only ever write initialised bytes, so what
    // is initialised stays so.
    unsafe { &mut *(bytes as *mut [u8] as *mut [MaybeUninit<u8>]) }
}

static KEPT: PerProcess<KeptRegions> = PerProcess::new();

/// Dropped regions, oldest first, ready to be written again.
#[derive(Default)]
struct KeptRegions(Mutex<VecDeque<Region>>);

impl KeptRegions {
    /// The smallest region of at least `capacity`, and at most twice that.
    fn take(&self, capacity: usize) -> Option<Region> {
        let mut kept = self.0.lock().ok()?;
        let fits = |region: &Region| region.capacity >= capacity && region.capacity / 2 <= capacity;
        let best = kept.iter().enumerate().filter(|(_, region)| fits(region));
        let best = best.min_by_key(|(_, region)| region.capacity).map(|(i, _)| i)?;
        kept.remove(best)
    }

    /// Keeps `region`, at the cost of those kept longest.
    fn keep(&self, region: Region) {
        if region.capacity > KEPT_BYTES {
            return;
        }
        let mut gone = Vec::new();
        let Ok(mut kept) = self.0.lock() else { return };
        kept.push_back(region);
        let mut bytes: usize = kept.iter().map(|region| region.capacity).sum();
        while bytes > KEPT_BYTES
            && let Some(oldest) = kept.pop_front()
        {
            bytes -= oldest.capacity;
            gone.push(oldest);
        }
        // The system gets memory back without anybody waiting for the lock.
        drop(kept);
    }
}

/// One allocation full of rows, filled from its front.
pub struct Block {
    storage: Storage,
    len: usize,
}

/// Memory of another kind that a block can be, such as page-locked memory.
pub trait OwnedMemory: Send + Sync + RefUnwindSafe {
    /// All of it.
    fn bytes(&self) -> &[MaybeUninit<u8>];
    /// The same, to be written to.
    fn bytes_mut(&mut self) -> &mut [MaybeUninit<u8>];
}

enum Storage {
    /// From the allocator, if smaller than a huge page.
    Heap(Box<[MaybeUninit<u8>]>),
    Region(Region),
    Owned(Box<dyn OwnedMemory>),
    /// Nothing: the region has gone back.
    Gone,
}

impl Block {
    /// Empty memory for `capacity` bytes.
    pub fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let storage = if capacity < HUGE_PAGE {
            let mut heap: Vec<MaybeUninit<u8>> = Vec::new();
            reserve(&mut heap, capacity)?;
            // SAFETY: the capacity is reserved, and `MaybeUninit` needs no initialisation.
            unsafe { heap.set_len(capacity) };
            Storage::Heap(heap.into_boxed_slice())
        } else {
            Storage::Region(match KEPT.get().take(capacity) {
                Some(region) => region,
                None => Region::new(capacity)?,
            })
        };
        Ok(Self { storage, len: 0 })
    }

    /// Empty memory for at least `least` bytes, and for up to `most` where that costs no more:
    /// of address space that the system lends, only what is written takes memory.
    pub fn reserve(least: usize, most: usize) -> Result<Self, OutOfMemory> {
        if least < HUGE_PAGE || most <= least {
            return Self::new(least);
        }
        if let Some(region) = KEPT.get().take(least) {
            return Ok(Self { storage: Storage::Region(region), len: 0 });
        }
        let mut capacity = most;
        loop {
            match Region::new(capacity) {
                Ok(region) => return Ok(Self { storage: Storage::Region(region), len: 0 }),
                Err(error) if capacity == least => return Err(error),
                Err(_) => capacity = (capacity / 2).max(least),
            }
        }
    }

    /// A block of other memory, empty.
    pub fn of(memory: impl OwnedMemory + 'static) -> Self {
        Self { storage: Storage::Owned(Box::new(memory)), len: 0 }
    }

    /// Bytes that fit, filled or not.
    pub fn capacity(&self) -> usize {
        match &self.storage {
            Storage::Heap(heap) => heap.len(),
            Storage::Region(region) => region.capacity,
            Storage::Owned(memory) => memory.bytes().len(),
            Storage::Gone => 0,
        }
    }

    /// Bytes that are filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part that nothing has been written to.
    pub fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        let len = self.len;
        match &mut self.storage {
            Storage::Heap(heap) => &mut heap[len..],
            Storage::Region(region) => uninit(&mut region.bytes_mut()[len..]),
            Storage::Owned(memory) => &mut memory.bytes_mut()[len..],
            Storage::Gone => &mut [],
        }
    }

    /// The filled part, to be moved about.
    pub fn filled_mut(&mut self) -> &mut [MaybeUninit<u8>] {
        let len = std::mem::take(&mut self.len);
        let spare = self.spare();
        // SAFETY: the same memory, borrowed for as long; only `len` is set again.
        let filled = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr(), len) };
        self.len = len;
        filled
    }

    /// Copies what is filled to the front of `dst`, and gives memory back as it goes; returns how
    /// many bytes that is.
    pub fn move_to(mut self, dst: &mut [MaybeUninit<u8>]) -> usize {
        let is_mapped = matches!(self.storage, Storage::Region(_));
        let pieces = self.filled_mut().chunks_mut(BLOCK_BYTES);
        for (piece, dst) in pieces.zip(dst.chunks_mut(BLOCK_BYTES)) {
            dst[..piece.len()].copy_from_slice(piece);
            if is_mapped {
                release_pages(piece);
            }
        }
        self.len
    }

    /// Says that the block holds `len` bytes.
    ///
    /// # Safety
    /// They are initialised and within the capacity.
    pub unsafe fn set_len(&mut self, len: usize) {
        self.len = len;
    }

    fn as_slice(&self) -> &[u8] {
        match &self.storage {
            // SAFETY: a byte counts in `len` only once it is initialised.
            Storage::Heap(heap) => unsafe { heap[..self.len].assume_init_ref() },
            Storage::Region(region) => &region.bytes()[..self.len],
            // SAFETY: as above.
            Storage::Owned(memory) => unsafe { memory.bytes()[..self.len].assume_init_ref() },
            Storage::Gone => &[],
        }
    }

    /// Gives back the memory that no row took: rows that fill less than half of the block move
    /// to one of their size if they are few, else the pages behind them go.
    pub fn shrink(mut self) -> Result<Self, OutOfMemory> {
        let mut unused = self.spare().len();
        if let Storage::Region(region) = &mut self.storage
            && unused > self.len
            && self.len >= HUGE_PAGE
        {
            region.truncate(self.len);
            unused = region.capacity - self.len;
        }
        if unused > self.len {
            let mut exact = Self::new(self.len)?;
            exact.spare()[..self.len].write_copy_of_slice(self.as_slice());
            exact.len = self.len;
            return Ok(exact);
        }
        if unused >= WORTH_RELEASING && matches!(self.storage, Storage::Region(_)) {
            release_pages(self.spare());
        }
        Ok(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Storage::Region(region) = std::mem::replace(&mut self.storage, Storage::Gone) {
            KEPT.get().keep(region);
        }
    }
}
