//! Checks of the Python object that exports Arrow data, before it exports.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::polars::OBJECTS;

/// Refuses Polars columns of Python objects. Polars exports the objects' addresses as fixed-size
/// binary data (the oldest supported Polars aborts the process), so this asks for the types
/// first.
pub fn refuse_objects(data: &Bound<'_, PyAny>) -> PyResult<()> {
    let modules = data.py().import("sys")?.getattr("modules")?;
    let Ok(polars) = modules.get_item("polars") else { return Ok(()) };
    let data = &unwrapped(data)?;
    // Another module named polars, without these classes, has no such columns.
    let is = |name: &str| -> PyResult<bool> {
        polars.getattr_opt(name)?.map_or(Ok(false), |class| data.is_instance(&class))
    };
    let columns: Vec<(String, Bound<'_, PyAny>)> = if is("Series")? {
        vec![(data.getattr("name")?.extract()?, data.getattr("dtype")?)]
    } else if is("DataFrame")? {
        let dtypes = data.getattr("dtypes")?.cast_into::<PyList>()?;
        data.getattr("columns")?.extract::<Vec<String>>()?.into_iter().zip(dtypes).collect()
    } else {
        return Ok(());
    };
    let object = polars.getattr("Object")?;
    for (name, dtype) in columns {
        if holds(&dtype, &object)? {
            let dtype = dtype.str()?;
            return Err(PyTypeError::new_err(format!(
                "expected binary or string data; column {name:?} is {dtype}{OBJECTS}"
            )));
        }
    }
    Ok(())
}

/// The object that a narwhals object wraps; it exports the data.
fn unwrapped<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let module = data.get_type().module()?;
    if module.to_cow()?.split('.').next() == Some("narwhals") && data.hasattr("to_native")? {
        return data.call_method0("to_native");
    }
    Ok(data.clone())
}

/// Whether a Polars type is `object`, or a List, Array, Struct or extension that contains it.
fn holds(dtype: &Bound<'_, PyAny>, object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if dtype.eq(object)? {
        return Ok(true);
    }
    if let Some(inner) = dtype.getattr_opt("inner")? {
        return holds(&inner, object);
    }
    if let Some(storage) = dtype.getattr_opt("ext_storage")? {
        return holds(&storage.call0()?, object);
    }
    let Some(fields) = dtype.getattr_opt("fields")? else { return Ok(false) };
    for field in fields.try_iter()? {
        if holds(&field?.getattr("dtype")?, object)? {
            return Ok(true);
        }
    }
    Ok(false)
}
