//! Bodies that are read piece by piece: their frames found, their sidecars made.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::buffer::{Bytes, to_bytes};
use super::errors::raise;
use super::wire::header_dict;
use crate::body::refuse_encrypted;
use crate::error::{Result, push};
use crate::wire::frame::{FRAME_HEADER_BYTES, Header, Headers, UNKNOWN_LEN};
use crate::wire::index::{Builder, Source};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<StoredFrame>()?;
    module.add_class::<FrameWalk>()?;
    module.add_class::<IndexBuilder>()
}

/// A frame's number, header, and place in the body.
#[pyclass(module = "s4_codec.s4_codec", name = "_StoredFrame", frozen)]
#[derive(Clone, Copy)]
struct StoredFrame {
    #[pyo3(get)]
    number: usize,
    /// Where the frame begins in the body.
    #[pyo3(get)]
    offset: u64,
    header: Header,
}

#[pymethods]
impl StoredFrame {
    #[getter]
    fn codec(&self) -> &'static str {
        self.header.codec.name()
    }

    #[getter]
    fn original_size(&self) -> u64 {
        self.header.manifest.original_size
    }

    #[getter]
    fn compressed_size(&self) -> u64 {
        self.header.compressed_size
    }

    #[getter]
    fn crc32c(&self) -> u32 {
        self.header.manifest.crc32c
    }

    /// Where the payload begins in the body.
    #[getter]
    fn payload_offset(&self) -> u64 {
        self.offset + FRAME_HEADER_BYTES as u64
    }

    /// Where the frame ends in the body.
    #[getter]
    fn end(&self) -> u64 {
        self.payload_offset().saturating_add(self.header.compressed_size)
    }

    /// The header as :func:`read_frame` has it.
    fn header<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        header_dict(py, &self.header)
    }
}

/// Adjacent frames: where they begin and end in the body, their count, the bytes of their
/// payloads and of their originals.
type FrameBatch = (u64, u64, usize, u64, u64);

/// Finds the frames of a body that is read piece by piece; paddings are skipped.
///
/// Each piece must begin at ``offset``, which may lie beyond the end of the last piece: payloads
/// and fillers need not be read. ``size`` is the length of the body, or None for a stream, whose
/// length ``end`` sets. The walk begins at ``offset`` with the frame of that ``number``.
///
/// ``batches`` groups adjacent frames of together at most ``batch_bytes`` stored and as many
/// original bytes; a larger frame is a batch of its own.
#[pyclass(module = "s4_codec.s4_codec", name = "_FrameWalk")]
struct FrameWalk {
    len: u64,
    at: u64,
    count: usize,
    /// The last frame or padding: where it begins, the number of frames before it, and its
    /// first bytes, to report that a stream ends within it.
    last: Option<(u64, usize, [u8; FRAME_HEADER_BYTES])>,
    batch_bytes: u64,
    /// The batch that may still grow.
    open: Option<FrameBatch>,
    codecs: Vec<&'static str>,
}

#[pymethods]
impl FrameWalk {
    #[new]
    #[pyo3(signature = (size, batch_bytes, offset = 0, number = 0))]
    fn new(size: Option<u64>, batch_bytes: u64, offset: u64, number: usize) -> Self {
        let len = size.map_or(UNKNOWN_LEN, |size| size.max(offset));
        let (at, count) = (offset, number);
        Self { len, at, count, last: None, batch_bytes, open: None, codecs: Vec::new() }
    }

    /// Where the next piece of the body begins.
    #[getter]
    fn offset(&self) -> u64 {
        self.at
    }

    /// The names of the codecs of the frames so far.
    #[getter]
    fn codecs(&self) -> Vec<&'static str> {
        self.codecs.clone()
    }

    /// The frames whose headers are in the piece. A piece of 28 bytes or more, or one that ends
    /// the body, moves ``offset``.
    fn frames(&mut self, py: Python<'_>, piece: Bytes<'_>) -> PyResult<Vec<StoredFrame>> {
        let piece = piece.as_slice();
        let mut found = Vec::new();
        py.detach(|| self.walk(piece, |_, frame| Ok(push(&mut found, frame)?))).map_err(raise)?;
        Ok(found)
    }

    /// The batches that a piece completes.
    fn batches(&mut self, py: Python<'_>, piece: Bytes<'_>) -> PyResult<Vec<FrameBatch>> {
        let piece = piece.as_slice();
        let mut complete = Vec::new();
        py.detach(|| self.walk(piece, |walk, frame| walk.batch(&frame, &mut complete)))
            .map_err(raise)?;
        if self.at == self.len && self.len != UNKNOWN_LEN {
            complete.extend(self.open.take());
        }
        Ok(complete)
    }

    /// Sets the length of the body. Raises if that cuts the last frame or padding.
    fn end(&mut self, size: u64) -> PyResult<()> {
        if let Some((at, count, front)) = self.last
            && (at + FRAME_HEADER_BYTES as u64..self.at).contains(&size)
        {
            Headers::resume(&front, at, size, count).next().transpose().map_err(raise)?;
        }
        self.len = size.max(self.at);
        Ok(())
    }
}

impl FrameWalk {
    /// Calls `found` for each frame whose header is in `piece`.
    fn walk(
        &mut self,
        piece: &[u8],
        mut found: impl FnMut(&mut Self, StoredFrame) -> Result<()>,
    ) -> Result<()> {
        if self.at == 0 {
            refuse_encrypted(piece)?;
        }
        let (begin, left) = (self.at, self.len - self.at);
        let piece = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let mut headers = Headers::resume(piece, begin, self.len, self.count);
        while let Some(step) = headers.next() {
            let (offset, header) = match step {
                Ok(found) => found,
                // Return the frames before the damage; the next piece begins with it.
                Err(_) if headers.at() > begin => break,
                Err(error) => return Err(error),
            };
            let name = header.codec.name();
            if !self.codecs.contains(&name) {
                self.codecs.push(name);
            }
            found(self, StoredFrame { number: headers.number() - 1, offset, header })?;
        }
        (self.at, self.count) = (headers.at(), headers.number());
        if self.at > begin {
            let (at, count) = headers.previous();
            let front = piece.get((at - begin) as usize..).and_then(<[u8]>::first_chunk);
            self.last = front.map(|front| (at, count, *front));
        }
        Ok(())
    }

    /// Adds a frame to the open batch, or completes that batch and opens another.
    fn batch(&mut self, frame: &StoredFrame, complete: &mut Vec<FrameBatch>) -> Result<()> {
        let (size, stored, end) = (frame.original_size(), frame.compressed_size(), frame.end());
        match &mut self.open {
            Some((start, last, frames, payload, original))
                if original.saturating_add(size) <= self.batch_bytes
                    && end - *start <= self.batch_bytes =>
            {
                (*last, *frames) = (end, *frames + 1);
                *payload += stored;
                *original += size;
                Ok(())
            }
            open => match open.replace((frame.offset, end, 1, stored, size)) {
                Some(batch) => Ok(push(complete, batch)?),
                None => Ok(()),
            },
        }
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
