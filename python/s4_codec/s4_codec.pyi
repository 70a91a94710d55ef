"""The native module. Import from ``s4_codec``, which holds the same names."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol, SupportsIndex, final

from typing_extensions import Buffer

__version__: str

#: What a frame begins with.
FRAME_MAGIC: bytes
#: What a padding between frames begins with.
PADDING_MAGIC: bytes
#: Bytes of a frame before its payload.
FRAME_HEADER_BYTES: int
#: What the names of sidecars end with.
SIDECAR_SUFFIX: str

class _ArrayInterface(Protocol):
    """NumPy arrays, which type checkers know as buffers only from Python 3.12 on."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

class _ArrowArrayExporter(Protocol):
    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...

class _ArrowStreamExporter(Protocol):
    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...

_ArrowExporter = _ArrowArrayExporter | _ArrowStreamExporter
_Data = Buffer | _ArrayInterface

class S4Error(ValueError):
    """The data is invalid. Base of the errors that are about data."""

    #: Of an error about a row of Arrow data, its position; else None.
    row: int | None

class S4CrcMismatchError(S4Error):
    """The decoded bytes do not have the stated crc32c."""

class S4SizeMismatchError(S4Error):
    """The payload holds fewer bytes than ``original_size`` says."""

class S4CodecMismatchError(S4Error):
    """The payload was made by another codec than the one asked to decode it."""

class S4UnregisteredCodecError(S4Error):
    """The codec's name is unknown, or the codec is not available here."""

class S4ManifestSizeExceedsLimitError(S4Error):
    """A value is longer than the limit. ``max_size`` raises the limit of decoding."""

class S4ManifestSizeMismatchError(S4Error):
    """The payload is not as long as its manifest says."""

class S4FrameError(S4Error):
    """The bytes are not S4F2 frames."""

class S4IndexError(S4Error):
    """The bytes are not an S4IX sidecar."""

class S4BackendError(RuntimeError):
    """A codec's library or device failed, or is missing."""

    #: As that of S4Error.
    row: int | None

class S4IoError(OSError):
    """The payload does not decode: cut, damaged, or longer than ``original_size``."""

    #: As that of S4Error.
    row: int | None

_DataType = Literal[
    "char", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64"
]

class Codec:
    """A codec and its settings. The base of the codec classes.

    Codecs are values: immutable, hashable, equal by class and settings, and picklable.
    Any number of threads may use one at once. All methods release the GIL; the buffer
    passed in must not be changed meanwhile. An interrupt (Ctrl-C) ends them within half a
    second; what then still runs in the background keeps the buffer until it ends.
    """

    @property
    def name(self) -> str:
        """The codec's name in the S4 wire format, such as ``"cpu-zstd"``."""

    @property
    def id(self) -> int:
        """The codec's id in the S4 wire format."""

    @staticmethod
    def from_name(name: str, level: SupportsIndex | None = None) -> Codec:
        """The codec of a name, with its default level or another.

        Raises
        ------
        S4UnregisteredCodecError
            There is no codec of that name here.
        ValueError
            The level is out of range, or the codec has none.
        """

    def compress(self, data: _Data) -> tuple[bytes, int, int]:
        """Compress one value.

        Parameters
        ----------
        data
            Any object with a C-contiguous buffer, of any item type: bytes, bytearray,
            memoryview, array, NumPy array, mmap.

        Returns
        -------
        tuple of (payload, original_size, crc32c)
            The compressed bytes; the length of ``data`` in bytes; the CRC-32C of ``data``.
            All three are needed to decompress.

        Raises
        ------
        TypeError
            ``data`` has no buffer, or one of Python objects.
        BufferError
            The buffer is not C-contiguous.
        S4ManifestSizeExceedsLimitError
            ``data`` is longer than 5 GiB.
        S4BackendError
            The codec needs a GPU, and it is not there or failed.
        """

    def encode(self, data: _Data) -> bytes:
        """Compress one value to a frame, which says by itself how to decode it.

        Parameters
        ----------
        data
            As for :meth:`compress`.

        Returns
        -------
        bytes
            One S4F2 frame, for :func:`s4_codec.decode`: 28 bytes of header, and the payload.

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
            The payload: what :meth:`compress` made, or what another writer of the codec's
            format did (several zstd frames or gzip members in a row are one payload).
        original_size
            Bytes that the payload decodes to.
        crc32c
            CRC-32C of the decoded bytes.
        max_size
            The largest ``original_size`` to accept, in bytes; default 5 GiB.

        Returns
        -------
        bytes
            Exactly ``original_size`` bytes with that checksum; never others.

        Raises
        ------
        S4ManifestSizeExceedsLimitError
            ``original_size`` is above ``max_size``.
        S4IoError
            The payload is cut, damaged, followed by other bytes, or decodes to more than
            ``original_size``.
        S4SizeMismatchError
            The payload decodes to less than ``original_size``, or cannot hold that much.
        S4CrcMismatchError
            The decoded bytes have another checksum.
        S4CodecMismatchError, S4BackendError
            Of the nvcomp codecs: the container is another codec's, or damaged; or the codec
            needs a GPU, and it is not there or failed.
        TypeError, BufferError
            ``data`` has no buffer, or one that is not C-contiguous.
        OverflowError
            ``original_size`` or ``max_size`` does not fit 64 bits, or ``crc32c`` 32.
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
    """gzip (RFC 1952). Writes one member, without name or time.

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
    """No compression: the payload is the value, and is verified like any other."""

    def __new__(cls) -> Passthrough: ...

