//! Frames, bodies and sidecars of the S4 wire format.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::brief::{detach_unless, is_brief_admission, is_brief_decompression};
use super::buffer::{Bytes, new_bytes, to_bytes};
use super::dictionary_set::DictionaryArgument;
use super::errors::raise;
use super::held::{Held, filled_bytes};
use super::list;
use super::nvcomp::{DeviceArgument, device_or_cpu};
use crate::background;
use crate::body::{Body, refuse_encrypted};
use crate::error::try_collect;
use crate::kernel::dictionary::dictionary_id;
use crate::manifest::MAX_ORIGINAL_SIZE;
use crate::object::decode_body;
use crate::pool::NO_INTERRUPT;
use crate::wire::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, Frame, Frames, Header, PADDING_MAGIC};
use crate::wire::index::{self, Index, SIDECAR_SUFFIX, Source};

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("FRAME_MAGIC", PyBytes::new(py, &FRAME_MAGIC))?;
    module.add("PADDING_MAGIC", PyBytes::new(py, &PADDING_MAGIC))?;
    module.add("FRAME_HEADER_BYTES", FRAME_HEADER_BYTES)?;
    module.add("SIDECAR_SUFFIX", SIDECAR_SUFFIX)?;
    module.add_function(wrap_pyfunction!(read_frame, module)?)?;
    module.add_function(wrap_pyfunction!(frame_iter, module)?)?;
    module.add_function(wrap_pyfunction!(decode, module)?)?;
    module.add_function(wrap_pyfunction!(decode_index, module)?)?;
    module.add_function(wrap_pyfunction!(bind_index, module)?)?;
    module.add_function(wrap_pyfunction!(build_index, module)?)?;
    module.add_function(wrap_pyfunction!(lookup_range, module)?)?;
    module.add_function(wrap_pyfunction!(dict_id, module)?)
}

pub fn header_dict<'py>(py: Python<'py>, header: &Header) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("codec", header.codec.name())?;
    dict.set_item("original_size", header.manifest.original_size)?;
    dict.set_item("compressed_size", header.compressed_size)?;
    dict.set_item("crc32c", header.manifest.crc32c)?;
    Ok(dict)
}

pub type PyFrame<'py> = (Bound<'py, PyDict>, Bound<'py, PyBytes>);

/// Parse the first frame of a body. Nothing is decoded.
///
/// Returns
/// -------
/// tuple of (header, payload, rest)
///     ``header`` has the keys ``codec`` (the codec's name), ``original_size``,
///     ``compressed_size`` and ``crc32c``; ``rest`` is the bytes after the frame.
///
/// Raises
/// ------
/// S4FrameError
///     The data does not start with a complete frame of a known codec.
#[pyfunction]
fn read_frame<'py>(
    py: Python<'py>,
    data: Bytes<'_>,
) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (frame, rest) = Frame::parse(data.as_slice()).map_err(raise)?;
    let header = header_dict(py, &frame.header)?;
    Ok((header, to_bytes(py, frame.payload)?, to_bytes(py, rest)?))
}

/// Parse all frames of a body, skipping padding. Nothing is decoded.
///
/// The list holds a copy of every payload; for large bodies use :func:`iter_frames`.
///
/// Returns
/// -------
/// list of tuple of (header, payload)
///     As :func:`read_frame` returns them.
///
/// Raises
/// ------
/// S4FrameError
///     The body has anything other than complete frames and padding, or is encrypted.
#[pyfunction]
fn frame_iter<'py>(py: Python<'py>, data: Bytes<'_>) -> PyResult<Bound<'py, PyList>> {
    refuse_encrypted(data.as_slice()).map_err(raise)?;
    // Parse all frames first, so that a damaged body costs no copies.
    let frames: Vec<(usize, Frame)> = try_collect(Frames::new(data.as_slice())).map_err(raise)?;
    let frame = |(_, frame): (usize, Frame<'_>)| {
        Ok((header_dict(py, &frame.header)?, to_bytes(py, frame.payload)?))
    };
    list(py, frames.into_iter().map(frame))
}

