//! The base of the codec classes. It wraps a [`Codec`] and has all methods.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyTuple};

use super::buffer::{Bytes, WritableBytes};
use super::cpu::{CpuGzip, CpuZstd, Passthrough};
use super::dictionary::CpuZstdDict;
use super::errors::raise;
use super::nvcomp::{NvcompBitcomp, NvcompGDeflate, NvcompZstd};
use super::value::{compress, decompress, decompress_into};
use crate::codec::{Codec, Fallback};
use crate::gpu::Device;
use crate::kernel::fcg1::{Algorithm, DataType};
use crate::manifest::Manifest;
use crate::wire::codec_id::CodecId;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCodec>()?;
    module.add_function(wrap_pyfunction!(_codec_options, module)?)
}

/// A codec and its settings. The base of the codec classes.
///
/// Codecs are values: immutable, hashable, equal by class and settings, and picklable.
/// Threads may share one. Methods release the GIL for all but a few kilobytes; do not change the
/// input buffer during a call. An interrupt (Ctrl-C) ends a call within half a second, except
/// :meth:`decompress_into`. Work that then continues in the background holds the input buffer
/// until it ends.
#[pyclass(name = "Codec", module = "s4_codec", subclass, frozen)]
pub struct PyCodec(pub(super) Codec);

/// The field that every codec class adds to its base. Python allows assigning `__class__`
/// between classes of the same layout, which would turn an object into another codec. A field
/// of its own gives each class its own layout.
#[derive(Default)]
pub struct OwnLayout {
    _field: u8,
}

#[pymethods]
impl PyCodec {
    /// Create the codec with this name, at ``level`` or its default level.
    ///
    /// ``"zstd"`` and ``"gzip"`` are short for ``"cpu-zstd"`` and ``"cpu-gzip"``.
    ///
    /// Raises
    /// ------
    /// S4UnregisteredCodecError
    ///     No available codec has this name.
    /// ValueError
    ///     The level is out of range, or the codec has no level.
    #[staticmethod]
    #[pyo3(signature = (name, level = None))]
    fn from_name(py: Python<'_>, name: &str, level: Option<i64>) -> PyResult<Py<PyAny>> {
        to_object(py, Codec::from_name(name, level).map_err(raise)?)
    }

