//! Columns in a GPU's memory, and views of them for other libraries.

use std::ffi::CStr;
use std::sync::Arc;

use arrow_array::ffi::FFI_ArrowSchema;
use arrow_schema::Field;
use pyo3::exceptions::{PyNotImplementedError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use super::arrow::{
    ArrowChunk, ArrowData, DecompressArguments, Decompression, SCHEMA, form, warn_of_nulls,
};
use super::codec::CodecArgument;
use super::device_array::{DeviceArray, ItemType, SharedColumn, check_stream};
use super::device_input::DeviceData;
use super::errors::raise;
use super::interruptible;
use super::nvcomp::DeviceArgument;
use crate::arrow::{self, CompressOptions, data_type_of, from_arrow};
use crate::codec::Fallback;
use crate::gpu::Device;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<DeviceColumn>()?;
    module.add_class::<DeviceArray>()?;
    module.add_function(wrap_pyfunction!(_gpu_decompress, module)?)?;
    module.add_function(wrap_pyfunction!(_gpu_compress, module)?)?;
    module.add_function(wrap_pyfunction!(_check_stream, module)?)
}

pub const DEVICE_ARRAY: &CStr = c"arrow_device_array";

/// A column of values in the memory of a GPU, verified.
///
/// Functions of :mod:`s4_codec.gpu` return it. Libraries that read Arrow data on devices take it
/// as it is (``__arrow_c_device_array__``: large binary, or large string); PyTorch, CuPy, Numba
/// and others take its parts :attr:`values`, :attr:`offsets` and :attr:`validity`, or
/// :meth:`matrix`. All of them share its memory, without a copy. The memory is freed when the
/// column and all that share its memory are gone, after all work on that GPU.
#[pyclass(module = "s4_codec.gpu", frozen)]
pub struct DeviceColumn(SharedColumn);

impl DeviceColumn {
    fn array(&self, item: ItemType, start: usize, shape: Vec<usize>) -> DeviceArray {
        DeviceArray::new(self.0.share(), item, start, shape)
    }
}

#[pymethods]
impl DeviceColumn {
    fn __len__(&self) -> usize {
        self.0.rows()
    }

    fn __repr__(&self) -> String {
        let column = &self.0;
        let (rows, nulls, bytes) = (column.rows(), column.null_count(), column.values().len());
        let (kind, device) = (self.dtype(), column.buffer().ordinal());
        format!(
            "<DeviceColumn of {rows} {kind} values ({nulls} null, {bytes} bytes) on GPU {device}>"
        )
    }

    /// The number of the GPU.
    #[getter]
    fn device(&self) -> u32 {
        self.0.buffer().ordinal()
    }

