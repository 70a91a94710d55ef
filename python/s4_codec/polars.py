"""Compress and decompress whole Polars columns.

>>> import polars as pl
>>> import s4_codec.polars as s4
>>> df = pl.DataFrame({"body": ["a fine body " * 9, None]})
>>> packed = df.with_columns(s4.compress("body"))
>>> packed.with_columns(s4.decompress("body", dtype=pl.String)).equals(df)
True

Importing this module also registers the namespace ``s4`` on ``pl.Expr`` and ``pl.Series``.
Type checkers know no registered namespaces; for them, :func:`on` returns the same methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from polars.plugins import register_plugin_function

from . import s4_codec as _native
from ._arguments import (
    DEFAULT_CODEC,
    decoder,
    dictionary_codec,
    flag,
    is_null_on_error,
    size_limit,
    with_level,
)
from .s4_codec import Codec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import SupportsIndex

    from polars._typing import IntoExpr, PolarsDataType

    from ._arguments import DictionaryLike
    from .dictionaries import DictionarySet

__all__ = [
    "COMPRESSED_DTYPE",
    "ExprNamespace",
    "SeriesNamespace",
    "compress",
    "decode",
    "decompress",
    "encode",
    "frame_info",
    "on",
    "train_dictionary",
    "verify",
    "verify_frames",
]

_PLUGIN = _native.__file__

# Views have 32-bit lengths, so no value in Polars is longer.
_MAX_VALUE_BYTES = 2**32


#: The type of a compressed column, without ``payload_crc32c``.
COMPRESSED_DTYPE = pl.Struct({"payload": pl.Binary, "original_size": pl.Int64, "crc32c": pl.Int64})


def _call(
    name: str, inputs: Iterable[pl.Expr], options: dict[str, Any], *, is_batched: bool = False
) -> pl.Expr:
    """An expression that calls the plugin.

    It is elementwise, so that Polars may stream it, unless it runs on a GPU, where one call
    should have the whole column.
    """
    return register_plugin_function(
        plugin_path=_PLUGIN,
        function_name=name,
        args=list(inputs),
        kwargs=options,
        is_elementwise=not is_batched,
    )


def _call_with(
    codec: Codec | str | DictionarySet,
    name: str,
    inputs: Iterable[pl.Expr],
    options: dict[str, Any],
) -> pl.Expr:
    """An expression that calls the plugin with a codec."""
    return _call(name, inputs, options, is_batched=_native._is_batched(codec))


def _call_on(
    device: SupportsIndex | Literal["auto"] | None,
    name: str,
    inputs: Iterable[pl.Expr],
    options: dict[str, Any],
) -> pl.Expr:
    """An expression that decodes frames, those of GPU codecs on a device."""
    if device is None:
        return _call(name, inputs, options)
    options["device"] = _native._device_option(device)
    is_batched = device != "auto" or _native.gpu_available()
    return _call(name, inputs, options, is_batched=is_batched)


def _expr(value: IntoExpr) -> pl.Expr:
    """An argument as an expression, by Polars' rules: a string names a column."""
    if isinstance(value, pl.Expr):
        return value
    return pl.col(value) if isinstance(value, str) else pl.lit(value)


def compress(
    expr: IntoExpr,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    level: SupportsIndex | None = None,
    payload_checksum: bool = False,
) -> pl.Expr:
    """Compress every value of a column of bytes, of text or of lists of numbers.

    Parameters
    ----------
    expr
        The column: Binary, String or Null; a List or Array of numbers; or an extension type
        with one of these as its storage. Convert a column of Python objects (memoryview,
        bytearray) to Binary first.

        A list is compressed as the bytes of its items, little-endian as they are in memory.
        Items are integers of up to 64 bits, floats, dates and times (as the integers that
        Polars keeps), or Arrays of them, and none may be null; a list may. The result does not
        record the type: name it to :func:`decompress`.
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
    Expr
        ``Struct{payload: Binary, original_size: Int64 (bytes), crc32c: Int64 (of the
        original bytes)}``, which is :data:`COMPRESSED_DTYPE`, and with ``payload_checksum``
        the field ``payload_crc32c: Int64``; null where the value is null.

    Raises
    ------
    S4UnregisteredCodecError
        The codec's name is unknown.
    ValueError
        The level is out of range, or the codec has no level or its own.
    polars.exceptions.ComputeError
        The column has another type, a list has a null item, memory ran out, or a GPU that the
        codec needs failed or is missing.
    """
    codec = with_level(codec, level)
    options = _native._codec_options(codec)
    options["payload_checksum"] = flag(payload_checksum, "payload_checksum")
    return _call_with(codec, "compress", [_expr(expr)], options)


