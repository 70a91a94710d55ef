//! Whole stored objects.

use std::ops::Range;
use std::sync::Arc;

use pyo3::exceptions::{PyNotImplementedError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping};

use super::buffer::{Bytes, new_bytes, to_bytes};
use super::dictionary::DictionaryArgument;
use super::errors::raise;
use super::held::{Held, filled_bytes};
use super::interruptible;
use super::nvcomp::{DeviceArgument, device_or_cpu};
use crate::background;
use crate::codec::{Codec, ZstdLevel};
use crate::manifest::{MAX_ORIGINAL_SIZE, crc32c};
use crate::object::{self, Metadata, Object, ReadOptions};
use crate::pool::Interrupted;
use crate::wire::index::{self, Index};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pick_chunk_size, module)?)?;
    module.add_function(wrap_pyfunction!(encode_s4_object, module)?)?;
    module.add_function(wrap_pyfunction!(decode_s4_object, module)?)
}

/// Bytes of the original per frame that objects of this length are written with.
///
/// Up to 1 MiB it is 1 MiB, up to 100 MiB 4 MiB, above 16 MiB.
#[pyfunction]
fn pick_chunk_size(content_length: u64) -> u64 {
    object::pick_chunk_size(content_length)
}

/// Encode a whole object as the S4 gateway stores it; frames are coded in parallel.
///
/// Parameters
/// ----------
/// data
///     The original: any contiguous buffer.
/// codec
///     ``"cpu-zstd"`` or ``"passthrough"``.
/// level
///     The zstd level; out of range, the nearest one.
///
/// Returns
/// -------
/// dict
///     ``body``; ``sidecar``, for a body of more than one frame, not yet bound, else None;
///     ``metadata``, a dict of strings.
///
/// Raises
/// ------
/// NotImplementedError
///     Objects of that codec are written through the S4 gateway.
#[pyfunction]
#[pyo3(signature = (data, codec = "cpu-zstd", level = 3))]
fn encode_s4_object<'py>(
    py: Python<'py>,
    data: Bytes<'_>,
    codec: &str,
    level: i64,
) -> PyResult<Bound<'py, PyDict>> {
    let is_framed = match codec {
        "cpu-zstd" => true,
        "passthrough" => false,
        _ => {
            return Err(PyNotImplementedError::new_err(format!(
                "objects of codec {codec:?} are written through the S4 gateway; \
                 here are cpu-zstd and passthrough"
            )));
        }
    };
    let data = Held::new(data);
    let original = data.as_slice();
    let body = if is_framed {
        let codec = Codec::Zstd { level: ZstdLevel::clamped(level), dictionary: None };
        let (is_long, held) =
            (background::is_long_compression(&codec, original.len(), 1), Arc::clone(&data));
        let encode = move |data: &Arc<Held>, interrupted: Interrupted| {
            object::encode(&codec, data.as_slice(), interrupted)
        };
        let frames =
            interruptible(py, |interrupted| background::run(is_long, held, encode, interrupted))?;
        new_bytes(py, frames.bytes(), |py, room| {
            interruptible(py, |interrupted| frames.move_to(room, interrupted))
        })?
    } else {
        to_bytes(py, original)?
    };
    let (sidecar, crc) = if is_framed {
        let stored = body.as_bytes();
        let (frames, crc) = object::summary(stored).map_err(raise)?;
        let sidecar = (frames > 1).then(|| index::build(stored)).transpose().map_err(raise)?;
        (sidecar, crc)
    } else {
        (None, py.detach(|| crc32c(original)))
    };
    let metadata = PyDict::new(py);
    metadata.set_item("s4-codec", codec)?;
    metadata.set_item("s4-original-size", original.len().to_string())?;
    metadata.set_item("s4-compressed-size", body.as_bytes().len().to_string())?;
    metadata.set_item("s4-crc32c", crc.to_string())?;
    if is_framed {
        metadata.set_item("s4-framed", "true")?;
    }
    let dict = PyDict::new(py);
    dict.set_item("body", body)?;
    dict.set_item("sidecar", sidecar.map(|bytes| to_bytes(py, &bytes)).transpose()?)?;
    dict.set_item("metadata", metadata)?;
    Ok(dict)
}

/// An argument: a pair of offsets.
struct ByteRange(Range<u64>);

impl<'a, 'py> FromPyObject<'a, 'py> for ByteRange {
    type Error = PyErr;

    fn extract(range: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let wanted = "byte_range must be (start, end), two offsets from 0 on";
        let outside = |error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(range.py()) {
                PyValueError::new_err(format!("{wanted}, not {}", &*range))
            } else {
                PyTypeError::new_err(format!("{wanted}, not {}", &*range))
            }
        };
        let ends: Vec<Bound<'_, PyAny>> = range.extract().map_err(outside)?;
        let [start, end] = &ends[..] else { return Err(outside(PyTypeError::new_err(()))) };
        Ok(Self(start.extract().map_err(outside)?..end.extract().map_err(outside)?))
    }
}

