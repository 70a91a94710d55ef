//! Arrow's PyCapsule interface: data of any producer in, chunks for any consumer out.

use std::ffi::{CStr, CString};

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use pyo3::exceptions::{PyException, PyRuntimeWarning, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList, PyTuple};

use super::codec::CodecArgument;
use super::dictionary_set::DecoderArgument;
use super::errors::raise;
use super::nvcomp::{DeviceArgument, device_or_cpu};
use super::producer::refuse_objects;
use super::{interruptible, list};
use crate::arrow::{
    self, ArraysWithWarning, ArrowInput, CArray, CSchema, CStream, CompressOptions, ListType,
    from_arrow,
};
use crate::codec::{Fallback, Form};
use crate::column::{BecameNull, Content, DecompressOptions, OnError};
use crate::error::Result;
use crate::memory::{collect_chunks, probe};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ArrowChunk>()?;
    module.add_function(wrap_pyfunction!(_arrow_compress, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_decompress, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_encode, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_verify, module)?)?;
    module.add_function(wrap_pyfunction!(_list_description, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_split_rows, module)?)?;
    module.add_function(wrap_pyfunction!(_arrow_frame_info, module)?)
}

pub const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// One chunk of a result, for PyArrow to import.
#[pyclass(name = "_ArrowChunk", module = "s4_codec", frozen)]
pub struct ArrowChunk(pub ArrayRef);

#[pymethods]
impl ArrowChunk {
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        // A producer may ignore the requested schema.
        drop(requested_schema);
        // What follows cannot fail, and the consumer keeps it for each of thousands of chunks.
        probe().map_err(|short| raise(short.into()))?;
        let schema = FFI_ArrowSchema::try_from(self.0.data_type()).map_err(from_arrow);
        let schema = schema.map_err(raise)?;
        let array = FFI_ArrowArray::new(&self.0.to_data());
        Ok((
            PyCapsule::new_with_value(py, schema, SCHEMA)?,
            PyCapsule::new_with_value(py, array, ARRAY)?,
        ))
    }
}

/// Arrow data of any producer.
pub struct ArrowData {
    pub input: ArrowInput,
    /// Whether it comes in chunks.
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
                    let (array, schema) = unsafe {
                        let array = move_out(&array, ARRAY, |array| CArray::take(array))?;
                        (array, move_out(&schema, SCHEMA, |schema| CSchema::take(schema))?)
                    };
                    return Ok(Self { input: ArrowInput::Array(schema, array), chunked: false });
                }
                // Some producers have the method, but it works for a single chunk only.
                Err(error) if has_stream && error.is_instance_of::<PyException>(data.py()) => {}
                Err(error) => return Err(error),
            }
        }
        if !has_stream && data.hasattr("__arrow_c_device_array__")? {
            return Err(PyTypeError::new_err(
                "expected Arrow data in the host's memory, found data on a device; \
                 s4_codec.gpu.compress and encode read it there",
            ));
        }
        if !has_stream {
            let found = data.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "expected Arrow data (of PyArrow, Polars, DuckDB or any object with \
                 __arrow_c_array__ or __arrow_c_stream__), found {found}; convert a sequence \
                 with pyarrow.array"
            )));
        }
        let stream = data.call_method0("__arrow_c_stream__")?;
        // SAFETY: as above.
        let stream = unsafe { move_out(&stream, STREAM, |stream| CStream::take(stream))? };
        Ok(Self { input: ArrowInput::Stream(stream), chunked: true })
    }
}

/// Moves the structure out of a capsule of that name.
pub fn move_out<T>(
    capsule: &Bound<'_, PyAny>,
    name: &CStr,
    take: impl FnOnce(*mut T) -> Result<T>,
) -> PyResult<T> {
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(name))?;
    take(pointer.as_ptr().cast()).map_err(raise)
}

/// The chunks of a result, and whether the input came in chunks.
type Chunks<'py> = (Bound<'py, PyList>, bool);

