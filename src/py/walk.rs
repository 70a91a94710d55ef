//! Bodies that are read piece by piece: their headers walked, their sidecars made.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::{Bytes, to_bytes};
use super::errors::raise;
use crate::body::refuse_encrypted;
use crate::error::{Error, Result};
use crate::wire::frame::{FRAME_HEADER_BYTES, Headers};
use crate::wire::index::{Builder, Source};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FrameWalk>()?;
    module.add_class::<IndexBuilder>()
}

/// Some frames in a row: where they begin and end in the body, how many they are, the bytes of
/// their payloads and of their originals.
type Batch = (u64, u64, usize, u64, u64);

/// Walks the headers of a body of ``size`` bytes, and cuts it into batches of frames with at
/// most ``batch_bytes`` bytes each, stored and of originals; a frame of more is a batch.
#[pyclass(module = "s4_codec.s4_codec", name = "_FrameWalk")]
struct FrameWalk {
    len: u64,
    batch_bytes: u64,
    at: u64,
    count: usize,
    /// What may still grow.
    last: Option<Batch>,
    codecs: Vec<&'static str>,
}

#[pymethods]
impl FrameWalk {
    #[new]
    fn new(size: u64, batch_bytes: u64) -> Self {
        Self { len: size, batch_bytes, at: 0, count: 0, last: None, codecs: Vec::new() }
    }

    /// Where the next piece of the body begins.
    #[getter]
    fn offset(&self) -> u64 {
        self.at
    }

    /// The names of the codecs so far.
    #[getter]
    fn codecs(&self) -> Vec<&'static str> {
        self.codecs.clone()
    }

    /// Takes the piece that begins at ``offset``; returns the batches that are complete.
    fn feed(&mut self, py: Python<'_>, piece: Bytes<'_>) -> PyResult<Vec<Batch>> {
        let piece = piece.as_slice();
        py.detach(|| self.walk(piece)).map_err(raise)
    }
}

impl FrameWalk {
    fn walk(&mut self, piece: &[u8]) -> Result<Vec<Batch>> {
        if self.at == 0 {
            refuse_encrypted(piece)?;
        }
        let mut complete = Vec::new();
        let mut headers = Headers::resume(piece, self.at, self.len, self.count);
        for step in headers.by_ref() {
            let (at, header) = step?;
            let (size, stored) = (header.manifest.original_size, header.compressed_size);
            let end = at + FRAME_HEADER_BYTES as u64 + stored;
            let name = header.codec.name();
            if !self.codecs.contains(&name) {
                self.codecs.push(name);
            }
            match &mut self.last {
                Some((start, last, frames, payload, original))
                    if original.saturating_add(size) <= self.batch_bytes
                        && end - *start <= self.batch_bytes =>
                {
                    (*last, *frames) = (end, *frames + 1);
                    *payload += stored;
                    *original += size;
                }
                last => {
                    complete
                        .try_reserve(1)
                        .map_err(|_| Error::OutOfMemory { bytes: size_of::<Batch>() as u64 })?;
                    complete.extend(last.replace((at, end, 1, stored, size)));
                }
            }
        }
        (self.at, self.count) = (headers.at(), headers.number());
        if self.at == self.len {
            complete.extend(self.last.take());
        }
        Ok(complete)
    }
}

/// The sidecar of a body, made of one frame after the other.
#[pyclass(module = "s4_codec.s4_codec", name = "_IndexBuilder")]
struct IndexBuilder(Builder);

#[pymethods]
impl IndexBuilder {
    #[new]
    fn new() -> Self {
        Self(Builder::default())
    }

    /// Adds a frame: where it begins in the body, its length there and that of its original.
    fn push(&mut self, offset: u64, stored_size: u64, original_size: u64) -> PyResult<()> {
        self.0.push(offset, stored_size, original_size).map_err(raise)
    }

    /// The sidecar, bound to a body of ``size`` bytes.
    fn finish<'py>(&self, py: Python<'py>, size: u64) -> PyResult<Bound<'py, PyBytes>> {
        let source = Source { compressed_size: Some(size), etag: None };
        to_bytes(py, &self.0.finish(size, source).map_err(raise)?)
    }
}