def decompress(
    expr: IntoExpr,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: PolarsDataType = pl.Binary,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    row: IntoExpr | None = None,
) -> pl.Expr:
    """Decompress every row of a column, and verify its length and crc32c.

    Parameters
    ----------
    expr
        The struct that :func:`compress` returns (fields found by name; size and checksums of
        any integer type or decimal(p, 0)), or a Binary column of bare payloads: zstd frames
        or gzip members from other systems. Bare payloads have no size and crc32c, so they are
        protected by their format's own checks only. A payload that does not match its
        ``payload_crc32c``, unless that is null, is a damaged row and never decoded.
    codec
        The codec that made the payloads, or its name. Its level does not matter.
    dictionary
        In place of ``codec``, for payloads of cpu-zstd-dict: a dictionary's bytes, a
        ``CpuZstdDict``, or a ``DictionarySet``, in which each payload finds its own.
    dtype
        ``pl.Binary``; ``pl.String`` for text, which must be UTF-8; or the List or Array of
        numbers that was compressed, such as ``pl.Array(pl.Float32, 768)`` or
        ``pl.List(pl.UInt32)``. Bytes from elsewhere must be little-endian items back to back; a
        value whose length does not fit is a bad row, ``S4SizeMismatchError``.
    on_error
        What to do about a damaged row: ``"raise"`` an error, or make it ``"null"``, with a
        ``RuntimeWarning`` for every batch. An error is raised in any case if all rows of a
        batch, two or more, fail for a reason that looks like a mistake: payloads of another
        codec, frames, a missing or wrong dictionary, values that were never compressed.
    max_size
        Largest decoded value in bytes; default 5 GiB, for bare payloads 1 GiB. In Polars no
        value can exceed 4 GiB. This is the only limit on untrusted data: n rows decode to at
        most n times ``max_size``.
    row
        ``row="id"`` adds the row's ``id`` to error messages, which otherwise give only its
        position in the batch. Any expression (for a series, another series) of any type but
        Object. With it a literal ``expr`` stands for as many rows.

    Returns
    -------
    Expr
        Of type ``dtype``, null where the row or its payload is null.

    Raises
    ------
    S4UnregisteredCodecError
        The codec's name is unknown.
    ValueError
        Both a codec and a dictionary were passed.
    polars.exceptions.ComputeError
        The column has another type or lacks a field; or a row is bad: the message names the
        exception class, the row and the reason.
    """
    made_by = decoder(codec, dictionary)
    options = _decoding(made_by, dtype, on_error, max_size)
    return _call_with(made_by, "decompress", _with_row(expr, row), options)


def _decoding(
    codec: Codec | str | DictionarySet,
    dtype: PolarsDataType,
    on_error: Literal["raise", "null"],
    max_size: SupportsIndex | None,
) -> dict[str, Any]:
    """The plugin's options for decompressing and decoding."""
    limit = size_limit(max_size)
    return {
        **_native._decoder_options(codec),
        **_dtype_options(dtype),
        "null_on_error": is_null_on_error(on_error),
        "max_size": None if limit is None else min(limit, _MAX_VALUE_BYTES),
    }


def _dtype_options(dtype: PolarsDataType) -> dict[str, Any]:
    """The plugin's options for what values become."""
    if dtype in (pl.Binary, pl.String):
        return {"utf8": dtype == pl.String}
    if dtype in (pl.List, pl.Array) and _item_of(dtype) != pl.Object:
        return {"lists": _native._list_description(pl.Series([], dtype=dtype))}
    msg = f"dtype must be pl.Binary, pl.String, or a pl.List or pl.Array of numbers, not {dtype!r}"
    raise TypeError(msg)


def _item_of(dtype: Any) -> Any:
    """The type of the innermost items of lists and arrays."""
    while isinstance(dtype, (pl.List, pl.Array)):
        if isinstance(dtype, pl.Array) and dtype.size >= 2**31:
            msg = f"dtype has arrays of {dtype.size} items, more than the maximum of {2**31 - 1}"
            raise ValueError(msg)
        dtype = dtype.inner
    return dtype


def _with_row(expr: IntoExpr, row: IntoExpr | None) -> list[pl.Expr]:
    """The inputs of an expression whose errors name rows by ``row``."""
    return [_expr(expr)] if row is None else [_expr(expr), _expr(row)]


def encode(
    expr: IntoExpr,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    level: SupportsIndex | None = None,
    fallback: bool = True,
) -> pl.Expr:
    """Compress every value to a frame, which names its codec, size and checksum.

    Parameters
    ----------
    expr
        The column, as for :func:`compress`.
    codec, level
        As for :func:`compress`.
    fallback
        Store a value that its codec does not shrink in a frame of passthrough, so that no frame
        is longer than its value by more than 28 bytes; :func:`frame_info` counts such frames.
        False: every frame is of ``codec``.

    Returns
    -------
    Expr
        Binary: one S4F2 frame for each value (a header of 28 bytes, then the payload); null
        where the value is null.

    Raises
    ------
    S4UnregisteredCodecError
        The codec's name is unknown.
    ValueError
        The level is out of range, or the codec has no level or its own.
    polars.exceptions.ComputeError
        The column has another type, a list has a null item, memory ran out, or a GPU that the
        codec needs failed or is missing.
    """
    codec = with_level(codec, level)
    options = _native._codec_options(codec)
    options["fallback"] = flag(fallback, "fallback")
    return _call_with(codec, "encode", [_expr(expr)], options)


