"""Compress and decompress columns of Spark data frames, and in Spark SQL.

Needs Spark 4.1 or later with Java 17, and this package on every worker. Functions are Arrow
UDFs. A codec is sent to the workers once, its dictionary once per worker process. Each worker
processes whole Arrow batches on its own thread pool, with a thread for every core unless its
environment sets S4_NUM_THREADS (``spark.executorEnv.S4_NUM_THREADS``). Spark Connect has no
broadcasts, so there a dictionary is sent within the function.

    from s4_codec.spark import compress, decompress
    packed = df.withColumn("body", compress(CpuZstd(3))("body"))
    restored = packed.withColumn("body", decompress(CpuZstd(3), dtype="string")("body"))
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

try:
    from pyspark.sql import Column, SparkSession
    from pyspark.sql import functions as F
    from pyspark.sql.functions import arrow_udf
    from pyspark.sql.types import BinaryType, LongType, StringType, StructField, StructType

    from . import _spark
except ImportError as error:
    msg = "s4_codec.spark needs Spark 4.1 or later: pip install 's4-codec[spark]'"
    raise ImportError(msg) from error

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
from .dictionaries import DictionarySet
from .s4_codec import Codec, CpuZstd, CpuZstdDict

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import SupportsIndex

    from pyspark.sql.types import DataType

    from ._arguments import DictionaryLike

__all__ = ["COMPRESSED_TYPE", "compress", "decode", "decompress", "encode", "register"]

_COMPRESSED = StructType(
    [
        StructField(name, dtype)
        for name, dtype in zip(_spark.FIELDS, (BinaryType(), LongType(), LongType()), strict=True)
    ]
)
_CHECKSUMMED = StructType([*_COMPRESSED.fields, StructField("payload_crc32c", LongType())])

#: The type of a compressed column, as Spark SQL writes it, without ``payload_crc32c``.
COMPRESSED_TYPE = _COMPRESSED.simpleString()

_VALUES = {"binary": BinaryType(), "string": StringType()}


def compress(
    codec: Codec | str = CpuZstd(),
    *,
    level: SupportsIndex | None = None,
    payload_checksum: bool = False,
) -> Callable[[Column | str], Column]:
    """Make the function that compresses a binary or string column.

    Parameters
    ----------
    codec
        A codec object, or the name of a codec with its default settings; ``"zstd"`` and
        ``"gzip"`` are short for ``"cpu-zstd"`` and ``"cpu-gzip"``.
    level
        The level of a codec given by name: ``"cpu-zstd", level=9``. A codec object has its own.
    payload_checksum
        Whether to record the crc32c of every payload itself, so that :func:`decompress` finds
        damage before it decodes anything. A GPU needs that: see "Damaged data" in docs/gpu.md.

    Returns
    -------
    callable
        From a column, or its name, to a column of :data:`COMPRESSED_TYPE`, with
        ``payload_checksum`` followed by the field ``payload_crc32c:bigint``; null where the value
        is null. Through Parquet, Polars and Arrow read such columns and write them for Spark.

    Raises
    ------
    TypeError, S4UnregisteredCodecError
        ``codec`` is neither a codec nor the name of one, or ``payload_checksum`` is no bool.
    ValueError
        The level is out of range, or the codec has no level or its own.
    pyspark.errors.PythonException
        When the job runs: the column has another type.
    """
    work, result = _compression(payload_checksum)
    return _Function("s4_compress", work, result, _codec(codec, level))


def decompress(
    codec: Codec | str = DEFAULT_CODEC,
    *,
    dictionary: DictionaryLike | None = None,
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
    dictionary
        In place of ``codec``, for payloads of cpu-zstd-dict: a dictionary's bytes, a
        ``CpuZstdDict``, or a ``DictionarySet``, in which each payload finds its own.
    dtype
        ``"binary"``, or ``"string"`` for text, which must be UTF-8.
    on_error
        What to do about a bad row: fail the job (``"raise"``), or make it ``"null"``.
    max_size
        Largest decoded value in bytes; default 2 GiB, which no value in Spark can exceed, and
        1 GiB for bare payloads.
    bare
        The column is binary and holds bare payloads: zstd frames or gzip members from other
        systems, which are protected by their format's own checks only.

    Returns
    -------
    callable
        From a column of structs with the fields ``payload``, ``original_size`` and ``crc32c``,
        such as :func:`compress` makes and Spark reads from Polars' Parquet files, to a binary or
        string column. A payload that does not match its ``payload_crc32c``, where there is one
        that is not null, is a bad row and never decoded.

    Raises
    ------
    TypeError, ValueError, S4UnregisteredCodecError
        An argument is wrong.
    pyspark.errors.AnalysisException
        When the column is used: it is not a struct, or lacks a field.
    pyspark.errors.PythonException
        When the job runs: a row is bad. The message names the S4 exception, the row's position
        in its Arrow batch and the reason.
    """
    options = _decompress_options(dtype, on_error, max_size, is_bare=bare)
    work = partial(_spark.decompress, is_bare=bare, **options)
    made_by = _coder(decoder(codec, dictionary))
    return _Function("s4_decompress", work, _VALUES[dtype], made_by, is_struct=not bare)


