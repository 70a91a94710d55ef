//! Arrow's PyCapsule interface: any producer's data in, chunks that any consumer reads out.

use std::ffi::{CStr, CString};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef};
use pyo3::exceptions::{PyException, PyRuntimeWarning, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use super::codec::CodecArgument;
use super::errors::raise;
use super::interruptible;
use super::nvcomp::{DeviceArgument, device_or_cpu};
use super::producer::refuse_objects;
use crate::arrow::verbs;
use crate::arrow::window::{Checked, Exported, Form};
use crate::arrow::{CArray, CSchema, CStream, from_arrow};
use crate::column::{DecompressOptions, OnError};
use crate::error::Result;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ArrowChunk>()?;
    module.add_function(wrap_pyfunction!(_arrow_compress, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_decompress, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_encode, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_verify, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_pieces, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_frame_info, module)?)
}

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// One chunk of a result, for PyArrow to import.
#[pyclass(name = "_ArrowChunk", module = "s4_codec", frozen)]
struct ArrowChunk(ArrayRef);

#[pymethods]
impl ArrowChunk {
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        // A producer may pass over what is requested.
        drop(requested_schema);
        let schema = FFI_ArrowSchema::try_from(self.0.data_type()).map_err(from_arrow);
        let schema = schema.map_err(raise)?;
        let array = FFI_ArrowArray::new(&self.0.to_data());
        Ok((
            PyCapsule::new_with_value(py, schema, SCHEMA)?,
            PyCapsule::new_with_value(py, array, ARRAY)?,
        ))
    }
}

/// Arrow data of any producer, and whether it comes in chunks.
pub struct ArrowData {
    pub exported: Exported,
    chunked: bool,
}

/// Whether an object is a producer of Arrow data.
pub fn is_arrow(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(object.hasattr("__arrow_c_array__")? || object.hasattr("__arrow_c_stream__")?)
}

impl<'a, 'py> FromPyObject<'a, 'py> for ArrowData {
    type Error = PyErr;

    fn extract(data: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        refuse_objects(&data)?;
        let has_stream = data.hasattr("__arrow_c_stream__")?;
        if data.hasattr("__arrow_c_array__")? {
            match data.call_method0("__arrow_c_array__") {
                Ok(pair) => {
                    let pair = pair.cast_into::<PyTuple>()?;
                    let (schema, array) = (pair.get_item(0)?, pair.get_item(1)?);
                    // SAFETY: capsules of these names hold structures of the interface.
                    let exported = unsafe {
                        let array = moved_out(&array, ARRAY, |array| CArray::take(array))?;
                        Exported::Array(
                            moved_out(&schema, SCHEMA, |schema| CSchema::take(schema))?,
                            array,
                        )
                    };
                    return Ok(Self { exported, chunked: false });
                }
                // Some have it and can do it only of a single chunk.
                Err(error) if has_stream && error.is_instance_of::<PyException>(data.py()) => {}
                Err(error) => return Err(error),
            }
        }
        if !has_stream {
            let found = data.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "Arrow data is required (of PyArrow, Polars, DuckDB or any object with \
                 __arrow_c_array__ or __arrow_c_stream__), not {found}; \
                 pyarrow.array(...) makes it of a sequence"
            )));
        }
        let stream = data.call_method0("__arrow_c_stream__")?;
        // SAFETY: as above.
        let stream = unsafe { moved_out(&stream, STREAM, |stream| CStream::take(stream))? };
        Ok(Self { exported: Exported::Stream(stream), chunked: true })
    }
}

/// What a capsule of that name holds.
fn moved_out<T>(
    capsule: &Bound<'_, PyAny>,
    name: &CStr,
    take: impl FnOnce(*mut T) -> Result<T>,
) -> PyResult<T> {
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(name))?;
    take(pointer.as_ptr().cast()).map_err(raise)
}

fn chunks(arrays: Vec<ArrayRef>) -> Vec<ArrowChunk> {
    arrays.into_iter().map(ArrowChunk).collect()
}

// Data comes last of the arguments: a stream that has been taken cannot be taken again.

/// The compressed chunks, and whether the input came in chunks.
#[pyfunction]
fn _arrow_compress(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    codec: CodecArgument,
) -> PyResult<(Vec<ArrowChunk>, bool)> {
    let ArrowData { exported, chunked } = data.extract()?;
    let arrays = interruptible(py, |interrupted| verbs::compress(&codec.0, exported, interrupted))?;
    Ok((chunks(arrays), chunked))
}