fn chunks(py: Python<'_>, arrays: Vec<ArrayRef>) -> PyResult<Bound<'_, PyList>> {
    list(py, arrays.into_iter().map(|array| Bound::new(py, ArrowChunk(array))))
}

/// The chunks of a result, after a warning of rows that became null.
fn chunks_after_warning(py: Python<'_>, result: ArraysWithWarning) -> PyResult<Bound<'_, PyList>> {
    warn_of_nulls(py, result.warning, 2)?;
    chunks(py, result.arrays)
}

/// Warns of rows that became null, where the public function is called: so many calls up.
pub fn warn_of_nulls(py: Python<'_>, warning: Option<BecameNull>, calls: i32) -> PyResult<()> {
    let Some(warning) = warning else { return Ok(()) };
    let text = CString::new(warning.to_string().replace('\0', "\\0"))?;
    PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, calls)
}

// Each function extracts `data` last: a stream can be taken only once, so no other argument may
// be wrong afterwards.

#[pyfunction]
fn _arrow_compress<'py>(
    py: Python<'py>,
    data: &Bound<'_, PyAny>,
    codec: CodecArgument,
    payload_checksum: bool,
) -> PyResult<Chunks<'py>> {
    let options =
        CompressOptions { codec: codec.0, payload_checksum, fallback: Fallback::default() };
    let ArrowData { input, chunked } = data.extract()?;
    let arrays = interruptible(py, |interrupted| arrow::compress(&options, input, interrupted))?;
    Ok((chunks(py, arrays)?, chunked))
}

#[pyfunction]
fn _arrow_encode<'py>(
    py: Python<'py>,
    data: &Bound<'_, PyAny>,
    codec: CodecArgument,
    fallback: bool,
) -> PyResult<Chunks<'py>> {
    let fallback = Fallback::from_flag(fallback);
    let options = CompressOptions { codec: codec.0, payload_checksum: false, fallback };
    let ArrowData { input, chunked } = data.extract()?;
    let arrays = interruptible(py, |interrupted| arrow::encode(&options, input, interrupted))?;
    Ok((chunks(py, arrays)?, chunked))
}

/// The options for decompressing payloads or decoding frames.
pub struct DecompressArguments {
    /// The codec of payloads; for frames, the one that brings their dictionary.
    codec: DecoderArgument,
    is_frames: bool,
    utf8: bool,
    lists: Option<ListArgument>,
    max_size: Option<u64>,
    max_total_size: Option<u64>,
    device: Option<DeviceArgument>,
}

impl<'a, 'py> FromPyObject<'a, 'py> for DecompressArguments {
    type Error = PyErr;

    fn extract(options: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        // By hand, because derived code would wrap the errors of the items.
        Ok(Self {
            codec: options.get_item("codec")?.extract()?,
            is_frames: options.get_item("is_frames")?.extract()?,
            utf8: options.get_item("utf8")?.extract()?,
            lists: options.get_item("lists")?.extract()?,
            max_size: options.get_item("max_size")?.extract()?,
            max_total_size: options.get_item("max_total_size")?.extract()?,
            device: options.get_item("device")?.extract()?,
        })
    }
}

impl DecompressArguments {
    pub fn read(self, py: Python<'_>, null_on_error: bool) -> PyResult<Decompression> {
        let lists = self.lists.map(|ListArgument(lists)| lists);
        let content = match &lists {
            Some(lists) => lists.content(),
            None if self.utf8 => Content::Text,
            None => Content::Bytes,
        };
        let options = DecompressOptions {
            codec: self.codec.0,
            device: device_or_cpu(py, self.device)?,
            max_size: self.max_size,
            content,
            on_error: on_error(null_on_error),
            max_total_size: self.max_total_size,
        };
        Ok(Decompression { options, form: form(self.is_frames), lists })
    }
}

/// How to decompress payloads or decode frames, and the type of lists that values become, if so.
pub struct Decompression {
    pub options: DecompressOptions,
    pub form: Form,
    lists: Option<ListType>,
}