    /// ``"large_binary"`` or ``"large_string"``.
    #[getter]
    fn dtype(&self) -> &'static str {
        if self.0.is_utf8() { "large_string" } else { "large_binary" }
    }

    /// The number of null values.
    #[getter]
    fn null_count(&self) -> usize {
        self.0.null_count()
    }

    /// Bytes of all values together.
    #[getter]
    fn nbytes(&self) -> usize {
        self.0.values().len()
    }

    /// The values back to back: a :class:`DeviceArray` of uint8.
    ///
    /// A row that became null has zeros in its place.
    #[getter]
    fn values(&self) -> DeviceArray {
        let place = self.0.values();
        self.array(ItemType::U8, place.start, vec![place.len()])
    }

    /// Where rows begin in :attr:`values`, and the end of the last: a :class:`DeviceArray` of
    /// int64, one item more than there are rows.
    #[getter]
    fn offsets(&self) -> DeviceArray {
        self.array(ItemType::I64, self.0.offsets().start, vec![self.0.rows() + 1])
    }

    /// Which rows are not null: a :class:`DeviceArray` of uint8, a bit for each row, the lowest
    /// of a byte first. None if no row is null.
    #[getter]
    fn validity(&self) -> Option<DeviceArray> {
        let place = self.0.validity()?;
        Some(self.array(ItemType::U8, place.start, vec![place.len()]))
    }

    /// The values as rows of a matrix, such as embeddings: a :class:`DeviceArray` of shape
    /// ``(len(self), width)``.
    ///
    /// Parameters
    /// ----------
    /// dtype
    ///     The type of items: int8 to int64, uint8 to uint64, float16, bfloat16, float32 or
    ///     float64, as a name, or as a type of NumPy, CuPy or PyTorch.
    /// width
    ///     Items per row.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     A value is null or not as long as ``width`` items.
    /// TypeError
    ///     ``dtype`` is none of these types.
    fn matrix(&self, dtype: &Bound<'_, PyAny>, width: usize) -> PyResult<DeviceArray> {
        let item = ItemType::of(dtype)?;
        let (rows, nulls) = (self.0.rows(), self.0.null_count());
        if nulls > 0 {
            return Err(PyValueError::new_err(format!(
                "expected values that are not null, found {nulls} null of {rows}"
            )));
        }
        let expected = width.checked_mul(item.bytes());
        let found = self.0.width();
        if width == 0 {
            return Err(PyValueError::new_err("width must be at least 1 item"));
        }
        if rows > 0 && found != expected {
            let name = item.name();
            let found = match found {
                Some(found) => format!("values of {found} bytes"),
                None => "values of different lengths".into(),
            };
            return Err(PyValueError::new_err(format!(
                "expected values of {width} {name} items ({} bytes), found {found}",
                width.saturating_mul(item.bytes())
            )));
        }
        Ok(self.array(item, 0, vec![rows, width]))
    }

    /// A PyArrow array of the values: large binary, or large string. Needs PyArrow.
    fn to_arrow<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pyarrow = py.import("pyarrow")?;
        let array = interruptible(py, |interrupted| arrow::to_host(&self.0, interrupted))?;
        pyarrow.call_method1("array", (ArrowChunk(array),))
    }

    /// Exports the column through the Arrow C device interface.
    #[pyo3(signature = (requested_schema = None, **options))]
    fn __arrow_c_device_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
        options: Option<Bound<'py, PyDict>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        // As the interface says of those that are not known.
        let asked = options.iter().flatten().find(|(_, value)| !value.is_none());
        if let Some((name, _)) = asked {
            return Err(PyNotImplementedError::new_err(format!("unknown option {name}")));
        }
        // A producer may ignore the requested schema.
        drop(requested_schema);
        let field = Field::new("", data_type_of(&self.0), true);
        let schema = FFI_ArrowSchema::try_from(field).map_err(from_arrow);
        Ok((
            PyCapsule::new_with_value(py, schema.map_err(raise)?, SCHEMA)?,
            PyCapsule::new_with_value(py, arrow::export(&self.0.share()), DEVICE_ARRAY)?,
        ))
    }
}

#[pyfunction]
fn _gpu_decompress(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    options: DecompressArguments,
    null_on_error: bool,
    device: DeviceArgument,
) -> PyResult<DeviceColumn> {
    let Decompression { options, form, .. } = options.read(py, null_on_error)?;
    let Device::Gpu(ordinal) = device.0 else {
        return Err(PyValueError::new_err("device must be the number of a GPU, not 'auto'"));
    };
    let ArrowData { input, .. } = data.extract()?;
    let (column, warning) = interruptible(py, |interrupted| {
        arrow::decompress_to_device(&options, form, ordinal, input, interrupted)
    })?;
    // Called by a function of the module, which the public one calls.
    warn_of_nulls(py, warning, 3)?;
    Ok(DeviceColumn(SharedColumn::new(Arc::new(column))))
}

#[pyfunction]
fn _gpu_compress(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    codec: CodecArgument,
    is_frames: bool,
    payload_checksum: bool,
    fallback: bool,
    stream: Option<i64>,
) -> PyResult<ArrowChunk> {
    let fallback = Fallback::from_flag(fallback);
    let options = CompressOptions { codec: codec.0, payload_checksum, fallback };
    // Last: what a capsule holds can be taken only once.
    let DeviceData { input, stream: of_data } = data.extract()?;
    let stream = match stream {
        None => of_data,
        Some(-1) => None,
        Some(stream) => Some(stream as u64),
    };
    let array = interruptible(py, |interrupted| {
        arrow::compress_from_device(&options, form(is_frames), input, stream, interrupted)
    })?;
    Ok(ArrowChunk(array))
}

/// Checks the number of a CUDA stream.
#[pyfunction]
fn _check_stream(stream: Option<i64>) -> PyResult<()> {
    check_stream(stream)
}
