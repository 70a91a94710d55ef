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

from . import _compute
from . import s4_codec as _native
from ._arguments import dictionary_codec, is_null_on_error, size_limit
from .s4_codec import Codec, CpuZstd, CpuZstdDict

if TYPE_CHECKING:
    from collections.abc import Iterable
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
        of these; a table of one column is that column.
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
) -> pa.LargeBinaryArray | pa.LargeStringArray: ...
@overload
def decompress(
    data: ArrowStream,
    codec: Codec | str = ...,
    *,
    dtype: pa.DataType | str | None = ...,
    on_error: Literal["raise", "null"] = ...,
    max_size: SupportsIndex | None = ...,
) -> pa.ChunkedArray: ...
def decompress(
    data: ArrowArray | ArrowStream,
    codec: Codec | str = CpuZstd(),
    *,
    dtype: pa.DataType | str | None = None,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
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
        What a bad row does: ``"raise"`` an error, or become ``"null"``.
    max_size
        Largest decoded value in bytes; default 5 GiB, for bare payloads 1 GiB.

    Returns
    -------
    LargeBinaryArray, LargeStringArray or ChunkedArray
        Null where the row or its payload is null. An array for an array, and chunk for chunk
        for a stream.

    Raises
    ------
    S4CrcMismatchError, S4SizeMismatchError, S4ManifestSizeExceedsLimitError, S4IoError, S4Error
        A row is bad, as the codec classes have it; ``.row`` is the position of the first one
        in all of ``data``.
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
    dtype = _result_type(dtype)
    is_text = dtype == pa.large_string()
    options = (is_text, is_null_on_error(on_error), size_limit(max_size))
    chunks, is_chunked = _native._arrow_decompress(data, codec, *options)
    return _assembled(chunks, is_chunked, dtype)


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
    device: SupportsIndex | Literal["auto"] | None = ...,
) -> pa.ChunkedArray: ...
def decode(
    data: ArrowArray | ArrowStream,
    *,
    dictionary: Buffer | CpuZstdDict | None = None,
    dtype: pa.DataType | str | None = None,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> pa.LargeBinaryArray | pa.LargeStringArray | pa.ChunkedArray:
    """Decode every row of frames, of any mix of codecs, and verify it.

    Parameters
    ----------
    data
        Binary data of any layout: one or more S4F2 frames a row.
    dictionary
        For frames of cpu-zstd-dict: its bytes, or a ``CpuZstdDict``.
    dtype, on_error, max_size
        As for :func:`decompress`; ``max_size`` defaults to 5 GiB.
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
    result = _result_type(dtype)
    options = (result == pa.large_string(), is_null_on_error(on_error), size_limit(max_size))
    chunks, is_chunked = _native._arrow_decode(data, dictionary_codec(dictionary), *options, device)
    return _assembled(chunks, is_chunked, result)


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
    """``s4_codec.train_dictionary`` on the values of binary or string data."""
    return _native.train_dictionary(data, size)


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


def register_compute_functions(
    codec: Codec | str = CpuZstd(),
    input_type: pa.DataType | str | Iterable[pa.DataType | str] = "large_binary",
) -> list[str]:
    """Put a codec into PyArrow's registry of compute functions.

    A registered function accepts one exact type, so there is a pair of functions for every
    type ``T`` of values, named after codec, level and type:

    - ``s4_compress_cpu_zstd_3__T`` from ``T`` to :data:`COMPRESSED_TYPE`;
    - ``s4_decompress_cpu_zstd_3__T`` back from :data:`COMPRESSED_TYPE`: to large_string
      where ``T`` is a string type or a dictionary of one, else to large_binary. Its level
      plays no part: it decompresses what any level made.

    Names have all settings of a codec: the level, a dictionary's id, Bitcomp's data type, and
    ``gpu0`` where a codec is for that GPU.

    For a struct type with the fields ``payload``, ``original_size`` and ``crc32c``, such as
    other engines make of ours (of binary instead of large_binary, say), there is one function,
    ``s4_decompress_cpu_zstd_3__struct<...>``, that decompresses it to large_binary.

    PyArrow calls a function once for each chunk or batch, so the ``.row`` of an error counts
    within that, and a bad row always raises; :func:`decompress` can do better.

    Parameters
    ----------
    codec
        A codec object, or the name of a codec with its default settings (and of a GPU's codec
        with ``device="auto"``).
    input_type
        One type, or several.

    Returns
    -------
    list of str
        The names for ``pyarrow.compute.call_function`` and dataset projections, in the order
        of the types. Names that are registered already are left as they are.

    Raises
    ------
    TypeError
        A type is not one that :func:`compress` or :func:`decompress` accepts.
    S4UnregisteredCodecError
        The codec's name is unknown.
    """
    compress(pa.array([], pa.binary()), codec)
    codec = Codec.from_name(codec) if isinstance(codec, str) else codec
    if isinstance(input_type, (str, pa.DataType)):
        input_type = [input_type]
    functions: list[_compute.Function] = []
    for dtype in map(_value_type, input_type):
        there, back = _compute.names(codec, dtype)
        if not pa.types.is_struct(dtype):
            functions.append(_compute.Function(there, compress, dtype, COMPRESSED_TYPE))
        source = dtype if pa.types.is_struct(dtype) else COMPRESSED_TYPE
        target = _compute.restored(dtype)
        functions.append(_compute.Function(back, decompress, source, target))
    _compute.register(functions, codec)
    return [function.name for function in functions]


def _value_type(dtype: pa.DataType | str) -> pa.DataType:
    """A type of values, or of structs of them."""
    try:
        found = pa.lib.ensure_type(dtype)
        # An empty array tells whether the type will do.
        if not pa.types.is_struct(found):
            compress(pa.array([], found))
        elif all(found.get_field_index(field.name) >= 0 for field in COMPRESSED_TYPE):
            decompress(pa.array([], found))
        else:
            raise TypeError
    except (TypeError, ValueError, pa.ArrowNotImplementedError):
        msg = (
            f"input_type must be a binary or string type, or a struct with the fields of "
            f"COMPRESSED_TYPE, not {dtype!r}"
        )
        raise TypeError(msg) from None
    return found
