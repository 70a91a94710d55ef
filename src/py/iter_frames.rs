//! The iterator over the frames of a body.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use pyo3::{PyTraverseError, PyVisit};

use super::buffer::{Bytes, to_bytes};
use super::errors::raise;
use super::wire::{PyFrame, header_dict};
use crate::body::refuse_encrypted;
use crate::error::Result;
use crate::wire::frame::{Frame, Frames};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(iter_frames, module)?)
}

/// A position in a body. Ends for good after the last frame or an error.
#[pyclass(name = "_FrameIterator", module = "s4_codec")]
struct FrameIterator {
    /// ``bytes``, or a memoryview, which stops the exporter from moving or resizing its buffer.
    /// None at the end.
    body: Option<Py<PyAny>>,
    at: usize,
    count: usize,
}

impl FrameIterator {
    /// Reads the next frame. The bytes of the body may have changed since the last call, so only
    /// their number is relied on.
    fn step<'a>(&mut self, body: &'a [u8]) -> Result<Option<Frame<'a>>> {
        if self.at == 0 {
            refuse_encrypted(body)?;
        }
        let mut frames = Frames::resume(body, self.at, self.count);
        let step = frames.next().transpose()?;
        (self.at, self.count) = frames.position();
        Ok(step.map(|(_, frame)| frame))
    }
}

#[pymethods]
impl FrameIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<PyFrame<'py>>> {
        let py = slf.py();
        let next = || {
            let Some(body) = slf.try_borrow()?.body.as_ref().map(|body| body.clone_ref(py)) else {
                return Ok(None);
            };
            let body: Bytes = body.bind_borrowed(py).extract()?;
            // The borrow ends before the payload is copied, since other threads may run then.
            let step = slf.try_borrow_mut()?.step(body.as_slice()).map_err(raise)?;
            step.map(|frame| Ok((header_dict(py, &frame.header)?, to_bytes(py, frame.payload)?)))
                .transpose()
        };
        let result = next();
        if !matches!(result, Ok(Some(_))) {
            slf.try_borrow_mut()?.body = None;
        }
        result
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> std::result::Result<(), PyTraverseError> {
        visit.call(&self.body)
    }

    fn __clear__(&mut self) {
        self.body = None;
    }
}

/// Parse the frames of a body one by one, skipping padding. Nothing is decoded.
///
/// Holds one payload at a time, so it suits bodies of any length, such as an ``mmap``. For a
/// damaged body it yields the frames before the damage, where :func:`frame_iter` yields none.
///
/// Parameters
/// ----------
/// data
///     Any contiguous buffer. It stays exported until the iterator ends or is deleted, so it
///     cannot be resized or closed until then.
///
/// Returns
/// -------
/// iterator of tuple of (header, payload)
///     As :func:`read_frame` returns them. An error ends the iterator.
///
/// Raises
/// ------
/// TypeError, BufferError
///     ``data`` is not a buffer, or not C-contiguous.
/// S4FrameError
///     Raised by the iterator where the body has no complete frame or padding, a frame has an
///     unknown codec id, or the body is encrypted.
#[pyfunction]
fn iter_frames(data: &Bound<'_, PyAny>) -> PyResult<FrameIterator> {
    let _: Bytes = data.extract()?;
    let body = match data.cast::<PyBytes>() {
        Ok(bytes) => bytes.clone().into_any(),
        Err(_) => PyMemoryView::from(data)?.into_any(),
    };
    Ok(FrameIterator { body: Some(body.unbind()), at: 0, count: 0 })
}