    /// The codec's name in the S4 wire format, such as ``"cpu-zstd"``.
    #[getter]
    fn name(&self) -> &'static str {
        self.0.name()
    }

    /// The codec's id in the S4 wire format.
    #[getter]
    fn id(&self) -> u32 {
        self.0.id().get()
    }

    /// Compress one value.
    ///
    /// Parameters
    /// ----------
    /// data
    ///     Any object with a C-contiguous buffer of any item type: bytes, bytearray,
    ///     memoryview, array, NumPy array, mmap.
    ///
    /// Returns
    /// -------
    /// tuple of (payload, original_size, crc32c)
    ///     The compressed bytes; the length of ``data`` in bytes; the CRC-32C of ``data``.
    ///     Decompressing needs all three.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     ``data`` is not a buffer, or is a buffer of Python objects.
    /// BufferError
    ///     The buffer is not C-contiguous.
    /// S4ManifestSizeExceedsLimitError
    ///     ``data`` is longer than 5 GiB.
    /// S4BackendError
    ///     The codec needs a GPU, which is missing or failed.
    fn compress<'py>(
        &self,
        py: Python<'py>,
        data: Bytes<'_>,
    ) -> PyResult<(Bound<'py, PyBytes>, u64, u32)> {
        let (payload, manifest) = compress(py, &self.0, data, Codec::compress)?;
        Ok((payload, manifest.original_size, manifest.crc32c))
    }

    /// Compress one value to a self-describing frame.
    ///
    /// Parameters
    /// ----------
    /// data
    ///     As for :meth:`compress`.
    /// fallback
    ///     Store data that the codec does not shrink in a frame of passthrough, so that no frame
    ///     is longer than its data by more than 28 bytes. False: every frame is this codec's.
    ///
    /// Returns
    /// -------
    /// bytes
    ///     One S4F2 frame, a 28-byte header and the payload; :func:`s4_codec.decode` decodes it.
    ///
    /// Raises
    /// ------
    /// TypeError, BufferError, S4ManifestSizeExceedsLimitError, S4BackendError
    ///     As for :meth:`compress`.
    #[pyo3(signature = (data, *, fallback=true))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        data: Bytes<'_>,
        fallback: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let encode = match Fallback::from_flag(fallback) {
            Fallback::Passthrough => Codec::encode,
            Fallback::Never => |codec: &Codec, data: &[u8], frame: &mut Vec<u8>| {
                codec.encode_with(Fallback::Never, data, frame)
            },
        };
        Ok(compress(py, &self.0, data, encode)?.0)
    }

    /// Decompress one payload and verify it.
    ///
    /// Parameters
    /// ----------
    /// data
    ///     The payload, from :meth:`compress` or another writer of the codec's format.
    ///     Concatenated zstd frames or gzip members are one payload.
    /// original_size
    ///     The length of the decoded bytes.
    /// crc32c
    ///     The CRC-32C of the decoded bytes.
    /// max_size
    ///     The largest ``original_size`` to accept, in bytes; default 5 GiB.
    ///
    /// Returns
    /// -------
    /// bytes
    ///     Exactly ``original_size`` bytes with that checksum.
    ///
    /// Raises
    /// ------
    /// S4ManifestSizeExceedsLimitError
    ///     ``original_size`` is above ``max_size``.
    /// S4IoError
    ///     The payload is truncated, damaged or followed by other bytes, or decodes to more
    ///     than ``original_size``.
    /// S4SizeMismatchError
    ///     The payload decodes to less than ``original_size``, or cannot hold that much.
    /// S4CrcMismatchError
    ///     The decoded bytes do not match ``crc32c``.
    /// S4CodecMismatchError, S4BackendError
    ///     nvcomp codecs only: another codec made the container, or it is damaged; or the
    ///     codec needs a GPU, which is missing or failed.
    /// TypeError, BufferError
    ///     ``data`` is not a buffer, or not C-contiguous.
    /// OverflowError
    ///     ``original_size`` or ``max_size`` is not a 64-bit unsigned integer, or ``crc32c``
    ///     not a 32-bit one.
    #[pyo3(signature = (data, original_size, crc32c, *, max_size=None))]
    fn decompress<'py>(
        &self,
        py: Python<'py>,
        data: Bytes<'_>,
        original_size: u64,
        crc32c: u32,
        max_size: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let manifest = Manifest { original_size, crc32c };
        decompress(py, &self.0, data, manifest, max_size)
    }

    /// Decompress one payload to the start of a buffer of the caller's, and verify it.
    ///
    /// It saves the allocation of a result where calls reuse one buffer. An interrupt takes effect
    /// once the payload is decoded, so that nothing writes to ``out`` after the call.
    ///
    /// Parameters
    /// ----------
    /// payload
    ///     As ``data`` of :meth:`decompress`.
    /// out
    ///     Any object with a writable C-contiguous buffer of at least ``original_size`` bytes, of
    ///     any item type: bytearray, memoryview, array, NumPy array, mmap. Do not use it during
    ///     the call. Bytes past ``original_size`` never change; after an error, the bytes before
    ///     may have any value.
    /// original_size, crc32c, max_size
    ///     As for :meth:`decompress`.
    ///
    /// Returns
    /// -------
    /// int
    ///     The number of bytes written, ``original_size``.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     ``out`` is shorter than ``original_size``, or overlaps the payload.
    /// TypeError
    ///     ``payload`` or ``out`` is not a buffer, or is a buffer of Python objects.
    /// BufferError
    ///     ``out`` is read-only, or a buffer is not C-contiguous.
    /// S4Error, S4BackendError, S4IoError, OverflowError
    ///     As for :meth:`decompress`.
    #[pyo3(signature = (payload, out, original_size, crc32c, *, max_size=None))]
    fn decompress_into(
        &self,
        py: Python<'_>,
        payload: Bytes<'_>,
        out: WritableBytes,
        original_size: u64,
        crc32c: u32,
        max_size: Option<u64>,
    ) -> PyResult<usize> {
        let manifest = Manifest { original_size, crc32c };
        decompress_into(py, &self.0, payload, out, manifest, max_size)
    }

    fn __richcmp__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let equal = other.cast::<Self>().map(|other| other.get().0 == self.0);
        Ok(match (op, equal) {
            (CompareOp::Eq, Ok(equal)) => PyBool::new(py, equal).to_owned().into_any(),
            (CompareOp::Ne, Ok(equal)) => PyBool::new(py, !equal).to_owned().into_any(),
            _ => py.NotImplemented().into_bound(py),
        })
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        let codec = &slf.get().0;
        let dictionary = codec.dictionary().map(|set| {
            let dictionary = set.current();
            format!("dict_id='{}', dict_len={}", dictionary.id(), dictionary.bytes().len())
        });
        let level = codec.level().map(|level| format!("level={level}"));
        let is_bitcomp = codec.id() == CodecId::of_container(Algorithm::Bitcomp);
        let data_type = is_bitcomp.then(|| match codec.data_type() {
            Some(kind) => format!("data_type='{}'", kind.name()),
            None => "data_type=None".into(),
        });
        let device = codec.device().map(|device| match device {
            Device::Gpu(ordinal) => format!("device={ordinal}"),
            other => format!("device='{other}'"),
        });
        let settings: Vec<_> =
            dictionary.into_iter().chain(level).chain(data_type).chain(device).collect();
        Ok(format!("{class}({})", settings.join(", ")))
    }

    /// The callable and arguments that recreate the codec, for pickle.
    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, codec) = (slf.py(), &slf.get().0);
        let arguments = PyList::empty(py);
        if let Some(device) = codec.device() {
            // Not the class: its constructor requires the device, which the unpickling
            // machine may lack.
            let data_type = codec.data_type().map(DataType::name);
            let arguments = (codec.name(), data_type, device.to_string()).into_pyobject(py)?;
            return Ok((py.import("s4_codec.s4_codec")?.getattr("_nvcomp_codec")?, arguments));
        }
        if let Some(dictionary) = codec.dictionary() {
            arguments.append(PyBytes::new(py, dictionary.current().bytes()))?;
        }
        if let Some(level) = codec.level() {
            arguments.append(level)?;
        }
        Ok((slf.get_type().into_any(), arguments.to_tuple()))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
}

