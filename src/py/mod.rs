//! The Python module: converts arguments, calls the core, converts results.
//!
//! The stub `s4_codec.pyi` repeats the docstrings; a test compares the two.

mod arrow;
mod brief;
mod buffer;
mod codec;
mod cpu;
mod device_array;
mod device_input;
mod dictionary;
mod dictionary_set;
mod dlpack;
mod errors;
mod gpu;
mod held;
mod iter_frames;
mod nvcomp;
mod object;
mod producer;
mod signals;
mod training;
mod value;
mod walk;
mod wire;

use std::sync::Mutex;

use pyo3::exceptions::{PyImportError, PyKeyboardInterrupt};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::{Error, Result, catch_panic};
use crate::pool::{self, InterruptCheck};
use errors::{raise, raise_row};

/// Compression codecs for values and columns, in the S4 wire format.
// On a free-threaded Python, importing this switches the GIL on: nothing was tested without it.
#[pymodule(name = "s4_codec", gil_used = true)]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    refuse_subinterpreter()?;
    // The standard library gives each thread a handle at first use, in memory that it allocates
    // without a way to fail. The thread that imports gets its own now.
    let _ = std::thread::current();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)?;
    signals::register();
    codec::register(module)?;
    value::register(module)?;
    cpu::register(module)?;
    dictionary::register(module)?;
    dictionary_set::register(module)?;
    training::register(module)?;
    nvcomp::register(module)?;
    gpu::register(module)?;
    arrow::register(module)?;
    wire::register(module)?;
    iter_frames::register(module)?;
    walk::register(module)?;
    object::register(module)?;
    module.add_function(wrap_pyfunction!(crc32c, module)?)?;
    module.add_function(wrap_pyfunction!(num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    Ok(())
}

/// The classes and exceptions are shared by the whole process, and belong to one interpreter.
fn refuse_subinterpreter() -> PyResult<()> {
    // SAFETY: called while a module is imported, so that this thread has an interpreter.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match id {
        0 => Ok(()),
        _ => Err(PyImportError::new_err(format!(
            "s4_codec must be imported in the main interpreter, found subinterpreter {id}; use \
             threads or processes instead"
        ))),
    }
}

/// CRC-32C (Castagnoli) of a buffer.
///
/// Raises
/// ------
/// TypeError, BufferError
///     ``data`` is not a buffer, or not C-contiguous.
#[pyfunction]
fn crc32c(py: Python<'_>, data: buffer::Bytes<'_>) -> u32 {
    let data = data.as_slice();
    let is_brief = brief::is_brief_pass(data.len());
    brief::detach_unless(py, is_brief, || crate::manifest::crc32c(data))
}

/// The number of threads that column functions use.
///
/// This is the number set with :func:`set_num_threads`, else that of the environment variable
/// ``S4_NUM_THREADS``, else the number of cores that this process may use.
///
/// Raises
/// ------
/// ValueError
///     ``S4_NUM_THREADS`` is not an integer from 1 to 1024.
#[pyfunction]
fn num_threads() -> PyResult<usize> {
    pool::num_threads().map_err(raise)
}

/// Set the number of threads that column functions use.
///
/// Raises
/// ------
/// ValueError
///     ``n`` is outside the range 1 to 1024.
#[pyfunction]
fn set_num_threads(py: Python<'_>, n: i64) -> PyResult<()> {
    py.detach(|| pool::set_num_threads(n)).map_err(raise)
}

/// A list of `items`, appended one by one: where memory is short, that is an error, and to make a
/// list at once a panic of pyo3's.
fn list<'py, T: IntoPyObject<'py>>(
    py: Python<'py>,
    items: impl Iterator<Item = PyResult<T>>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for item in items {
        list.append(item?)?;
    }
    Ok(list)
}

/// Runs `work` with the GIL released and checks for signals meanwhile. If a signal handler raises
/// an exception, the work ends and the call raises that exception.
fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(InterruptCheck) -> Result<T> + Send,
) -> PyResult<T> {
    let signal: Mutex<Option<PyErr>> = Mutex::new(None);
    let interrupted = || {
        if signal.lock().is_ok_and(|signal| signal.is_some()) {
            return true;
        }
        let error = Python::try_attach(|py| py.check_signals().err()).flatten();
        let found = error.is_some();
        if let Ok(mut signal) = signal.lock()
            && found
        {
            *signal = error;
        }
        found
    };
    let done = py.detach(|| catch_panic(|| work(&interrupted)));
    done.map_err(|error| match error {
        Error::Interrupted => signal
            .into_inner()
            .ok()
            .flatten()
            .unwrap_or_else(|| PyKeyboardInterrupt::new_err("interrupted")),
        other => raise_row(py, other),
    })
}
