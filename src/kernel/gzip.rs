//! Codec `cpu-gzip`: gzip members (RFC 1952).
//!
//! Whole buffers go through libdeflate in both directions, member after member: its
//! simple call stops after the first one and ignores the rest. Payloads whose decoded
//! length is not known are tried at the length their last member states, and streamed
//! through flate2 when that falls short.

use std::ffi::c_void;
use std::io::Read;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use libdeflate_sys as ffi;

use super::format::resembles;
use super::{Fault, Kernel, Scratch};

/// Deflate's densest code: 258 bytes for 2 bits (a 1-bit length, a 1-bit distance).
const MAX_EXPANSION: u64 = 1032;

/// The member trailer: CRC-32, then ISIZE, the decoded length modulo 2^32.
const TRAILER: usize = 8;

/// Compressor and decompressor of one thread, made at first use.
#[derive(Default)]
pub struct Contexts {
    compressor: Option<Compressor>,
    decompressor: Option<Decompressor>,
}

pub struct Gzip<'a> {
    level: i32,
    contexts: &'a mut Contexts,
}

impl<'a> Gzip<'a> {
    pub fn new(level: i32, scratch: &'a mut Scratch) -> Self {
        Self { level, contexts: &mut scratch.gzip }
    }

    fn compressor(&mut self) -> Result<&Compressor, Fault> {
        // libdeflate fixes the level when it allocates, so another level is another compressor.
        let kept = self.contexts.compressor.take().filter(|kept| kept.level == self.level);
        let compressor = kept.map_or_else(|| Compressor::new(self.level), Ok)?;
        Ok(self.contexts.compressor.insert(compressor))
    }
}

impl Kernel for Gzip<'_> {
    fn compress_bound(&mut self, len: usize) -> Result<usize, Fault> {
        Ok(self.compressor()?.bound(len))
    }

    fn compress(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        self.compressor()?
            .compress(src, dst)
            .ok_or_else(|| Fault::Library("the destination is shorter than compress_bound".into()))
    }

    fn decoded_bound(&mut self, payload: &[u8]) -> Result<u64, Fault> {
        Ok((payload.len() as u64).saturating_mul(MAX_EXPANSION))
    }

    fn decoded_guess(&mut self, payload: &[u8], bound: u64) -> u64 {
        payload
            .last_chunk::<4>()
            .map_or(0, |isize| u64::from(u32::from_le_bytes(*isize)).min(bound))
    }

    fn decompress(&mut self, payload: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        let decompressor = match &mut self.contexts.decompressor {
            Some(kept) => kept,
            slot => slot.insert(Decompressor::new()?),
        };
        let (mut rest, mut written) = (payload, 0);
        loop {
            let (read, wrote) =
                decompressor.member(rest, &mut dst[written..]).map_err(|fault| match fault {
                    Fault::Corrupt(reason) => {
                        let at = payload.len() - rest.len();
                        Fault::Corrupt(format!("{reason} at byte {at}{}", foreign(rest)))
                    }
                    other => other,
                })?;
            rest = &rest[read..];
            written += wrote;
            if rest.is_empty() {
                return Ok(written);
            }
        }
    }

    fn decompress_growing(
        &mut self,
        payload: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let mut stream = flate2::read::MultiGzDecoder::new(payload);
        let (start, end) = (out.len(), out.len().saturating_add(limit));
        let mut filled = start;
        let result = loop {
            // What lies beyond `filled` is zeroed once, however many reads it takes.
            if filled == out.len() {
                let room = (filled - start).clamp(64 << 10, 8 << 20).min(end - filled + 1);
                if out.try_reserve(room).is_err() {
                    break Err(Fault::OutOfMemory { bytes: room as u64 });
                }
                out.resize(filled + room, 0);
            }
            match stream.read(&mut out[filled..]) {
                Ok(0) => break Ok(()),
                Ok(read) if filled + read > end => break Err(Fault::TooLong),
                Ok(read) => filled += read,
                Err(error) => break Err(Fault::corrupt(error.to_string())),
            }
        };
        out.truncate(filled);
        result
    }
}

struct Compressor {
    level: i32,
    raw: NonNull<ffi::libdeflate_compressor>,
}

// SAFETY: libdeflate's objects are plain memory without thread affinity.
unsafe impl Send for Compressor {}

impl Compressor {
    fn new(level: i32) -> Result<Self, Fault> {
        // SAFETY: no precondition; null means out of memory or an unknown level, and
        // every level that a codec can hold (0 to 9) is known.
        let raw = unsafe { ffi::libdeflate_alloc_compressor(level) };
        let raw = NonNull::new(raw).ok_or(Fault::OutOfMemory { bytes: 0 })?;
        Ok(Self { level, raw })
    }

    fn bound(&self, len: usize) -> usize {
        // SAFETY: `raw` is live until drop.
        unsafe { ffi::libdeflate_gzip_compress_bound(self.raw.as_ptr(), len) }
    }

    /// The member's length, or `None` where `dst` is too short.
    fn compress(&self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Option<usize> {
        // SAFETY: `raw` is live and, not being Sync, used by this thread alone; both
        // pointers come with the lengths of their slices; libdeflate only writes `dst`.
        let written = unsafe {
            ffi::libdeflate_gzip_compress(
                self.raw.as_ptr(),
                src.as_ptr().cast::<c_void>(),
                src.len(),
                dst.as_mut_ptr().cast::<c_void>(),
                dst.len(),
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

struct Decompressor(NonNull<ffi::libdeflate_decompressor>);

// SAFETY: as for `Compressor`.
unsafe impl Send for Decompressor {}

impl Decompressor {
    fn new() -> Result<Self, Fault> {
        // SAFETY: no precondition; null means out of memory.
        let raw = unsafe { ffi::libdeflate_alloc_decompressor() };
        NonNull::new(raw).map(Self).ok_or(Fault::OutOfMemory { bytes: 0 })
    }

    /// Decodes the member at the front of `src`; returns the bytes read and written.
    fn member(&mut self, src: &[u8], dst: &mut [MaybeUninit<u8>]) -> Result<(usize, usize), Fault> {
        let (mut read, mut written) = (0, 0);
        // SAFETY: the object is live and exclusively borrowed; both pointers come with
        // the lengths of their slices; libdeflate only writes `dst`, and the two counts.
        let result = unsafe {
            ffi::libdeflate_gzip_decompress_ex(
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
            ffi::libdeflate_result_LIBDEFLATE_SUCCESS => Ok((read, written)),
            ffi::libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE => Err(Fault::TooLong),
            _ => Err(Fault::corrupt(explain(src))),
        }
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        // SAFETY: allocated by libdeflate, freed once.
        unsafe { ffi::libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

/// What a payload that is not gzip may be.
fn foreign(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(&[0x1f, 0x8b]) { "" } else { resembles(bytes) }
}

/// libdeflate tells bad data from good and no more; the header says a little else.
fn explain(member: &[u8]) -> &'static str {
    match member {
        [] => "an empty payload",
        [0x1f, 0x8b, 8, flags, ..] if flags & 0xE0 != 0 => "a member with reserved flags",
        [0x1f, 0x8b, 8, ..] if member.len() < 10 + TRAILER => "a cut member",
        [0x1f, 0x8b, 8, ..] => "a cut or damaged member, or one whose CRC-32 or length is wrong,",
        [0x1f, 0x8b, ..] => "a member that is not deflate",
        _ => "no gzip member",
    }
}
