//! The classes of the GPU codecs, and the device argument.

use std::ffi::CString;
use std::path::PathBuf;

use pyo3::exceptions::{PyOverflowError, PyRuntimeWarning, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::codec::{OwnLayout, PyCodec, to_object};
use super::dictionary_set::DecoderArgument;
use super::errors::raise;
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::gpu::{self, Device};
use crate::kernel::fcg1::{Algorithm, DataType, Encoding};
use crate::warning;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    gpu::set_package_folders(package_folders(module.py()).unwrap_or_default());
    warning::set_hook(warn);
    module.add_class::<NvcompZstd>()?;
    module.add_class::<NvcompBitcomp>()?;
    module.add_class::<NvcompGDeflate>()?;
    module.add_function(wrap_pyfunction!(gpu_available, module)?)?;
    module.add_function(wrap_pyfunction!(gpu_status, module)?)?;
    module.add_function(wrap_pyfunction!(release_gpu_memory, module)?)?;
    module.add_function(wrap_pyfunction!(_nvcomp_codec, module)?)?;
    module.add_function(wrap_pyfunction!(_is_batched, module)?)?;
    module.add_function(wrap_pyfunction!(_device_option, module)?)
}

/// The folders of `sys.path`, where pip installs libnvcomp.
fn package_folders(py: Python<'_>) -> PyResult<Vec<PathBuf>> {
    let path = py.import("sys")?.getattr("path")?;
    Ok(path.try_iter()?.filter_map(|folder| folder.ok()?.extract().ok()).collect())
}

/// Issues a Python warning from any thread.
fn warn(text: &str) -> Result<()> {
    let warned = Python::try_attach(|py| {
        let text = CString::new(text.replace('\0', "\\0")).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1)
            .map_err(|error| Error::Warning(error.value(py).to_string()))
    });
    warned.unwrap_or(Ok(()))
}

/// Whether the GPU codecs can use a GPU on this machine; :func:`gpu_status` says why not.
///
/// False also once CUDA in this process is lost, so that only a new process can use a GPU: a
/// kernel failed, or was not done ``S4_GPU_TIMEOUT`` seconds (an environment variable; 30 unless
/// set) beyond what its work should take.
#[pyfunction]
fn gpu_available(py: Python<'_>) -> bool {
    py.detach(gpu::available)
}

/// Describe the GPUs and libraries that the GPU codecs would use, or why they can use none.
#[pyfunction]
fn gpu_status(py: Python<'_>) -> String {
    py.detach(gpu::status)
}

/// Release the GPU memory and other GPU resources that are kept between calls.
///
/// Waits for running GPU calls. The next GPU call allocates what it needs again.
///
/// Raises
/// ------
/// S4BackendError
///     A resource could not be released, now or earlier.
#[pyfunction]
fn release_gpu_memory(py: Python<'_>) -> PyResult<()> {
    py.detach(gpu::release_memory).map_err(|failure| raise(failure.into()))
}

/// Unpickles a codec without checking that its device is present.
#[pyfunction]
fn _nvcomp_codec(
    py: Python<'_>,
    name: &str,
    data_type: Option<&str>,
    device: &str,
) -> PyResult<Py<PyAny>> {
    let codec = Codec::from_name(name, None)
        .and_then(|codec| codec.with_gpu_settings(data_type, Some(device)));
    to_object(py, codec.map_err(raise)?)
}

/// Whether whole columns of a codec go to a GPU in one call.
#[pyfunction]
fn _is_batched(py: Python<'_>, codec: DecoderArgument) -> bool {
    codec.0.device().is_some_and(|device| py.detach(|| gpu::may_use(device)))
}

/// A device as an option of the column plugins. A numbered GPU must be present.
#[pyfunction]
fn _device_option(py: Python<'_>, device: DeviceArgument) -> PyResult<String> {
    Ok(device.checked(py)?.to_string())
}

/// An argument: the name of a Bitcomp data type.
struct DataTypeArgument(DataType);