/// The Python object of a codec, an instance of that codec's class.
pub fn to_object(py: Python<'_>, codec: Codec) -> PyResult<Py<PyAny>> {
    let base = PyClassInitializer::from(PyCodec(codec.clone()));
    Ok(match codec {
        Codec::Passthrough => Py::new(py, base.add_subclass(Passthrough::default()))?.into_any(),
        Codec::Zstd { dictionary: None, .. } => {
            Py::new(py, base.add_subclass(CpuZstd::default()))?.into_any()
        }
        Codec::Zstd { dictionary: Some(_), .. } => {
            Py::new(py, base.add_subclass(CpuZstdDict::default()))?.into_any()
        }
        Codec::Gzip { .. } => Py::new(py, base.add_subclass(CpuGzip::default()))?.into_any(),
        Codec::Nvcomp { encoding, .. } => match encoding.algorithm {
            Algorithm::Zstd => Py::new(py, base.add_subclass(NvcompZstd::default()))?.into_any(),
            Algorithm::Bitcomp => {
                Py::new(py, base.add_subclass(NvcompBitcomp::default()))?.into_any()
            }
            Algorithm::GDeflate => {
                Py::new(py, base.add_subclass(NvcompGDeflate::default()))?.into_any()
            }
        },
    })
}

/// An argument: a codec object, or the name of a codec with its default settings.
pub struct CodecArgument(pub Codec);

impl<'a, 'py> FromPyObject<'a, 'py> for CodecArgument {
    type Error = PyErr;

    fn extract(codec: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(object) = codec.cast::<PyCodec>() {
            return Ok(Self(object.get().0.clone()));
        }
        if let Ok(name) = codec.extract::<&str>() {
            return Codec::from_name(name, None).map(Self).map_err(raise);
        }
        let found = codec.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "codec must be a codec object such as CpuZstd() or a codec's name, not {found}"
        )))
    }
}

/// A codec as keyword arguments of the column plugins.
#[pyfunction]
pub fn _codec_options(py: Python<'_>, codec: CodecArgument) -> PyResult<Bound<'_, PyDict>> {
    let options = PyDict::new(py);
    options.set_item("codec", codec.0.name())?;
    options.set_item("level", codec.0.level())?;
    if let Some(dictionary) = codec.0.dictionary() {
        options.set_item("dictionary", PyBytes::new(py, dictionary.current().bytes()))?;
    }
    if let Some(device) = codec.0.device() {
        options.set_item("codec_device", device.to_string())?;
    }
    if let Some(data_type) = codec.0.data_type() {
        options.set_item("data_type", data_type.name())?;
    }
    Ok(options)
}
