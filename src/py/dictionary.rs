//! The codec with a dictionary, and dictionary training.

use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::arrow::{ArrowData, is_arrow};
use super::buffer::{Bytes, to_bytes};
use super::codec::{OwnLayout, PyCodec};
use super::errors::raise;
use super::interruptible;
use crate::arrow::each_value;
use crate::background;
use crate::codec::{Codec, ZstdLevel};
use crate::kernel::dictionary::Dictionary;
use crate::kernel::training::Training;
use crate::pool::InterruptCheck;
use crate::process::lock;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<CpuZstdDict>()?;
    module.add_function(wrap_pyfunction!(train_dictionary, module)?)
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
        let codec = Codec::Zstd { level, dictionary: Some(dictionary) };
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
        let bytes = slf.as_super().0.dictionary().map_or(&[][..], |dict| dict.bytes());
        to_bytes(slf.py(), bytes)
    }

    /// The dictionary's id in S4: the first 16 hex digits of its SHA-256.
    #[getter]
    fn dict_id(slf: PyRef<'_, Self>) -> Option<String> {
        slf.as_super().0.dictionary().map(|dict| dict.id())
    }
}

/// An argument: a dictionary's bytes, or a codec with a dictionary.
pub struct DictionaryArgument(pub Arc<Dictionary>);

impl<'a, 'py> FromPyObject<'a, 'py> for DictionaryArgument {
    type Error = PyErr;

    fn extract(dictionary: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(codec) = dictionary.cast::<PyCodec>()
            && let Some(found) = codec.get().0.dictionary()
        {
            return Ok(Self(Arc::clone(found)));
        }
        let bytes: Bytes = dictionary.extract()?;
        Dictionary::try_new(bytes.as_slice()).map(Self).map_err(raise)
    }
}

/// Train a dictionary on samples of the data to compress.
///
/// Parameters
/// ----------
/// samples
///     An iterable of buffers, a Polars series, or binary or string Arrow data. Pass at least
///     7 samples, better some thousands, with about ``100 * size`` bytes in total. Nulls in a
///     series or Arrow data and empty samples are skipped. libzstd accepts just under 4 GiB;
///     of more, every second sample is used, or every fourth, and so on, spread evenly. Of a
///     sample longer than 256 MiB, only the first 256 MiB are used.
/// size
///     The maximum length of the dictionary in bytes; at least 256.
///
/// Returns
/// -------
/// bytes
///     A standard zstd dictionary, for :class:`CpuZstdDict` or any other zstd program.
///
/// Raises
/// ------
/// S4BackendError
///     There are too few samples, or they are too short.
/// TypeError
///     ``samples`` is of another type, such as an expression, text or a single buffer.
/// ValueError
///     ``size`` is less than 256.
#[pyfunction]
#[pyo3(signature = (samples, size = 112_640))]
fn train_dictionary<'py>(
    py: Python<'py>,
    samples: &Bound<'py, PyAny>,
    size: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let training = if is_arrow(samples)? {
        let ArrowData { input, .. } = samples.extract()?;
        let training = Arc::new(Mutex::new(Training::default()));
        let theirs = Arc::clone(&training);
        let add = move |value: &[u8]| lock(&theirs).add(value);
        interruptible(py, |interrupted| each_value(input, add, interrupted))?;
        std::mem::take(&mut *lock(&training))
    } else {
        collected(samples)?
    };
    let is_long = training.kept().1 > SHORT_BYTES;
    let train = move |training: &Training, _: InterruptCheck| training.train(size);
    let dictionary =
        interruptible(py, |interrupted| background::run(is_long, training, train, interrupted))?;
    to_bytes(py, &dictionary)
}

/// Training on this many bytes takes a few milliseconds.
const SHORT_BYTES: usize = 16 << 10;

/// Samples between two checks for signals. An iterator implemented in C may never run Python
/// code, which would check for them.
const SIGNAL_CHECK_INTERVAL: usize = 256;

/// The samples of an iterable of buffers.
fn collected(samples: &Bound<'_, PyAny>) -> PyResult<Training> {
    let py = samples.py();
    let refused = |given: String| {
        PyTypeError::new_err(format!(
            "samples must be an iterable of buffers such as a list of bytes, a Polars series, \
             or binary or string Arrow data, not {given}"
        ))
    };
    let class = |object: &Bound<'_, PyAny>| object.get_type().name().map(|name| name.to_string());
    let name = class(samples)?;
    // Text and buffers are iterable, but yield characters and integers, not samples.
    if samples.is_instance_of::<PyString>() || samples.extract::<Bytes>().is_ok() {
        return Err(refused(format!("one {name}; split it into the values to compress")));
    }
    let Ok(iterator) = samples.try_iter() else {
        let hint = if name == "Expr" { "; pass a series, such as df[\"body\"]" } else { "" };
        return Err(refused(name + hint));
    };
    let mut training = Training::default();
    for (number, sample) in iterator.enumerate() {
        let sample = sample?;
        let bytes: Bytes = sample.extract().map_err(|error: PyErr| {
            if !error.is_instance_of::<PyTypeError>(py) {
                return error;
            }
            let Ok(name) = class(&sample) else { return error };
            let hint = if name == "str" { "; encode text to bytes" } else { "" };
            let wrong = refused(format!("{name} (sample {number}){hint}"));
            wrong.set_cause(py, Some(error));
            wrong
        })?;
        training.add(bytes.as_slice()).map_err(raise)?;
        if number % SIGNAL_CHECK_INTERVAL == SIGNAL_CHECK_INTERVAL - 1 {
            py.check_signals()?;
        }
    }
    Ok(training)
}
