"""Compress and decompress columns of Spark data frames, and in Spark SQL.

Needs Spark 4.1 or later, with Java 17, and this package on every worker. Functions are Arrow
UDFs: a codec travels to the workers once, its dictionary once per worker process, and each
worker codes whole Arrow batches, on a pool of its own: of all cores unless its environment says
S4_NUM_THREADS (``spark.executorEnv.S4_NUM_THREADS``).

    from s4_codec.spark import compress, decompress
    packed = df.withColumn("body", compress(CpuZstd(3))("body"))
    restored = packed.withColumn("body", decompress(CpuZstd(3), dtype="string")("body"))
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F
    from pyspark.sql.functions import arrow_udf
except ImportError as error:
    msg = "s4_codec.spark needs Spark 4.1 or later: pip install 's4-codec[spark]'"
    raise ImportError(msg) from error

from . import arrow
from . import s4_codec as _native
from ._arguments import dictionary_codec, is_null_on_error, size_limit
from .s4_codec import Codec, CpuZstd, CpuZstdDict, S4BackendError, S4Error, S4IoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import SupportsIndex

    from pyspark.sql import Column
    from typing_extensions import Buffer

__all__ = ["COMPRESSED_TYPE", "compress", "decode", "decompress", "encode", "register"]

#: The type of a compressed column.
COMPRESSED_TYPE = "struct<payload:binary,original_size:bigint,crc32c:bigint>"

_FIELDS = ("payload", "original_size", "crc32c")

# Rows that decode to about so many bytes are decoded at a time.
_PIECE_BYTES = 256 << 20

# What one Arrow array of binary or string holds at most: its offsets are 32-bit.
_MOST_BYTES = 2**31 - 1


def compress(codec: Codec | str = CpuZstd()) -> Callable[[Column | str], Column]:
    """Make the function that compresses a binary or string column.

    Parameters
    ----------
    codec
        A codec object, or the name of a codec with its default settings.

    Returns
    -------
    callable
        From a column, or its name, to a column of :data:`COMPRESSED_TYPE`; null where the value
        is null. Polars and Arrow decompress what it writes to Parquet, and the other way round.

    Raises
    ------
    TypeError, S4UnregisteredCodecError
        ``codec`` is none.
    pyspark.errors.PythonException
        When the job runs: the column has another type.
    """
    return partial(_call, _udf("s4_compress", _compress, COMPRESSED_TYPE, _checked(codec)))


def decompress(
    codec: Codec | str = CpuZstd(),
    *,
    dtype: Literal["binary", "string"] = "binary",
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
    bare: bool = False,
) -> Callable[[Column | str], Column]:
    """Make the function that decompresses a column and verifies every value.

    Parameters
    ----------
    codec
        The codec that made the payloads, or its name.
    dtype
        ``"binary"``, or ``"string"`` for text, which is checked to be UTF-8.
    on_error
        What a bad row does: fail the job (``"raise"``), or become ``"null"``.
    max_size
        Largest decoded value in bytes. In Spark no value can exceed 2 GiB.
    bare
        The column is binary and holds bare payloads: zstd frames or gzip members that other
        systems made, which only their format's own checks protect.

    Returns
    -------
    callable
        From a column of structs with the fields ``payload``, ``original_size`` and ``crc32c``,
        such as :func:`compress` makes and Spark reads from Polars' Parquet files, to a binary or
        string column.

    Raises
    ------
    TypeError, ValueError, S4UnregisteredCodecError
        An argument is wrong.
    pyspark.errors.AnalysisException
        When the column is used: it is no struct, or lacks a field.
    pyspark.errors.PythonException
        When the job runs: a row is bad. The message names the S4 exception, the row's place in
        its Arrow batch, and what is wrong with it.
    """
    work = partial(_decompress, is_bare=bare, **_decoding(dtype, on_error, max_size))
    takes = Iterator[pa.Array] if bare else Iterator[tuple[pa.Array, ...]]
    udf = _udf("s4_decompress", work, dtype, _checked(codec), takes)
    return partial(_call if bare else _call_with_fields, udf)


def encode(codec: Codec | str = CpuZstd()) -> Callable[[Column | str], Column]:
    """Make the function that compresses every value to a frame.

    Parameters
    ----------
    codec
        As for :func:`compress`.

    Returns
    -------
    callable
        From a binary or string column to a binary column: one S4F2 frame a value.

    Raises
    ------
    TypeError, S4UnregisteredCodecError, pyspark.errors.PythonException
        As for :func:`compress`.
    """
    return partial(_call, _udf("s4_encode", _encode, "binary", _checked(codec)))


def decode(
    *,
    dictionary: Buffer | CpuZstdDict | None = None,
    dtype: Literal["binary", "string"] = "binary",
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
) -> Callable[[Column | str], Column]:
    """Make the function that decodes a column of frames, of any mix of codecs.

    Parameters
    ----------
    dictionary
        For frames of cpu-zstd-dict: its bytes, or a ``CpuZstdDict``.
    dtype, on_error, max_size
        As for :func:`decompress`.

    Returns
    -------
    callable
        From a binary column of one or more S4F2 frames a row to a binary or string column.

    Raises
    ------
    TypeError, ValueError, S4BackendError
        An argument is wrong, or the dictionary empty or damaged.
    pyspark.errors.PythonException
        As for :func:`decompress`.
    """
    work = partial(_decode, **_decoding(dtype, on_error, max_size))
    return partial(_call, _udf("s4_decode", work, dtype, dictionary_codec(dictionary)))


def register(
    spark: SparkSession, codec: Codec | str = CpuZstd(), *, prefix: str = "s4_"
) -> list[str]:
    """Give Spark SQL the functions with one codec.

    Parameters
    ----------
    spark
        The session.
    codec
        The codec, with its level or dictionary, of all of them.
    prefix
        What their names begin with; another prefix for another codec.

    Returns
    -------
    list of str
        The names: ``s4_compress`` and ``s4_encode`` of a binary or string column;
        ``s4_decompress`` and ``s4_decompress_text`` of a struct that ``s4_compress`` made;
        ``s4_decode`` and ``s4_decode_text`` of frames.

    Raises
    ------
    TypeError, S4UnregisteredCodecError
        ``codec`` is none.
    """
    codec = _checked(codec)
    dictionary = codec if isinstance(codec, CpuZstdDict) else None
    binary, text = _decoding("binary", "raise", None), _decoding("string", "raise", None)
    frames = dictionary_codec(dictionary)
    functions: dict[str, tuple[Callable[..., Iterable[pa.Array]], str, Codec]] = {
        "compress": (_compress, COMPRESSED_TYPE, codec),
        "decompress": (partial(_decompress, **binary), "binary", codec),
        "decompress_text": (partial(_decompress, **text), "string", codec),
        "encode": (_encode, "binary", codec),
        "decode": (partial(_decode, **binary), "binary", frames),
        "decode_text": (partial(_decode, **text), "string", frames),
    }
    for name, (work, result, with_codec) in functions.items():
        spark.udf.register(prefix + name, _udf(prefix + name, work, result, with_codec))
    return [prefix + name for name in functions]


# --- On the driver ------------------------------------------------------------------------


def _checked(codec: Codec | str) -> Codec:
    """The codec of an argument."""
    _native._codec_options(codec)
    return Codec.from_name(codec) if isinstance(codec, str) else codec


def _decoding(dtype: str, on_error: Any, max_size: SupportsIndex | None) -> dict[str, Any]:
    if dtype not in ("binary", "string"):
        msg = f'dtype must be "binary" or "string", not {dtype!r}'
        raise TypeError(msg)
    is_null_on_error(on_error)
    size = size_limit(max_size)
    limit = _MOST_BYTES if size is None else min(size, _MOST_BYTES)
    return {"dtype": f"large_{dtype}", "on_error": on_error, "max_size": limit}


class _Shipped:
    """A codec on its way to the workers. One with a dictionary goes as a broadcast, which each
    worker process reads once, however many tasks and batches it works on."""

    def __init__(self, codec: Codec) -> None:
        session = SparkSession.getActiveSession()
        self._codec: Codec | None = codec
        self._broadcast: Any = None
        # Without a session yet, or over Spark Connect, there is nothing to broadcast with.
        if isinstance(codec, CpuZstdDict) and hasattr(session, "sparkContext"):
            self._codec, self._broadcast = None, session.sparkContext.broadcast(codec)

    @property
    def codec(self) -> Codec:
        return self._codec or self._broadcast.value


def _udf(
    name: str,
    work: Callable[..., Iterable[pa.Array]],
    result: str,
    codec: Codec,
    takes: Any = Iterator[pa.Array],
) -> Any:
    """An Arrow UDF of ``work(array, codec)``, which yields what it makes of a batch."""
    shipped = _Shipped(codec)

    def function(batches):  # type: ignore[no-untyped-def]
        codec = shipped.codec
        for batch in batches:
            array = _struct(batch) if isinstance(batch, tuple) else batch
            is_large = _is_large(array.type)
            for made in work(array, codec):
                yield from _for_spark(made, is_large)

    function.__name__ = function.__qualname__ = name
    # Spark reads off these what kind of function it is.
    function.__annotations__ = {"batches": takes, "return": Iterator[pa.Array]}
    return arrow_udf(function, result)


def _call(udf: Any, column: Column | str) -> Column:
    return udf(column)


def _call_with_fields(udf: Any, column: Column | str) -> Column:
    """Names the fields, so that the driver says if one is missing."""
    whole = F.col(column) if isinstance(column, str) else column
    return udf(*[whole.getField(name) for name in _FIELDS])


# --- On the workers -----------------------------------------------------------------------


def _struct(fields: tuple[pa.Array, ...]) -> pa.StructArray:
    return pa.StructArray.from_arrays(list(fields), names=list(_FIELDS))


def _is_large(dtype: pa.DataType) -> bool:
    """Whether Spark works with 64-bit offsets, which it says by what it hands over."""
    types = [dtype, *[dtype.field(i).type for i in range(dtype.num_fields)]]
    return any(pa.types.is_large_binary(t) or pa.types.is_large_string(t) for t in types)


def _compress(array: pa.Array, codec: Codec) -> Iterator[pa.Array]:
    yield arrow.compress(array, codec)


def _encode(array: pa.Array, codec: Codec) -> Iterator[pa.Array]:
    yield arrow.encode(array, codec)


def _decompress(
    array: pa.Array, codec: Codec, *, is_bare: bool = False, **how: Any
) -> Iterator[pa.Array]:
    sizes = None if is_bare or not pa.types.is_struct(array.type) else _sizes(array)
    yield from _piecewise(lambda part: arrow.decompress(part, codec, **how), array, sizes)


def _sizes(array: pa.StructArray) -> pa.Array | None:
    place = array.type.get_field_index("original_size")
    return None if place < 0 else array.field(place)


def _decode(array: pa.Array, codec: Codec, **how: Any) -> Iterator[pa.Array]:
    dictionary = codec if isinstance(codec, CpuZstdDict) else None
    sizes = arrow.frame_info(array, on_error="null").field("original_size")
    yield from _piecewise(
        lambda part: arrow.decode(part, dictionary=dictionary, **how), array, sizes
    )


def _piecewise(
    work: Callable[[pa.Array], pa.Array], array: pa.Array, sizes: pa.Array | None
) -> Iterator[pa.Array]:
    """Works on some rows at a time, by what they say they decode to."""
    for start, end in [(0, len(array))] if sizes is None else _cuts(sizes, _PIECE_BYTES):
        try:
            yield work(array.slice(start, end - start))
        except (S4Error, S4IoError, S4BackendError) as error:
            if error.row is None:
                raise
            text = re.sub(r"^row \d+", f"row {start + error.row} of its Arrow batch", str(error))
            raise type(error)(text) from None


def _cuts(sizes: pa.Array, most: int) -> list[tuple[int, int]]:
    """Ranges of rows of at most so many bytes together, or of one row."""
    if not pa.types.is_integer(sizes.type) and not pa.types.is_decimal(sizes.type):
        return [(0, len(sizes))]
    # A claim beyond reason is refused when its row's turn comes.
    sizes = pc.fill_null(sizes.cast(pa.float64(), safe=False), 0.0)
    sizes = pc.max_element_wise(pc.min_element_wise(sizes, float(_MOST_BYTES)), 0.0)
    if (pc.sum(sizes).as_py() or 0) <= most:
        return [(0, len(sizes))]
    cuts = [0]
    total = 0.0
    for row, size in enumerate(sizes.to_pylist()):
        if row > cuts[-1] and total + size > most:
            cuts.append(row)
            total = 0
        total += size
    return list(itertools.pairwise([*cuts, len(sizes)]))


def _for_spark(made: pa.Array, is_large: bool) -> Iterator[pa.Array]:
    """An array in Spark's types, in as many parts as their offsets can count."""
    values = made.field("payload") if pa.types.is_struct(made.type) else made
    parts = [(0, len(made))]
    if not is_large and values.nbytes > _MOST_BYTES:
        parts = _cuts(pc.binary_length(values), _MOST_BYTES)
    for start, end in parts:
        yield _as_spark_has_it(made.slice(start, end - start), is_large)


def _as_spark_has_it(made: pa.Array, is_large: bool) -> pa.Array:
    small = {pa.large_binary(): pa.binary(), pa.large_string(): pa.string()}
    if not pa.types.is_struct(made.type):
        return made if is_large else made.cast(small[made.type])
    payload, *numbers = made.flatten()
    payload = payload if is_large else payload.cast(small[payload.type])
    fields = [payload, *[number.cast(pa.int64()) for number in numbers]]
    return pa.StructArray.from_arrays(fields, names=list(_FIELDS), mask=made.is_null())
