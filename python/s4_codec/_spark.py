"""The functions that run on Spark's workers: batches in, arrays of Spark's types out.

A batch is decoded in ranges of rows of about 256 MiB, so that the memory of a worker does not
depend on how well its batch was compressed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import arrow
from . import s4_codec as _native
from .dictionaries import DictionarySet
from .s4_codec import CpuZstdDict, S4BackendError, S4Error, S4IoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .s4_codec import Codec

    #: What coding takes: a codec or, to decode, dictionaries.
    Coder = Codec | DictionarySet
    #: Makes arrays from an array and a coder.
    Work = Callable[[pa.Array, Any], Iterable[pa.Array]]

FIELDS = tuple(field.name for field in arrow.COMPRESSED_TYPE)

#: The most bytes in one array of binary or string: its offsets are 32-bit.
MAX_ARRAY_BYTES = 2**31 - 1

_RANGE_BYTES = 256 << 20


class BroadcastDictionary:
    """A codec or set whose dictionaries are sent as a broadcast, which each worker process reads
    once, however many tasks and batches it processes."""

    def __init__(self, broadcast: Any, coder: CpuZstdDict | DictionarySet) -> None:
        self._broadcast = broadcast
        self._identity = _identity(coder)

    def coder(self) -> CpuZstdDict | DictionarySet:
        """The codec or set, checked to be the one that was sent: every Spark application numbers
        its broadcasts from 0, so an old column may find another broadcast under its number."""
        found: CpuZstdDict | DictionarySet = self._broadcast.value
        if _identity(found) != self._identity:
            msg = (
                "expected the dictionary that was sent, found another broadcast; make the "
                "column again in this session"
            )
            raise S4BackendError(msg)
        return found


def _identity(coder: object) -> tuple[object, ...]:
    """What tells a codec with a dictionary, or a set, from any other."""
    if isinstance(coder, CpuZstdDict):
        return coder.dict_id, coder.level
    return (coder.ids, coder.current) if isinstance(coder, DictionarySet) else ()


def batch_function(
    name: str, work: Work, sent: Coder | BroadcastDictionary
) -> Callable[..., Iterator[pa.Array]]:
    """The function that Spark calls with the batches of a column."""

    def function(batches):  # type: ignore[no-untyped-def]
        coder = sent.coder() if isinstance(sent, BroadcastDictionary) else sent
        for batch in batches:
            if isinstance(batch, tuple):
                msg = f"{name} expects one column, found {len(batch)}"
                raise TypeError(msg)
            is_large = _is_large(batch.type)
            for result in work(batch, coder):
                yield from for_spark(result, is_large)

    function.__name__ = function.__qualname__ = name
    # Spark derives the kind of function from these.
    function.__annotations__ = {"batches": Iterator[pa.Array], "return": Iterator[pa.Array]}
    return function


def _is_large(dtype: pa.DataType) -> bool:
    """Whether Spark works with 64-bit offsets, as its batches show."""
    types = [dtype, *[dtype.field(i).type for i in range(dtype.num_fields)]]
    return any(pa.types.is_large_binary(t) or pa.types.is_large_string(t) for t in types)


def compress(
    array: pa.Array, codec: Codec, *, payload_checksum: bool = False
) -> Iterator[pa.Array]:
    yield arrow.compress(array, codec, payload_checksum=payload_checksum)


def encode(array: pa.Array, codec: Codec, *, fallback: bool = True) -> Iterator[pa.Array]:
    yield arrow.encode(array, codec, fallback=fallback)


def decompress(
    array: pa.Array, coder: Coder, *, is_bare: bool = False, **options: Any
) -> Iterator[pa.Array]:
    if pa.types.is_struct(array.type) == is_bare:
        expected = "binary data" if is_bare else "a struct of payload, original_size and crc32c"
        msg = f"expected {expected}, found {array.type}"
        raise TypeError(msg)
    starts = _native._arrow_split_rows(array, coder, False, options["max_size"], _RANGE_BYTES)
    if isinstance(coder, DictionarySet):
        options["dictionary"] = coder
    else:
        options["codec"] = coder
    yield from _by_ranges(lambda part: arrow.decompress(part, **options), array, starts)


def decode(array: pa.Array, coder: Coder, **options: Any) -> Iterator[pa.Array]:
    dictionary = coder if isinstance(coder, (CpuZstdDict, DictionarySet)) else None
    starts = _native._arrow_split_rows(array, coder, True, options["max_size"], _RANGE_BYTES)
    yield from _by_ranges(
        lambda part: arrow.decode(part, dictionary=dictionary, **options), array, starts
    )


def _by_ranges(
    work: Callable[[pa.Array], pa.Array], array: pa.Array, starts: list[int]
) -> Iterator[pa.Array]:
    for start, end in itertools.pairwise([*starts, len(array)]):
        try:
            yield work(array.slice(start, end - start))
        except (S4Error, S4IoError, S4BackendError, MemoryError) as error:
            row = getattr(error, "row", None)
            if row is None:
                raise
            rest = str(error).removeprefix(f"row {row}")
            in_batch = type(error)(f"row {start + row} of its Arrow batch{rest}")
            in_batch.row = start + row  # type: ignore[union-attr]
            raise in_batch from None


def for_spark(array: pa.Array, is_large: bool) -> Iterator[pa.Array]:
    """An array in Spark's types, split where their offsets are too narrow."""
    values = array.field("payload") if pa.types.is_struct(array.type) else array
    if not is_large and values.nbytes > MAX_ARRAY_BYTES and len(array) > 1:
        half = len(array) // 2
        yield from for_spark(array.slice(0, half), is_large)
        yield from for_spark(array.slice(half), is_large)
    else:
        yield array if is_large else _with_narrow_offsets(array)


def _with_narrow_offsets(array: pa.Array) -> pa.Array:
    if not pa.types.is_struct(array.type):
        return _narrowed(array)
    payload, *numbers = array.flatten()
    fields, names = [_narrowed(payload), *numbers], [field.name for field in array.type]
    return pa.StructArray.from_arrays(fields, names=names, mask=array.is_null())


def _narrowed(values: pa.Array) -> pa.Array:
    """The same values with 32-bit offsets."""
    if values.offset:
        # A slice keeps its offsets, which may exceed 32 bits; a copy starts at 0.
        values = pa.concat_arrays([values, values.slice(0, 0)])
    is_text = pa.types.is_large_string(values.type)
    return values.cast(pa.string() if is_text else pa.binary())
