//! Views of device memory for other libraries: the CUDA array interface (version 3, Numba's
//! documentation) and DLPack (the Python array API standard).

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::dlpack::{CUDA, Exported};
use crate::column::ResidentColumn;

/// The type of an array's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemType {
    name: &'static str,
    /// NumPy's name of the type, for little-endian machines; none for bfloat16.
    typestr: &'static str,
    code: u8,
    bytes: u8,
}

const INT: u8 = 0;
const UINT: u8 = 1;
const FLOAT: u8 = 2;
const BFLOAT: u8 = 4;

impl ItemType {
    pub const U8: Self = Self::new("uint8", "|u1", UINT, 1);
    pub const I64: Self = Self::new("int64", "<i8", INT, 8);

    const ALL: [Self; 12] = [
        Self::U8,
        Self::I64,
        Self::new("int8", "|i1", INT, 1),
        Self::new("int16", "<i2", INT, 2),
        Self::new("int32", "<i4", INT, 4),
        Self::new("uint16", "<u2", UINT, 2),
        Self::new("uint32", "<u4", UINT, 4),
        Self::new("uint64", "<u8", UINT, 8),
        Self::new("float16", "<f2", FLOAT, 2),
        Self::new("float32", "<f4", FLOAT, 4),
        Self::new("float64", "<f8", FLOAT, 8),
        Self::new("bfloat16", "", BFLOAT, 2),
    ];

    const fn new(name: &'static str, typestr: &'static str, code: u8, bytes: u8) -> Self {
        Self { name, typestr, code, bytes }
    }

    pub fn name(self) -> &'static str {
        self.name
    }

    pub fn bytes(self) -> usize {
        self.bytes.into()
    }

    /// The type that a name, or a type of NumPy, CuPy or PyTorch, means.
    pub fn of(dtype: &Bound<'_, PyAny>) -> PyResult<Self> {
        if dtype.getattr("byteorder").is_ok_and(|order| order.eq(">").unwrap_or(false)) {
            return Err(PyTypeError::new_err(format!(
                "expected a dtype of this machine's byte order, found {dtype:?}"
            )));
        }
        let named = ["name", "__name__"];
        let name = named.into_iter().find_map(|name| dtype.getattr(name).ok()?.extract().ok());
        let name: String = match name {
            Some(name) => name,
            None => dtype.str()?.extract()?,
        };
        let name = name.rsplit('.').next().unwrap_or_default();
        Self::ALL.into_iter().find(|known| known.name == name).ok_or_else(|| {
            let names = Self::ALL.map(|known| known.name).join(", ");
            PyTypeError::new_err(format!("expected dtype to be one of {names}, found {name}"))
        })
    }
}

/// A column that Python objects share. The last of them frees its memory, without the GIL: that
/// may wait for work of other libraries.
pub struct SharedColumn(ManuallyDrop<Arc<ResidentColumn>>);

impl SharedColumn {
    pub fn new(column: Arc<ResidentColumn>) -> Self {
        Self(ManuallyDrop::new(column))
    }

    /// The column, for what outlives Python objects.
    pub fn share(&self) -> Arc<ResidentColumn> {
        Arc::clone(&self.0)
    }
}

impl Deref for SharedColumn {
    type Target = ResidentColumn;

    fn deref(&self) -> &ResidentColumn {
        &self.0
    }
}

impl Drop for SharedColumn {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        let column = unsafe { ManuallyDrop::take(&mut self.0) };
        let mut column = Some(column);
        Python::try_attach(|py| py.detach(|| drop(column.take())));
    }
}

/// An array in the memory of a GPU, for PyTorch, CuPy, Numba, JAX and others.
///
/// ``torch.as_tensor(array)``, ``cupy.asarray(array)`` and ``from_dlpack(array)`` of any library
/// share its memory. All of it has been written and verified, so that no stream has to wait for
/// it.
#[pyclass(module = "s4_codec.gpu", frozen)]
pub struct DeviceArray {
    column: SharedColumn,
    item: ItemType,
    /// Where it is in the column's memory.
    start: usize,
    shape: Vec<usize>,
}

