"""The native module. Import these names from ``s4_codec``."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, Self, SupportsIndex, final

from typing_extensions import Buffer

from .dictionaries import TrainedDictionary

__version__: str

#: The magic at the start of a frame.
FRAME_MAGIC: bytes
#: The magic at the start of a padding between frames.
PADDING_MAGIC: bytes
#: The length of a frame header in bytes.
FRAME_HEADER_BYTES: int
#: The suffix of a sidecar's name.
SIDECAR_SUFFIX: str

class _ArrayInterface(Protocol):
    """NumPy arrays. Type checkers accept them as buffers only from Python 3.12 on."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

class _ArrowArrayExporter(Protocol):
    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...

class _ArrowStreamExporter(Protocol):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

_ArrowExporter = _ArrowArrayExporter | _ArrowStreamExporter
_Data = Buffer | _ArrayInterface

class S4Error(ValueError):
    """The data is invalid. Base class of the errors about data."""

    #: The position of the bad row in Arrow data; None for other errors.
    row: int | None

class S4CrcMismatchError(S4Error):
    """The decoded bytes, or a payload itself, do not match the expected crc32c."""

class S4SizeMismatchError(S4Error):
    """The payload holds fewer bytes than ``original_size``."""

class S4CodecMismatchError(S4Error):
    """The payload was made by another codec than the one decoding it."""

class S4UnregisteredCodecError(S4Error):
    """The codec's name is unknown, or the codec is not available here."""

class S4ManifestSizeExceedsLimitError(S4Error):
    """A value exceeds the size limit. ``max_size`` raises the limit for decoding."""

class S4ManifestSizeMismatchError(S4Error):
    """A stored object is not as long as its metadata or sidecar says."""

class S4FrameError(S4Error):
    """The bytes are not S4F2 frames, or not a dictionary set."""

class S4IndexError(S4Error):
    """The bytes are not an S4IX sidecar."""

class S4BackendError(RuntimeError):
    """A codec's library or device failed, or is missing."""

    #: As for :class:`S4Error`.
    row: int | None

class S4IoError(OSError):
    """The payload does not decode: truncated, damaged, or longer than ``original_size``."""

    #: As for :class:`S4Error`.
    row: int | None

_DataType = Literal[
    "char", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64"
]