impl<'a, 'py> FromPyObject<'a, 'py> for DataTypeArgument {
    type Error = PyErr;

    fn extract(data_type: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match data_type.extract::<&str>() {
            Ok(name) => DataType::try_new(name).map(Self).map_err(raise),
            Err(_) => Err(PyTypeError::new_err(format!(
                "data_type must be a name such as 'char', 'u32' or 'f32', or None, not {}",
                data_type.get_type().name()?
            ))),
        }
    }
}

/// An argument: the number of a GPU, or `"auto"`.
pub struct DeviceArgument(pub Device);

impl<'a, 'py> FromPyObject<'a, 'py> for DeviceArgument {
    type Error = PyErr;

    fn extract(device: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let expected = "device must be the number of a GPU or 'auto'";
        let wrong_type = || {
            let found = device.get_type().name().map_or("?".into(), |name| name.to_string());
            PyTypeError::new_err(format!("{expected}, not {found}"))
        };
        match device.extract::<&str>() {
            Ok("auto") => Ok(Self(Device::Auto)),
            Ok(other) => Err(PyValueError::new_err(format!("{expected}, not '{other}'"))),
            Err(_) if device.is_instance_of::<PyBool>() => Err(wrong_type()),
            Err(_) => device.extract().map(Device::Gpu).map(Self).map_err(|error| {
                if error.is_instance_of::<PyTypeError>(device.py()) {
                    wrong_type()
                } else {
                    PyOverflowError::new_err(format!("{expected}, not {}", &*device))
                }
            }),
        }
    }
}

impl DeviceArgument {
    /// The device. A numbered GPU must be present.
    pub fn checked(self, py: Python<'_>) -> PyResult<Device> {
        if let Device::Gpu(ordinal) = self.0 {
            py.detach(|| gpu::check(ordinal)).map_err(|failure| {
                let text = format!(
                    "{}; device=\"auto\" uses the CPU where possible",
                    Error::from(failure)
                );
                raise(Error::Unavailable(text))
            })?;
        }
        Ok(self.0)
    }
}

/// The device of an optional argument, by default the CPU.
pub fn device_or_cpu(py: Python<'_>, device: Option<DeviceArgument>) -> PyResult<Device> {
    device.map_or(Ok(Device::Cpu), |device| device.checked(py))
}

/// The default of `device`.
const FIRST: DeviceArgument = DeviceArgument(Device::Gpu(0));

/// Where a codec runs: the number of a GPU, or ``"auto"``.
fn device<'py>(py: Python<'py>, codec: &PyCodec) -> PyResult<Bound<'py, PyAny>> {
    match codec.0.device() {
        Some(Device::Gpu(ordinal)) => Ok(ordinal.into_pyobject(py)?.into_any()),
        _ => Ok("auto".into_pyobject(py)?.into_any()),
    }
}

/// zstd in an FCG1 container: one zstd frame per 64 KiB chunk.
///
/// Decompress only data that you trust: on a GPU, damaged data can make CUDA unusable in this
/// process. If a GPU fails and ``"auto"`` falls back to the CPU, a ``RuntimeWarning`` says so.
/// GPU memory is kept between calls; see :func:`release_gpu_memory`.
///
/// Parameters
/// ----------
/// device
///     The number of a GPU, which must be present; or ``"auto"``. ``"auto"`` uses the first GPU
///     if there is one and it is expected to be faster than all threads on data of this size,
///     else the CPU, which reads and writes the same format.
///
/// Raises
/// ------
/// S4BackendError
///     That GPU cannot be used; :func:`gpu_status` says why.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
#[derive(Default)]
pub struct NvcompZstd {
    _layout: OwnLayout,
}

#[pymethods]
impl NvcompZstd {
    #[new]
    #[pyo3(signature = (device = FIRST), text_signature = "(device=0)")]
    fn new(py: Python<'_>, device: DeviceArgument) -> PyResult<PyClassInitializer<Self>> {
        let codec =
            Codec::Nvcomp { encoding: Encoding::new(Algorithm::Zstd), device: device.checked(py)? };
        Ok(PyClassInitializer::from(PyCodec(codec)).add_subclass(Self::default()))
    }