/// Decode a body of frames and verify each frame. Frames are decoded in parallel.
///
/// Parameters
/// ----------
/// data
///     Frames of any mix of codecs, with or without padding. Zero bytes decode to zero bytes.
/// dictionary
///     For frames of cpu-zstd-dict: the dictionary's bytes, a :class:`CpuZstdDict`, or a
///     ``DictionarySet``, in which each frame finds its own.
/// max_size
///     The maximum number of bytes to decode to, of all frames together; default 5 GiB.
/// device
///     The number of a GPU, or ``"auto"``, for frames of the nvcomp codecs. Without it they
///     decode on the CPU if they can. Only for data that you trust: a damaged chunk can make
///     CUDA unusable in this process.
///
/// Returns
/// -------
/// bytes
///     The original: the decoded frames, concatenated.
///
/// Raises
/// ------
/// S4FrameError
///     The body is not frames, has only padding, or is encrypted.
/// S4UnregisteredCodecError
///     A frame's codec is not available, or a frame needs a dictionary.
/// S4ManifestSizeExceedsLimitError, S4IoError, S4SizeMismatchError, S4CrcMismatchError
///     A frame is bad, as for :meth:`Codec.decompress`.
/// S4BackendError
///     A container is damaged, or needs a GPU, or the device is missing or failed.
#[pyfunction]
#[pyo3(signature = (data, dictionary = None, max_size = None, device = None))]
fn decode<'py>(
    py: Python<'py>,
    data: Bytes<'_>,
    dictionary: Option<DictionaryArgument>,
    max_size: Option<u64>,
    device: Option<DeviceArgument>,
) -> PyResult<Bound<'py, PyBytes>> {
    let device = device_or_cpu(py, device)?;
    let body_len = data.as_slice().len();
    let held = Held::new(data);
    // SAFETY: only `body` keeps the slice. It drops before `held`: locals drop in reverse
    // order, and it is the first field of the tuple.
    let data = unsafe { held.as_slice_unbound() };
    let limit = max_size.unwrap_or(MAX_ORIGINAL_SIZE);
    let dictionary = dictionary.map(|dictionary| dictionary.0);
    let plan = || Body::plan(data, dictionary.as_ref(), device, limit);
    let is_brief = is_brief_admission(device, body_len);
    let body = detach_unless(py, is_brief, plan).map_err(raise)?;
    let len = usize::try_from(body.len())?;
    if is_brief_decompression(device, body_len, body.len()) {
        return new_bytes(py, len, |_, dst| {
            decode_body(&body, device, dst, NO_INTERRUPT).map_err(raise)
        });
    }
    let is_long = background::is_long_decompression(device, body_len, 1);
    filled_bytes(py, len, is_long, (body, held), move |(body, _), dst, interrupted| {
        decode_body(body, device, dst, interrupted)
    })
}

/// Parse a sidecar of version 1, 2 or 3.
///
/// Returns
/// -------
/// dict
///     ``total_padded_size``, the length of the stored body; ``total_original_size``;
///     ``source_etag`` and ``source_compressed_size``, None if not bound; ``entries``, a list
///     of dicts with ``original_offset``, ``original_size``, ``compressed_offset`` and
///     ``compressed_size``; ``sse``, a dict with the encryption parameters, or None. Sizes and
///     offsets are in bytes.
///
/// Raises
/// ------
/// S4IndexError
///     The bytes are not a sidecar, or its entries overlap.
#[pyfunction]
fn decode_index<'py>(py: Python<'py>, data: Bytes<'_>) -> PyResult<Bound<'py, PyDict>> {
    let index = Index::parse(data.as_slice()).map_err(raise)?;
    let entries = PyList::empty(py);
    for entry in index.entries() {
        let item = PyDict::new(py);
        item.set_item("original_offset", entry.original_offset)?;
        item.set_item("original_size", entry.original_size)?;
        item.set_item("compressed_offset", entry.compressed_offset)?;
        item.set_item("compressed_size", entry.compressed_size)?;
        entries.append(item)?;
    }
    let sse = index.sse.map(|sse| {
        let item = PyDict::new(py);
        item.set_item("enc_chunk_size", sse.chunk_size)?;
        item.set_item("enc_chunk_count", sse.chunk_count)?;
        item.set_item("enc_key_id", sse.key_id)?;
        item.set_item("enc_salt", PyBytes::new(py, &sse.salt))?;
        item.set_item("enc_plaintext_len", sse.plaintext_len)?;
        item.set_item("enc_header_bytes", sse.header_bytes)?;
        Ok::<_, PyErr>(item)
    });
    let dict = PyDict::new(py);
    dict.set_item("total_padded_size", index.total_padded_size)?;
    dict.set_item("total_original_size", index.total_original_size())?;
    dict.set_item("source_etag", index.source.etag)?;
    dict.set_item("source_compressed_size", index.source.compressed_size)?;
    dict.set_item("entries", entries)?;
    dict.set_item("sse", sse.transpose()?)?;
    Ok(dict)
}