fn parse_metadata(metadata: &Bound<'_, PyAny>) -> PyResult<Metadata> {
    let metadata = metadata.cast::<PyMapping>().map_err(|_| {
        PyTypeError::new_err(format!(
            "metadata must be a mapping of strings to strings, or None; not {}",
            metadata.get_type()
        ))
    })?;
    let mut pairs = Vec::new();
    for pair in metadata.items()?.iter() {
        pairs.push(pair.extract::<(String, String)>().map_err(|_| {
            PyTypeError::new_err("metadata must be a mapping of strings to strings")
        })?);
    }
    let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Metadata::parse(pairs).map_err(raise)
}

/// Decode an object as the S4 gateway stores it, and verify it.
///
/// Metadata says how the body is stored. Without (``None``) the body says it: what starts with
/// the magic of frames or paddings is frames, anything else is returned as it is. Metadata
/// without any ``s4-*`` key is that of another writer's object, which is returned as it is,
/// unless it looks like one of S4's: with a sidecar, or a body that starts as frames.
///
/// Parameters
/// ----------
/// body
///     The stored bytes, all of them.
/// metadata
///     The object's user metadata: keys such as ``s4-codec``, in any case, with the prefix
///     ``x-amz-meta-`` or without. None for what is kept without any, such as the files of the
///     command ``s4-codec``; nothing then tells frames that are missing at the end.
/// sidecar
///     The object's sidecar, if there is one. The frames of ``body`` say where they are, but
///     where no metadata says how long the body is, the sidecar does.
/// byte_range
///     ``(start, end)``, half-open, of the original. Only frames that hold some of it are
///     decoded, and the checksum of the whole cannot be verified.
/// dictionary
///     For objects of cpu-zstd-dict: its bytes, or a :class:`CpuZstdDict`. It has to be the one
///     that ``s4-dict-id`` names.
/// max_size
///     The longest original to decode, in bytes; default 5 GiB.
/// device
///     The number of a GPU, or ``"auto"``, for payloads of the nvcomp codecs; they decode on
///     the CPU without, as far as that can be. As for :func:`decode`, only for bytes that you
///     trust.
///
/// Returns
/// -------
/// bytes
///
/// Raises
/// ------
/// S4FrameError
///     The metadata is unusable, or says nothing of an object that looks like one of S4's; the
///     object is encrypted, or the body no frames.
/// S4ManifestSizeMismatchError
///     The body is not as long as the metadata, or else the sidecar, says.
/// S4SizeMismatchError, S4CrcMismatchError
///     The original is not what the metadata says.
/// ValueError
///     The range is outside of the object.
/// S4IndexError
///     ``sidecar`` is not a valid sidecar.
/// S4UnregisteredCodecError, S4ManifestSizeExceedsLimitError, S4IoError, S4BackendError
///     As :func:`decode`.
#[pyfunction]
#[pyo3(signature = (
    body,
    metadata = None,
    sidecar = None,
    byte_range = None,
    dictionary = None,
    max_size = None,
    device = None,
))]
#[allow(clippy::too_many_arguments, reason = "Python's keywords")]
fn decode_s4_object<'py>(
    py: Python<'py>,
    body: Bytes<'_>,
    metadata: Option<&Bound<'py, PyAny>>,
    sidecar: Option<Bytes<'_>>,
    byte_range: Option<ByteRange>,
    dictionary: Option<DictionaryArgument>,
    max_size: Option<u64>,
    device: Option<DeviceArgument>,
) -> PyResult<Bound<'py, PyBytes>> {
    let metadata = metadata.map(parse_metadata).transpose()?;
    let sidecar = sidecar.as_ref().map(|sidecar| Index::parse(sidecar.as_slice()));
    let sidecar = sidecar.transpose().map_err(raise)?;
    let dictionary = dictionary.map(|dictionary| dictionary.0);
    let options = ReadOptions {
        dictionary: dictionary.as_ref(),
        range: byte_range.map(|range| range.0),
        limit: max_size.unwrap_or(MAX_ORIGINAL_SIZE),
        device: device_or_cpu(py, device)?,
    };
    let is_long = background::is_long_decompression(options.device, body.as_slice().len(), 1);
    let held = Held::new(body);
    // SAFETY: what is made of it is dropped together with `held`, before it.
    let body = unsafe { held.as_slice_unbound() };
    let object = py.detach(|| Object::plan(body, metadata.as_ref(), sidecar, &options));
    let object = object.map_err(raise)?;
    let len = object.decoded_len().map_err(raise)?;
    filled_bytes(py, len, is_long, (object, held), |(object, _), room, interrupted| {
        object.decode(room, interrupted)
    })
}