@final
class CpuZstdDict(Codec):
    """zstd with a dictionary, trained or of raw content. Writes one frame that states its
    content size and, with a trained dictionary, the dictionary's id.

    Parameters
    ----------
    dict_bytes
        The dictionary, such as :func:`train_dictionary` makes. It is prepared once in a
        process, however many codecs have it.
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

@final
class NvcompZstd(Codec):
    """zstd in an FCG1 container, as GPUs write it: one frame for each 64 KiB.

    Decompressing with it says that the bytes are your own: on a GPU, what is damaged can end the
    use of CUDA in this process. Where ``"auto"`` falls back to the CPU because a GPU failed, a
    ``RuntimeWarning`` says so. GPU memory is kept between calls, see :func:`release_gpu_memory`.

    Parameters
    ----------
    device
        The number of a GPU, which has to be there; or ``"auto"``: the first GPU where there is
        one and it pays (values of 32 KiB on average, 16 MiB together), else the CPU, which
        writes and reads the same format.

    Raises
    ------
    S4BackendError
        That GPU is not there; :func:`gpu_status` says why.
    """

    def __new__(cls, device: SupportsIndex | Literal["auto"] = 0) -> NvcompZstd: ...
    @property
    def device(self) -> int | Literal["auto"]:
        """Where it runs: a GPU's number, or ``"auto"``."""

@final
class NvcompBitcomp(Codec):
    """Bitcomp in an FCG1 container. Compressing and decompressing take an NVIDIA GPU, for the
    format is not public.

    Parameters
    ----------
    data_type
        What the bytes are to be taken for: ``"char"``, ``"u8"`` to ``"u64"``, ``"i8"`` to
        ``"i64"``, ``"f16"``, ``"bf16"``, ``"f32"`` or ``"f64"``.
    device
        The number of a GPU, which has to be there; or ``"auto"``, the first, which can be made
        where there is none.

    Raises
    ------
    S4BackendError
        That GPU is not there; :func:`gpu_status` says why.
    ValueError
        The data type is unknown.
    """

    def __new__(
        cls, data_type: _DataType = "char", device: SupportsIndex | Literal["auto"] = 0
    ) -> NvcompBitcomp: ...
    @property
    def device(self) -> int | Literal["auto"]:
        """Where it runs: a GPU's number, or ``"auto"``."""
    @property
    def data_type(self) -> _DataType:
        """What the bytes are taken for."""

