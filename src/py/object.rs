//! Encoding and decoding whole objects.

use std::ops::Range;
use std::sync::Arc;

use pyo3::exceptions::{PyNotImplementedError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping};

use super::buffer::{Bytes, new_bytes, to_bytes};
use super::dictionary_set::DictionaryArgument;
use super::errors::raise;
use super::held::{Held, filled_bytes};
use super::interruptible;
use super::nvcomp::{DeviceArgument, device_or_cpu};
use crate::background;
use crate::codec::{Codec, ZstdLevel};
use crate::manifest::{MAX_ORIGINAL_SIZE, crc32c};
use crate::object::{self, Metadata, Object, ReadOptions};
use crate::pool::InterruptCheck;
use crate::wire::index::{self, Index};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pick_chunk_size, module)?)?;
    module.add_function(wrap_pyfunction!(encode_s4_object, module)?)?;
    module.add_function(wrap_pyfunction!(decode_s4_object, module)?)?;
    module.add_function(wrap_pyfunction!(_metadata_frames, module)?)
}

/// The number of original bytes per frame for an object of ``content_length`` bytes.
///
/// Frames hold 1 MiB of objects up to 1 MiB, 4 MiB of objects up to 100 MiB, and 16 MiB of
/// larger ones. Returned in bytes.
#[pyfunction]
fn pick_chunk_size(content_length: u64) -> u64 {
    object::pick_chunk_size(content_length)
}

