//! Arrow's PyCapsule interface: any producer's data in, chunks that any consumer reads out.

use std::ffi::CStr;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use super::codec::CodecArgument;
use super::errors::raise;
use super::interruptible;
use super::nvcomp::{DeviceArgument, device_or_cpu};
use crate::arrow::verbs::{self, Exported, Form};
use crate::arrow::{CArray, CSchema, CStream, from_arrow};
use crate::column::Decompress;
use crate::error::Result;
use crate::gpu::Device;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ArrowChunk>()?;
    module.add_function(wrap_pyfunction!(_arrow_compress, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_decompress, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_encode, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_decode, module)?)?;
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

/// The decompressed chunks, and whether the input came in chunks.
#[pyfunction]
fn _arrow_decompress(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    codec: CodecArgument,
    utf8: bool,
    null_on_error: bool,
    max_size: Option<u64>,
) -> PyResult<(Vec<ArrowChunk>, bool)> {
    let ArrowData { exported, chunked } = data.extract()?;
    let how = Decompress { codec: codec.0, device: Device::Cpu, max_size, utf8, null_on_error };
    let arrays = interruptible(py, |interrupted| {
        verbs::decompress(&how, Form::Compressed, exported, interrupted)
    })?;
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

/// The decoded chunks, and whether the input came in chunks.
#[pyfunction]
fn _arrow_decode(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    dictionary: CodecArgument,
    utf8: bool,
    null_on_error: bool,
    max_size: Option<u64>,
    device: Option<DeviceArgument>,
) -> PyResult<(Vec<ArrowChunk>, bool)> {
    let device = device_or_cpu(py, device)?;
    let ArrowData { exported, chunked } = data.extract()?;
    let how = Decompress { codec: dictionary.0, device, max_size, utf8, null_on_error };
    let arrays = interruptible(py, |interrupted| {
        verbs::decompress(&how, Form::Frames, exported, interrupted)
    })?;
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
    let how = Decompress { max_size, ..Decompress::new(codec.0) };
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
    let arrays =
        interruptible(py, |interrupted| verbs::frame_info(null_on_error, exported, interrupted))?;
    Ok((chunks(arrays), chunked))
}
