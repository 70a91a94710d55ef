//! libdeflate's objects and calls.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use libdeflate_sys as ffi;

use crate::kernel::Fault;

/// The CRC-32 of RFC 1952.
pub fn crc32(bytes: &[u8]) -> u32 {
    // SAFETY: the pointer comes with the length of its slice.
    unsafe { ffi::libdeflate_crc32(0, bytes.as_ptr().cast::<c_void>(), bytes.len()) }
}

/// How far beyond the stated length of its destination libdeflate may write if its input changes
/// during the call. It counts the symbols of a block, checks that they fit, and then reads the
/// literals again to write them, which may be longer by then. A block covers at most 305,000 bytes
/// (`MAX_BLOCK_LENGTH`), and a byte takes at most 16 bits: a literal 14, a match of three or more
/// bytes 47. The codes take 570 bytes. The check then fails for the next block, which is not
/// written.
pub const OVERRUN: usize = 1 << 20;

/// Whether [`OVERRUN`] holds: the check compares signed numbers where pointers have 64 bits.
pub const KNOWS_OVERRUN: bool = cfg!(target_pointer_width = "64");

pub struct Compressor {
    level: i32,
    raw: NonNull<ffi::libdeflate_compressor>,
}

// SAFETY: libdeflate's objects are plain memory without thread affinity.
unsafe impl Send for Compressor {}

impl Compressor {
    pub fn new(level: i32) -> Result<Self, Fault> {
        // SAFETY: no precondition; null means out of memory or an unknown level, and
        // every level that a codec can hold (0 to 9) is known.
        let raw = unsafe { ffi::libdeflate_alloc_compressor(level) };
        let raw = NonNull::new(raw).ok_or(Fault::OutOfMemory { bytes: 0 })?;
        Ok(Self { level, raw })
    }

    pub fn level(&self) -> i32 {
        self.level
    }

    /// The most bytes of a member of `len` bytes.
    pub fn bound(&self, len: usize) -> usize {
        // SAFETY: `raw` is live until drop.
        unsafe { ffi::libdeflate_gzip_compress_bound(self.raw.as_ptr(), len) }
    }

    /// Whether compressing reads each byte of its input once, as only level 0 does.
    pub fn reads_once(&self) -> bool {
        self.level == 0
    }

    /// Returns the member's length, or `None` where `dst` is too short. `src` must not change
    /// during the call, unless it is [read once](Self::reads_once).
    pub fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Option<usize> {
        // SAFETY: all of `dst` may be written, and no more is, as `src` is the same whenever
        // it is read.
        unsafe { self.compress_to(src, dst, dst.len()) }
    }

    /// The same where `src` may change during the call; `dst` ends with [`OVERRUN`] spare bytes.
    pub fn compress_changing(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Option<usize> {
        let stated_len = dst.len().checked_sub(OVERRUN)?;
        // SAFETY: what libdeflate writes beyond the stated length is within `dst`.
        unsafe { self.compress_to(src, dst, stated_len) }
    }

    /// # Safety
    /// `dst` holds all that libdeflate may write when it is given `stated_len`.
    unsafe fn compress_to(
        &mut self,
        src: &[u8],
        dst: &mut [MaybeUninit<u8>],
        stated_len: usize,
    ) -> Option<usize> {
        // SAFETY: `raw` is live and exclusively borrowed; `src` comes with the length of its
        // slice; libdeflate only writes `dst`, and stays within it by the caller's word.
        let written = unsafe {
            ffi::libdeflate_gzip_compress(
                self.raw.as_ptr(),
                src.as_ptr().cast::<c_void>(),
                src.len(),
                dst.as_mut_ptr().cast::<c_void>(),
                stated_len,
            )
        };
        (written > 0).then_some(written)
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        // SAFETY: allocated by libdeflate, freed once.
        unsafe { ffi::libdeflate_free_compressor(self.raw.as_ptr()) }
    }
}

/// The result of decoding a deflate stream.
pub enum Inflated {
    Done {
        read: usize,
        written: usize,
    },
    /// It holds more than the destination takes.
    TooLong,
    Damaged,
}

pub struct Decompressor(NonNull<ffi::libdeflate_decompressor>);

// SAFETY: as for `Compressor`.
unsafe impl Send for Decompressor {}

impl Decompressor {
    pub fn new() -> Result<Self, Fault> {
        // SAFETY: no precondition; null means out of memory.
        let raw = unsafe { ffi::libdeflate_alloc_decompressor() };
        NonNull::new(raw).map(Self).ok_or(Fault::OutOfMemory { bytes: 0 })
    }

    /// Decodes the deflate stream at the front of `src`.
    pub fn inflate(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Inflated {
        let (mut read, mut written) = (0, 0);
        // SAFETY: the object is live and exclusively borrowed; both pointers come with
        // the lengths of their slices; libdeflate only writes `dst`, and the two counts. It
        // takes every bit of `src` into a register once and checks what it makes of them, so
        // that changing input can only yield other bytes.
        let result = unsafe {
            ffi::libdeflate_deflate_decompress_ex(
                self.0.as_ptr(),
                src.as_ptr().cast::<c_void>(),
                src.len(),
                dst.as_mut_ptr().cast::<c_void>(),
                dst.len(),
                &mut read,
                &mut written,
            )
        };
        match result {
            ffi::libdeflate_result_LIBDEFLATE_SUCCESS => Inflated::Done { read, written },
            ffi::libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE => Inflated::TooLong,
            _ => Inflated::Damaged,
        }
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: allocated by libdeflate, freed once.
        unsafe { ffi::libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}