def encode(
    codec: Codec | str = CpuZstd(),
    *,
    level: SupportsIndex | None = None,
    fallback: bool = True,
) -> Callable[[Column | str], Column]:
    """Make the function that compresses every value to a frame.

    Parameters
    ----------
    codec, level
        As for :func:`compress`.
    fallback
        Store a value that its codec does not shrink in a frame of passthrough, so that no frame
        is longer than its value by more than 28 bytes. False: every frame is of ``codec``.

    Returns
    -------
    callable
        From a binary or string column to a binary column: one S4F2 frame for each value.

    Raises
    ------
    TypeError, S4UnregisteredCodecError, ValueError, pyspark.errors.PythonException
        As for :func:`compress`.
    """
    return _Function("s4_encode", _encoding(fallback), BinaryType(), _codec(codec, level))


def decode(
    *,
    dictionary: DictionaryLike | None = None,
    dtype: Literal["binary", "string"] = "binary",
    on_error: Literal["raise", "null"] = "raise",
    max_size: SupportsIndex | None = None,
) -> Callable[[Column | str], Column]:
    """Make the function that decodes a column of frames, of any mix of codecs.

    Parameters
    ----------
    dictionary
        For frames of cpu-zstd-dict: its bytes, a ``CpuZstdDict``, or a ``DictionarySet``, in
        which each frame finds its own.
    dtype, on_error, max_size
        As for :func:`decompress`.

    Returns
    -------
    callable
        From a binary column of one or more S4F2 frames a row to a binary or string column.

    Raises
    ------
    TypeError, ValueError, S4BackendError
        An argument is wrong, or the dictionary is empty or damaged.
    pyspark.errors.PythonException
        As for :func:`decompress`.
    """
    work = partial(_spark.decode, **_decompress_options(dtype, on_error, max_size))
    return _Function("s4_decode", work, _VALUES[dtype], dictionary_codec(dictionary))


def register(
    spark: SparkSession,
    codec: Codec | str = CpuZstd(),
    *,
    level: SupportsIndex | None = None,
    prefix: str = "s4_",
    payload_checksum: bool = False,
    fallback: bool = True,
) -> list[str]:
    """Register the functions with one codec for Spark SQL.

    Parameters
    ----------
    spark
        The session.
    codec
        The codec of all functions, with its level or dictionary.
    level
        The level of a codec given by name.
    prefix
        The prefix of their names; use another prefix for another codec.
    payload_checksum
        As for :func:`compress`, for ``s4_compress``.
    fallback
        As for :func:`encode`, for ``s4_encode``.

    Returns
    -------
    list of str
        The names: ``s4_compress`` and ``s4_encode`` of a binary or string column;
        ``s4_decompress`` and ``s4_decompress_text`` of a struct that ``s4_compress`` returned;
        ``s4_decode`` and ``s4_decode_text`` of frames.

    Raises
    ------
    TypeError, S4UnregisteredCodecError
        ``codec`` is neither a codec nor the name of one, or another argument is wrong.
    ValueError
        As for :func:`compress`.
    """
    if not hasattr(spark, "udf"):
        msg = f"spark must be a SparkSession, not {spark!r}"
        raise TypeError(msg)
    if not isinstance(prefix, str) or not prefix:
        # Without one, names would clash with Spark's own encode and decode.
        msg = f"prefix must be a string of one character or more, not {prefix!r}"
        raise TypeError(msg)
    codec = _codec(codec, level)
    frames = dictionary_codec(codec if isinstance(codec, CpuZstdDict) else None)
    binary, text = [_decompress_options(dtype, "raise", None) for dtype in ("binary", "string")]
    functions: dict[str, tuple[_spark.Work, DataType, _spark.Coder]] = {
        "compress": (*_compression(payload_checksum), codec),
        "decompress": (partial(_spark.decompress, **binary), BinaryType(), codec),
        "decompress_text": (partial(_spark.decompress, **text), StringType(), codec),
        "encode": (_encoding(fallback), BinaryType(), codec),
        "decode": (partial(_spark.decode, **binary), BinaryType(), frames),
        "decode_text": (partial(_spark.decode, **text), StringType(), frames),
    }
    for name, (work, result, with_codec) in functions.items():
        function = _Function(prefix + name, work, result, with_codec)
        spark.udf.register(prefix + name, function.udf(spark))
    return [prefix + name for name in functions]