class Codec:
    """A codec and its settings. The base of the codec classes.

    Codecs are values: immutable, hashable, equal by class and settings, and picklable.
    Threads may share one. Methods release the GIL for all but a few kilobytes; do not change the
    input buffer during a call. An interrupt (Ctrl-C) ends a call within half a second, except
    :meth:`decompress_into`. Work that then continues in the background holds the input buffer
    until it ends.
    """

    @property
    def name(self) -> str:
        """The codec's name in the S4 wire format, such as ``"cpu-zstd"``."""

    @property
    def id(self) -> int:
        """The codec's id in the S4 wire format."""

    @staticmethod
    def from_name(name: str, level: SupportsIndex | None = None) -> Codec:
        """Create the codec with this name, at ``level`` or its default level.

        ``"zstd"`` and ``"gzip"`` are short for ``"cpu-zstd"`` and ``"cpu-gzip"``.

        Raises
        ------
        S4UnregisteredCodecError
            No available codec has this name.
        ValueError
            The level is out of range, or the codec has no level.
        """

    def compress(self, data: _Data) -> tuple[bytes, int, int]:
        """Compress one value.

        Parameters
        ----------
        data
            Any object with a C-contiguous buffer of any item type: bytes, bytearray,
            memoryview, array, NumPy array, mmap.

        Returns
        -------
        tuple of (payload, original_size, crc32c)
            The compressed bytes; the length of ``data`` in bytes; the CRC-32C of ``data``.
            Decompressing needs all three.

        Raises
        ------
        TypeError
            ``data`` is not a buffer, or is a buffer of Python objects.
        BufferError
            The buffer is not C-contiguous.
        S4ManifestSizeExceedsLimitError
            ``data`` is longer than 5 GiB.
        S4BackendError
            The codec needs a GPU, which is missing or failed.
        """

    def encode(self, data: _Data, *, fallback: bool = True) -> bytes:
        """Compress one value to a self-describing frame.

        Parameters
        ----------
        data
            As for :meth:`compress`.
        fallback
            Store data that the codec does not shrink in a frame of passthrough, so that no frame
            is longer than its data by more than 28 bytes. False: every frame is this codec's.

        Returns
        -------
        bytes
            One S4F2 frame, a 28-byte header and the payload; :func:`s4_codec.decode` decodes it.

        Raises
        ------
        TypeError, BufferError, S4ManifestSizeExceedsLimitError, S4BackendError
            As for :meth:`compress`.
        """

    def decompress(
        self,
        data: _Data,
        original_size: SupportsIndex,
        crc32c: SupportsIndex,
        *,
        max_size: SupportsIndex | None = None,
    ) -> bytes:
        """Decompress one payload and verify it.

        Parameters
        ----------
        data
            The payload, from :meth:`compress` or another writer of the codec's format.
            Concatenated zstd frames or gzip members are one payload.
        original_size
            The length of the decoded bytes.
        crc32c
            The CRC-32C of the decoded bytes.
        max_size
            The largest ``original_size`` to accept, in bytes; default 5 GiB.

        Returns
        -------
        bytes
            Exactly ``original_size`` bytes with that checksum.

        Raises
        ------
        S4ManifestSizeExceedsLimitError
            ``original_size`` is above ``max_size``.
        S4IoError
            The payload is truncated, damaged or followed by other bytes, or decodes to more
            than ``original_size``.
        S4SizeMismatchError
            The payload decodes to less than ``original_size``, or cannot hold that much.
        S4CrcMismatchError
            The decoded bytes do not match ``crc32c``.
        S4CodecMismatchError, S4BackendError
            nvcomp codecs only: another codec made the container, or it is damaged; or the
            codec needs a GPU, which is missing or failed.
        TypeError, BufferError
            ``data`` is not a buffer, or not C-contiguous.
        OverflowError
            ``original_size`` or ``max_size`` is not a 64-bit unsigned integer, or ``crc32c``
            not a 32-bit one.
        """

    def decompress_into(
        self,
        payload: _Data,
        out: _Data,
        original_size: SupportsIndex,
        crc32c: SupportsIndex,
        *,
        max_size: SupportsIndex | None = None,
    ) -> int:
        """Decompress one payload to the start of a buffer of the caller's, and verify it.

        It saves the allocation of a result where calls reuse one buffer. An interrupt takes effect
        once the payload is decoded, so that nothing writes to ``out`` after the call.

        Parameters
        ----------
        payload
            As ``data`` of :meth:`decompress`.
        out
            Any object with a writable C-contiguous buffer of at least ``original_size`` bytes, of
            any item type: bytearray, memoryview, array, NumPy array, mmap. Do not use it during
            the call. Bytes past ``original_size`` never change; after an error, the bytes before
            may have any value.
        original_size, crc32c, max_size
            As for :meth:`decompress`.

        Returns
        -------
        int
            The number of bytes written, ``original_size``.

        Raises
        ------
        ValueError
            ``out`` is shorter than ``original_size``, or overlaps the payload.
        TypeError
            ``payload`` or ``out`` is not a buffer, or is a buffer of Python objects.
        BufferError
            ``out`` is read-only, or a buffer is not C-contiguous.
        S4Error, S4BackendError, S4IoError, OverflowError
            As for :meth:`decompress`.
        """

    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Callable[..., Codec], tuple[Any, ...]]: ...
    def __copy__(self) -> Codec: ...
    def __deepcopy__(self, memo: Any) -> Codec: ...

@final
class CpuZstd(Codec):
    """zstd (RFC 8878). Writes one frame that states its content size.

    Parameters
    ----------
    level
        1 (fastest) to 22 (smallest).

    Raises
    ------
    ValueError
        The level is out of range.
    """

    def __new__(cls, level: SupportsIndex = 3) -> CpuZstd: ...
    @property
    def level(self) -> int:
        """The compression level."""

