//! The exception classes, and the only place that turns an error into an exception.

use pyo3::create_exception;
use pyo3::exceptions::{
    PyKeyboardInterrupt, PyMemoryError, PyOSError, PyRuntimeError, PyRuntimeWarning, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;

use crate::error::{Error, ErrorClass};

create_exception!(
    s4_codec,
    S4Error,
    PyValueError,
    "The data is invalid. Base class of the errors about data."
);
create_exception!(
    s4_codec,
    S4CrcMismatchError,
    S4Error,
    "The decoded bytes, or a payload itself, do not match the expected crc32c."
);
create_exception!(
    s4_codec,
    S4SizeMismatchError,
    S4Error,
    "The payload holds fewer bytes than ``original_size``."
);
create_exception!(
    s4_codec,
    S4CodecMismatchError,
    S4Error,
    "The payload was made by another codec than the one decoding it."
);
create_exception!(
    s4_codec,
    S4UnregisteredCodecError,
    S4Error,
    "The codec's name is unknown, or the codec is not available here."
);
create_exception!(
    s4_codec,
    S4ManifestSizeExceedsLimitError,
    S4Error,
    "A value exceeds the size limit. ``max_size`` raises the limit for decoding."
);
create_exception!(
    s4_codec,
    S4ManifestSizeMismatchError,
    S4Error,
    "A stored object is not as long as its metadata or sidecar says."
);
create_exception!(
    s4_codec,
    S4FrameError,
    S4Error,
    "The bytes are not S4F2 frames, or not a dictionary set."
);
create_exception!(s4_codec, S4IndexError, S4Error, "The bytes are not an S4IX sidecar.");
create_exception!(
    s4_codec,
    S4BackendError,
    PyRuntimeError,
    "A codec's library or device failed, or is missing."
);
create_exception!(
    s4_codec,
    S4IoError,
    PyOSError,
    "The payload does not decode: truncated, damaged, or longer than ``original_size``."
);

/// The attribute with the position of the bad row; None for errors that are not about a row.
const ROW: &str = "row";

/// Adds the exception classes to the module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    for base in
        [py.get_type::<S4Error>(), py.get_type::<S4BackendError>(), py.get_type::<S4IoError>()]
    {
        base.setattr(ROW, py.None())?;
    }
    module.add("S4Error", py.get_type::<S4Error>())?;
    module.add("S4CrcMismatchError", py.get_type::<S4CrcMismatchError>())?;
    module.add("S4SizeMismatchError", py.get_type::<S4SizeMismatchError>())?;
    module.add("S4CodecMismatchError", py.get_type::<S4CodecMismatchError>())?;
    module.add("S4UnregisteredCodecError", py.get_type::<S4UnregisteredCodecError>())?;
    module
        .add("S4ManifestSizeExceedsLimitError", py.get_type::<S4ManifestSizeExceedsLimitError>())?;
    module.add("S4ManifestSizeMismatchError", py.get_type::<S4ManifestSizeMismatchError>())?;
    module.add("S4FrameError", py.get_type::<S4FrameError>())?;
    module.add("S4IndexError", py.get_type::<S4IndexError>())?;
    module.add("S4BackendError", py.get_type::<S4BackendError>())?;
    module.add("S4IoError", py.get_type::<S4IoError>())
}

/// Converts `error` to its exception.
pub fn raise(error: Error) -> PyErr {
    exception(error.class(), error.to_string())
}

/// Converts `error` to its exception. For a bad row, the attribute `row` holds its position.
pub fn raise_row(py: Python<'_>, error: Error) -> PyErr {
    let (row, message) = match &error {
        Error::Row(bad) => {
            (bad.row, format!("row {} ({}): {}{}", bad.row, bad.context, bad.source, bad.hint()))
        }
        Error::Mistake { first, .. } => (first.row, error.to_string()),
        _ => return raise(error),
    };
    let exception = exception(error.class(), message);
    // Exceptions have a `__dict__`, so this fails only when memory runs out.
    let _ = exception.value(py).setattr(ROW, row);
    exception
}

fn exception(class: ErrorClass, message: String) -> PyErr {
    match class {
        ErrorClass::S4Error => S4Error::new_err(message),
        ErrorClass::CrcMismatch => S4CrcMismatchError::new_err(message),
        ErrorClass::SizeMismatch => S4SizeMismatchError::new_err(message),
        ErrorClass::UnregisteredCodec => S4UnregisteredCodecError::new_err(message),
        ErrorClass::ManifestSizeExceedsLimit => S4ManifestSizeExceedsLimitError::new_err(message),
        ErrorClass::ManifestSizeMismatch => S4ManifestSizeMismatchError::new_err(message),
        ErrorClass::CodecMismatch => S4CodecMismatchError::new_err(message),
        ErrorClass::Frame => S4FrameError::new_err(message),
        ErrorClass::Index => S4IndexError::new_err(message),
        ErrorClass::Backend => S4BackendError::new_err(message),
        ErrorClass::Io => S4IoError::new_err(message),
        ErrorClass::Value => PyValueError::new_err(message),
        ErrorClass::Type => PyTypeError::new_err(message),
        ErrorClass::Memory => PyMemoryError::new_err(message),
        ErrorClass::Warning => PyRuntimeWarning::new_err(message),
        ErrorClass::Interrupted => PyKeyboardInterrupt::new_err(message),
    }
}
