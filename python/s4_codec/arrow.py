"""Compress and decompress Arrow data of any producer.

>>> import pyarrow as pa
>>> import s4_codec.arrow as s4
>>> column = pa.array(["a fine body " * 9, None])
>>> packed = s4.compress(column)
>>> s4.decompress(packed, dtype=pa.large_string()).cast(pa.string()).equals(column)
True

Data comes in by the Arrow PyCapsule interface, so it may be PyArrow's, a Polars series, a
DuckDB relation, or of any other library that speaks it. Results are PyArrow arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, overload

try:
    import pyarrow as pa
except ImportError as error:
    msg = "s4_codec.arrow needs PyArrow: pip install pyarrow"
    raise ImportError(msg) from error

from . import s4_codec as _native
from ._arguments import dictionary_codec, is_null_on_error, size_limit
from .s4_codec import Codec, CpuZstd, CpuZstdDict

if TYPE_CHECKING:
    from typing import SupportsIndex

    from typing_extensions import Buffer

__all__ = [
    "COMPRESSED_TYPE",
    "FRAME_INFO_TYPE",
    "compress",
    "decode",
    "decompress",
    "encode",
    "frame_info",
    "register_compute_functions",
    "train_dictionary",
    "verify",
    "verify_frames",
]

#: The type of compressed data.
COMPRESSED_TYPE = pa.struct(
    [("payload", pa.large_binary()), ("original_size", pa.int64()), ("crc32c", pa.int64())]
)

#: The type of what headers of frames say.
FRAME_INFO_TYPE = pa.struct(
    [
        ("codec", pa.large_string()),
        ("original_size", pa.int64()),
        ("compressed_size", pa.int64()),
        ("crc32c", pa.int64()),
        ("frames", pa.int64()),
    ]
)


class ArrowArray(Protocol):
    """Data in one chunk: a PyArrow array or record batch, a nanoarrow or arro3 array."""

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]: ...


class ArrowStream(Protocol):
    """Data in chunks: a PyArrow chunked array or table, a Polars series, a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


@overload
def compress(data: ArrowArray, codec: Codec | str = ...) -> pa.StructArray: ...
@overload
def compress(data: ArrowStream, codec: Codec | str = ...) -> pa.ChunkedArray: ...
def compress(
    data: ArrowArray | ArrowStream, codec: Codec | str = CpuZstd()
) -> pa.StructArray | pa.ChunkedArray:
    """Compress every value of an array or of a stream of arrays.

    Parameters
    ----------
    data
        Any object with ``__arrow_c_array__`` or ``__arrow_c_stream__``. Its type is binary or
        string, in the normal, large or view layout, fixed-size binary, null, or a dictionary
        of these; an extension type (``arrow.uuid``, ``arrow.json``) is read as it is stored,
        and a table of one column is that column. Polars' columns of Python objects must be
        made Binary first.
    codec
        A codec object, or the name of a codec with its default settings (and of a GPU's codec
        with ``device="auto"``).

    Returns
    -------
    StructArray or ChunkedArray
        Of type :data:`COMPRESSED_TYPE`, ``struct<payload: large_binary, original_size: int64
        (bytes), crc32c: int64 (of the original bytes)>``; null where the value is null. An
        array for an array, and chunk for chunk for a stream.

    Raises
    ------
    TypeError
        ``data`` is no Arrow data, or of another type.
    S4UnregisteredCodecError
        The codec's name is unknown.
    S4ManifestSizeExceedsLimitError
        A value is longer than 5 GiB; ``.row`` is its position.
    ValueError
        ``data`` is malformed, or its capsule has been consumed already. (A reader that has
        been read to its end is not an error: it has no rows.)
    S4BackendError
        The producer of the stream failed; or a GPU that the codec needs failed or is missing.
    """
    chunks, is_chunked = _native._arrow_compress(data, codec)
    return _assembled(chunks, is_chunked, COMPRESSED_TYPE)