@final
class CpuGzip(Codec):
    """gzip (RFC 1952). Writes one member without a name or time.

    Parameters
    ----------
    level
        0 (stored) to 9 (smallest).

    Raises
    ------
    ValueError
        The level is out of range.
    """

    def __new__(cls, level: SupportsIndex = 6) -> CpuGzip: ...
    @property
    def level(self) -> int:
        """The compression level."""

@final
class Passthrough(Codec):
    """No compression: the payload is the value itself. Length and crc32c are verified as usual."""

    def __new__(cls) -> Passthrough: ...

@final
class CpuZstdDict(Codec):
    """zstd with a dictionary, either trained or raw content. Writes one frame that states its
    content size and, for a trained dictionary, the dictionary's id.

    Parameters
    ----------
    dict_bytes
        The dictionary, for example from :func:`train_dictionary`. A process prepares it once,
        however many codecs use it.
    level
        1 (fastest) to 22 (smallest).

    Raises
    ------
    S4BackendError
        The dictionary is empty or damaged.
    ValueError
        The level is out of range.
    """

    def __new__(cls, dict_bytes: _Data, level: SupportsIndex = 3) -> CpuZstdDict: ...
    @property
    def level(self) -> int:
        """The compression level."""
    @property
    def dict_bytes(self) -> bytes:
        """The dictionary's bytes."""
    @property
    def dict_id(self) -> str:
        """The dictionary's id in S4: the first 16 hex digits of its SHA-256."""

class _DictionarySet:
    def __new__(cls, dictionaries: list[Any], current: int) -> Self: ...
    @property
    def ids(self) -> tuple[str, ...]:
        """The S4 id of each dictionary: the first 16 hex digits of its SHA-256."""
    @property
    def zstd_ids(self) -> tuple[int, ...]:
        """The id of each dictionary in zstd frames."""
    @property
    def current(self) -> str:
        """The S4 id of the dictionary that compresses."""
    @property
    def dictionaries(self) -> tuple[bytes, ...]:
        """The bytes of each dictionary."""
    @property
    def _current_position(self) -> int: ...
    def decompress(
        self,
        data: _Data,
        original_size: SupportsIndex,
        crc32c: SupportsIndex,
        *,
        max_size: SupportsIndex | None = None,
    ) -> bytes:
        """Decompress one payload of any dictionary of the set, as :meth:`Codec.decompress` does."""
    def to_bytes(self) -> bytes:
        """The set as bytes, which :meth:`from_bytes` reads; ``docs/format.md`` specifies them."""
    def __len__(self) -> int: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

@final
class NvcompZstd(Codec):
    """zstd in an FCG1 container: one zstd frame per 64 KiB chunk.

    Decompress only data that you trust: on a GPU, damaged data can make CUDA unusable in this
    process. If a GPU fails and ``"auto"`` falls back to the CPU, a ``RuntimeWarning`` says so.
    GPU memory is kept between calls; see :func:`release_gpu_memory`.

    Parameters
    ----------
    device
        The number of a GPU, which must be present; or ``"auto"``. ``"auto"`` uses the first GPU
        if there is one and it is expected to be faster than all threads on data of this size,
        else the CPU, which reads and writes the same format.

    Raises
    ------
    S4BackendError
        That GPU cannot be used; :func:`gpu_status` says why.
    """

    def __new__(cls, device: SupportsIndex | Literal["auto"] = 0) -> NvcompZstd: ...
    @property
    def device(self) -> int | Literal["auto"]:
        """Where the codec runs: the number of a GPU, or ``"auto"``."""

