//! The classes of the codecs that GPUs write, as far as they go without one.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::GPU_STATUS;
use super::codec::PyCodec;
use super::errors::raise;
use crate::codec::{Codec, DataType};
use crate::error::Error;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NvcompZstd>()?;
    module.add_class::<NvcompBitcomp>()?;
    module.add_class::<NvcompGDeflate>()
}

/// An argument: the number of a GPU, or the CPU where there is none.
enum Device {
    Number(u32),
    Auto,
}

/// The device that any machine has.
pub const AUTO: &str = "auto";

impl<'a, 'py> FromPyObject<'a, 'py> for Device {
    type Error = PyErr;

    fn extract(device: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let wanted = "device must be the number of a GPU or 'auto'";
        match device.extract::<&str>() {
            Ok(AUTO) => Ok(Self::Auto),
            Ok(other) => Err(PyValueError::new_err(format!("{wanted}, not '{other}'"))),
            Err(_) => device.extract().map(Self::Number).map_err(|error| {
                if error.is_instance_of::<PyTypeError>(device.py()) {
                    PyTypeError::new_err(wanted)
                } else {
                    error
                }
            }),
        }
    }
}

impl Device {
    fn check(&self) -> PyResult<()> {
        match self {
            Self::Auto => Ok(()),
            Self::Number(number) => {
                Err(raise(Error::Backend(format!("GPU {number}: {GPU_STATUS}"))))
            }
        }
    }
}

/// zstd in an FCG1 container, as GPUs write it: one frame for each 64 KiB.
///
/// Parameters
/// ----------
/// device
///     The number of a GPU, or ``"auto"``: a GPU where there is one, else the CPU, which
///     writes and reads the same format.
///
/// Raises
/// ------
/// S4BackendError
///     That GPU is not there; :func:`gpu_status` says why.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
pub struct NvcompZstd;

#[pymethods]
impl NvcompZstd {
    #[new]
    #[pyo3(signature = (device = Device::Number(0)), text_signature = "(device=0)")]
    fn new(device: Device) -> PyResult<PyClassInitializer<Self>> {
        device.check()?;
        Ok(PyClassInitializer::from(PyCodec(Codec::NvcompZstd)).add_subclass(Self))
    }
}

/// Bitcomp in an FCG1 container. Compressing and decompressing take an NVIDIA GPU, for the
/// format is not public.
///
/// Parameters
/// ----------
/// data_type
///     What the bytes are to be taken for: ``"char"``, ``"u8"`` to ``"u64"``, ``"i8"`` to
///     ``"i64"``, ``"f16"``, ``"bf16"``, ``"f32"`` or ``"f64"``.
/// device
///     The number of a GPU, or ``"auto"``, which can be made where there is none.
///
/// Raises
/// ------
/// S4BackendError
///     That GPU is not there; :func:`gpu_status` says why.
/// ValueError
///     The data type is unknown.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
pub struct NvcompBitcomp;

#[pymethods]
impl NvcompBitcomp {
    #[new]
    #[pyo3(
        signature = (data_type = "char", device = Device::Number(0)),
        text_signature = "(data_type='char', device=0)"
    )]
    fn new(data_type: &str, device: Device) -> PyResult<PyClassInitializer<Self>> {
        let data_type = DataType::try_new(data_type).map_err(raise)?;
        device.check()?;
        let codec = PyCodec(Codec::NvcompBitcomp { data_type });
        Ok(PyClassInitializer::from(codec).add_subclass(Self))
    }

    /// What the bytes are taken for.
    #[getter]
    fn data_type(slf: PyRef<'_, Self>) -> Option<&'static str> {
        slf.as_super().0.data_type().map(DataType::name)
    }
}

/// GDeflate in an FCG1 container: one page for each 64 KiB. Decompressing works anywhere,
/// compressing takes an NVIDIA GPU.
///
/// Parameters
/// ----------
/// device
///     The number of a GPU, or ``"auto"``: a GPU where there is one, else the CPU.
///
/// Raises
/// ------
/// S4BackendError
///     That GPU is not there; :func:`gpu_status` says why.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
pub struct NvcompGDeflate;

#[pymethods]
impl NvcompGDeflate {
    #[new]
    #[pyo3(signature = (device = Device::Number(0)), text_signature = "(device=0)")]
    fn new(device: Device) -> PyResult<PyClassInitializer<Self>> {
        device.check()?;
        Ok(PyClassInitializer::from(PyCodec(Codec::NvcompGDeflate)).add_subclass(Self))
    }
}