def decode(
    expr: IntoExpr,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: PolarsDataType = pl.Binary,
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    row: IntoExpr | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> pl.Expr:
    """Decode every row of a column of frames, of any mix of codecs, and verify it.

    Parameters
    ----------
    expr
        Binary: one or more S4F2 frames a row; zero bytes decode to zero bytes.
    dictionary
        For frames of cpu-zstd-dict: its bytes, a ``CpuZstdDict``, or a ``DictionarySet``, in
        which each frame finds its own.
    dtype, on_error, max_size, row
        As for :func:`decompress`; ``max_size`` defaults to 5 GiB.
    device
        The number of a GPU, or ``"auto"``, to decode frames of the nvcomp codecs on; by
        default they decode on the CPU. Use a GPU only for data that you trust.

    Returns
    -------
    Expr
        Of type ``dtype``, null where the row is null.

    Raises
    ------
    S4BackendError
        The dictionary is empty or damaged, or the device is missing.
    polars.exceptions.ComputeError
        The column has another type; or a row is bad: the message names the exception class,
        the row and the reason.
    """
    options = _decoding(dictionary_codec(dictionary), dtype, on_error, max_size)
    return _call_on(device, "decode", _with_row(expr, row), options)


def verify(
    expr: IntoExpr,
    codec: Codec | str = DEFAULT_CODEC,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: PolarsDataType = pl.Binary,
    max_size: SupportsIndex | None = None,
) -> pl.Expr:
    """Decompress every row without keeping its value, and report which rows are bad and why.

    Parameters
    ----------
    expr, codec, dictionary, dtype, max_size
        As for :func:`decompress`.

    Returns
    -------
    Expr
        String: null where the row is good, or null itself; else the exception's class and the
        reason: ``"S4CrcMismatchError: crc32c of the decoded bytes is ..."``. A good bare payload
        is one that decodes.

    Raises
    ------
    S4UnregisteredCodecError
        The codec's name is unknown.
    polars.exceptions.ComputeError
        The column has another type or lacks a field, or a GPU that the codec needs failed or
        is missing.
    """
    made_by = decoder(codec, dictionary)
    options = _decoding(made_by, dtype, "null", max_size)
    return _call_with(made_by, "verify", [_expr(expr)], options)


def verify_frames(
    expr: IntoExpr,
    *,
    dictionary: DictionaryLike | None = None,
    dtype: PolarsDataType = pl.Binary,
    max_size: SupportsIndex | None = None,
    device: SupportsIndex | Literal["auto"] | None = None,
) -> pl.Expr:
    """Decode every row of frames without keeping its value; report which rows are bad and why.

    Parameters
    ----------
    expr, dictionary, dtype, max_size, device
        As for :func:`decode`.

    Returns
    -------
    Expr
        String, as for :func:`verify`.

    Raises
    ------
    S4BackendError
        The dictionary is empty or damaged, or the device is missing.
    polars.exceptions.ComputeError
        The column has another type, or frames need a GPU that failed or is missing.
    """
    options = _decoding(dictionary_codec(dictionary), dtype, "null", max_size)
    return _call_on(device, "verify_frames", [_expr(expr)], options)


def frame_info(expr: IntoExpr, *, on_error: Literal["raise", "null"] = "raise") -> pl.Expr:
    """Read the headers of every row of a column of frames; nothing is decoded.

    Parameters
    ----------
    expr
        Binary: S4F2 frames.
    on_error
        What to do about a row that is not frames: ``"raise"`` an error, or make it ``"null"``.

    Returns
    -------
    Expr
        ``Struct{codec: String (null if the frames differ), original_size: Int64 and
        compressed_size: Int64 (sums over the frames, in bytes), crc32c: Int64 (null unless
        there is exactly one frame), frames: Int64, passthrough_frames: Int64 (those that hold
        their value as it is)}``; null where the row is null.

    Raises
    ------
    polars.exceptions.ComputeError
        The column has another type, or a row is not frames.
    """
    return _call("frame_info", [_expr(expr)], {"null_on_error": is_null_on_error(on_error)})


def train_dictionary(series: pl.Series, size: SupportsIndex = 112_640) -> bytes:
    """Train a dictionary on a series of bytes, of text or of lists of numbers, as
    ``s4_codec.train_dictionary`` does.

    libzstd accepts just under 4 GiB. Of more data every second value is used, every fourth, and
    so on, evenly over the series.

    Raises
    ------
    TypeError
        ``series`` is not a series, or one of another type. An expression has no values yet:
        pass ``df["body"]``, for a LazyFrame that of the collected frame.
    S4BackendError, ValueError
        As for ``s4_codec.train_dictionary``.
    """
    if not isinstance(series, pl.Series):
        hint = ""
        if isinstance(series, (pl.Expr, pl.DataFrame, pl.LazyFrame, str)):
            hint = '; pass the column\'s values, such as df["body"] of a DataFrame df'
        msg = f"series must be a Binary or String series, not {type(series).__name__}{hint}"
        raise TypeError(msg)
    return _native.train_dictionary(series, size)


# They are built from the functions above.
from ._namespaces import ExprNamespace, SeriesNamespace, on  # noqa: E402