@final
class NvcompBitcomp(Codec):
    """Bitcomp in an FCG1 container. The format is not public, so compressing and decompressing
    need an NVIDIA GPU.

    Parameters
    ----------
    data_type
        The type of the numbers in a value: ``"char"``, ``"u8"`` to ``"u64"``, ``"i8"`` to
        ``"i64"``, ``"f16"``, ``"bf16"``, ``"f32"`` or ``"f64"``. None: what a column of lists or a
        matrix consists of (floats as unsigned integers of their width, dates and times as the
        integers that they are), and ``"char"`` for bytes and single values. Containers name the
        type that was used.
    device
        The number of a GPU, which must be present; or ``"auto"`` for the first GPU, which is not
        looked for before the codec is used.

    Raises
    ------
    S4BackendError
        That GPU cannot be used; :func:`gpu_status` says why.
    ValueError
        The data type is unknown.
    """

    def __new__(
        cls, data_type: _DataType | None = None, device: SupportsIndex | Literal["auto"] = 0
    ) -> NvcompBitcomp: ...
    @property
    def device(self) -> int | Literal["auto"]:
        """Where the codec runs: the number of a GPU, or ``"auto"``."""
    @property
    def data_type(self) -> _DataType | None:
        """The type of the numbers in a value; None where the column says."""

@final
class NvcompGDeflate(Codec):
    """GDeflate in an FCG1 container: one page per 64 KiB chunk. Compressing needs an NVIDIA GPU;
    decompressing works on any machine.

    Parameters
    ----------
    device
        The number of a GPU, which must be present; or ``"auto"``. ``"auto"`` compresses on the
        first GPU. It decompresses there if the data is large enough, as :class:`NvcompZstd`
        does, else on the CPU.

    Raises
    ------
    S4BackendError
        That GPU cannot be used; :func:`gpu_status` says why.
    """

    def __new__(cls, device: SupportsIndex | Literal["auto"] = 0) -> NvcompGDeflate: ...
    @property
    def device(self) -> int | Literal["auto"]:
        """Where the codec runs: the number of a GPU, or ``"auto"``."""

def read_frame(data: _Data) -> tuple[dict[str, Any], bytes, bytes]:
    """Parse the first frame of a body. Nothing is decoded.

    Returns
    -------
    tuple of (header, payload, rest)
        ``header`` has the keys ``codec`` (the codec's name), ``original_size``,
        ``compressed_size`` and ``crc32c``; ``rest`` is the bytes after the frame.

    Raises
    ------
    S4FrameError
        The data does not start with a complete frame of a known codec.
    """

def frame_iter(data: _Data) -> list[tuple[dict[str, Any], bytes]]:
    """Parse all frames of a body, skipping padding. Nothing is decoded.

    The list holds a copy of every payload; for large bodies use :func:`iter_frames`.

    Returns
    -------
    list of tuple of (header, payload)
        As :func:`read_frame` returns them.

    Raises
    ------
    S4FrameError
        The body has anything other than complete frames and padding, or is encrypted.
    """

