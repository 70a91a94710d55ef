//! The Python module: arguments in, the core, results out. A test holds these docstrings
//! equal to the stub's.

mod arrow;
mod buffer;
mod codec;
mod errors;

use pyo3::prelude::*;

use crate::column::pool;
use errors::raise;

/// Compression codecs for values and columns, in the bytes of the S4 gateway.
#[pymodule(name = "s4_codec")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::register(module)?;
    codec::register(module)?;
    arrow::register(module)?;
    module.add_function(wrap_pyfunction!(crc32c, module)?)?;
    module.add_function(wrap_pyfunction!(gpu_available, module)?)?;
    module.add_function(wrap_pyfunction!(gpu_status, module)?)?;
    module.add_function(wrap_pyfunction!(num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    Ok(())
}

/// CRC-32C (Castagnoli) of a buffer.
///
/// Raises
/// ------
/// TypeError, BufferError
///     ``data`` has no buffer, or one that is not C-contiguous.
#[pyfunction]
fn crc32c(py: Python<'_>, data: buffer::Bytes<'_>) -> u32 {
    let data = data.as_slice();
    py.detach(|| crate::manifest::crc32c(data))
}

/// Whether the GPU codecs can run here; :func:`gpu_status` says why not.
#[pyfunction]
fn gpu_available() -> bool {
    false
}

/// Which GPU and library the GPU codecs would use, or why there is none.
#[pyfunction]
fn gpu_status() -> &'static str {
    "not available: this version of s4-codec has no GPU codecs"
}

/// Threads that column functions run on.
///
/// What :func:`set_num_threads` said, else the environment variable ``S4_NUM_THREADS``,
/// else the number of cores that this process may use.
///
/// Raises
/// ------
/// ValueError
///     ``S4_NUM_THREADS`` is not a whole number from 1 to 1024.
#[pyfunction]
fn num_threads() -> PyResult<usize> {
    pool::num_threads().map_err(raise)
}

/// Set the number of threads of column functions from now on.
///
/// Raises
/// ------
/// ValueError
///     ``n`` is not from 1 to 1024.
#[pyfunction]
fn set_num_threads(py: Python<'_>, n: i64) -> PyResult<()> {
    py.detach(|| pool::set_num_threads(n)).map_err(raise)
}
