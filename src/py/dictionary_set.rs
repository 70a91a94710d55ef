//! Sets of dictionaries, and arguments that may be one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use super::buffer::{Bytes, to_bytes};
use super::codec::{_codec_options, CodecArgument, PyCodec};
use super::errors::raise;
use super::value::decompress;
use crate::codec::{Codec, ZstdLevel};
use crate::kernel::dictionary::Dictionary;
use crate::kernel::dictionary_set::DictionarySet;
use crate::manifest::Manifest;
use crate::wire::dictionary_set;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyDictionarySet>()?;
    module.add_function(wrap_pyfunction!(_parse_dictionary_set, module)?)?;
    module.add_function(wrap_pyfunction!(_decoder_options, module)?)
}

/// The base of ``s4_codec.DictionarySet``: the dictionaries, and the one at ``current``.
#[pyclass(module = "s4_codec.s4_codec", name = "_DictionarySet", subclass, frozen)]
pub struct PyDictionarySet(Arc<DictionarySet>);

impl PyDictionarySet {
    pub fn set(&self) -> &Arc<DictionarySet> {
        &self.0
    }

    fn tuple<'py, T: IntoPyObject<'py>>(
        &self,
        py: Python<'py>,
        item: impl Fn(&Dictionary) -> PyResult<T>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let items = self.0.members().iter().map(|dictionary| item(dictionary));
        PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)
    }
}

#[pymethods]
impl PyDictionarySet {
    #[new]
    fn new(dictionaries: Vec<Bound<'_, PyAny>>, current: usize) -> PyResult<Self> {
        let members = dictionaries.iter().map(|dictionary| {
            let bytes: Bytes = dictionary.extract()?;
            Dictionary::try_new(bytes.as_slice()).map_err(raise)
        });
        let set = DictionarySet::try_new(members.collect::<PyResult<_>>()?, current);
        Ok(Self(Arc::new(set.map_err(raise)?)))
    }

    /// The S4 id of each dictionary: the first 16 hex digits of its SHA-256.
    #[getter]
    fn ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.tuple(py, |dictionary| Ok(dictionary.id()))
    }

    /// The id of each dictionary in zstd frames.
    #[getter]
    fn zstd_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.tuple(py, |dictionary| Ok(dictionary.zstd_id()))
    }

    /// The S4 id of the dictionary that compresses.
    #[getter]
    fn current(&self) -> String {
        self.0.current().id()
    }

    #[getter]
    fn _current_position(&self) -> usize {
        self.0.current_position()
    }

    /// The bytes of each dictionary.
    #[getter]
    fn dictionaries<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.tuple(py, |dictionary| to_bytes(py, dictionary.bytes()))
    }

    /// Decompress one payload of any dictionary of the set, as :meth:`Codec.decompress` does.
    #[pyo3(signature = (data, original_size, crc32c, *, max_size=None))]
    fn decompress<'py>(
        &self,
        py: Python<'py>,
        data: Bytes<'_>,
        original_size: u64,
        crc32c: u32,
        max_size: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        decompress(py, &decoder(&self.0), data, Manifest { original_size, crc32c }, max_size)
    }

    /// The set as bytes, which :meth:`from_bytes` reads; ``docs/format.md`` specifies them.
    pub fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        to_bytes(py, &dictionary_set::to_bytes(&self.0).map_err(raise)?)
    }

    fn __len__(&self) -> usize {
        self.0.members().len()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}

/// The dictionaries of a stored set, and the position of the current one.
#[pyfunction]
fn _parse_dictionary_set<'py>(
    py: Python<'py>,
    data: Bytes<'_>,
) -> PyResult<(Bound<'py, PyTuple>, usize)> {
    let data = data.as_slice();
    let set = py.detach(|| dictionary_set::from_bytes(data)).map_err(raise)?;
    let set = PyDictionarySet(Arc::new(set));
    Ok((set.dictionaries(py)?, set._current_position()))
}

/// What decodes payloads as keyword arguments of the column plugins.
#[pyfunction]
fn _decoder_options<'py>(
    py: Python<'py>,
    decoder: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let Ok(set) = decoder.cast::<PyDictionarySet>() else {
        return _codec_options(py, decoder.extract()?);
    };
    let options = PyDict::new(py);
    options.set_item("dictionary_set", set.get().to_bytes(py)?)?;
    Ok(options)
}

/// The codec that decodes payloads with the dictionaries of a set.
fn decoder(set: &Arc<DictionarySet>) -> Codec {
    Codec::Zstd { level: ZstdLevel::DEFAULT, dictionary: Some(Arc::clone(set)) }
}

/// An argument: a dictionary's bytes, what `train` returns, a codec with a dictionary, or a set.
pub struct DictionaryArgument(pub Arc<DictionarySet>);

impl<'a, 'py> FromPyObject<'a, 'py> for DictionaryArgument {
    type Error = PyErr;

    fn extract(dictionary: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(set) = dictionary.cast::<PyDictionarySet>() {
            return Ok(Self(Arc::clone(set.get().set())));
        }
        if let Ok(codec) = dictionary.cast::<PyCodec>()
            && let Some(found) = codec.get().0.dictionary()
        {
            return Ok(Self(Arc::clone(found)));
        }
        // What `train` returns has its bytes as an attribute.
        let trained = dictionary.getattr_opt("dict_bytes")?;
        let source = trained.unwrap_or_else(|| dictionary.to_owned());
        let bytes: Bytes = source.extract()?;
        let dictionary = Dictionary::try_new(bytes.as_slice()).map_err(raise)?;
        Ok(Self(Arc::new(DictionarySet::single(dictionary))))
    }
}

/// An argument: what decodes payloads. A codec, its name, or a set of dictionaries.
pub struct DecoderArgument(pub Codec);

impl<'a, 'py> FromPyObject<'a, 'py> for DecoderArgument {
    type Error = PyErr;

    fn extract(found: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match found.cast::<PyDictionarySet>() {
            Ok(set) => Ok(Self(decoder(set.get().set()))),
            Err(_) => Ok(Self(found.extract::<CodecArgument>()?.0)),
        }
    }
}