def iter_frames(data: _Data) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Parse the frames of a body one by one, skipping padding. Nothing is decoded.

    Holds one payload at a time, so it suits bodies of any length, such as an ``mmap``. For a
    damaged body it yields the frames before the damage, where :func:`frame_iter` yields none.

    Parameters
    ----------
    data
        Any contiguous buffer. It stays exported until the iterator ends or is deleted, so it
        cannot be resized or closed until then.

    Returns
    -------
    iterator of tuple of (header, payload)
        As :func:`read_frame` returns them. An error ends the iterator.

    Raises
    ------
    TypeError, BufferError
        ``data`` is not a buffer, or not C-contiguous.
    S4FrameError
        Raised by the iterator where the body has no complete frame or padding, a frame has an
        unknown codec id, or the body is encrypted.
    """

def decode(
    data: _Data,
    dictionary: _Data | TrainedDictionary | CpuZstdDict | _DictionarySet | None = None,
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> bytes:
    """Decode a body of frames and verify each frame. Frames are decoded in parallel.

    Parameters
    ----------
    data
        Frames of any mix of codecs, with or without padding. Zero bytes decode to zero bytes.
    dictionary
        For frames of cpu-zstd-dict: the dictionary's bytes, a :class:`CpuZstdDict`, or a
        ``DictionarySet``, in which each frame finds its own.
    max_size
        The maximum number of bytes to decode to, of all frames together; default 5 GiB.
    device
        The number of a GPU, or ``"auto"``, for frames of the nvcomp codecs. Without it they
        decode on the CPU if they can. Only for data that you trust: a damaged chunk can make
        CUDA unusable in this process.

    Returns
    -------
    bytes
        The original: the decoded frames, concatenated.

    Raises
    ------
    S4FrameError
        The body is not frames, has only padding, or is encrypted.
    S4UnregisteredCodecError
        A frame's codec is not available, or a frame needs a dictionary.
    S4ManifestSizeExceedsLimitError, S4IoError, S4SizeMismatchError, S4CrcMismatchError
        A frame is bad, as for :meth:`Codec.decompress`.
    S4BackendError
        A container is damaged, or needs a GPU, or the device is missing or failed.
    """

def decode_index(data: _Data) -> dict[str, Any]:
    """Parse a sidecar of version 1, 2 or 3.

    Returns
    -------
    dict
        ``total_padded_size``, the length of the stored body; ``total_original_size``;
        ``source_etag`` and ``source_compressed_size``, None if not bound; ``entries``, a list
        of dicts with ``original_offset``, ``original_size``, ``compressed_offset`` and
        ``compressed_size``; ``sse``, a dict with the encryption parameters, or None. Sizes and
        offsets are in bytes.

    Raises
    ------
    S4IndexError
        The bytes are not a sidecar, or its entries overlap.
    """

def bind_index(
    sidecar: _Data, source_compressed_size: SupportsIndex, source_etag: str | None = None
) -> bytes:
    """Bind a sidecar to a stored body by the body's length in bytes and its ETag in the store.

    Returns
    -------
    bytes
        The sidecar with both values replaced. A size of 0 and an ETag of None or ``""`` mean
        not bound.

    Raises
    ------
    S4IndexError
        ``sidecar`` is not a valid sidecar, or the ETag is longer than 4096 bytes.
    """

def build_index(body: _Data) -> bytes:
    """Build the sidecar of a body: version 2, not bound.

    Raises
    ------
    S4FrameError
        The body has anything other than complete frames and padding.
    S4IndexError
        The body has more frames than a sidecar can list, or their sizes overflow 64 bits.
    """

def lookup_range(sidecar: _Data, start: SupportsIndex, end: SupportsIndex) -> dict[str, int] | None:
    """Find the part of a stored body that holds the bytes ``start`` to ``end`` of the original.

    The range is half-open. An ``end`` beyond the original is moved to its end.

    Returns
    -------
    dict or None
        ``first_frame`` and ``last_frame``, the numbers of the first and last frame;
        ``byte_start`` and ``byte_end``, their half-open range in the stored body, which is
        itself a body; ``slice_start`` and ``slice_end``, the half-open range to take of what
        that body decodes to. None if the range holds no bytes, or an end of it is in a gap.

    Raises
    ------
    S4IndexError
        ``sidecar`` is not a valid sidecar.
    """

def pick_chunk_size(content_length: SupportsIndex) -> int:
    """The number of original bytes per frame for an object of ``content_length`` bytes.

    Frames hold 1 MiB of objects up to 1 MiB, 4 MiB of objects up to 100 MiB, and 16 MiB of
    larger ones. Returned in bytes.
    """

def dict_id(dict_bytes: _Data) -> str:
    """The S4 id of a dictionary: the first 16 hex digits of its SHA-256."""

def encode_s4_object(
    data: _Data, codec: str = "cpu-zstd", level: SupportsIndex = 3
) -> dict[str, Any]:
    """Encode a whole object as the S4 gateway stores it. Frames are compressed in parallel.

    Parameters
    ----------
    data
        The original: any contiguous buffer.
    codec
        ``"cpu-zstd"`` or ``"passthrough"``.
    level
        The zstd level. A level outside 1 to 22 is clamped to that range.

    Returns
    -------
    dict
        ``body``, the stored bytes; ``sidecar``, an unbound sidecar if the body has more than one
        frame, else None; ``metadata``, a dict of strings.

    Raises
    ------
    NotImplementedError
        Only the S4 gateway writes objects of that codec.
    """

def decode_s4_object(
    body: _Data,
    metadata: Mapping[str, str] | None = None,
    sidecar: _Data | None = None,
    byte_range: tuple[SupportsIndex, SupportsIndex] | None = None,
    dictionary: _Data | TrainedDictionary | CpuZstdDict | _DictionarySet | None = None,
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> bytes:
    """Decode an object as the S4 gateway stores it, and verify it.

    The metadata tells how the body is stored. Without metadata (``None``), a body that starts
    with the magic of a frame or padding is decoded as frames, and any other body is returned
    unchanged. An object whose metadata has no ``s4-*`` key was stored by another program and is
    returned unchanged, unless it looks like an S4 object: if it has a sidecar, or its body
    starts like frames, it is an error.

    Parameters
    ----------
    body
        All stored bytes.
    metadata
        The object's user metadata: keys such as ``s4-codec``, in any case, with or without the
        prefix ``x-amz-meta-``. None for a body without metadata, such as a file of the command
        ``s4-codec``; missing frames at its end are then detected only with a sidecar.
    sidecar
        The object's sidecar, if it has one. Frames are located by the headers in ``body``; the
        sidecar states the length of the body if the metadata does not, and confirms the headers.
    byte_range
        ``(start, end)``, a half-open range of the original in bytes. Only frames that overlap it
        are decoded, so the checksum of the whole original is not verified. Where neither the
        metadata nor the sidecar confirms the sizes that the frames state, those before the range
        are decoded too.
    dictionary
        For objects of cpu-zstd-dict: the dictionary's bytes, a :class:`CpuZstdDict`, or a
        ``DictionarySet``. The dictionary with the ``s4-dict-id`` of the metadata must be there.
    max_size
        The largest original to decode, in bytes; default 5 GiB.
    device
        The number of a GPU, or ``"auto"``, for payloads of the nvcomp codecs. Without it they
        decode on the CPU if they can. Only for data that you trust, as for :func:`decode`.

    Returns
    -------
    bytes
        The original, or the range of it.

    Raises
    ------
    S4FrameError
        The metadata is unusable, or does not tell how an S4 object is stored; the object is
        encrypted; or the body is not frames.
    S4ManifestSizeMismatchError
        The length of the body is not that of the metadata or, without one, of the sidecar.
    S4SizeMismatchError, S4CrcMismatchError
        The length or checksum of the original is not that of the metadata.
    ValueError
        The range is outside the object.
    S4IndexError
        ``sidecar`` is not a valid sidecar.
    S4UnregisteredCodecError, S4ManifestSizeExceedsLimitError, S4IoError, S4BackendError
        As for :func:`decode`.
    """

def train_dictionary(
    samples: Iterable[_Data] | _ArrowExporter, size: SupportsIndex = 112_640
) -> bytes:
    """Train a dictionary on samples of the data to compress.

    Parameters
    ----------
    samples
        An iterable of buffers, a Polars series, or binary or string Arrow data; series and Arrow
        data may also be lists of numbers. Pass at least
        7 samples, better some thousands, with about ``100 * size`` bytes in total. Nulls in a
        series or Arrow data and empty samples are skipped. libzstd accepts just under 4 GiB;
        of more, every second sample is used, or every fourth, and so on, spread evenly. Of a
        sample longer than 256 MiB, only the first 256 MiB are used.
    size
        The maximum length of the dictionary in bytes; at least 256.

    Returns
    -------
    bytes
        A standard zstd dictionary, for :class:`CpuZstdDict` or any other zstd program.

    Raises
    ------
    S4BackendError
        There are too few samples, or they are too short.
    TypeError
        ``samples`` is of another type, such as an expression, text or a single buffer.
    ValueError
        ``size`` is less than 256.
    """

def crc32c(data: _Data) -> int:
    """CRC-32C (Castagnoli) of a buffer.

    Raises
    ------
    TypeError, BufferError
        ``data`` is not a buffer, or not C-contiguous.
    """

def gpu_available() -> bool:
    """Whether the GPU codecs can use a GPU on this machine; :func:`gpu_status` says why not.

    False also once CUDA in this process is lost, so that only a new process can use a GPU: a
    kernel failed, or was not done ``S4_GPU_TIMEOUT`` seconds (an environment variable; 30 unless
    set) beyond what its work should take.
    """

def gpu_status() -> str:
    """Describe the GPUs and libraries that the GPU codecs would use, or why they can use none."""

def release_gpu_memory() -> None:
    """Release the GPU memory and other GPU resources that are kept between calls.

    Waits for running GPU calls. The next GPU call allocates what it needs again.

    Raises
    ------
    S4BackendError
        A resource could not be released, now or earlier.
    """

def num_threads() -> int:
    """The number of threads that column functions use.

    This is the number set with :func:`set_num_threads`, else that of the environment variable
    ``S4_NUM_THREADS``, else the number of cores that this process may use.

    Raises
    ------
    ValueError
        ``S4_NUM_THREADS`` is not an integer from 1 to 1024.
    """

def set_num_threads(n: SupportsIndex) -> None:
    """Set the number of threads that column functions use.

    Raises
    ------
    ValueError
        ``n`` is outside the range 1 to 1024.
    """

def _codec_options(codec: Codec | str) -> dict[str, Any]: ...
def _decoder_options(decoder: Codec | str | _DictionarySet) -> dict[str, Any]: ...
def _is_batched(codec: Codec | str | _DictionarySet) -> bool: ...
def _device_option(device: SupportsIndex | Literal["auto"]) -> str: ...
def _train(
    samples: Any, size: SupportsIndex, seed: int, set: _DictionarySet | None
) -> dict[str, Any]: ...
def _parse_dictionary_set(data: _Data) -> tuple[tuple[bytes, ...], int]: ...
def _nvcomp_codec(name: str, data_type: str | None, device: str) -> Codec: ...

@final
class DeviceColumn:
    """A column of values in the memory of a GPU, verified.

    Functions of :mod:`s4_codec.gpu` return it. Libraries that read Arrow data on devices take it
    as it is (``__arrow_c_device_array__``: large binary, or large string); PyTorch, CuPy, Numba
    and others take its parts :attr:`values`, :attr:`offsets` and :attr:`validity`, or
    :meth:`matrix`. All of them share its memory, without a copy. The memory is freed when the
    column and all that share its memory are gone, after all work on that GPU.
    """

    def __len__(self) -> int: ...
    @property
    def device(self) -> int:
        """The number of the GPU."""
    @property
    def dtype(self) -> str:
        """``"large_binary"`` or ``"large_string"``."""
    @property
    def null_count(self) -> int:
        """The number of null values."""
    @property
    def nbytes(self) -> int:
        """Bytes of all values together."""
    @property
    def values(self) -> DeviceArray:
        """The values back to back: a :class:`DeviceArray` of uint8.

        A row that became null has zeros in its place.
        """
    @property
    def offsets(self) -> DeviceArray:
        """Where rows begin in :attr:`values`, and the end of the last: a :class:`DeviceArray` of
        int64, one item more than there are rows.
        """
    @property
    def validity(self) -> DeviceArray | None:
        """Which rows are not null: a :class:`DeviceArray` of uint8, a bit for each row, the lowest
        of a byte first. None if no row is null.
        """
    def matrix(self, dtype: Any, width: int) -> DeviceArray:
        """The values as rows of a matrix, such as embeddings: a :class:`DeviceArray` of shape
        ``(len(self), width)``.

        Parameters
        ----------
        dtype
            The type of items: int8 to int64, uint8 to uint64, float16, bfloat16, float32 or
            float64, as a name, or as a type of NumPy, CuPy or PyTorch.
        width
            Items per row.

        Raises
        ------
        ValueError
            A value is null or not as long as ``width`` items.
        TypeError
            ``dtype`` is none of these types.
        """
    def to_arrow(self) -> Any:
        """A PyArrow array of the values: large binary, or large string. Needs PyArrow."""
    def __arrow_c_device_array__(
        self, requested_schema: Any = None, **_options: Any
    ) -> tuple[Any, Any]: ...

@final
class DeviceArray:
    """An array in the memory of a GPU, for PyTorch, CuPy, Numba, JAX and others.

    ``torch.as_tensor(array)``, ``cupy.asarray(array)`` and ``from_dlpack(array)`` of any library
    share its memory. All of it has been written and verified, so that no stream has to wait for
    it.
    """

    def __len__(self) -> int: ...
    @property
    def device(self) -> int:
        """The number of the GPU."""
    @property
    def dtype(self) -> str:
        """The name of the items' type, such as ``"uint8"``."""
    @property
    def shape(self) -> tuple[int, ...]:
        """Items along each dimension."""
    @property
    def nbytes(self) -> int:
        """Bytes of all items."""
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...