    /// Where the codec runs: the number of a GPU, or ``"auto"``.
    #[getter]
    fn device<'py>(slf: PyRef<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        device(slf.py(), slf.as_super())
    }
}

/// Bitcomp in an FCG1 container. The format is not public, so compressing and decompressing
/// need an NVIDIA GPU.
///
/// Parameters
/// ----------
/// data_type
///     The type of the numbers in a value: ``"char"``, ``"u8"`` to ``"u64"``, ``"i8"`` to
///     ``"i64"``, ``"f16"``, ``"bf16"``, ``"f32"`` or ``"f64"``. None: what a column of lists or a
///     matrix consists of (floats as unsigned integers of their width, dates and times as the
///     integers that they are), and ``"char"`` for bytes and single values. Containers name the
///     type that was used.
/// device
///     The number of a GPU, which must be present; or ``"auto"`` for the first GPU, which is not
///     looked for before the codec is used.
///
/// Raises
/// ------
/// S4BackendError
///     That GPU cannot be used; :func:`gpu_status` says why.
/// ValueError
///     The data type is unknown.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
#[derive(Default)]
pub struct NvcompBitcomp {
    _layout: OwnLayout,
}

#[pymethods]
impl NvcompBitcomp {
    #[new]
    #[pyo3(
        signature = (data_type = None, device = FIRST),
        text_signature = "(data_type=None, device=0)"
    )]
    fn new(
        py: Python<'_>,
        data_type: Option<DataTypeArgument>,
        device: DeviceArgument,
    ) -> PyResult<PyClassInitializer<Self>> {
        let bitcomp = Encoding::new(Algorithm::Bitcomp);
        let encoding = data_type.map_or(bitcomp, |kind| bitcomp.with_data_type(kind.0));
        let codec = Codec::Nvcomp { encoding, device: device.checked(py)? };
        Ok(PyClassInitializer::from(PyCodec(codec)).add_subclass(Self::default()))
    }

    /// Where the codec runs: the number of a GPU, or ``"auto"``.
    #[getter]
    fn device<'py>(slf: PyRef<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        device(slf.py(), slf.as_super())
    }

    /// The type of the numbers in a value; None where the column says.
    #[getter]
    fn data_type(slf: PyRef<'_, Self>) -> Option<&'static str> {
        slf.as_super().0.data_type().map(DataType::name)
    }
}

/// GDeflate in an FCG1 container: one page per 64 KiB chunk. Compressing needs an NVIDIA GPU;
/// decompressing works on any machine.
///
/// Parameters
/// ----------
/// device
///     The number of a GPU, which must be present; or ``"auto"``. ``"auto"`` compresses on the
///     first GPU. It decompresses there if the data is large enough, as :class:`NvcompZstd`
///     does, else on the CPU.
///
/// Raises
/// ------
/// S4BackendError
///     That GPU cannot be used; :func:`gpu_status` says why.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
#[derive(Default)]
pub struct NvcompGDeflate {
    _layout: OwnLayout,
}

#[pymethods]
impl NvcompGDeflate {
    #[new]
    #[pyo3(signature = (device = FIRST), text_signature = "(device=0)")]
    fn new(py: Python<'_>, device: DeviceArgument) -> PyResult<PyClassInitializer<Self>> {
        let codec = Codec::Nvcomp {
            encoding: Encoding::new(Algorithm::GDeflate),
            device: device.checked(py)?,
        };
        Ok(PyClassInitializer::from(PyCodec(codec)).add_subclass(Self::default()))
    }

    /// Where the codec runs: the number of a GPU, or ``"auto"``.
    #[getter]
    fn device<'py>(slf: PyRef<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        device(slf.py(), slf.as_super())
    }
}