/// How payloads are decompressed, or frames decoded.
struct DecompressArguments {
    /// The codec of payloads; of frames, the one that brings their dictionary.
    codec: CodecArgument,
    is_frames: bool,
    utf8: bool,
    max_size: Option<u64>,
    max_total_size: Option<u64>,
    device: Option<DeviceArgument>,
}

impl<'a, 'py> FromPyObject<'a, 'py> for DecompressArguments {
    type Error = PyErr;

    fn extract(options: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        // Errors of the items are the caller's to see; derived code would wrap them.
        Ok(Self {
            codec: options.get_item("codec")?.extract()?,
            is_frames: options.get_item("is_frames")?.extract()?,
            utf8: options.get_item("utf8")?.extract()?,
            max_size: options.get_item("max_size")?.extract()?,
            max_total_size: options.get_item("max_total_size")?.extract()?,
            device: options.get_item("device")?.extract()?,
        })
    }
}

impl DecompressArguments {
    fn read(self, py: Python<'_>, null_on_error: bool) -> PyResult<(DecompressOptions, Form)> {
        let options = DecompressOptions {
            codec: self.codec.0,
            device: device_or_cpu(py, self.device)?,
            max_size: self.max_size,
            utf8: self.utf8,
            on_error: on_error(null_on_error),
            max_total_size: self.max_total_size,
        };
        Ok((options, if self.is_frames { Form::Frames } else { Form::Compressed }))
    }
}

fn on_error(null_on_error: bool) -> OnError {
    if null_on_error { OnError::Null } else { OnError::Raise }
}

/// The arrays of a result, after a warning of rows that became null.
fn warned(py: Python<'_>, checked: Checked) -> PyResult<Vec<ArrowChunk>> {
    if let Some(warning) = checked.warning {
        let text = CString::new(warning.to_string().replace('\0', "\\0"))?;
        // Where the public function is called.
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 2)?;
    }
    Ok(chunks(checked.arrays))
}

/// The decompressed or decoded chunks, and whether the input came in chunks.
#[pyfunction]
fn _arrow_decompress(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    options: DecompressArguments,
    null_on_error: bool,
) -> PyResult<(Vec<ArrowChunk>, bool)> {
    let (options, form) = options.read(py, null_on_error)?;
    let ArrowData { exported, chunked } = data.extract()?;
    let checked =
        interruptible(py, |interrupted| verbs::decompress(&options, form, exported, interrupted))?;
    Ok((warned(py, checked)?, chunked))
}

/// Why each row is bad, chunk for chunk, and whether the input came in chunks.
#[pyfunction]
fn _arrow_verify(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    options: DecompressArguments,
) -> PyResult<(Vec<ArrowChunk>, bool)> {
    let (options, form) = options.read(py, false)?;
    let ArrowData { exported, chunked } = data.extract()?;
    let arrays =
        interruptible(py, |interrupted| verbs::verify(&options, form, exported, interrupted))?;
    Ok((chunks(arrays), chunked))
}

/// The encoded chunks, and whether the input came in chunks.
#[pyfunction]
fn _arrow_encode(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    codec: CodecArgument,
) -> PyResult<(Vec<ArrowChunk>, bool)> {
    let ArrowData { exported, chunked } = data.extract()?;
    let arrays = interruptible(py, |interrupted| verbs::encode(&codec.0, exported, interrupted))?;
    Ok((chunks(arrays), chunked))
}

/// The first rows of ranges of rows, each of which decodes to at most `most` bytes by what its
/// payloads say, or is one row.
#[pyfunction]
fn _arrow_pieces(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    codec: CodecArgument,
    is_frames: bool,
    max_size: Option<u64>,
    most: u64,
) -> PyResult<Vec<usize>> {
    let form = if is_frames { Form::Frames } else { Form::Compressed };
    let ArrowData { exported, .. } = data.extract()?;
    let how = DecompressOptions { max_size, ..DecompressOptions::new(codec.0) };
    interruptible(py, |interrupted| verbs::pieces(&how, form, most, exported, interrupted))
}

/// The headers of each chunk's frames, and whether the input came in chunks.
#[pyfunction]
fn _arrow_frame_info(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    null_on_error: bool,
) -> PyResult<(Vec<ArrowChunk>, bool)> {
    let ArrowData { exported, chunked } = data.extract()?;
    let checked = interruptible(py, |interrupted| {
        verbs::frame_info(on_error(null_on_error), exported, interrupted)
    })?;
    Ok((warned(py, checked)?, chunked))
}
