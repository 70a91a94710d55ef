//! Brief work, which keeps the GIL.
//!
//! A thread takes longer to wake up and take the GIL than brief work lasts, a few microseconds.
//! Threads that release the GIL for such work run no more of it together than one of them alone,
//! and on the shortest values half as much.

use pyo3::prelude::*;

use crate::codec::Codec;
use crate::gpu::Device;

/// Compressing this many bytes takes about 10 microseconds at the highest of the fast levels.
const COMPRESSED_BYTES: usize = 1 << 10;
const FAST_LEVELS: i32 = 9;

/// Decompressing this many bytes takes about 4 microseconds.
const DECOMPRESSED_BYTES: u64 = 4 << 10;

/// Reading or copying this many bytes takes about a microsecond.
const PASSED_BYTES: usize = 32 << 10;

/// Whether compressing a value of `len` bytes is brief.
pub fn is_brief_compression(codec: &Codec, len: usize) -> bool {
    len <= COMPRESSED_BYTES
        && codec.device().is_none()
        && codec.level().is_none_or(|level| level <= FAST_LEVELS && is_prepared(codec, level))
}

/// Whether the codec's dictionary, if any, is prepared for `level`, which can take milliseconds.
fn is_prepared(codec: &Codec, level: i32) -> bool {
    codec.dictionary().is_none_or(|set| set.current().is_prepared(level))
}

/// Whether decompressing a payload of `len` bytes to `original_size` bytes is brief.
pub fn is_brief_decompression(device: Device, len: usize, original_size: u64) -> bool {
    original_size.max(len as u64) <= DECOMPRESSED_BYTES && device == Device::Cpu
}

/// Whether it is brief to check what the headers of a payload of `len` bytes say.
pub fn is_brief_admission(device: Device, len: usize) -> bool {
    is_brief_pass(len) && device == Device::Cpu
}

/// Whether reading `len` bytes once, or copying them, is brief.
pub fn is_brief_pass(len: usize) -> bool {
    len <= PASSED_BYTES
}

/// Runs `work` without the GIL, unless it is brief.
#[inline]
pub fn detach_unless<T: Send>(
    py: Python<'_>,
    is_brief: bool,
    work: impl FnOnce() -> T + Send,
) -> T {
    if is_brief { work() } else { py.detach(work) }
}