/// Encode a whole object as the S4 gateway stores it. Frames are compressed in parallel.
///
/// Parameters
/// ----------
/// data
///     The original: any contiguous buffer.
/// codec
///     ``"cpu-zstd"`` or ``"passthrough"``.
/// level
///     The zstd level. A level outside 1 to 22 is clamped to that range.
///
/// Returns
/// -------
/// dict
///     ``body``, the stored bytes; ``sidecar``, an unbound sidecar if the body has more than one
///     frame, else None; ``metadata``, a dict of strings.
///
/// Raises
/// ------
/// NotImplementedError
///     Only the S4 gateway writes objects of that codec.
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
                "expected codec cpu-zstd or passthrough, got {codec:?}; objects of other codecs \
                 are written through the S4 gateway"
            )));
        }
    };
    let data = Held::new(data);
    let original = data.as_slice();
    let body = if is_framed {
        let codec = Codec::Zstd { level: ZstdLevel::clamped(level), dictionary: None };
        let (is_long, held) =
            (background::is_long_compression(&codec, original.len(), 1), Arc::clone(&data));
        let encode = move |data: &Arc<Held>, interrupted: InterruptCheck| {
            object::encode(&codec, data.as_slice(), interrupted)
        };
        let frames =
            interruptible(py, |interrupted| background::run(is_long, held, encode, interrupted))?;
        new_bytes(py, frames.bytes(), |py, dst| {
            interruptible(py, |interrupted| frames.move_to(dst, interrupted))
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

/// An argument: a half-open range of offsets.
struct ByteRange(Range<u64>);

impl<'a, 'py> FromPyObject<'a, 'py> for ByteRange {
    type Error = PyErr;

    fn extract(range: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let refused = |error: PyErr| {
            let message = format!(
                "byte_range must be (start, end), two offsets in bytes from 0, not {range:?}"
            );
            if error.is_instance_of::<PyOverflowError>(range.py()) {
                PyValueError::new_err(message)
            } else {
                PyTypeError::new_err(message)
            }
        };
        let ends: Vec<Bound<'_, PyAny>> = range.extract().map_err(refused)?;
        let [start, end] = &ends[..] else { return Err(refused(PyTypeError::new_err(()))) };
        Ok(Self(start.extract().map_err(refused)?..end.extract().map_err(refused)?))
    }
}

fn parse_metadata(metadata: &Bound<'_, PyAny>) -> PyResult<Metadata> {
    let metadata = metadata.cast::<PyMapping>().map_err(|_| {
        PyTypeError::new_err(format!(
            "metadata must be a mapping of strings to strings or None, not {}",
            metadata.get_type().name().map_or("?".into(), |name| name.to_string())
        ))
    })?;
    let mut pairs = Vec::new();
    for pair in metadata.items()?.iter() {
        pairs.push(pair.extract::<(String, String)>().map_err(|_| {
            // The item itself may be long, and is not for a message.
            PyTypeError::new_err(
                "metadata must be a mapping of strings to strings, both valid Unicode",
            )
        })?);
    }
    let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Metadata::parse(pairs).map_err(raise)
}

/// Whether metadata says that the body is frames, and the lengths of the original and of the body.
#[pyfunction]
fn _metadata_frames(metadata: &Bound<'_, PyAny>) -> PyResult<(bool, Option<u64>, Option<u64>)> {
    Ok(parse_metadata(metadata)?.frames())
}

/// Decode an object as the S4 gateway stores it, and verify it.
///
/// The metadata tells how the body is stored. Without metadata (``None``), a body that starts
/// with the magic of a frame or padding is decoded as frames, and any other body is returned
/// unchanged. An object whose metadata has no ``s4-*`` key was stored by another program and is
/// returned unchanged, unless it looks like an S4 object: if it has a sidecar, or its body
/// starts like frames, it is an error.
///
/// Parameters
/// ----------
/// body
///     All stored bytes.
/// metadata
///     The object's user metadata: keys such as ``s4-codec``, in any case, with or without the
///     prefix ``x-amz-meta-``. None for a body without metadata, such as a file of the command
///     ``s4-codec``; missing frames at its end are then detected only with a sidecar.
/// sidecar
///     The object's sidecar, if it has one. Frames are located by the headers in ``body``; the
///     sidecar states the length of the body if the metadata does not, and confirms the headers.
/// byte_range
///     ``(start, end)``, a half-open range of the original in bytes. Only frames that overlap it
///     are decoded, so the checksum of the whole original is not verified. Where neither the
///     metadata nor the sidecar confirms the sizes that the frames state, those before the range
///     are decoded too.
/// dictionary
///     For objects of cpu-zstd-dict: the dictionary's bytes, a :class:`CpuZstdDict`, or a
///     ``DictionarySet``. The dictionary with the ``s4-dict-id`` of the metadata must be there.
/// max_size
///     The largest original to decode, in bytes; default 5 GiB.
/// device
///     The number of a GPU, or ``"auto"``, for payloads of the nvcomp codecs. Without it they
///     decode on the CPU if they can. Only for data that you trust, as for :func:`decode`.
///
/// Returns
/// -------
/// bytes
///     The original, or the range of it.
///
/// Raises
/// ------
/// S4FrameError
///     The metadata is unusable, or does not tell how an S4 object is stored; the object is
///     encrypted; or the body is not frames.
/// S4ManifestSizeMismatchError
///     The length of the body is not that of the metadata or, without one, of the sidecar.
/// S4SizeMismatchError, S4CrcMismatchError
///     The length or checksum of the original is not that of the metadata.
/// ValueError
///     The range is outside the object.
/// S4IndexError
///     ``sidecar`` is not a valid sidecar.
/// S4UnregisteredCodecError, S4ManifestSizeExceedsLimitError, S4IoError, S4BackendError
///     As for :func:`decode`.
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
    // SAFETY: only `object` keeps the slice. It drops before `held`: locals drop in reverse
    // order, and it is the first field of the tuple.
    let body = unsafe { held.as_slice_unbound() };
    let object = py.detach(|| Object::plan(body, metadata.as_ref(), sidecar, &options));
    let object = object.map_err(raise)?;
    let len = object.decoded_len().map_err(raise)?;
    filled_bytes(py, len, is_long, (object, held), |(object, _), dst, interrupted| {
        object.decode(dst, interrupted)
    })
}
