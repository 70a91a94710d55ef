//! Bytes in from any Python buffer, bytes out without a second copy.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyMemoryError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::kernel::copy_to;
use crate::memory::advise_huge_pages;

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
            // SAFETY: the exporter keeps `len_bytes` contiguous bytes there until the view
            // is released, which happens when this drops. That nobody writes to them
            // meanwhile is what the documentation asks of the caller; if somebody does, the
            // result is wrong, but no kernel goes beyond its buffers, as `Kernel` says.
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
        let buffer = untyped(&object).map_err(|error| {
            if error.is_instance_of::<PyBufferError>(object.py())
                || !error.is_instance_of::<PyTypeError>(object.py())
            {
                return error;
            }
            let found = object.get_type().name().map_or("?".into(), |name| name.to_string());
            PyTypeError::new_err(format!(
                "a bytes-like object is required (bytes, bytearray, memoryview, array, mmap), not {found:?}"
            ))
        })?;
        if holds_objects(buffer.format().to_bytes()) {
            return Err(PyTypeError::new_err("the buffer holds Python objects, not bytes"));
        }
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err(
                "the buffer is not C-contiguous; copy it first, for example with bytes(data)",
            ));
        }
        Ok(Self::Buffer(buffer))
    }
}

/// Whether a buffer's format has references to objects; names of fields stand between colons.
fn holds_objects(format: &[u8]) -> bool {
    format.split(|&byte| byte == b':').step_by(2).any(|types| types.contains(&b'O'))
}

/// A writable C-contiguous buffer.
pub struct WritableBytes(PyUntypedBuffer);

impl WritableBytes {
    pub fn try_new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(object)?;
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("the buffer is read-only or not C-contiguous"));
        }
        Ok(Self(buffer))
    }

    pub fn as_mut_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        if self.0.len_bytes() == 0 {
            return &mut [];
        }
        // SAFETY: the exporter keeps `len_bytes` contiguous writable bytes there until the
        // view is released; that nobody else uses them meanwhile is for our own callers.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast(), self.0.len_bytes()) }
    }
}

/// The object's buffer; through a memoryview where it leaves shape and strides to be
/// inferred, as arrays of ctypes do.
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

/// Results of this size come in fresh pages from the system, smaller ones mostly in pages
/// that the allocator had before.
const FRESH_BYTES: usize = 16 << 20;

/// A `bytes` object of `len` bytes that `fill` initialises; it should release the GIL.
pub fn new_bytes<'py>(
    py: Python<'py>,
    len: usize,
    fill: impl FnOnce(Python<'py>, &mut [MaybeUninit<u8>]) -> PyResult<()>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (bytes, start) = uninit_bytes(py, len)?;
    // SAFETY: memory of the object, which nobody else knows yet.
    fill(py, unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) })?;
    Ok(bytes)
}

/// A `bytes` object of `len` bytes that are not initialised, for the caller to do before
/// anybody else knows of it; and where they are.
#[inline]
pub fn uninit_bytes(
    py: Python<'_>,
    len: usize,
) -> PyResult<(Bound<'_, PyBytes>, NonNull<MaybeUninit<u8>>)> {
    let size = ffi::Py_ssize_t::try_from(len)
        .map_err(|_| PyMemoryError::new_err(format!("could not allocate {len} bytes")))?;
    // SAFETY: with a null pointer the object is made uninitialised, and it is `bytes` by
    // construction.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        let bytes = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
        let start = ffi::PyBytes_AsString(bytes.as_ptr()).cast::<MaybeUninit<u8>>();
        let start = NonNull::new(start).ok_or_else(|| PyErr::fetch(py))?;
        if len >= FRESH_BYTES {
            advise_huge_pages(std::slice::from_raw_parts_mut(start.as_ptr(), len));
        }
        Ok((bytes, start))
    }
}

/// A `bytes` object with a copy of `data`.
pub fn to_bytes<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    new_bytes(py, data.len(), |py, room| {
        py.detach(|| copy_to(data, room));
        Ok(())
    })
}
