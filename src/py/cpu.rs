//! The classes of the CPU codecs that use no dictionary.

use pyo3::prelude::*;

use super::codec::{OwnLayout, PyCodec};
use super::errors::raise;
use crate::codec::{Codec, GzipLevel, ZstdLevel};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CpuZstd>()?;
    module.add_class::<CpuGzip>()?;
    module.add_class::<Passthrough>()
}

/// zstd (RFC 8878). Writes one frame that states its content size.
///
/// Parameters
/// ----------
/// level
///     1 (fastest) to 22 (smallest).
///
/// Raises
/// ------
/// ValueError
///     The level is out of range.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
#[derive(Default)]
pub struct CpuZstd {
    _layout: OwnLayout,
}

#[pymethods]
impl CpuZstd {
    #[new]
    #[pyo3(signature = (level = 3))]
    fn new(level: i64) -> PyResult<PyClassInitializer<Self>> {
        let level = ZstdLevel::try_new(level).map_err(raise)?;
        Ok(PyClassInitializer::from(PyCodec(Codec::Zstd { level, dictionary: None }))
            .add_subclass(Self::default()))
    }

    /// The compression level.
    #[getter]
    fn level(slf: PyRef<'_, Self>) -> Option<i32> {
        slf.as_super().0.level()
    }
}

/// gzip (RFC 1952). Writes one member without a name or time.
///
/// Parameters
/// ----------
/// level
///     0 (stored) to 9 (smallest).
///
/// Raises
/// ------
/// ValueError
///     The level is out of range.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
#[derive(Default)]
pub struct CpuGzip {
    _layout: OwnLayout,
}

#[pymethods]
impl CpuGzip {
    #[new]
    #[pyo3(signature = (level = 6))]
    fn new(level: i64) -> PyResult<PyClassInitializer<Self>> {
        let level = GzipLevel::try_new(level).map_err(raise)?;
        Ok(PyClassInitializer::from(PyCodec(Codec::Gzip { level })).add_subclass(Self::default()))
    }

    /// The compression level.
    #[getter]
    fn level(slf: PyRef<'_, Self>) -> Option<i32> {
        slf.as_super().0.level()
    }
}

/// No compression: the payload is the value itself. Length and crc32c are verified as usual.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
#[derive(Default)]
pub struct Passthrough {
    _layout: OwnLayout,
}

#[pymethods]
impl Passthrough {
    #[new]
    fn new() -> PyClassInitializer<Self> {
        PyClassInitializer::from(PyCodec(Codec::Passthrough)).add_subclass(Self::default())
    }
}
