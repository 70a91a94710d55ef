//! DLPack's structures (1.0, dmlc.github.io/dlpack), and capsules of them.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::column::ResidentColumn;
use crate::kernel::fcg1::DataType;

/// `kDLCUDA`
pub const CUDA: i32 = 2;

// Kinds of numbers: `kDLInt`, `kDLUInt`, `kDLFloat` and `kDLBfloat`.
const INT: u8 = 0;
const UINT: u8 = 1;
const FLOAT: u8 = 2;
const BFLOAT: u8 = 4;

/// Names of capsules before a consumer takes what is in them.
pub const UNVERSIONED: &CStr = c"dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";

/// An array to export.
pub struct Exported<'a> {
    pub address: u64,
    pub device: u32,
    pub shape: &'a [usize],
    /// DLPack's kind of number.
    pub code: u8,
    pub item_bytes: u8,
}

impl Exported<'_> {
    /// A capsule of the array, for consumers of DLPack 1.0 or of those before. The memory is
    /// `column`'s.
    pub fn capsule<'py>(
        &self,
        py: Python<'py>,
        column: Arc<ResidentColumn>,
        is_versioned: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let owner = Owner {
            shape: self.shape.iter().map(|&len| len as i64).collect(),
            strides: strides(self.shape),
            _column: column,
        };
        if is_versioned {
            capsule(py, Versioned::new(self, owner))
        } else {
            capsule(py, Unversioned::new(self, owner))
        }
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

    /// What Bitcomp takes items for, if they are numbers.
    pub fn number_type(&self) -> Option<DataType> {
        let is_signed = match self.code {
            INT => true,
            UINT | FLOAT | BFLOAT => false,
            _ => return None,
        };
        (self.lanes == 1).then(|| DataType::of_integers(is_signed, usize::from(self.bits / 8)))?
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
    fn new(array: &Exported, owner: &mut Owner) -> Self {
        Self {
            data: ptr::without_provenance_mut(array.address as usize),
            device_type: CUDA,
            device_id: array.device as i32,
            ndim: array.shape.len() as i32,
            code: array.code,
            bits: 8 * array.item_bytes,
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
    fn new(array: &Exported, owner: Owner) -> Self {
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
    fn new(array: &Exported, owner: Owner) -> Self {
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
fn capsule<'py, M: Managed>(py: Python<'py>, managed: M) -> PyResult<Bound<'py, PyAny>> {
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
        let capsule =
            ffi::PyCapsule_New(managed.as_ptr().cast(), M::NAME.as_ptr(), Some(free::<M>));
        Bound::from_owned_ptr_or_err(py, capsule).inspect_err(|_| M::delete(managed.as_ptr()))
    }
}
