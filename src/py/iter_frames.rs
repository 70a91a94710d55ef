//! The frames of a body, one by one.

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

/// Where a walk through a body is. Ends for good after the last frame or an error.
#[pyclass(name = "_FrameIterator", module = "s4_codec")]
struct FrameIterator {
    /// ``bytes``, or a memoryview: while it lives, the exporter does not move or resize its
    /// buffer. None at the end.
    body: Option<Py<PyAny>>,
    at: usize,
    count: usize,
}

impl FrameIterator {
    /// Reads the next frame of the body. Its bytes may have changed since the last one, so
    /// nothing is known of them but their length.
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
            // No longer borrowed while the payload is copied, for other threads run then.
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

/// Parse the frames of a body one by one, passing over paddings. Nothing is decoded.
///
/// Holds one payload at a time, so it suits bodies of any length, such as an ``mmap``; where
/// :func:`frame_iter` refuses a damaged body as a whole, this yields the frames before the
/// damage.
///
/// Parameters
/// ----------
/// data
///     Any contiguous buffer. It stays exported until the iterator ends or goes, so it cannot
///     be resized or closed meanwhile.
///
/// Returns
/// -------
/// iterator of tuple of (header, payload)
///     As :func:`read_frame` has them. An error ends it.
///
/// Raises
/// ------
/// TypeError, BufferError
///     ``data`` has no buffer, or one that is not C-contiguous.
/// S4FrameError
///     From the iterator, at that place: no whole frame or padding of a known kind is there,
///     or the body is encrypted.
#[pyfunction]
fn iter_frames(data: &Bound<'_, PyAny>) -> PyResult<FrameIterator> {
    let _: Bytes = data.extract()?;
    let body = match data.cast::<PyBytes>() {
        Ok(bytes) => bytes.clone().into_any(),
        Err(_) => PyMemoryView::from(data)?.into_any(),
    };
    Ok(FrameIterator { body: Some(body.unbind()), at: 0, count: 0 })
}
