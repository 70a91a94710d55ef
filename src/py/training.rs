//! Dictionary training, and what a dictionary gains on samples that it was not trained on.

use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::arrow::{ArrowData, is_arrow};
use super::buffer::{Bytes, to_bytes};
use super::dictionary_set::PyDictionarySet;
use super::errors::raise;
use super::interruptible;
use crate::arrow::each_value;
use crate::background;
use crate::codec::{Codec, ZstdLevel};
use crate::column::{self, Views};
use crate::error::{Error, Result, collect};
use crate::kernel::dictionary::Dictionary;
use crate::kernel::dictionary_set::DictionarySet;
use crate::kernel::training::{SplitSamples, Training};
use crate::pool::InterruptCheck;
use crate::process::lock;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(train_dictionary, module)?)?;
    module.add_function(wrap_pyfunction!(_train, module)?)
}

/// Training on this many bytes takes a few milliseconds.
const SHORT_BYTES: usize = 16 << 10;

/// Samples between two checks for signals. An iterator implemented in C may never run Python
/// code, which would check for them.
const SIGNAL_CHECK_INTERVAL: usize = 256;

/// Train a dictionary on samples of the data to compress.
///
/// Parameters
/// ----------
/// samples
///     An iterable of buffers, a Polars series, or binary or string Arrow data; series and Arrow
///     data may also be lists of numbers. Pass at least
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
    let training = gathered(samples, Training::default(), Training::add)?;
    let is_long = training.kept().1 > SHORT_BYTES;
    let train = move |training: &Training, _: InterruptCheck| training.train(size);
    let dictionary =
        interruptible(py, |interrupted| background::run(is_long, training, train, interrupted))?;
    to_bytes(py, &dictionary)
}

/// Trains a dictionary on four fifths of the samples and measures it on the others, beside no
/// dictionary and the current one of a set. Returns the dictionary, and the fields of
/// ``TrainedDictionary`` that were measured.
#[pyfunction]
fn _train<'py>(
    py: Python<'py>,
    samples: &Bound<'py, PyAny>,
    size: usize,
    seed: u64,
    set: Option<&Bound<'py, PyDictionarySet>>,
) -> PyResult<Bound<'py, PyDict>> {
    let split = gathered(samples, SplitSamples::new(seed), SplitSamples::add)?;
    let (count, bytes) = split.training.kept();
    let (held_out, held_out_bytes) = split.held_out.kept();
    let set = set.map(|set| Arc::clone(set.get().set()));
    let work = move |split: &SplitSamples, interrupted: InterruptCheck| {
        let trained = split.train(size)?;
        let stored = |dictionary| stored_bytes(dictionary, &split.held_out, interrupted);
        let with = DictionarySet::single(Dictionary::try_new(&trained)?);
        let with = stored(Some(Arc::new(with)))?;
        let current = set.map(|set| stored(Some(set))).transpose()?;
        Ok((trained, with, stored(None)?, current))
    };
    let is_long = bytes > SHORT_BYTES;
    let (trained, with, without, current) =
        interruptible(py, |interrupted| background::run(is_long, split, work, interrupted))?;
    let report = PyDict::new(py);
    report.set_item("dict_bytes", to_bytes(py, &trained)?)?;
    report.set_item("samples", count)?;
    report.set_item("sample_bytes", bytes)?;
    report.set_item("held_out", held_out)?;
    report.set_item("held_out_bytes", held_out_bytes)?;
    report.set_item("stored_bytes", with)?;
    report.set_item("plain_bytes", without)?;
    report.set_item("current_bytes", current)?;
    Ok(report)
}

/// The bytes of all payloads that zstd makes of the samples at its default level.
fn stored_bytes(
    dictionary: Option<Arc<DictionarySet>>,
    samples: &Training,
    interrupted: InterruptCheck,
) -> Result<u64> {
    let codec = Codec::Zstd { level: ZstdLevel::DEFAULT, dictionary };
    let rows = collect(samples.samples())?;
    let column = column::compress::<Views, _>(&codec, &[&rows[..]], interrupted)?;
    Ok((0..rows.len()).map(|row| column.payload.get(row).len() as u64).sum())
}

/// Adds all samples to `gathered`.
fn gathered<T: Send + 'static>(
    samples: &Bound<'_, PyAny>,
    mut gathered: T,
    add: fn(&mut T, &[u8]) -> Result<()>,
) -> PyResult<T> {
    if !is_arrow(samples)? {
        each_buffer(samples, |sample| add(&mut gathered, sample))?;
        return Ok(gathered);
    }
    let ArrowData { input, .. } = samples.extract()?;
    let shared = Arc::new(Mutex::new(Some(gathered)));
    let theirs = Arc::clone(&shared);
    let take = move |sample: &[u8]| match &mut *lock(&theirs) {
        Some(gathered) => add(gathered, sample),
        // The call was interrupted and has gone.
        None => Err(Error::Interrupted),
    };
    interruptible(samples.py(), |interrupted| each_value(input, take, interrupted))?;
    let gathered = lock(&shared).take();
    gathered.ok_or_else(|| raise(Error::Interrupted))
}

/// Hands every sample of an iterable of buffers to `take`.
fn each_buffer(
    samples: &Bound<'_, PyAny>,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> PyResult<()> {
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
        take(bytes.as_slice()).map_err(raise)?;
        if number % SIGNAL_CHECK_INTERVAL == SIGNAL_CHECK_INTERVAL - 1 {
            py.check_signals()?;
        }
    }
    Ok(())
}