@final
class _ArrowChunk:
    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...

def _arrow_compress(
    data: Any, codec: Codec | str, payload_checksum: bool
) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_decompress(
    data: Any, options: dict[str, Any], null_on_error: bool
) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_verify(data: Any, options: dict[str, Any]) -> tuple[list[_ArrowChunk], bool]: ...
def _list_description(column: Any) -> str: ...
def _arrow_encode(
    data: Any, codec: Codec | str, fallback: bool
) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_split_rows(
    data: Any,
    codec: Codec | str | _DictionarySet,
    is_frames: bool,
    max_size: int | None,
    max_bytes: int,
) -> list[int]: ...
def _arrow_frame_info(data: Any, null_on_error: bool) -> tuple[list[_ArrowChunk], bool]: ...
def _gpu_decompress(
    data: Any, options: dict[str, Any], null_on_error: bool, device: SupportsIndex
) -> DeviceColumn: ...
def _gpu_compress(
    data: Any,
    codec: Codec | str,
    is_frames: bool,
    payload_checksum: bool,
    fallback: bool,
    stream: int | None,
) -> _ArrowChunk: ...
def _check_stream(stream: int | None) -> None: ...
def _metadata_frames(metadata: Mapping[str, str]) -> tuple[bool, int | None, int | None]: ...
def _admit(
    codec: Codec | str | _DictionarySet,
    data: _Data,
    original_size: int,
    crc32c: int,
    max_size: int,
) -> None: ...
def _decompress_into(
    codec: Codec | str | _DictionarySet,
    data: _Data,
    original_size: int,
    crc32c: int,
    dst: Buffer,
) -> None: ...

@final
class _StoredFrame:
    @property
    def number(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def codec(self) -> str: ...
    @property
    def original_size(self) -> int: ...
    @property
    def compressed_size(self) -> int: ...
    @property
    def crc32c(self) -> int: ...
    @property
    def payload_offset(self) -> int: ...
    @property
    def end(self) -> int: ...
    def header(self) -> dict[str, Any]: ...

@final
class _FrameWalk:
    def __new__(
        cls, size: int | None, batch_bytes: int, offset: int = 0, number: int = 0
    ) -> _FrameWalk: ...
    @property
    def offset(self) -> int: ...
    @property
    def codecs(self) -> list[str]: ...
    def frames(self, piece: _Data) -> list[_StoredFrame]: ...
    def batches(self, piece: _Data) -> list[tuple[int, int, int, int, int]]: ...
    def end(self, size: int) -> None: ...

@final
class _IndexBuilder:
    def __new__(cls) -> _IndexBuilder: ...
    def push(self, offset: int, stored_size: int, original_size: int) -> None: ...
    def finish(self, size: int) -> bytes: ...
