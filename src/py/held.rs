//! Buffers for work that may go on after its caller has left: kept alive until it ends.

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
use crate::pool::Interrupted;

/// The memory of an argument, on which nothing is released before this goes.
pub struct Held {
    start: NonNull<u8>,
    len: usize,
    _owner: Owner,
}

enum Owner {
    Bytes(#[allow(dead_code, reason = "kept")] Py<PyBytes>),
    Buffer(#[allow(dead_code, reason = "kept")] PyUntypedBuffer),
}

// SAFETY: memory that is only read, and an owner that any thread may release.
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
        // SAFETY: the owner keeps these bytes where they are.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, for what goes to another thread together with this.
    ///
    /// # Safety
    /// They are not used once this has been dropped.
    pub unsafe fn as_slice_unbound(&self) -> &'static [u8] {
        // SAFETY: the owner keeps these bytes where they are; the caller's word for the rest.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

/// The memory of a `bytes` object that nobody else knows yet.
struct Room {
    start: NonNull<MaybeUninit<u8>>,
    len: usize,
    _bytes: Py<PyBytes>,
}

// SAFETY: memory that one thread at a time writes to, and an object that any may release.
unsafe impl Send for Room {}
// SAFETY: as above.
unsafe impl Sync for Room {}

/// A `bytes` object of `len` bytes that `fill` makes of `inputs`, apart if that is long.
pub fn filled_bytes<'py, I: Send + Sync + 'static>(
    py: Python<'py>,
    len: usize,
    is_long: bool,
    inputs: I,
    fill: impl FnOnce(&I, &mut [MaybeUninit<u8>], Interrupted) -> Result<()> + Send + 'static,
) -> PyResult<Bound<'py, PyBytes>> {
    if !is_long {
        return new_bytes(py, len, |py, room| {
            interruptible(py, |interrupted| fill(&inputs, room, interrupted))
        });
    }
    let (bytes, start) = uninit_bytes(py, len)?;
    let room = Room { start, len, _bytes: bytes.clone().unbind() };
    let work = move |(inputs, room): &(I, Room), interrupted: Interrupted| {
        // SAFETY: `room` is `len` bytes of an object that it keeps; only this one call uses
        // them until it is over, and nobody knows the object if it is not.
        let room = unsafe { std::slice::from_raw_parts_mut(room.start.as_ptr(), room.len) };
        fill(inputs, room, interrupted)
    };
    interruptible(py, |interrupted| background::run(true, (inputs, room), work, interrupted))?;
    Ok(bytes)
}

/// What `make` makes of one value apart, and what it tells of it.
#[cold]
pub fn made_apart<'py, T: Send + 'static>(
    py: Python<'py>,
    codec: &Codec,
    value: Bytes<'_>,
    make: fn(&Codec, &[u8], &mut Vec<u8>) -> Result<T>,
) -> PyResult<(Bound<'py, PyBytes>, T)> {
    let codec = codec.clone();
    let work = move |value: &Arc<Held>, _: Interrupted| {
        let mut made = Vec::new();
        let told = make(&codec, value.as_slice(), &mut made)?;
        Ok((made, told))
    };
    let value = Held::new(value);
    let (made, told) =
        interruptible(py, |interrupted| background::run(true, value, work, interrupted))?;
    Ok((to_bytes(py, &made)?, told))
}

/// The `len` bytes of a payload that was admitted, decompressed apart.
#[cold]
pub fn decompressed_apart<'py>(
    py: Python<'py>,
    codec: &Codec,
    payload: Bytes<'_>,
    len: usize,
    manifest: Manifest,
) -> PyResult<Bound<'py, PyBytes>> {
    let codec = codec.clone();
    filled_bytes(py, len, true, Held::new(payload), move |payload, room, _| {
        codec.decode(payload.as_slice(), &manifest, room).map(drop)
    })
}
