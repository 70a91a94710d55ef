//! Device memory that the host cannot touch, and pinned memory that it can.
//!
//! A device address is a number and no mapping: code that follows one crashes, and every
//! access of the stand-in's own has to lie in one live allocation. Addresses are never
//! used twice, so that a stale one is always found out.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ops::Range;

use memmap2::{MmapMut, MmapRaw};

/// What fresh memory holds, for zeros would hide that nobody wrote to it.
const FRESH: u8 = 0xA5;

const FIRST_ADDRESS: u64 = 0x7000_0000_0000;

/// As the driver aligns allocations.
const ALIGNMENT: u64 = 256;

/// Addresses between two allocations that belong to neither.
const GUARD: u64 = 1 << 16;

/// Device memory is filled in such steps, as accesses come to it: most of what is allocated
/// for a codec's use is never touched here.
const STEP: usize = 1 << 16;

/// Device memory.
struct Allocation {
    bytes: MmapMut,
    /// The steps that hold [`FRESH`] or what came after.
    filled: Vec<bool>,
}

impl Allocation {
    fn new(bytes: usize) -> Option<Self> {
        let filled = vec![false; bytes.div_ceil(STEP)];
        Some(Self { bytes: MmapMut::map_anon(bytes).ok()?, filled })
    }

    fn access(&mut self, range: Range<usize>) -> &mut [u8] {
        for step in range.start / STEP..range.end.div_ceil(STEP) {
            if !std::mem::replace(&mut self.filled[step], true) {
                let end = self.bytes.len().min((step + 1) * STEP);
                self.bytes[step * STEP..end].fill(FRESH);
            }
        }
        &mut self.bytes[range]
    }
}

pub struct Memory {
    device: BTreeMap<u64, Allocation>,
    pinned: BTreeMap<u64, MmapRaw>,
    next: u64,
    /// Bytes that the device has.
    pub total: u64,
    allocated: u64,
}

impl Memory {
    pub fn new(total: u64) -> Self {
        let (device, pinned) = (BTreeMap::new(), BTreeMap::new());
        Self { device, pinned, next: FIRST_ADDRESS, total, allocated: 0 }
    }

    /// Live device bytes.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.allocated)
    }

    /// Live allocations, device and pinned.
    pub fn live(&self) -> usize {
        self.device.len() + self.pinned.len()
    }

    pub fn allocate(&mut self, bytes: usize) -> Option<u64> {
        if bytes as u64 > self.free() {
            return None;
        }
        let address = self.next;
        self.device.insert(address, Allocation::new(bytes)?);
        self.allocated += bytes as u64;
        self.next = (address + bytes as u64 + GUARD).next_multiple_of(ALIGNMENT);
        Some(address)
    }

    /// Frees the allocation that begins at `address` and says which addresses it had.
    pub fn release(&mut self, address: u64) -> Option<Range<u64>> {
        let bytes = self.device.remove(&address)?.bytes.len() as u64;
        self.allocated -= bytes;
        Some(address..address + bytes)
    }

    pub fn pin(&mut self, bytes: usize) -> Option<*mut c_void> {
        let mut mapping = MmapMut::map_anon(bytes).ok()?;
        mapping.fill(FRESH);
        let mapping = MmapRaw::from(mapping);
        let address = mapping.as_mut_ptr();
        self.pinned.insert(address.addr() as u64, mapping);
        Some(address.cast())
    }

    /// The addresses of the pinned memory that begins at `address`.
    pub fn pinned(&self, address: u64) -> Option<Range<u64>> {
        let mapping = self.pinned.get(&address)?;
        Some(address..address + mapping.len() as u64)
    }

    pub fn unpin(&mut self, address: u64) {
        self.pinned.remove(&address);
    }

    pub fn is_pinned(&self, address: u64, len: usize) -> bool {
        self.host(address, len).is_some()
    }

    /// Whether all of this lies in one live allocation of device memory. An empty range may
    /// be anywhere.
    pub fn is_device(&self, address: u64, len: usize) -> bool {
        len == 0 || self.locate(address, len).is_some()
    }

    /// The allocation that holds all of this, by its address, and where in it that is.
    fn locate(&self, address: u64, len: usize) -> Option<(u64, Range<usize>)> {
        let (&start, allocation) = self.device.range(..=address).next_back()?;
        let at = usize::try_from(address - start).ok()?;
        let end = at.checked_add(len)?;
        (end <= allocation.bytes.len()).then_some((start, at..end))
    }

    /// Device memory to be read or written, if [it is that](Self::is_device).
    pub fn access(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        if len == 0 {
            return Some(&mut []);
        }
        let (start, range) = self.locate(address, len)?;
        Some(self.device.get_mut(&start)?.access(range))
    }

    /// An array of 64-bit numbers in device memory, aligned as such.
    pub fn numbers(&mut self, address: u64, count: usize) -> Option<Vec<u64>> {
        let bytes = self.access(address, count.checked_mul(8)?)?;
        let numbers = bytes.as_chunks().0.iter().map(|&number| u64::from_le_bytes(number));
        address.is_multiple_of(8).then(|| numbers.collect())
    }

    /// Copies pinned memory to the device, unless either is not there.
    pub fn upload(&mut self, to: u64, from: u64, len: usize) -> Option<()> {
        let from = self.host(from, len)?;
        let to = self.access(to, len)?;
        // SAFETY: `from` is good for `len` bytes of a live mapping, which device memory is
        // no part of. As with any copy of CUDA's, nobody writes to it meanwhile.
        unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from, len) };
        Some(())
    }

    /// Copies device memory to pinned memory, unless either is not there.
    pub fn download(&mut self, to: u64, from: u64, len: usize) -> Option<()> {
        let to = self.host(to, len)?;
        let from = self.access(from, len)?;
        // SAFETY: as in `upload`, and nobody reads from or writes to it meanwhile.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), len) };
        Some(())
    }

    /// A pointer to `len` bytes of one pinned mapping.
    fn host(&self, address: u64, len: usize) -> Option<*mut u8> {
        let (start, mapping) = self.pinned.range(..=address).next_back()?;
        let at = usize::try_from(address - start).ok()?;
        let end = at.checked_add(len)?;
        // That the offset stays inside is known from `end`.
        (end <= mapping.len()).then(|| mapping.as_mut_ptr().wrapping_add(at))
    }
}

/// Whether any two of these ranges share an address.
pub fn overlap(mut ranges: Vec<Range<u64>>) -> bool {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.windows(2).any(|pair| pair[1].start < pair[0].end)
}