/// Bind a sidecar to a stored body by the body's length in bytes and its ETag in the store.
///
/// Returns
/// -------
/// bytes
///     The sidecar with both values replaced. A size of 0 and an ETag of None or ``""`` mean
///     not bound.
///
/// Raises
/// ------
/// S4IndexError
///     ``sidecar`` is not a valid sidecar, or the ETag is longer than 4096 bytes.
#[pyfunction]
#[pyo3(signature = (sidecar, source_compressed_size, source_etag = None))]
fn bind_index<'py>(
    py: Python<'py>,
    sidecar: Bytes<'_>,
    source_compressed_size: u64,
    source_etag: Option<&str>,
) -> PyResult<Bound<'py, PyBytes>> {
    let source = Source { compressed_size: Some(source_compressed_size), etag: source_etag };
    let bound = Index::parse(sidecar.as_slice()).and_then(|index| index.bind(source));
    to_bytes(py, &bound.map_err(raise)?)
}

/// Build the sidecar of a body: version 2, not bound.
///
/// Raises
/// ------
/// S4FrameError
///     The body has anything other than complete frames and padding.
/// S4IndexError
///     The body has more frames than a sidecar can list, or their sizes overflow 64 bits.
#[pyfunction]
fn build_index<'py>(py: Python<'py>, body: Bytes<'_>) -> PyResult<Bound<'py, PyBytes>> {
    let sidecar = index::build(body.as_slice()).map_err(raise)?;
    to_bytes(py, &sidecar)
}

/// Find the part of a stored body that holds the bytes ``start`` to ``end`` of the original.
///
/// The range is half-open. An ``end`` beyond the original is moved to its end.
///
/// Returns
/// -------
/// dict or None
///     ``first_frame`` and ``last_frame``, the numbers of the first and last frame;
///     ``byte_start`` and ``byte_end``, their half-open range in the stored body, which is
///     itself a body; ``slice_start`` and ``slice_end``, the half-open range to take of what
///     that body decodes to. None if the range holds no bytes, or an end of it is in a gap.
///
/// Raises
/// ------
/// S4IndexError
///     ``sidecar`` is not a valid sidecar.
#[pyfunction]
fn lookup_range<'py>(
    py: Python<'py>,
    sidecar: Bytes<'_>,
    start: u64,
    end: u64,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let index = Index::parse(sidecar.as_slice()).map_err(raise)?;
    let Some(found) = index.lookup(start, end) else { return Ok(None) };
    let dict = PyDict::new(py);
    dict.set_item("first_frame", found.first)?;
    dict.set_item("last_frame", found.last)?;
    dict.set_item("byte_start", found.stored.start)?;
    dict.set_item("byte_end", found.stored.end)?;
    dict.set_item("slice_start", found.slice.start)?;
    dict.set_item("slice_end", found.slice.end)?;
    Ok(Some(dict))
}

/// The S4 id of a dictionary: the first 16 hex digits of its SHA-256.
#[pyfunction]
fn dict_id(dict_bytes: Bytes<'_>) -> String {
    dictionary_id(dict_bytes.as_slice())
}
