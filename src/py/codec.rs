//! The codec classes: values around [`Codec`], with the methods in one base class.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::buffer::{Bytes, new_bytes};
use super::errors::raise;
use crate::codec::{Codec, GzipLevel, ZstdLevel};
use crate::manifest::{MAX_ORIGINAL_SIZE, Manifest};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCodec>()?;
    module.add_class::<CpuZstd>()?;
    module.add_class::<CpuGzip>()?;
    module.add_class::<Passthrough>()?;
    module.add_function(wrap_pyfunction!(_codec_options, module)?)
}

/// Payload memory that a thread keeps between calls, up to this size.
const KEPT_PAYLOAD_BYTES: usize = 4 << 20;

thread_local! {
    static PAYLOAD: Cell<Vec<u8>> = Cell::default();
}

/// A codec and its settings; the base of the codec classes.
#[pyclass(name = "Codec", module = "s4_codec", subclass, frozen)]
pub struct PyCodec(Codec);

#[pymethods]
impl PyCodec {
    /// The codec's name in the S4 wire format.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The codec's id in the S4 wire format.
    #[getter]
    fn id(&self) -> u32 {
        self.0.id()
    }

    /// Compress one value; returns (payload, original_size, crc32c).
    fn compress<'py>(
        &self,
        py: Python<'py>,
        data: Bytes<'_>,
    ) -> PyResult<(Bound<'py, PyBytes>, u64, u32)> {
        let data = data.as_slice();
        let mut payload = PAYLOAD.take();
        let manifest = py.detach(|| self.0.compress(data, &mut payload)).map_err(raise)?;
        let out = PyBytes::new(py, &payload);
        if payload.capacity() <= KEPT_PAYLOAD_BYTES {
            PAYLOAD.set(payload);
        }
        Ok((out, manifest.original_size, manifest.crc32c))
    }

    /// Decompress one payload into exactly original_size bytes with that crc32c.
    #[pyo3(signature = (data, original_size, crc32c, *, max_size=None))]
    fn decompress<'py>(
        &self,
        py: Python<'py>,
        data: Bytes<'_>,
        original_size: u64,
        crc32c: u32,
        max_size: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let payload = data.as_slice();
        let manifest = Manifest { original_size, crc32c };
        let limit = max_size.unwrap_or(MAX_ORIGINAL_SIZE);
        let len = self.0.admit(payload, &manifest, limit).map_err(raise)?;
        new_bytes(py, len, |room| self.0.decode(payload, &manifest, room).map(drop), raise)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        let level = slf.get().0.level().map_or(String::new(), |level| format!("level={level}"));
        Ok(format!("{class}({level})"))
    }

    /// The arguments that make an equal codec.
    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0.level())
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}

/// A codec, or the name of one with its default settings, as the column plugins take it.
#[pyfunction]
pub fn _codec_options<'py>(codec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let options = PyDict::new(codec.py());
    let codec = if let Ok(object) = codec.cast::<PyCodec>() {
        object.get().0.clone()
    } else if let Ok(name) = codec.extract::<&str>() {
        Codec::from_name(name, None).map_err(raise)?
    } else {
        let found = codec.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "codec must be a codec object such as CpuZstd() or a codec's name, not {found}"
        )));
    };
    options.set_item("name", codec.name())?;
    options.set_item("level", codec.level())?;
    Ok(options)
}

/// zstd (RFC 8878), levels 1 to 22.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
struct CpuZstd;

#[pymethods]
impl CpuZstd {
    #[new]
    #[pyo3(signature = (level = 3))]
    fn new(level: i64) -> PyResult<PyClassInitializer<Self>> {
        let level = ZstdLevel::try_new(level).map_err(raise)?;
        Ok(PyClassInitializer::from(PyCodec(Codec::CpuZstd { level })).add_subclass(Self))
    }

    /// The compression level.
    #[getter]
    fn level(slf: PyRef<'_, Self>) -> Option<i32> {
        slf.as_super().0.level()
    }
}

/// gzip (RFC 1952), levels 0 to 9.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
struct CpuGzip;

#[pymethods]
impl CpuGzip {
    #[new]
    #[pyo3(signature = (level = 6))]
    fn new(level: i64) -> PyResult<PyClassInitializer<Self>> {
        let level = GzipLevel::try_new(level).map_err(raise)?;
        Ok(PyClassInitializer::from(PyCodec(Codec::CpuGzip { level })).add_subclass(Self))
    }

    /// The compression level.
    #[getter]
    fn level(slf: PyRef<'_, Self>) -> Option<i32> {
        slf.as_super().0.level()
    }
}

/// No compression: the payload is the value, and is verified like any other.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
struct Passthrough;

#[pymethods]
impl Passthrough {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        PyClassInitializer::from(PyCodec(Codec::Passthrough)).add_subclass(Self)
    }
}
