//! Python's part in interrupts: what SIGINT does, and releasing Python objects on other threads.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::background;
use crate::signal;

pub fn register() {
    background::set_release(release);
    signal::set_hook(raises_interrupt);
}

/// Releases memory that may belong to Python, unless the interpreter has ended.
fn release(release: &mut dyn FnMut()) {
    Python::try_attach(|_| release());
}

/// Whether SIGINT raises KeyboardInterrupt. A user's own handler may want the work to go on, and
/// only the main thread can run it, which waits for the work.
fn raises_interrupt() -> bool {
    let has_default_handler = |py: Python<'_>| -> PyResult<bool> {
        let signal = py.import(intern!(py, "signal"))?;
        let handler = signal.call_method1("getsignal", (signal.getattr("SIGINT")?,))?;
        let is_default = handler.is(&signal.getattr("default_int_handler")?);
        if is_default {
            put_interrupt_first(py)?;
        }
        Ok(is_default)
    };
    Python::try_attach(|py| {
        has_default_handler(py).unwrap_or_else(|error| {
            error.write_unraisable(py, None);
            true
        })
    })
    .unwrap_or(true)
}

/// Polars raises every plugin error as ComputeError, even if an interrupt is pending. So the
/// next ComputeError checks for signals in its constructor.
fn put_interrupt_first(py: Python<'_>) -> PyResult<()> {
    if let Some(class) = compute_error(py)?
        && !class.getattr("__dict__")?.contains("__init__")?
    {
        class.setattr("__init__", wrap_pyfunction!(_check_signals, py)?)?;
    }
    Ok(())
}

/// Replaces the class's `__init__` for one call.
#[pyfunction]
#[pyo3(signature = (*_args, **_kwargs))]
fn _check_signals(
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

/// The class ComputeError, if Polars is imported.
fn compute_error(py: Python<'_>) -> PyResult<Option<Bound<'_, PyType>>> {
    let modules = py.import("sys")?.getattr("modules")?;
    let polars = modules.call_method1("get", ("polars.exceptions",))?;
    if polars.is_none() {
        return Ok(None);
    }
    Ok(Some(polars.getattr("ComputeError")?.cast_into()?))
}
