//! The codec with a dictionary.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::buffer::{Bytes, to_bytes};
use super::codec::{OwnLayout, PyCodec};
use super::errors::raise;
use crate::codec::{Codec, ZstdLevel};
use crate::kernel::dictionary::Dictionary;
use crate::kernel::dictionary_set::DictionarySet;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CpuZstdDict>()
}

/// zstd with a dictionary, either trained or raw content. Writes one frame that states its
/// content size and, for a trained dictionary, the dictionary's id.
///
/// Parameters
/// ----------
/// dict_bytes
///     The dictionary, for example from :func:`train_dictionary`. A process prepares it once,
///     however many codecs use it.
/// level
///     1 (fastest) to 22 (smallest).
///
/// Raises
/// ------
/// S4BackendError
///     The dictionary is empty or damaged.
/// ValueError
///     The level is out of range.
#[pyclass(module = "s4_codec", extends = PyCodec, frozen)]
#[derive(Default)]
pub struct CpuZstdDict {
    _layout: OwnLayout,
}

#[pymethods]
impl CpuZstdDict {
    #[new]
    #[pyo3(signature = (dict_bytes, level = 3))]
    fn new(
        py: Python<'_>,
        dict_bytes: Bytes<'_>,
        level: i64,
    ) -> PyResult<PyClassInitializer<Self>> {
        let level = ZstdLevel::try_new(level).map_err(raise)?;
        let bytes = dict_bytes.as_slice();
        let dictionary = py.detach(|| Dictionary::try_new(bytes)).map_err(raise)?;
        let dictionary = Some(Arc::new(DictionarySet::single(dictionary)));
        let codec = Codec::Zstd { level, dictionary };
        Ok(PyClassInitializer::from(PyCodec(codec)).add_subclass(Self::default()))
    }

    /// The compression level.
    #[getter]
    fn level(slf: PyRef<'_, Self>) -> Option<i32> {
        slf.as_super().0.level()
    }

    /// The dictionary's bytes.
    #[getter]
    fn dict_bytes<'py>(slf: PyRef<'py, Self>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = slf.as_super().0.dictionary().map_or(&[][..], |set| set.current().bytes());
        to_bytes(slf.py(), bytes)
    }

    /// The dictionary's id in S4: the first 16 hex digits of its SHA-256.
    #[getter]
    fn dict_id(slf: PyRef<'_, Self>) -> Option<String> {
        slf.as_super().0.dictionary().map(|set| set.current().id())
    }
}