def _codec(codec: Codec | str, level: SupportsIndex | None = None) -> Codec:
    """The arguments as a codec."""
    codec = with_level(codec, level)
    _native._codec_options(codec)
    return Codec.from_name(codec) if isinstance(codec, str) else codec


def _coder(made_by: Codec | str | DictionarySet) -> _spark.Coder:
    """An argument as a codec, or a set of dictionaries."""
    return made_by if isinstance(made_by, DictionarySet) else _codec(made_by)


def _compression(payload_checksum: bool) -> tuple[_spark.Work, StructType]:
    """The function that compresses, and the type of its result."""
    is_checksummed = flag(payload_checksum, "payload_checksum")
    work = partial(_spark.compress, payload_checksum=is_checksummed)
    return work, _CHECKSUMMED if is_checksummed else _COMPRESSED


def _encoding(fallback: bool) -> _spark.Work:
    """The function that encodes."""
    return partial(_spark.encode, fallback=flag(fallback, "fallback"))


def _decompress_options(
    dtype: str, on_error: Any, max_size: SupportsIndex | None, *, is_bare: bool = False
) -> dict[str, Any]:
    if not isinstance(dtype, str) or dtype not in _VALUES:
        msg = f'dtype must be "binary" or "string", not {dtype!r}'
        raise TypeError(msg)
    is_null_on_error(on_error)
    size = size_limit(max_size)
    if size is not None or not is_bare:
        size = min(_spark.MAX_ARRAY_BYTES if size is None else size, _spark.MAX_ARRAY_BYTES)
    return {"dtype": f"large_{dtype}", "on_error": on_error, "max_size": size}


class _Function:
    """A function of columns. Its UDF is made for the session in which it is used, because the
    function may be older than that session, and outlive it."""

    def __init__(
        self,
        name: str,
        work: _spark.Work,
        result: DataType,
        coder: _spark.Coder,
        *,
        is_struct: bool = False,
    ) -> None:
        self._name = name
        self._work = work
        self._result = result
        self._coder = coder
        self._is_struct = is_struct
        self._made: tuple[Any, Any] = (None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": (None, None)}

    def __repr__(self) -> str:
        return f"<{self._name} with {self._coder!r}>"

    def __call__(self, column: Column | str) -> Column:
        if not isinstance(column, (str, Column)):
            msg = f"{self._name} takes a Column or the name of one, not {column!r}"
            raise TypeError(msg)
        udf = self.udf(SparkSession.active())
        if not self._is_struct:
            return udf(column)
        given = whole = F.col(column) if isinstance(column, str) else column
        for name in _spark.FIELDS:
            # Each in its own place, so that the driver reports a missing field.
            whole = whole.withField(name, given.getField(name))
        result = udf(whole)
        return result.alias(f"{self._name}({column})") if isinstance(column, str) else result

    def udf(self, session: SparkSession) -> Any:
        owner = getattr(session, "sparkContext", session)
        if self._made[0] is not owner:
            function = _spark.batch_function(self._name, self._work, _sent(self._coder, owner))
            self._made = (owner, arrow_udf(function, self._result))
        return self._made[1]


# The broadcasts of the latest Spark context; a process has one context at a time.
_broadcasts: tuple[Any, dict[CpuZstdDict | DictionarySet, Any]] = (None, {})


def _sent(coder: _spark.Coder, context: Any) -> _spark.Coder | _spark.BroadcastDictionary:
    """A coder as it is sent to workers: its dictionaries as a broadcast, one for each of them
    and context. Spark Connect has no broadcasts."""
    global _broadcasts
    if not isinstance(coder, (CpuZstdDict, DictionarySet)) or not hasattr(context, "broadcast"):
        return coder
    if _broadcasts[0] is not context:
        _broadcasts = (context, {})
    known = _broadcasts[1]
    if coder not in known:
        known[coder] = context.broadcast(coder)
    return _spark.BroadcastDictionary(known[coder], coder)
