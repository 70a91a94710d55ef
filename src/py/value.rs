//! Compresses and decompresses one value: brief work with the GIL, other work without it, and long
//! work in the background, where an interrupt need not wait for it.

use std::cell::Cell;
use std::mem::MaybeUninit;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::brief::{
    detach_unless, is_brief_admission, is_brief_compression, is_brief_decompression,
};
use super::buffer::{Bytes, WritableBytes, new_bytes, to_bytes};
use super::dictionary_set::DecoderArgument;
use super::errors::raise;
use super::held::{compress_in_background, decompress_in_background};
use crate::background;
use crate::codec::Codec;
use crate::error::Result;
use crate::gpu::Device;
use crate::manifest::{MAX_ORIGINAL_SIZE, Manifest};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_admit, module)?)?;
    module.add_function(wrap_pyfunction!(_decompress_into, module)?)
}

/// The largest payload buffer, in bytes, that a thread keeps between calls.
const KEPT_PAYLOAD_BYTES: usize = 4 << 20;

thread_local! {
    static PAYLOAD: Cell<Vec<u8>> = Cell::default();
}

/// A copy of the thread's payload buffer, which is kept for the next call.
fn copy_payload(py: Python<'_>, payload: Vec<u8>) -> PyResult<Bound<'_, PyBytes>> {
    let bytes = to_bytes(py, &payload)?;
    if payload.capacity() <= KEPT_PAYLOAD_BYTES {
        PAYLOAD.set(payload);
    }
    Ok(bytes)
}

/// Runs `compress` on one value, in the background if that takes long. Returns the bytes that it
/// appended and what it returned.
pub fn compress<'py, T: Send + 'static>(
    py: Python<'py>,
    codec: &Codec,
    data: Bytes<'_>,
    compress: fn(&Codec, &[u8], &mut Vec<u8>) -> Result<T>,
) -> PyResult<(Bound<'py, PyBytes>, T)> {
    let value = data.as_slice();
    if background::is_long_compression(codec, value.len(), 1) {
        return compress_in_background(py, codec, data, compress);
    }
    let is_brief = is_brief_compression(codec, value.len());
    let mut payload = PAYLOAD.take();
    let result = detach_unless(py, is_brief, || compress(codec, value, &mut payload));
    let result = result.map_err(raise)?;
    Ok((copy_payload(py, payload)?, result))
}

/// Where the codec runs.
fn device_of(codec: &Codec) -> Device {
    codec.device().unwrap_or(Device::Cpu)
}

/// Checks what a payload claims; returns its original size.
fn admit(
    py: Python<'_>,
    codec: &Codec,
    payload: &[u8],
    manifest: &Manifest,
    max_size: Option<u64>,
) -> PyResult<usize> {
    let limit = max_size.unwrap_or(MAX_ORIGINAL_SIZE);
    let is_brief = is_brief_admission(device_of(codec), payload.len());
    detach_unless(py, is_brief, || codec.admit(payload, manifest, limit)).map_err(raise)
}

/// Decodes an admitted payload into a buffer of its original size.
fn decode(
    py: Python<'_>,
    codec: &Codec,
    payload: &[u8],
    manifest: &Manifest,
    dst: &mut [MaybeUninit<u8>],
) -> PyResult<()> {
    let is_brief = is_brief_decompression(device_of(codec), payload.len(), manifest.original_size);
    let decode = || codec.decode(payload, manifest, dst).map(drop);
    detach_unless(py, is_brief, decode).map_err(raise)
}

/// Decompresses one payload, in the background if that takes long.
pub fn decompress<'py>(
    py: Python<'py>,
    codec: &Codec,
    data: Bytes<'_>,
    manifest: Manifest,
    max_size: Option<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let payload = data.as_slice();
    let len = admit(py, codec, payload, &manifest, max_size)?;
    if payload.len() > background::SHORT_PAYLOAD_BYTES
        && background::is_long_decompression(device_of(codec), payload.len(), 1)
    {
        return decompress_in_background(py, codec, data, len, manifest);
    }
    new_bytes(py, len, |py, dst| decode(py, codec, payload, &manifest, dst))
}

/// Decompresses one payload to the start of `out`; returns how many bytes it wrote. It runs on
/// the calling thread however long it takes: work that went on after an interrupt would write to
/// memory that the caller uses again.
pub fn decompress_into(
    py: Python<'_>,
    codec: &Codec,
    data: Bytes<'_>,
    mut out: WritableBytes,
    manifest: Manifest,
    max_size: Option<u64>,
) -> PyResult<usize> {
    let payload = data.as_slice();
    let len = admit(py, codec, payload, &manifest, max_size)?;
    decode(py, codec, payload, &manifest, out.first_mut(len, payload)?)?;
    Ok(len)
}

/// Checks the claimed size against the limit and the payload, as decompressing does first.
#[pyfunction]
fn _admit(
    py: Python<'_>,
    codec: DecoderArgument,
    data: Bytes<'_>,
    original_size: u64,
    crc32c: u32,
    max_size: u64,
) -> PyResult<()> {
    let manifest = Manifest { original_size, crc32c };
    admit(py, &codec.0, data.as_slice(), &manifest, Some(max_size)).map(drop)
}

/// [`decompress_into`] with a codec or a set of dictionaries. The caller has checked the
/// size with ``_admit``.
#[pyfunction]
fn _decompress_into(
    py: Python<'_>,
    codec: DecoderArgument,
    data: Bytes<'_>,
    original_size: u64,
    crc32c: u32,
    dst: WritableBytes,
) -> PyResult<()> {
    let manifest = Manifest { original_size, crc32c };
    decompress_into(py, &codec.0, data, dst, manifest, Some(original_size)).map(drop)
}
