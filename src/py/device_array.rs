//! Views of device memory for other libraries: the CUDA array interface (version 3, Numba's
//! documentation) and DLPack (1.0, dmlc.github.io/dlpack, and the Python array API standard).

use std::ffi::{CStr, c_void};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

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
        let owner = Owner {
            shape: self.shape.iter().map(|&len| len as i64).collect(),
            strides: strides(&self.shape),
            _column: self.column.share(),
        };
        if max_version.is_some_and(|(major, _)| major >= 1) {
            capsule(py, Versioned::new(self, owner), VERSIONED)
        } else {
            capsule(py, Unversioned::new(self, owner), UNVERSIONED)
        }
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

/// Strides in items, of rows back to back.
fn strides(shape: &[usize]) -> Vec<i64> {
    let mut step = 1;
    let mut strides: Vec<i64> = shape
        .iter()
        .rev()
        .map(|&len| {
            let stride = step;
            step *= len.max(1) as i64;
            stride
        })
        .collect();
    strides.reverse();
    strides
}

/// `kDLCUDA`
pub const CUDA: i32 = 2;

/// Names of capsules before a consumer takes what is in them.
pub const UNVERSIONED: &CStr = c"dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";

/// What a tensor's memory belongs to.
struct Owner {
    shape: Vec<i64>,
    strides: Vec<i64>,
    _column: Arc<ResidentColumn>,
}

/// `DLTensor`
#[repr(C)]
pub struct Tensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

impl Tensor {
    /// The address of the first item.
    pub fn address(&self) -> u64 {
        self.data.addr() as u64 + self.byte_offset
    }

    /// Bytes of an item.
    pub fn item_bytes(&self) -> PyResult<usize> {
        match self.bits.is_multiple_of(8) {
            true => Ok(usize::from(self.bits / 8) * usize::from(self.lanes)),
            false => Err(PyValueError::new_err(format!(
                "expected items of whole bytes, found items of {} bits",
                self.bits
            ))),
        }
    }

    /// The shape, and the strides in items, if the producer states them.
    pub fn dimensions(&self) -> PyResult<(Vec<usize>, Option<Vec<i64>>)> {
        let ndim = usize::try_from(self.ndim).unwrap_or(0);
        // SAFETY: the producer states so many dimensions; null where it has none.
        let read = |numbers: *const i64| unsafe {
            (!numbers.is_null()).then(|| std::slice::from_raw_parts(numbers, ndim).to_vec())
        };
        let shape = read(self.shape).unwrap_or_default().into_iter();
        let shape = shape.map(usize::try_from).collect::<Result<_, _>>();
        let shape = shape.map_err(|_| PyValueError::new_err("a dimension is negative"))?;
        Ok((shape, read(self.strides)))
    }

    /// The tensor of an array whose shape and strides `owner` keeps.
    fn new(array: &DeviceArray, owner: &mut Owner) -> Self {
        Self {
            data: ptr::without_provenance_mut(array.address() as usize),
            device_type: CUDA,
            device_id: array.device() as i32,
            ndim: array.shape.len() as i32,
            code: array.item.code,
            bits: 8 * array.item.bytes,
            lanes: 1,
            shape: owner.shape.as_mut_ptr(),
            strides: owner.strides.as_mut_ptr(),
            byte_offset: 0,
        }
    }
}

/// `DLManagedTensor`
#[repr(C)]
pub struct Unversioned {
    pub tensor: Tensor,
    owner: *mut c_void,
    pub deleter: Option<unsafe extern "C" fn(*mut Self)>,
}

/// `DLManagedTensorVersioned`
#[repr(C)]
struct Versioned {
    version: [u32; 2],
    owner: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
    flags: u64,
    tensor: Tensor,
}

/// A structure that a capsule holds until a consumer takes it.
trait Managed {
    /// Frees a structure that [`capsule`] made.
    ///
    /// # Safety
    /// It is freed once.
    unsafe extern "C" fn delete(this: *mut Self);

    const NAME: &'static CStr;
}

impl Unversioned {
    fn new(array: &DeviceArray, owner: Owner) -> Self {
        let mut owner = Box::new(owner);
        let tensor = Tensor::new(array, &mut owner);
        let owner = Box::into_raw(owner).cast();
        Self { tensor, owner, deleter: Some(Self::delete) }
    }
}

impl Managed for Unversioned {
    const NAME: &'static CStr = UNVERSIONED;

    unsafe extern "C" fn delete(this: *mut Self) {
        // SAFETY: both boxes were leaked when the capsule was made, and this happens once.
        unsafe {
            let this = Box::from_raw(this);
            drop(Box::from_raw(this.owner.cast::<Owner>()));
        }
    }
}

impl Versioned {
    fn new(array: &DeviceArray, owner: Owner) -> Self {
        let mut owner = Box::new(owner);
        let tensor = Tensor::new(array, &mut owner);
        let owner = Box::into_raw(owner).cast();
        Self { version: [1, 0], owner, deleter: Some(Self::delete), flags: 0, tensor }
    }
}

impl Managed for Versioned {
    const NAME: &'static CStr = VERSIONED;

    unsafe extern "C" fn delete(this: *mut Self) {
        // SAFETY: as above.
        unsafe {
            let this = Box::from_raw(this);
            drop(Box::from_raw(this.owner.cast::<Owner>()));
        }
    }
}

/// A capsule of a structure. A consumer renames the capsule and frees the structure by its
/// deleter; else the capsule does.
fn capsule<'py, M: Managed>(
    py: Python<'py>,
    managed: M,
    name: &'static CStr,
) -> PyResult<Bound<'py, PyAny>> {
    unsafe extern "C" fn free<M: Managed>(capsule: *mut ffi::PyObject) {
        // SAFETY: the capsule that is being destroyed. Under this name nobody has taken what is
        // in it.
        unsafe {
            if ffi::PyCapsule_IsValid(capsule, M::NAME.as_ptr()) != 0 {
                let managed = ffi::PyCapsule_GetPointer(capsule, M::NAME.as_ptr());
                M::delete(managed.cast());
            }
        }
    }
    let managed = NonNull::from(Box::leak(Box::new(managed)));
    // SAFETY: the pointer is not null, the name lives for ever, and the destructor has the type
    // that it needs.
    unsafe {
        let capsule = ffi::PyCapsule_New(managed.as_ptr().cast(), name.as_ptr(), Some(free::<M>));
        Bound::from_owned_ptr_or_err(py, capsule).inspect_err(|_| M::delete(managed.as_ptr()))
    }
}