/// An argument: a type of lists, as an object with ``__arrow_c_schema__``.
struct ListArgument(ListType);

impl<'a, 'py> FromPyObject<'a, 'py> for ListArgument {
    type Error = PyErr;

    fn extract(dtype: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let capsule = dtype.call_method0("__arrow_c_schema__")?.cast_into::<PyCapsule>()?;
        let schema = capsule.pointer_checked(Some(SCHEMA))?.cast::<FFI_ArrowSchema>();
        // SAFETY: a capsule of this name holds a schema, which lives as long.
        let data_type = DataType::try_from(unsafe { schema.as_ref() }).map_err(from_arrow);
        data_type.and_then(|data_type| ListType::try_new(&data_type)).map(Self).map_err(raise)
    }
}

/// Describes the type of lists that an empty column has, for the column plugins.
#[pyfunction]
fn _list_description(column: ArrowData) -> PyResult<String> {
    let ArrowData { mut input, .. } = column;
    let lists = input.data_type().and_then(|data_type| ListType::try_new(&data_type));
    lists.and_then(|lists| lists.description()).map_err(raise)
}

fn on_error(null_on_error: bool) -> OnError {
    if null_on_error { OnError::Null } else { OnError::Raise }
}

pub fn form(is_frames: bool) -> Form {
    if is_frames { Form::Frame } else { Form::Payload }
}

#[pyfunction]
fn _arrow_decompress<'py>(
    py: Python<'py>,
    data: &Bound<'_, PyAny>,
    options: DecompressArguments,
    null_on_error: bool,
) -> PyResult<Chunks<'py>> {
    let Decompression { options, form, lists } = options.read(py, null_on_error)?;
    let ArrowData { input, chunked } = data.extract()?;
    let result = interruptible(py, |interrupted| {
        let mut result = arrow::decompress(&options, form, input, interrupted)?;
        if let Some(lists) = lists {
            let binary = result.arrays.into_iter();
            let read = |array: ArrayRef| lists.read(array.as_binary::<i64>().clone());
            result.arrays = collect_chunks(binary.map(read))?;
        }
        Ok(result)
    })?;
    Ok((chunks_after_warning(py, result)?, chunked))
}

#[pyfunction]
fn _arrow_verify<'py>(
    py: Python<'py>,
    data: &Bound<'_, PyAny>,
    options: DecompressArguments,
) -> PyResult<Chunks<'py>> {
    let Decompression { options, form, .. } = options.read(py, false)?;
    let ArrowData { input, chunked } = data.extract()?;
    let arrays =
        interruptible(py, |interrupted| arrow::verify(&options, form, input, interrupted))?;
    Ok((chunks(py, arrays)?, chunked))
}

/// The first rows of ranges of rows, each of which decodes to at most `max_bytes`, as far as its
/// payloads state, or is one row.
#[pyfunction]
fn _arrow_split_rows<'py>(
    py: Python<'py>,
    data: &Bound<'_, PyAny>,
    codec: DecoderArgument,
    is_frames: bool,
    max_size: Option<u64>,
    max_bytes: u64,
) -> PyResult<Bound<'py, PyList>> {
    let ArrowData { input, .. } = data.extract()?;
    let options = DecompressOptions { max_size, ..DecompressOptions::new(codec.0) };
    let form = form(is_frames);
    let starts = interruptible(py, |interrupted| {
        arrow::split_rows(&options, form, max_bytes, input, interrupted)
    })?;
    list(py, starts.into_iter().map(Ok))
}

#[pyfunction]
fn _arrow_frame_info<'py>(
    py: Python<'py>,
    data: &Bound<'_, PyAny>,
    null_on_error: bool,
) -> PyResult<Chunks<'py>> {
    let ArrowData { input, chunked } = data.extract()?;
    let on_error = on_error(null_on_error);
    let result = interruptible(py, |interrupted| arrow::frame_info(on_error, input, interrupted))?;
    Ok((chunks_after_warning(py, result)?, chunked))
}