@overload
def decompress(
    data: ArrowArray,
    codec: Codec | str = ...,
    *,
    dtype: pa.DataType | str | None = ...,
    on_error: Literal["raise", "null"] = ...,
    max_size: SupportsIndex | None = ...,
    max_total_size: SupportsIndex | None = ...,
) -> pa.LargeBinaryArray | pa.LargeStringArray: ...
@overload
def decompress(
    data: ArrowStream,
    codec: Codec | str = ...,
    *,
    dtype: pa.DataType | str | None = ...,
    on_error: Literal["raise", "null"] = ...,
    max_size: SupportsIndex | None = ...,
    max_total_size: SupportsIndex | None = ...,
) -> pa.ChunkedArray: ...
def decompress(
    data: ArrowArray | ArrowStream,
    codec: Codec | str = CpuZstd(),
    *,
    dtype: pa.DataType | str | None = None,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    max_total_size: SupportsIndex | None = None,
) -> pa.LargeBinaryArray | pa.LargeStringArray | pa.ChunkedArray:
    """Decompress every row of an array or of a stream of arrays, and verify it.

    Parameters
    ----------
    data
        What :func:`compress` makes, or any struct with its three fields (found by name; the
        payload of any type that :func:`compress` takes, sizes and checksums of any integer
        type or decimal(p, 0)); or binary data of bare payloads: zstd frames or gzip members
        that other systems made, which only their format's own checks protect.
    codec
        The codec that made the payloads, or its name. Its level plays no part.
    dtype
        ``pa.large_binary()``, the default, or ``pa.large_string()`` for text, which is
        checked to be UTF-8.
    on_error
        What a damaged row does: ``"raise"`` an error, or become ``"null"``, which a
        ``RuntimeWarning`` tells. If all rows, two or more, fail for a reason that looks like
        a mistake (payloads of another codec, frames, a missing or other dictionary, values
        that were never compressed), it is an error in any case.
    max_size
        Largest decoded value in bytes; default 5 GiB, for bare payloads 1 GiB.
    max_total_size
        The most bytes that all values together may decode to. By default there is no limit
        for payloads with sizes and checksums; for bare payloads it is 64 times their bytes,
        or 4 GiB if that is more.

    Returns
    -------
    LargeBinaryArray, LargeStringArray or ChunkedArray
        Null where the row or its payload is null. An array for an array, and chunk for chunk
        for a stream.

    Raises
    ------
    S4CrcMismatchError, S4SizeMismatchError, S4ManifestSizeExceedsLimitError, S4IoError, S4Error
        A row is bad, as the codec classes have it; ``.row`` is the position of the first one
        in all of ``data``. Or all rows decode to more than ``max_total_size``.
    TypeError
        ``data`` is no Arrow data, of another type, or lacks a field.
    S4UnregisteredCodecError
        The codec's name is unknown.
    ValueError
        ``data`` is malformed, or its capsule has been consumed already. (A reader that has
        been read to its end is not an error: it has no rows.)
    S4BackendError
        The producer of the stream failed; or a GPU that the codec needs failed or is missing.
    """
    options = _options(codec, dtype, max_size, max_total_size)
    chunks, is_chunked = _native._arrow_decompress(data, options, is_null_on_error(on_error))
    return _assembled(chunks, is_chunked, _result_type(dtype))


@overload
def encode(data: ArrowArray, codec: Codec | str = ...) -> pa.LargeBinaryArray: ...
@overload
def encode(data: ArrowStream, codec: Codec | str = ...) -> pa.ChunkedArray: ...
def encode(
    data: ArrowArray | ArrowStream, codec: Codec | str = CpuZstd()
) -> pa.LargeBinaryArray | pa.ChunkedArray:
    """Compress every value to a frame, which says by itself how to decode it.

    Parameters
    ----------
    data, codec
        As for :func:`compress`.

    Returns
    -------
    LargeBinaryArray or ChunkedArray
        One S4F2 frame a value (28 bytes of header, then the payload); null where the value is
        null. An array for an array, and chunk for chunk for a stream.

    Raises
    ------
    TypeError, S4UnregisteredCodecError, S4ManifestSizeExceedsLimitError, ValueError, S4BackendError
        As for :func:`compress`.
    """
    chunks, is_chunked = _native._arrow_encode(data, codec)
    return _assembled(chunks, is_chunked, pa.large_binary())