@final
class NvcompGDeflate(Codec):
    """GDeflate in an FCG1 container: one page for each 64 KiB. Decompressing works anywhere,
    compressing takes an NVIDIA GPU.

    Parameters
    ----------
    device
        The number of a GPU, which has to be there; or ``"auto"``: the first GPU to compress, and
        to decompress where it pays, as with :class:`NvcompZstd`, else the CPU.

    Raises
    ------
    S4BackendError
        That GPU is not there; :func:`gpu_status` says why.
    """

    def __new__(cls, device: SupportsIndex | Literal["auto"] = 0) -> NvcompGDeflate: ...
    @property
    def device(self) -> int | Literal["auto"]:
        """Where it runs: a GPU's number, or ``"auto"``."""

def read_frame(data: _Data) -> tuple[dict[str, Any], bytes, bytes]:
    """Parse the frame at the front of a body. Nothing is decoded.

    Returns
    -------
    tuple of (header, payload, rest)
        ``header`` has the keys ``codec`` (its name), ``original_size``, ``compressed_size``
        and ``crc32c``; ``rest`` is what follows the frame.

    Raises
    ------
    S4FrameError
        No whole frame of a known codec is there.
    """

def frame_iter(data: _Data) -> list[tuple[dict[str, Any], bytes]]:
    """Parse all frames of a body, passing over paddings. Nothing is decoded.

    The list holds a copy of every payload; for large bodies use :func:`iter_frames`.

    Returns
    -------
    list of tuple of (header, payload)
        As :func:`read_frame` has them.

    Raises
    ------
    S4FrameError
        The body is not frames and paddings from its first byte to its last, or encrypted.
    """

