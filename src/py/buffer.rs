//! Reads any Python buffer as bytes, and fills new `bytes` objects in place.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyMemoryError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use super::brief::{detach_unless, is_brief_pass};
use crate::kernel::copy_to;
use crate::memory::{HUGE_PAGE, advise_huge_pages};

/// An argument: any object with a C-contiguous buffer, of any item type.
pub enum Bytes<'py> {
    Bytes(Borrowed<'py, 'py, PyBytes>),
    Buffer(PyUntypedBuffer),
}

impl Bytes<'_> {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Buffer(buffer) if buffer.len_bytes() == 0 => &[],
            // SAFETY: the exporter keeps `len_bytes` contiguous bytes valid until the view is
            // released, when this drops. The documentation forbids writing to them during a
            // call. A caller who does so gets a wrong result, but no access out of bounds:
            // `Kernel` demands that kernels rely on no byte that they read before.
            Self::Buffer(buffer) => unsafe {
                std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes())
            },
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for Bytes<'a>
where
    'py: 'a,
{
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes));
        }
        let buffer = plain_buffer(&object)?;
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err(
                "the buffer is not C-contiguous; copy it first, for example with bytes(data)",
            ));
        }
        Ok(Self::Buffer(buffer))
    }
}

/// The buffer of an object, if it holds no Python objects.
fn plain_buffer(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    let buffer = untyped(object).map_err(|error| {
        if error.is_instance_of::<PyBufferError>(object.py())
            || !error.is_instance_of::<PyTypeError>(object.py())
        {
            return error;
        }
        let found = object.get_type().name().map_or("?".into(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "a bytes-like object is required (bytes, bytearray, memoryview, array, mmap), \
             not {found:?}"
        ))
    })?;
    if holds_objects(buffer.format().to_bytes()) {
        return Err(PyTypeError::new_err(
            "expected a buffer of bytes or numbers, found one of Python objects; \
             convert it to bytes first",
        ));
    }
    Ok(buffer)
}

/// Whether a buffer's format (PEP 3118) contains object references. Colons enclose the names
/// of fields, which do not count.
fn holds_objects(format: &[u8]) -> bool {
    format.split(|&byte| byte == b':').step_by(2).any(|types| types.contains(&b'O'))
}

/// An argument: a writable C-contiguous buffer, of any item type.
pub struct WritableBytes(PyUntypedBuffer);

impl WritableBytes {
    /// The first `len` bytes, to be written with what `payload` decodes to.
    pub fn first_mut(&mut self, len: usize, payload: &[u8]) -> PyResult<&mut [MaybeUninit<u8>]> {
        let found = self.0.len_bytes();
        if found < len {
            return Err(PyValueError::new_err(format!(
                "out must have at least original_size = {len} bytes, but has {found}; pass a \
                 longer buffer"
            )));
        }
        if len == 0 {
            return Ok(&mut []);
        }
        let start = self.0.buf_ptr() as usize;
        let source = payload.as_ptr() as usize;
        if start < source + payload.len() && source < start + len {
            return Err(PyValueError::new_err(
                "out and the payload share memory; decompress into another buffer",
            ));
        }
        // SAFETY: the exporter keeps at least `len` contiguous writable bytes valid until the
        // view is released, when this drops. No other slice of the call covers them: `payload`
        // lies elsewhere. The documentation forbids using them during a call. A caller who does
        // so gets a wrong result, but no access out of bounds, as for `Bytes`.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast(), len) })
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for WritableBytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let buffer = plain_buffer(&object)?;
        if buffer.readonly() {
            return Err(PyBufferError::new_err(
                "out is read-only; pass a writable buffer, such as a bytearray",
            ));
        }
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err(
                "out is not C-contiguous; pass a contiguous buffer, such as a bytearray",
            ));
        }
        Ok(Self(buffer))
    }
}

/// The object's buffer. Exporters that leave the shape or strides to be inferred, such as
/// ctypes arrays, are read through a memoryview.
fn untyped(object: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    PyUntypedBuffer::get(object).or_else(|error| {
        if !error.is_instance_of::<PyBufferError>(object.py()) {
            return Err(error);
        }
        let view = PyMemoryView::from(object)?;
        PyUntypedBuffer::get(&view)
            .or_else(|_| PyUntypedBuffer::get(&view.call_method1("cast", ("B",))?))
            .map_err(|_: PyErr| error)
    })
}

/// A `bytes` object of `len` bytes that `fill` initialises. `fill` should release the GIL
/// unless it is brief.
pub fn new_bytes<'py>(
    py: Python<'py>,
    len: usize,
    fill: impl FnOnce(Python<'py>, &mut [MaybeUninit<u8>]) -> PyResult<()>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (bytes, start) = uninit_bytes(py, len)?;
    // SAFETY: these are the `len` bytes of an object that no other code has seen yet.
    fill(py, unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) })?;
    Ok(bytes)
}

/// A `bytes` object of `len` uninitialised bytes, and their address. The caller initialises
/// them before any other code sees the object.
#[inline]
pub fn uninit_bytes(
    py: Python<'_>,
    len: usize,
) -> PyResult<(Bound<'_, PyBytes>, NonNull<MaybeUninit<u8>>)> {
    let size = ffi::Py_ssize_t::try_from(len)
        .map_err(|_| PyMemoryError::new_err(format!("could not allocate {len} bytes")))?;
    // SAFETY: for a null pointer, PyBytes_FromStringAndSize returns a `bytes` object with `size`
    // uninitialised bytes, or null.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        let bytes = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
        let start = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<MaybeUninit<u8>>();
        let start = NonNull::new(start).ok_or_else(|| PyErr::fetch(py))?;
        // The caller may keep its results, so that the allocator has only fresh pages: huge ones
        // then take a third off a fast decompression. For used pages the advice costs little.
        if len >= HUGE_PAGE {
            advise_huge_pages(std::slice::from_raw_parts_mut(start.as_ptr(), len));
        }
        Ok((bytes, start))
    }
}

/// A `bytes` object with a copy of `data`.
pub fn to_bytes<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    new_bytes(py, data.len(), |py, dst| {
        detach_unless(py, is_brief_pass(data.len()), || copy_to(data, dst));
        Ok(())
    })
}
