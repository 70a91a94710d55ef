"""Compress and decompress Arrow data of any producer.

>>> import pyarrow as pa
>>> import s4_codec.arrow as s4
>>> column = pa.array(["a fine body " * 9, None])
>>> packed = s4.compress(column)
>>> s4.decompress(packed, dtype=pa.large_string()).cast(pa.string()).equals(column)
True

Input comes through the Arrow PyCapsule interface: from PyArrow, a Polars series, a DuckDB
relation or any other library that supports it. Results are PyArrow arrays: an array for an
array, and a chunked array with the same chunks for a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

try:
    import pyarrow as pa
except ImportError as error:
    msg = "s4_codec.arrow needs PyArrow: pip install pyarrow"
    raise ImportError(msg) from error

from . import s4_codec as _native
from ._arguments import DEFAULT_CODEC, decoder, dictionary_codec, flag, is_null_on_error, with_level
from ._arrow_arguments import decompress_options, result_type
from .s4_codec import Codec

if TYPE_CHECKING:
    from typing import SupportsIndex, Unpack

    from ._arguments import DictionaryLike
    from ._arrow_arguments import (
        ArrowArray,
        ArrowStream,
        DecodeOptions,
        DecompressOptions,
        VerifyFramesOptions,
        VerifyOptions,
    )

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

#: The type of compressed data, without ``payload_crc32c``.
COMPRESSED_TYPE = pa.struct(
    [("payload", pa.large_binary()), ("original_size", pa.int64()), ("crc32c", pa.int64())]
)

_CHECKSUMMED_TYPE = pa.struct([*COMPRESSED_TYPE, ("payload_crc32c", pa.int64())])

#: The type of frame headers.
FRAME_INFO_TYPE = pa.struct(
    [
        ("codec", pa.large_string()),
        ("original_size", pa.int64()),
        ("compressed_size", pa.int64()),
        ("crc32c", pa.int64()),
        ("frames", pa.int64()),
        ("passthrough_frames", pa.int64()),
    ]
)


@overload
def compress(
    data: ArrowArray,
    codec: Codec | str = ...,
    *,
    level: SupportsIndex | None = ...,
    payload_checksum: bool = ...,
) -> pa.StructArray: ...
@overload
def compress(
    data: ArrowStream,
    codec: Codec | str = ...,
    *,
    level: SupportsIndex | None = ...,
    payload_checksum: bool = ...,
) -> pa.ChunkedArray: ...
def compress(
    data: ArrowArray | ArrowStream,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    level: SupportsIndex | None = None,
    payload_checksum: bool = False,
) -> pa.StructArray | pa.ChunkedArray:
    """Compress every value of an array or of a stream of arrays.

    Parameters
    ----------
    data
        Any object with ``__arrow_c_array__`` or ``__arrow_c_stream__``. Its type is binary or
        string, in the normal, large or view layout, fixed-size binary, null, or a dictionary
        of these; or lists of numbers: list, large list or fixed-size list. Extension types
        (``arrow.uuid``, ``arrow.json``, ``arrow.fixed_shape_tensor``) are read as their storage
        type, and a table of one column as that column. Convert Polars columns of Python
        objects to Binary first.

        A list is compressed as the bytes of its items, little-endian as they are in memory.
        Items are integers, floats, dates, times, timestamps and durations (as the integers that
        they are), or fixed-size lists of them, and none may be null; a list may. The result
        does not record the type: name it to :func:`decompress`.
    codec
        A codec object, or the name of a codec (``"zstd"`` and ``"gzip"`` are short for
        ``"cpu-zstd"`` and ``"cpu-gzip"``) with its default settings, those of GPUs with
        ``device="auto"``.
    level
        The level of a codec given by name: ``"cpu-zstd", level=9``. A codec object has its own.
    payload_checksum
        Whether to record the crc32c of every payload itself, so that :func:`decompress` finds
        damage before it decodes anything. A GPU needs that: see "Damaged data" in docs/gpu.md.

    Returns
    -------
    StructArray or ChunkedArray
        Of type :data:`COMPRESSED_TYPE`, ``struct<payload: large_binary, original_size: int64
        (bytes), crc32c: int64 (of the original bytes)>``, with ``payload_checksum`` followed
        by the field ``payload_crc32c: int64``; null where the value is null.

    Raises
    ------
    TypeError
        ``data`` is not Arrow data, or of another type.
    S4UnregisteredCodecError
        The codec's name is unknown.
    S4ManifestSizeExceedsLimitError
        A value is longer than 5 GiB; ``.row`` is its position.
    S4Error
        A list has a null item; ``.row`` is its position.
    ValueError
        The level is out of range, or the codec has no level or its own. Or ``data`` is
        malformed, or its capsule has been consumed. (A reader at its end is no error: it has
        no rows.)
    S4BackendError
        The producer of the stream failed, or a GPU that the codec needs failed or is missing.
    """
    is_checksummed = flag(payload_checksum, "payload_checksum")
    result = _native._arrow_compress(data, with_level(codec, level), is_checksummed)
    return _assembled(result, _CHECKSUMMED_TYPE if is_checksummed else COMPRESSED_TYPE)


@overload
def decompress(
    data: ArrowArray, codec: Codec | str = ..., **options: Unpack[DecompressOptions]
) -> pa.Array: ...
@overload
def decompress(
    data: ArrowStream, codec: Codec | str = ..., **options: Unpack[DecompressOptions]
) -> pa.ChunkedArray: ...
def decompress(
    data: ArrowArray | ArrowStream,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: pa.DataType | str | None = None,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    max_total_size: SupportsIndex | None = None,
) -> pa.Array | pa.ChunkedArray:
    """Decompress every row of an array or of a stream of arrays, and verify it.

    Parameters
    ----------
    data
        What :func:`compress` returns, or any struct with its three fields (found by name; the
        payload of any type that :func:`compress` accepts, size and checksums of any integer
        type or decimal(p, 0)). A payload that does not match its ``payload_crc32c``, where
        there is one that is not null, is a damaged row and never decoded. Or binary data of
        bare payloads: zstd frames or gzip members from other systems, which are protected by
        their format's own checks only.
    codec
        The codec that made the payloads, or its name. Its level does not matter.
    dictionary
        In place of ``codec``, for payloads of cpu-zstd-dict: a dictionary's bytes, a
        ``CpuZstdDict``, or a ``DictionarySet``, in which each payload finds its own.
    dtype
        ``pa.large_binary()``, the default; ``pa.large_string()`` for text, which must be
        UTF-8; or the type of the lists of numbers that were compressed, such as
        ``pa.list_(pa.float32(), 768)`` or ``pa.large_list(pa.uint32())``. Bytes from elsewhere
        must be little-endian items back to back; a value whose length does not fit is a bad
        row, ``S4SizeMismatchError``.
    on_error
        What to do about a damaged row: ``"raise"`` an error, or make it ``"null"``, with a
        ``RuntimeWarning``. An error is raised in any case if all rows, two or more, fail for
        a reason that looks like a mistake: payloads of another codec, frames, a missing or
        wrong dictionary, values that were never compressed.
    max_size
        Largest decoded value in bytes; default 5 GiB, for bare payloads 1 GiB.
    max_total_size
        The most bytes that all values together may decode to. By default there is no limit
        for payloads with sizes and checksums. For bare payloads it is 64 times their size,
        and at least 4 GiB.

    Returns
    -------
    Array or ChunkedArray
        Of type ``dtype``, null where the row or its payload is null.

    Raises
    ------
    S4CrcMismatchError, S4SizeMismatchError, S4ManifestSizeExceedsLimitError, S4IoError, S4Error
        A row is bad, as documented at :meth:`Codec.decompress`; ``.row`` is the position of
        the first bad row in all of ``data``. Or all rows decode to more than
        ``max_total_size``.
    TypeError
        ``data`` is not Arrow data, of another type, or lacks a field.
    ValueError
        Both a codec and a dictionary were passed; or as for :func:`compress`.
    S4UnregisteredCodecError, S4BackendError
        As for :func:`compress`.
    """
    made_by = decoder(codec, dictionary)
    options = decompress_options(made_by, dtype, max_size, max_total_size)
    result = _native._arrow_decompress(data, options, is_null_on_error(on_error))
    return _assembled(result, result_type(dtype))


@overload
def encode(
    data: ArrowArray,
    codec: Codec | str = ...,
    *,
    level: SupportsIndex | None = ...,
    fallback: bool = ...,
) -> pa.LargeBinaryArray: ...
@overload
def encode(
    data: ArrowStream,
    codec: Codec | str = ...,
    *,
    level: SupportsIndex | None = ...,
    fallback: bool = ...,
) -> pa.ChunkedArray: ...
def encode(
    data: ArrowArray | ArrowStream,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    level: SupportsIndex | None = None,
    fallback: bool = True,
) -> pa.LargeBinaryArray | pa.ChunkedArray:
    """Compress every value to a frame, which names its codec, size and checksum.

    Parameters
    ----------
    data, codec, level
        As for :func:`compress`.
    fallback
        Store a value that its codec does not shrink in a frame of passthrough, so that no frame
        is longer than its value by more than 28 bytes; :func:`frame_info` counts such frames.
        False: every frame is of ``codec``.

    Returns
    -------
    LargeBinaryArray or ChunkedArray
        One S4F2 frame for each value (a header of 28 bytes, then the payload); null where the
        value is null.

    Raises
    ------
    TypeError, S4UnregisteredCodecError, S4ManifestSizeExceedsLimitError, ValueError, S4BackendError
        As for :func:`compress`.
    """
    falls_back = flag(fallback, "fallback")
    result = _native._arrow_encode(data, with_level(codec, level), falls_back)
    return _assembled(result, pa.large_binary())


@overload
def decode(data: ArrowArray, **options: Unpack[DecodeOptions]) -> pa.Array: ...
@overload
def decode(data: ArrowStream, **options: Unpack[DecodeOptions]) -> pa.ChunkedArray: ...
def decode(
    data: ArrowArray | ArrowStream,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: pa.DataType | str | None = None,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    max_total_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> pa.Array | pa.ChunkedArray:
    """Decode every row of frames, of any mix of codecs, and verify it.

    Parameters
    ----------
    data
        Binary data of any layout: one or more S4F2 frames a row; zero bytes decode to zero bytes.
    dictionary
        For frames of cpu-zstd-dict: its bytes, a ``CpuZstdDict``, or a ``DictionarySet``, in
        which each frame finds its own.
    dtype, on_error, max_size, max_total_size
        As for :func:`decompress`; ``max_size`` defaults to 5 GiB, and there is no other limit.
    device
        The number of a GPU, or ``"auto"``, to decode frames of the nvcomp codecs on; by
        default they decode on the CPU. Use a GPU only for data that you trust.

    Returns
    -------
    Array or ChunkedArray
        Of type ``dtype``, null where the row is null.

    Raises
    ------
    S4FrameError, S4UnregisteredCodecError, and those of :func:`decompress`
        A row is bad; ``.row`` is the position of the first bad row in all of ``data``.
    S4BackendError
        The dictionary is empty or damaged, the device is missing, or the producer failed.
    """
    codec = dictionary_codec(dictionary)
    options = decompress_options(
        codec, dtype, max_size, max_total_size, is_frames=True, device=device
    )
    result = _native._arrow_decompress(data, options, is_null_on_error(on_error))
    return _assembled(result, result_type(dtype))


@overload
def verify(
    data: ArrowArray, codec: Codec | str = ..., **options: Unpack[VerifyOptions]
) -> pa.LargeStringArray: ...
@overload
def verify(
    data: ArrowStream, codec: Codec | str = ..., **options: Unpack[VerifyOptions]
) -> pa.ChunkedArray: ...
def verify(
    data: ArrowArray | ArrowStream,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: pa.DataType | str | None = None,
    max_size: SupportsIndex | None = None,
) -> pa.LargeStringArray | pa.ChunkedArray:
    """Decompress every row without keeping its value, and report which rows are bad and why.

    Parameters
    ----------
    data, codec, dictionary, dtype, max_size
        As for :func:`decompress`.

    Returns
    -------
    LargeStringArray or ChunkedArray
        Null where the row is good, or null itself; else the exception's class and the reason:
        ``"S4CrcMismatchError: crc32c of the decoded bytes is ..."``. A good bare payload is one
        that decodes.

    Raises
    ------
    TypeError, S4UnregisteredCodecError, ValueError, S4BackendError
        As for :func:`decompress`.
    """
    options = decompress_options(decoder(codec, dictionary), dtype, max_size)
    result = _native._arrow_verify(data, options)
    return _assembled(result, pa.large_string())


@overload
def verify_frames(
    data: ArrowArray, **options: Unpack[VerifyFramesOptions]
) -> pa.LargeStringArray: ...
@overload
def verify_frames(data: ArrowStream, **options: Unpack[VerifyFramesOptions]) -> pa.ChunkedArray: ...
def verify_frames(
    data: ArrowArray | ArrowStream,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: pa.DataType | str | None = None,
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> pa.LargeStringArray | pa.ChunkedArray:
    """Decode every row of frames without keeping its value; report which rows are bad and why.

    Parameters
    ----------
    data, dictionary, dtype, max_size, device
        As for :func:`decode`.

    Returns
    -------
    LargeStringArray or ChunkedArray
        As for :func:`verify`.

    Raises
    ------
    TypeError, ValueError, S4BackendError
        As for :func:`decode`.
    """
    codec = dictionary_codec(dictionary)
    options = decompress_options(codec, dtype, max_size, is_frames=True, device=device)
    result = _native._arrow_verify(data, options)
    return _assembled(result, pa.large_string())


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
        What to do about a row that is not frames: ``"raise"`` an error, or make it ``"null"``.

    Returns
    -------
    StructArray or ChunkedArray
        Of type :data:`FRAME_INFO_TYPE`: ``codec`` (null if the frames differ),
        ``original_size`` and ``compressed_size`` (sums over the frames, in bytes), ``crc32c``
        (null unless there is exactly one frame) and ``frames``; null where the row is null.

    Raises
    ------
    S4FrameError
        A row is not frames; ``.row`` is its position.
    TypeError, ValueError, S4BackendError
        As for :func:`compress`.
    """
    result = _native._arrow_frame_info(data, is_null_on_error(on_error))
    return _assembled(result, FRAME_INFO_TYPE)


def train_dictionary(data: ArrowArray | ArrowStream, size: SupportsIndex = 112_640) -> bytes:
    """Train a dictionary on bytes, text or lists of numbers, as ``s4_codec.train_dictionary``
    does.

    libzstd accepts just under 4 GiB. Of more data every second value is used, every fourth, and
    so on, evenly over all chunks.
    """
    return _native.train_dictionary(data, size)


def _assembled(
    result: tuple[list[_native._ArrowChunk], bool], dtype: pa.DataType
) -> pa.Array | pa.ChunkedArray:
    """The result of a native function as PyArrow data."""
    chunks, is_chunked = result
    arrays = [pa.array(chunk) for chunk in chunks]
    return pa.chunked_array(arrays, type=dtype) if is_chunked else arrays[0]


# It is built from the functions above.
from ._compute import register_compute_functions  # noqa: E402
