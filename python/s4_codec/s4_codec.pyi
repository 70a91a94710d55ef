"""The native module. Import from ``s4_codec``, which holds the same names."""

from typing import Any, Protocol, SupportsIndex, final

from typing_extensions import Buffer

__version__: str

class _ArrayInterface(Protocol):
    """NumPy arrays, which type checkers know as buffers only from Python 3.12 on."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

_Data = Buffer | _ArrayInterface

class S4Error(ValueError):
    """Data is not what it must be. Base of the errors that are about data."""

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

class Codec:
    """A codec and its settings. The base of the codec classes.

    Codecs are values: immutable, hashable, equal by class and settings, and picklable.
    Any number of threads may use one at once. All methods release the GIL; the buffer
    passed in must not be changed meanwhile.
    """

    @property
    def name(self) -> str:
        """The codec's name in the S4 wire format, such as ``"cpu-zstd"``."""

    @property
    def id(self) -> int:
        """The codec's id in the S4 wire format."""

    @staticmethod
    def from_name(name: str, level: SupportsIndex | None = None) -> CpuZstd | CpuGzip | Passthrough:
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
        TypeError, BufferError
            ``data`` has no buffer, or one that is not C-contiguous.
        OverflowError
            ``original_size`` or ``max_size`` does not fit 64 bits, or ``crc32c`` 32.
        """

    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[type[Codec], tuple[int, ...]]: ...
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

def crc32c(data: _Data) -> int:
    """CRC-32C (Castagnoli) of a buffer.

    Raises
    ------
    TypeError, BufferError
        ``data`` has no buffer, or one that is not C-contiguous.
    """

def gpu_available() -> bool:
    """Whether the GPU codecs can run here; :func:`gpu_status` says why not."""

def gpu_status() -> str:
    """Which GPU and library the GPU codecs would use, or why there is none."""

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

@final
class _ArrowChunk:
    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...

def _arrow_compress(data: Any, codec: Codec | str) -> tuple[list[_ArrowChunk], bool]: ...
def _arrow_decompress(
    data: Any, codec: Codec | str, utf8: bool, null_on_error: bool, max_size: int | None
) -> tuple[list[_ArrowChunk], bool]: ...