impl DeviceArray {
    pub fn new(
        column: Arc<ResidentColumn>,
        item: ItemType,
        start: usize,
        shape: Vec<usize>,
    ) -> Self {
        Self { column: SharedColumn::new(column), item, start, shape }
    }

    fn items(&self) -> usize {
        self.shape.iter().product()
    }

    /// The address; 0 of an array without items.
    fn address(&self) -> u64 {
        match self.items() {
            0 => 0,
            _ => self.column.buffer().start() + self.start as u64,
        }
    }
}

#[pymethods]
impl DeviceArray {
    fn __len__(&self) -> usize {
        self.shape[0]
    }

    fn __repr__(&self) -> String {
        let (shape, name) = (&self.shape, self.item.name);
        format!("<DeviceArray of {name}, shape {shape:?}, on GPU {}>", self.device())
    }

    /// The number of the GPU.
    #[getter]
    fn device(&self) -> u32 {
        self.column.buffer().ordinal()
    }

    /// The name of the items' type, such as ``"uint8"``.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.item.name
    }

    /// Items along each dimension.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    /// Bytes of all items.
    #[getter]
    fn nbytes(&self) -> usize {
        self.items() * self.item.bytes()
    }

    /// The CUDA array interface, version 3.
    #[getter]
    fn __cuda_array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if self.item.typestr.is_empty() {
            // Libraries look for the attribute and use DLPack where it is missing.
            return Err(pyo3::exceptions::PyAttributeError::new_err(
                "the CUDA array interface has no bfloat16; use from_dlpack",
            ));
        }
        let interface = PyDict::new(py);
        interface.set_item("shape", self.shape(py)?)?;
        interface.set_item("typestr", self.item.typestr)?;
        interface.set_item("data", (self.address(), false))?;
        interface.set_item("strides", py.None())?;
        interface.set_item("stream", py.None())?;
        interface.set_item("version", 3)?;
        Ok(interface)
    }

    /// The device as DLPack has it: ``(2, device)``, for CUDA.
    fn __dlpack_device__(&self) -> (i32, u32) {
        (CUDA, self.device())
    }

    /// A DLPack capsule of this array.
    ///
    /// Parameters
    /// ----------
    /// stream
    ///     The consumer's CUDA stream: None or 1 for the legacy default stream, 2 for the per-thread
    ///     default stream, -1 for none, or a stream's handle. The array is complete, so that none
    ///     has to wait.
    /// max_version
    ///     The latest version of DLPack that the consumer reads; None for those before 1.0.
    /// dl_device
    ///     None, or this array's device.
    /// copy
    ///     None or False: the memory is shared.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     ``stream`` is 0, which is ambiguous.
    /// BufferError
    ///     Another device, or a copy, is asked for.
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        stream: Option<i64>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, u32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        check_stream(stream)?;
        if let Some(asked) = dl_device.filter(|&asked| asked != self.__dlpack_device__()) {
            return Err(PyBufferError::new_err(format!(
                "expected the array's device {:?}, got {asked:?}; copy it in your library",
                self.__dlpack_device__()
            )));
        }
        if copy == Some(true) {
            return Err(PyBufferError::new_err(
                "the memory is shared and cannot be copied here; copy it in your library",
            ));
        }
        let array = Exported {
            address: self.address(),
            device: self.device(),
            shape: &self.shape,
            code: self.item.code,
            item_bytes: self.item.bytes,
        };
        array.capsule(py, self.column.share(), max_version.is_some_and(|(major, _)| major >= 1))
    }
}

/// Checks a CUDA stream by the rules of the array API standard.
pub fn check_stream(stream: Option<i64>) -> PyResult<()> {
    match stream {
        Some(0) => Err(PyValueError::new_err(
            "stream 0 is ambiguous: pass 1 for the legacy default stream, 2 for the per-thread \
             default stream, or -1 for none",
        )),
        Some(other) if other < -1 => {
            Err(PyValueError::new_err(format!("expected a CUDA stream, got {other}")))
        }
        _ => Ok(()),
    }
}