@overload
def decode(
    data: ArrowArray,
    *,
    dictionary: Buffer | CpuZstdDict | None = ...,
    dtype: pa.DataType | str | None = ...,
    on_error: Literal["raise", "null"] = ...,
    max_size: SupportsIndex | None = ...,
    max_total_size: SupportsIndex | None = ...,
    device: SupportsIndex | Literal["auto"] | None = ...,
) -> pa.LargeBinaryArray | pa.LargeStringArray: ...
@overload
def decode(
    data: ArrowStream,
    *,
    dictionary: Buffer | CpuZstdDict | None = ...,
    dtype: pa.DataType | str | None = ...,
    on_error: Literal["raise", "null"] = ...,
    max_size: SupportsIndex | None = ...,
    max_total_size: SupportsIndex | None = ...,
    device: SupportsIndex | Literal["auto"] | None = ...,
) -> pa.ChunkedArray: ...
def decode(
    data: ArrowArray | ArrowStream,
    *,
    dictionary: Buffer | CpuZstdDict | None = None,
    dtype: pa.DataType | str | None = None,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    max_total_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> pa.LargeBinaryArray | pa.LargeStringArray | pa.ChunkedArray:
    """Decode every row of frames, of any mix of codecs, and verify it.

    Parameters
    ----------
    data
        Binary data of any layout: one or more S4F2 frames a row; zero bytes decode to zero bytes.
    dictionary
        For frames of cpu-zstd-dict: its bytes, or a ``CpuZstdDict``.
    dtype, on_error, max_size, max_total_size
        As for :func:`decompress`; ``max_size`` defaults to 5 GiB, and there is no other limit.
    device
        The number of a GPU, or ``"auto"``, for frames of the nvcomp codecs; they decode on the
        CPU without. Only for bytes of your own or of somebody you trust.

    Returns
    -------
    LargeBinaryArray, LargeStringArray or ChunkedArray
        Null where the row is null. An array for an array, and chunk for chunk for a stream.

    Raises
    ------
    S4FrameError, S4UnregisteredCodecError, and those of :func:`decompress`
        A row is bad; ``.row`` is the position of the first one in all of ``data``.
    S4BackendError
        The dictionary is empty or damaged, the device is not there, or the producer failed.
    """
    options = _frame_options(dictionary, dtype, max_size, max_total_size, device)
    chunks, is_chunked = _native._arrow_decompress(data, options, is_null_on_error(on_error))
    return _assembled(chunks, is_chunked, _result_type(dtype))


@overload
def verify(
    data: ArrowArray,
    codec: Codec | str = ...,
    *,
    dtype: pa.DataType | str | None = ...,
    max_size: SupportsIndex | None = ...,
) -> pa.LargeStringArray: ...
@overload
def verify(
    data: ArrowStream,
    codec: Codec | str = ...,
    *,
    dtype: pa.DataType | str | None = ...,
    max_size: SupportsIndex | None = ...,
) -> pa.ChunkedArray: ...
def verify(
    data: ArrowArray | ArrowStream,
    codec: Codec | str = CpuZstd(),
    *,
    dtype: pa.DataType | str | None = None,
    max_size: SupportsIndex | None = None,
) -> pa.LargeStringArray | pa.ChunkedArray:
    """Decompress every row without keeping its value, and say which rows are bad and why.

    Parameters
    ----------
    data, codec, dtype, max_size
        As for :func:`decompress`.

    Returns
    -------
    LargeStringArray or ChunkedArray
        Null where the row is good, or null itself; else the exception's class and the reason:
        ``"S4CrcMismatchError: crc32c of the decoded bytes is ..."``. Of a bare payload null says
        only that it decodes. An array for an array, and chunk for chunk for a stream.

    Raises
    ------
    TypeError, S4UnregisteredCodecError, ValueError, S4BackendError
        As for :func:`decompress`.
    """
    options = _options(codec, dtype, max_size)
    chunks, is_chunked = _native._arrow_verify(data, options)
    return _assembled(chunks, is_chunked, pa.large_string())


@overload
def verify_frames(
    data: ArrowArray,
    *,
    dictionary: Buffer | CpuZstdDict | None = ...,
    dtype: pa.DataType | str | None = ...,
    max_size: SupportsIndex | None = ...,
    device: SupportsIndex | Literal["auto"] | None = ...,
) -> pa.LargeStringArray: ...
@overload
def verify_frames(
    data: ArrowStream,
    *,
    dictionary: Buffer | CpuZstdDict | None = ...,
    dtype: pa.DataType | str | None = ...,
    max_size: SupportsIndex | None = ...,
    device: SupportsIndex | Literal["auto"] | None = ...,
) -> pa.ChunkedArray: ...
def verify_frames(
    data: ArrowArray | ArrowStream,
    *,
    dictionary: Buffer | CpuZstdDict | None = None,
    dtype: pa.DataType | str | None = None,
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> pa.LargeStringArray | pa.ChunkedArray:
    """Decode every row of frames without keeping its value, and say which rows are bad and why.

    Parameters
    ----------
    data, dictionary, dtype, max_size, device
        As for :func:`decode`.

    Returns
    -------
    LargeStringArray or ChunkedArray
        As :func:`verify` has it.

    Raises
    ------
    TypeError, ValueError, S4BackendError
        As for :func:`decode`.
    """
    options = _frame_options(dictionary, dtype, max_size, None, device)
    chunks, is_chunked = _native._arrow_verify(data, options)
    return _assembled(chunks, is_chunked, pa.large_string())


@overload
def frame_info(data: ArrowArray, *, on_error: Literal["raise", "null"] = ...) -> pa.StructArray: ...
@overload
def frame_info(
    data: ArrowStream, *, on_error: Literal["raise", "null"] = ...
) -> pa.ChunkedArray: ...
def frame_info(
    data: ArrowArray | ArrowStream, *, on_error: Literal["raise", "null"] = "raise"
) -> pa.StructArray | pa.ChunkedArray:
    """Read the headers of every row of frames; nothing is decoded.

    Parameters
    ----------
    data
        Binary data of any layout: S4F2 frames.
    on_error
        What a row that is not frames does: ``"raise"`` an error, or become ``"null"``.

    Returns
    -------
    StructArray or ChunkedArray
        Of type :data:`FRAME_INFO_TYPE`: ``codec`` (null if the frames differ),
        ``original_size`` and ``compressed_size`` (sums over the frames, in bytes), ``crc32c``
        (null unless it is exactly one frame) and ``frames``; null where the row is null.

    Raises
    ------
    S4FrameError
        A row is not frames; ``.row`` is its position.
    TypeError, ValueError, S4BackendError
        As for :func:`compress`.
    """
    chunks, is_chunked = _native._arrow_frame_info(data, is_null_on_error(on_error))
    return _assembled(chunks, is_chunked, FRAME_INFO_TYPE)


def train_dictionary(data: ArrowArray | ArrowStream, size: SupportsIndex = 112_640) -> bytes:
    """``s4_codec.train_dictionary`` on the values of binary or string data.

    Of more than libzstd takes, just under 4 GiB, every second value is taken, every fourth, and
    so on, evenly over all chunks.
    """
    return _native.train_dictionary(data, size)


def _options(
    codec: Codec | str,
    dtype: pa.DataType | str | None,
    max_size: SupportsIndex | None,
    max_total_size: SupportsIndex | None = None,
) -> dict[str, Any]:
    """How payloads are decompressed."""
    return {
        "codec": codec,
        "is_frames": False,
        "utf8": _result_type(dtype) == pa.large_string(),
        "max_size": size_limit(max_size),
        "max_total_size": size_limit(max_total_size, "max_total_size"),
        "device": None,
    }


def _frame_options(
    dictionary: Buffer | CpuZstdDict | None,
    dtype: pa.DataType | str | None,
    max_size: SupportsIndex | None,
    max_total_size: SupportsIndex | None,
    device: SupportsIndex | Literal["auto"] | None,
) -> dict[str, Any]:
    """How frames are decoded."""
    options = _options(dictionary_codec(dictionary), dtype, max_size, max_total_size)
    return options | {"is_frames": True, "device": device}


def _result_type(dtype: pa.DataType | str | None) -> pa.DataType:
    """What ``dtype`` says."""
    results = {"large_binary": pa.large_binary(), "large_string": pa.large_string()}
    found = "large_binary" if dtype is None else str(dtype)
    if found in results and isinstance(dtype, (str, pa.DataType, type(None))):
        return results[found]
    msg = f"dtype must be large_binary or large_string, not {dtype!r}; cast the result to others"
    raise TypeError(msg)


def _assembled(
    chunks: list[_native._ArrowChunk], is_chunked: bool, dtype: pa.DataType
) -> pa.Array | pa.ChunkedArray:
    """The chunks as PyArrow has them."""
    arrays = [pa.array(chunk) for chunk in chunks]
    return pa.chunked_array(arrays, type=dtype) if is_chunked else arrays[0]


# The registry is made of the functions above.
from ._compute import register_compute_functions  # noqa: E402
