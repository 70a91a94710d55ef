//! Values in a GPU's memory, of any library: through Arrow's device interface, the CUDA array
//! interface (version 2 or 3) or DLPack.

use std::ffi::CStr;
use std::ptr::NonNull;

use pyo3::exceptions::{PyAttributeError, PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyTuple};

use super::arrow::{SCHEMA, move_out};
use super::device_array::check_stream;
use super::dlpack::{CUDA, Tensor, UNVERSIONED, Unversioned};
use super::gpu::DEVICE_ARRAY;
use crate::arrow::{CDeviceArray, CSchema, DeviceInput};
use crate::kernel::fcg1::DataType;

/// The name of a capsule whose tensor has been taken.
const TAKEN: &CStr = c"used_dltensor";

/// The legacy default stream, as DLPack and the CUDA array interface number it.
const DEFAULT_STREAM: i64 = 1;

/// Values, and the stream whose work comes first.
pub struct DeviceData {
    pub input: DeviceInput<Kept>,
    pub stream: Option<u64>,
}

/// What keeps a matrix alive.
pub enum Kept {
    Object(#[allow(dead_code, reason = "kept")] Py<PyAny>),
    Tensor(#[allow(dead_code, reason = "kept")] ManagedTensor),
}

/// A tensor that was taken from a capsule.
pub struct ManagedTensor(NonNull<Unversioned>);

// SAFETY: DLPack allows a tensor to be used and freed on any thread.
unsafe impl Send for ManagedTensor {}
// SAFETY: a shared tensor is only read.
unsafe impl Sync for ManagedTensor {}

impl Drop for ManagedTensor {
    fn drop(&mut self) {
        // SAFETY: the producer's own function on its own structure, once.
        unsafe {
            if let Some(deleter) = self.0.as_ref().deleter {
                deleter(self.0.as_ptr());
            }
        }
    }
}

impl<'a, 'py> FromPyObject<'a, 'py> for DeviceData {
    type Error = PyErr;

    fn extract(data: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if data.hasattr("__arrow_c_device_array__")? {
            return arrow_array(&data);
        }
        match data.getattr("__cuda_array_interface__") {
            Ok(interface) => return cuda_array(&data, &interface),
            // Such as that of a tensor on the CPU, or of a type that the interface lacks.
            Err(error) if error.is_instance_of::<PyAttributeError>(data.py()) => {}
            Err(error) if error.is_instance_of::<PyTypeError>(data.py()) => {}
            Err(error) => return Err(error),
        }
        if data.hasattr("__dlpack__")? {
            return dlpack(&data);
        }
        let found = data.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "expected values in a GPU's memory (with __arrow_c_device_array__, \
             __cuda_array_interface__ or __dlpack__), found {found}; s4_codec.arrow compresses \
             data in the host's memory"
        )))
    }
}

fn arrow_array(data: &Bound<'_, PyAny>) -> PyResult<DeviceData> {
    let pair = data.call_method0("__arrow_c_device_array__")?.cast_into::<PyTuple>()?;
    let (schema, array) = (pair.get_item(0)?, pair.get_item(1)?);
    // SAFETY: capsules of these names hold structures of the interface.
    let (array, schema) = unsafe {
        let array = move_out(&array, DEVICE_ARRAY, |array| CDeviceArray::take(array))?;
        (array, move_out(&schema, SCHEMA, |schema| CSchema::take(schema))?)
    };
    Ok(DeviceData { input: DeviceInput::Array(schema, array), stream: None })
}

