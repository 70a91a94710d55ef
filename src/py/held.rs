//! Buffers of work that may outlive its call. They stay alive until the work ends.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::{Bytes, new_bytes, to_bytes, uninit_bytes};
use super::interruptible;
use crate::background;
use crate::codec::Codec;
use crate::error::Result;
use crate::manifest::Manifest;
use crate::pool::InterruptCheck;

/// The bytes of an argument, and a reference that keeps them alive.
pub struct Held {
    start: NonNull<u8>,
    len: usize,
    _owner: Owner,
}

enum Owner {
    Bytes(#[allow(dead_code, reason = "kept")] Py<PyBytes>),
    Buffer(#[allow(dead_code, reason = "kept")] PyUntypedBuffer),
}

// SAFETY: the memory is only read, and any thread may release the owner.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    pub fn new(data: Bytes<'_>) -> Arc<Self> {
        let bytes = data.as_slice();
        let (start, len) = (NonNull::from(bytes).cast(), bytes.len());
        let owner = match data {
            Bytes::Bytes(bytes) => Owner::Bytes(bytes.to_owned().unbind()),
            Bytes::Buffer(buffer) => Owner::Buffer(buffer),
        };
        Arc::new(Self { start, len, _owner: owner })
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the owner keeps these bytes valid and in place.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes without a lifetime, for values that move to another thread together with this.
    ///
    /// # Safety
    /// The slice must not be used after this is dropped.
    pub unsafe fn as_slice_unbound(&self) -> &'static [u8] {
        // SAFETY: the owner keeps these bytes valid and in place, and the caller does not use
        // them once it is gone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

/// The memory of a new `bytes` object that no other code has seen yet.
struct UnseenBytes {
    start: NonNull<MaybeUninit<u8>>,
    len: usize,
    _bytes: Py<PyBytes>,
}

// SAFETY: one thread at a time writes to the memory, and any thread may release the object.
unsafe impl Send for UnseenBytes {}
// SAFETY: as above.
unsafe impl Sync for UnseenBytes {}

/// A `bytes` object of `len` bytes that `fill` writes from `inputs`, in the background if that
/// takes long.
pub fn filled_bytes<'py, I: Send + Sync + 'static>(
    py: Python<'py>,
    len: usize,
    is_long: bool,
    inputs: I,
    fill: impl FnOnce(&I, &mut [MaybeUninit<u8>], InterruptCheck) -> Result<()> + Send + 'static,
) -> PyResult<Bound<'py, PyBytes>> {
    if !is_long {
        return new_bytes(py, len, |py, dst| {
            interruptible(py, |interrupted| fill(&inputs, dst, interrupted))
        });
    }
    let (bytes, start) = uninit_bytes(py, len)?;
    let unseen = UnseenBytes { start, len, _bytes: bytes.clone().unbind() };
    let work = move |(inputs, unseen): &(I, UnseenBytes), interrupted: InterruptCheck| {
        // SAFETY: `unseen` keeps an object of `len` bytes alive. `work` runs once and is the only
        // user of the bytes until it ends; after an interrupt, nobody receives the object.
        let dst = unsafe { std::slice::from_raw_parts_mut(unseen.start.as_ptr(), unseen.len) };
        fill(inputs, dst, interrupted)
    };
    interruptible(py, |interrupted| background::run(true, (inputs, unseen), work, interrupted))?;
    Ok(bytes)
}

/// Runs `compress` on one value in the background. Returns the bytes that it appended and what
/// it returned.
#[cold]
pub fn compress_in_background<'py, T: Send + 'static>(
    py: Python<'py>,
    codec: &Codec,
    value: Bytes<'_>,
    compress: fn(&Codec, &[u8], &mut Vec<u8>) -> Result<T>,
) -> PyResult<(Bound<'py, PyBytes>, T)> {
    let codec = codec.clone();
    let work = move |value: &Arc<Held>, _: InterruptCheck| {
        let mut payload = Vec::new();
        let result = compress(&codec, value.as_slice(), &mut payload)?;
        Ok((payload, result))
    };
    let value = Held::new(value);
    let (payload, result) =
        interruptible(py, |interrupted| background::run(true, value, work, interrupted))?;
    Ok((to_bytes(py, &payload)?, result))
}

/// Decompresses an admitted payload of `len` original bytes in the background.
#[cold]
pub fn decompress_in_background<'py>(
    py: Python<'py>,
    codec: &Codec,
    payload: Bytes<'_>,
    len: usize,
    manifest: Manifest,
) -> PyResult<Bound<'py, PyBytes>> {
    let codec = codec.clone();
    filled_bytes(py, len, true, Held::new(payload), move |payload, dst, _| {
        codec.decode(payload.as_slice(), &manifest, dst).map(drop)
    })
}