def iter_frames(data: _Data) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Parse the frames of a body one by one, passing over paddings. Nothing is decoded.

    Holds one payload at a time, so it suits bodies of any length, such as an ``mmap``; where
    :func:`frame_iter` refuses a damaged body as a whole, this yields the frames before the
    damage.

    Parameters
    ----------
    data
        Any contiguous buffer. It stays exported until the iterator ends or goes, so it cannot
        be resized or closed meanwhile.

    Returns
    -------
    iterator of tuple of (header, payload)
        As :func:`read_frame` has them. An error ends it.

    Raises
    ------
    TypeError, BufferError
        ``data`` has no buffer, or one that is not C-contiguous.
    S4FrameError
        From the iterator, at that place: no whole frame or padding of a known kind is there,
        or the body is encrypted.
    """

def decode(
    data: _Data,
    dictionary: _Data | CpuZstdDict | None = None,
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> bytes:
    """Decode a body: frames of any codecs, in parallel, and verify each.

    Parameters
    ----------
    data
        Frames and paddings. Zero bytes are the empty object.
    dictionary
        For frames of cpu-zstd-dict: its bytes, or a :class:`CpuZstdDict`.
    max_size
        The most bytes to decode to; default 5 GiB.
    device
        The number of a GPU, or ``"auto"``, for frames of the nvcomp codecs; they decode on the
        CPU without. Only for bytes of your own or of somebody you trust: a damaged chunk on a
        GPU can end the use of CUDA in this process.

    Returns
    -------
    bytes

    Raises
    ------
    S4FrameError
        The body is not frames, or paddings only, or encrypted.
    S4UnregisteredCodecError
        A frame's codec cannot be decoded here, or needs a dictionary.
    S4ManifestSizeExceedsLimitError, S4IoError, S4SizeMismatchError, S4CrcMismatchError
        A frame is bad, as :meth:`Codec.decompress` has it.
    S4BackendError
        A container is damaged, or the device is not there.
    """

def decode_index(data: _Data) -> dict[str, Any]:
    """Parse a sidecar, of version 1, 2 or 3.

    Returns
    -------
    dict
        ``total_padded_size`` (of the stored body), ``total_original_size``, ``source_etag``
        and ``source_compressed_size`` (None where not bound), ``entries`` (dicts of
        ``original_offset``, ``original_size``, ``compressed_offset``, ``compressed_size``),
        and ``sse`` (None, or how the body is encrypted).

    Raises
    ------
    S4IndexError
        The bytes are no sidecar, or one whose entries overlap.
    """

def bind_index(
    sidecar: _Data, source_compressed_size: SupportsIndex, source_etag: str | None = None
) -> bytes:
    """Bind a sidecar to a stored body: its length, and the ETag that the store gave it.

    Returns
    -------
    bytes
        The sidecar with both values replaced; 0, None and ``""`` mean not bound.

    Raises
    ------
    S4IndexError
        ``sidecar`` is not a valid sidecar, or the ETag is longer than 4096 bytes.
    """

def build_index(body: _Data) -> bytes:
    """The sidecar of a body, version 2, not bound.

    Raises
    ------
    S4FrameError, S4IndexError
        The body is not frames and paddings from its first byte to its last, or its frames are
        more than a sidecar can list.
    """

def lookup_range(sidecar: _Data, start: SupportsIndex, end: SupportsIndex) -> dict[str, int] | None:
    """What to fetch of a stored body for the original bytes ``start`` to before ``end``.

    Returns
    -------
    dict or None
        ``first_frame`` and ``last_frame``; ``byte_start`` and ``byte_end`` in the stored
        body, themselves a body; ``slice_start`` and ``slice_end`` in what that decodes to.
        None where there is nothing of that range, or an end is in a gap.

    Raises
    ------
    S4IndexError
        ``sidecar`` is not a valid sidecar.
    """

def pick_chunk_size(content_length: SupportsIndex) -> int:
    """Bytes of the original per frame that objects of this length are written with.

    Up to 1 MiB it is 1 MiB, up to 100 MiB 4 MiB, above 16 MiB.
    """

def dict_id(dict_bytes: _Data) -> str:
    """The S4 id of a dictionary: the first 16 hex digits of its SHA-256."""

def encode_s4_object(
    data: _Data, codec: str = "cpu-zstd", level: SupportsIndex = 3
) -> dict[str, Any]:
    """Encode a whole object as the S4 gateway stores it; frames are coded in parallel.

    Parameters
    ----------
    data
        The original: any contiguous buffer.
    codec
        ``"cpu-zstd"`` or ``"passthrough"``.
    level
        The zstd level; out of range, the nearest one.

    Returns
    -------
    dict
        ``body``; ``sidecar``, for a body of more than one frame, not yet bound, else None;
        ``metadata``, a dict of strings.

    Raises
    ------
    NotImplementedError
        Objects of that codec are written through the S4 gateway.
    """

def decode_s4_object(
    body: _Data,
    metadata: Mapping[str, str] | None = None,
    sidecar: _Data | None = None,
    byte_range: tuple[SupportsIndex, SupportsIndex] | None = None,
    dictionary: _Data | CpuZstdDict | None = None,
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> bytes:
    """Decode an object as the S4 gateway stores it, and verify it.

    Metadata says how the body is stored. Without (``None``) the body says it: what starts with
    the magic of frames or paddings is frames, anything else is returned as it is. Metadata
    without any ``s4-*`` key is that of another writer's object, which is returned as it is,
    unless it looks like one of S4's: with a sidecar, or a body that starts as frames.

    Parameters
    ----------
    body
        The stored bytes, all of them.
    metadata
        The object's user metadata: keys such as ``s4-codec``, in any case, with the prefix
        ``x-amz-meta-`` or without. None for what is kept without any, such as the files of the
        command ``s4-codec``; nothing then tells frames that are missing at the end.
    sidecar
        The object's sidecar, if there is one. The frames of ``body`` say where they are, but
        where no metadata says how long the body is, the sidecar does.
    byte_range
        ``(start, end)``, half-open, of the original. Only frames that hold some of it are
        decoded, and the checksum of the whole cannot be verified.
    dictionary
        For objects of cpu-zstd-dict: its bytes, or a :class:`CpuZstdDict`. It has to be the one
        that ``s4-dict-id`` names.
    max_size
        The longest original to decode, in bytes; default 5 GiB.
    device
        The number of a GPU, or ``"auto"``, for payloads of the nvcomp codecs; they decode on
        the CPU without, as far as that can be. As for :func:`decode`, only for bytes that you
        trust.

    Returns
    -------
    bytes

    Raises
    ------
    S4FrameError
        The metadata is unusable, or says nothing of an object that looks like one of S4's; the
        object is encrypted, or the body no frames.
    S4ManifestSizeMismatchError
        The body is not as long as the metadata, or else the sidecar, says.
    S4SizeMismatchError, S4CrcMismatchError
        The original is not what the metadata says.
    ValueError
        The range is outside of the object.
    S4IndexError
        ``sidecar`` is not a valid sidecar.
    S4UnregisteredCodecError, S4ManifestSizeExceedsLimitError, S4IoError, S4BackendError
        As :func:`decode`.
    """

def train_dictionary(
    samples: Iterable[_Data] | _ArrowExporter, size: SupportsIndex = 112_640
) -> bytes:
    """Train a dictionary on samples of what it is to compress.

    Parameters
    ----------
    samples
        An iterable of buffers, a Polars series or Arrow data of binary or string: some
        thousands, about a hundred times ``size`` together, and 7 at least. Nulls in a series
        or Arrow data are passed over, as are empty samples. libzstd takes just under 4 GiB: of
        more, every second sample is taken, every fourth, and so on, evenly over them all; of
        a sample longer than 256 MiB, its front.
    size
        The dictionary's length in bytes, at most; 256 or more.

    Returns
    -------
    bytes
        A stock zstd dictionary, for :class:`CpuZstdDict` or any other user of zstd.

    Raises
    ------
    S4BackendError
        There are too few samples, or they are too short.
    TypeError
        ``samples`` are something else, such as an expression, text or one buffer.
    ValueError
        ``size`` is under 256.
    """

def crc32c(data: _Data) -> int:
    """CRC-32C (Castagnoli) of a buffer.

    Raises
    ------
    TypeError, BufferError
        ``data`` has no buffer, or one that is not C-contiguous.
    """

def gpu_available() -> bool:
    """Whether the GPU codecs can run on a GPU here; :func:`gpu_status` says why not."""

def gpu_status() -> str:
    """Which GPUs and libraries the GPU codecs would use, or why there is none."""

def release_gpu_memory() -> None:
    """Give back all memory of GPUs, and what else is kept there between calls.

    Waits for the calls that use a GPU. The next call takes anew what it needs.

    Raises
    ------
    S4BackendError
        Something could not be given back, now or before.
    """

def num_threads() -> int:
    """Threads that column functions run on.

    What :func:`set_num_threads` said, else the environment variable ``S4_NUM_THREADS``,
    else the number of cores that this process may use.

    Raises
    ------
    ValueError
        ``S4_NUM_THREADS`` is not a whole number from 1 to 1024.
    """

def set_num_threads(n: SupportsIndex) -> None:
    """Set the number of threads of column functions from now on.

    Raises
    ------
    ValueError
        ``n`` is not from 1 to 1024.
    """

def _codec_options(codec: Codec | str) -> dict[str, Any]: ...
def _is_batched(codec: Codec | str) -> bool: ...
def _device_option(device: SupportsIndex | Literal["auto"]) -> str: ...
def _nvcomp_codec(name: str, data_type: str, device: str) -> Codec: ...

@final
class _ArrowChunk:
    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...

def _arrow_compress(data: Any, codec: Codec | str) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_decompress(
    data: Any, options: dict[str, Any], null_on_error: bool
) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_verify(data: Any, options: dict[str, Any]) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_encode(data: Any, codec: Codec | str) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_pieces(
    data: Any, codec: Codec | str, is_frames: bool, max_size: int | None, most: int
) -> list[int]: ...
def _arrow_frame_info(data: Any, null_on_error: bool) -> tuple[list[_ArrowChunk], bool]: ...
def _admit(
    codec: Codec | str, data: _Data, original_size: int, crc32c: int, max_size: int
) -> None: ...
def _decompress_into(
    codec: Codec | str, data: _Data, original_size: int, crc32c: int, room: Buffer
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
