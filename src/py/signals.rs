//! What an interrupt means to Python, for threads that Python knows nothing of.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::background;
use crate::signal;

pub fn register() {
    background::set_release(release);
    signal::set_hook(stops);
}

/// Releases what may belong to Python, if there is a Python still.
fn release(release: &mut dyn FnMut()) {
    Python::try_attach(|_| release());
}

/// Whether SIGINT is to raise KeyboardInterrupt: a handler of the user's own may well want the
/// work to go on, and only the main thread, which waits for the work, can run it.
fn stops() -> bool {
    let ask = |py: Python<'_>| -> PyResult<bool> {
        let signal = py.import(intern!(py, "signal"))?;
        let handler = signal.call_method1("getsignal", (signal.getattr("SIGINT")?,))?;
        let stops = handler.is(&signal.getattr("default_int_handler")?);
        if stops {
            put_interrupt_first(py)?;
        }
        Ok(stops)
    };
    Python::try_attach(|py| {
        ask(py).unwrap_or_else(|error| {
            error.write_unraisable(py, None);
            true
        })
    })
    .unwrap_or(true)
}

/// Polars knows one class for the errors of plugins, and raises it although an interrupt is
/// pending. So the first of these errors that comes looks for signals as it is made.
fn put_interrupt_first(py: Python<'_>) -> PyResult<()> {
    if let Some(class) = compute_error(py)?
        && !class.getattr("__dict__")?.contains("__init__")?
    {
        class.setattr("__init__", wrap_pyfunction!(_look_for_signals, py)?)?;
    }
    Ok(())
}

/// Stands in for the class's `__init__` once.
#[pyfunction]
#[pyo3(signature = (*_args, **_kwargs))]
fn _look_for_signals(
    py: Python<'_>,
    _args: &Bound<'_, PyTuple>,
    _kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    if let Some(class) = compute_error(py)? {
        class.delattr("__init__").or_else(|error| {
            match error.is_instance_of::<PyAttributeError>(py) {
                true => Ok(()),
                false => Err(error),
            }
        })?;
    }
    py.check_signals()
}

/// The class, where Polars is in use.
fn compute_error(py: Python<'_>) -> PyResult<Option<Bound<'_, PyType>>> {
    let modules = py.import("sys")?.getattr("modules")?;
    let polars = modules.call_method1("get", ("polars.exceptions",))?;
    if polars.is_none() {
        return Ok(None);
    }
    Ok(Some(polars.getattr("ComputeError")?.cast_into()?))
}