fn cuda_array(data: &Bound<'_, PyAny>, interface: &Bound<'_, PyAny>) -> PyResult<DeviceData> {
    let interface = interface.cast::<PyDict>()?;
    let item = |name: &str| {
        interface.get_item(name)?.ok_or_else(|| {
            PyValueError::new_err(format!("the CUDA array interface has no item {name:?}"))
        })
    };
    let optional = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
        Ok(interface.get_item(name)?.filter(|item| !item.is_none()))
    };
    let shape: Vec<i64> = item("shape")?.extract()?;
    let shape: Result<Vec<usize>, _> = shape.into_iter().map(usize::try_from).collect();
    let shape = shape.map_err(|_| PyValueError::new_err("a dimension is negative"))?;
    let typestr: String = item("typestr")?.extract()?;
    // Numbers, booleans and raw bytes; not references to objects.
    let is_plain = typestr.get(1..2).is_some_and(|kind| "biufcV".contains(kind));
    let is_signed = match typestr.get(1..2) {
        Some("i") => Some(true),
        Some("u" | "f") => Some(false),
        _ => None,
    };
    let bytes = typestr.get(2..).and_then(|bytes| bytes.parse().ok());
    let bytes = bytes.filter(|&bytes: &usize| bytes > 0 && is_plain).ok_or_else(|| {
        PyValueError::new_err(format!("expected a typestr such as '<f4', found {typestr:?}"))
    })?;
    let (address, _read_only): (u64, bool) = item("data")?.extract()?;
    let strides: Option<Vec<i64>> = optional("strides")?.map(|item| item.extract()).transpose()?;
    if optional("mask")?.is_some() {
        return Err(PyValueError::new_err("masked arrays are not supported"));
    }
    let stream: Option<i64> = optional("stream")?.map(|item| item.extract()).transpose()?;
    check_stream(stream)?;
    let (rows, width) = matrix(&shape, bytes, strides.as_deref(), bytes as i64)?;
    let number_type = is_signed.and_then(|is_signed| DataType::of_integers(is_signed, bytes));
    let owner = Kept::Object(data.clone().unbind());
    Ok(DeviceData {
        input: DeviceInput::Matrix { address, rows, width, number_type, owner },
        stream: stream.map(|stream| stream as u64),
    })
}

fn dlpack(data: &Bound<'_, PyAny>) -> PyResult<DeviceData> {
    let (device_type, _): (i32, i32) = data.call_method0("__dlpack_device__")?.extract()?;
    if device_type != CUDA {
        return Err(PyTypeError::new_err(format!(
            "expected values in the memory of a CUDA device, found DLPack device type \
             {device_type}; s4_codec.arrow compresses data in the host's memory"
        )));
    }
    let options = PyDict::new(data.py());
    options.set_item("stream", DEFAULT_STREAM)?;
    let capsule = data.call_method("__dlpack__", (), Some(&options))?;
    let capsule = capsule.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(UNVERSIONED))?;
    // SAFETY: a capsule of this name holds a tensor, which is taken once: the name says so after.
    let managed = unsafe {
        if ffi::PyCapsule_SetName(capsule.as_ptr(), TAKEN.as_ptr()) != 0 {
            return Err(PyErr::fetch(data.py()));
        }
        ManagedTensor(pointer.cast())
    };
    // SAFETY: the structure lives until it is freed.
    let tensor: &Tensor = unsafe { &managed.0.as_ref().tensor };
    let (shape, strides) = tensor.dimensions()?;
    let bytes = tensor.item_bytes()?;
    let (rows, width) = matrix(&shape, bytes, strides.as_deref(), 1)?;
    let address = tensor.address();
    let number_type = tensor.number_type();
    let owner = Kept::Tensor(managed);
    Ok(DeviceData {
        input: DeviceInput::Matrix { address, rows, width, number_type, owner },
        stream: Some(DEFAULT_STREAM as u64),
    })
}

/// The rows and the bytes of each of an array of items of `bytes` bytes. `unit` is the stride from
/// one item to the next.
fn matrix(
    shape: &[usize],
    bytes: usize,
    strides: Option<&[i64]>,
    unit: i64,
) -> PyResult<(usize, usize)> {
    let &[rows, items] = shape else {
        return Err(PyValueError::new_err(format!(
            "expected an array of 2 dimensions, each row a value, found one of {}",
            shape.len()
        )));
    };
    let width = items.checked_mul(bytes).filter(|width| width.checked_mul(rows).is_some());
    let width = width.ok_or_else(|| PyValueError::new_err("the array is too large"))?;
    // Strides along a dimension of one item do not matter, nor those of an empty array.
    let is_contiguous = |strides: &[i64]| {
        rows * items == 0
            || strides.len() == 2
                && (items == 1 || strides[1] == unit)
                && (rows == 1 || strides[0] == unit * items as i64)
    };
    if !strides.is_none_or(is_contiguous) {
        return Err(PyBufferError::new_err(
            "the array is not C-contiguous; copy it first, for example with ascontiguousarray",
        ));
    }
    Ok((rows, width))
}
