"""What runs on Spark's workers: batches in, arrays of the types that Spark expects out.

A batch is decoded in pieces of rows that come to some 256 MiB, so that what a worker holds does
not depend on how well its batch was compressed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from . import arrow
from . import s4_codec as _native
from .s4_codec import CpuZstdDict, S4BackendError, S4Error, S4IoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .s4_codec import Codec

    #: Makes arrays of an array and a codec.
    Work = Callable[[pa.Array, Codec], Iterable[pa.Array]]

FIELDS = tuple(field.name for field in arrow.COMPRESSED_TYPE)

#: What one array of binary or string holds at most: its offsets are 32-bit.
MOST_BYTES = 2**31 - 1

_PIECE_BYTES = 256 << 20


class ShippedDictionary:
    """A codec with a dictionary that travels as a broadcast, which each worker process reads
    once, however many tasks and batches it works on."""

    def __init__(self, broadcast: Any, codec: CpuZstdDict) -> None:
        self._broadcast = broadcast
        self._identity = (codec.dict_id, codec.level)

    def codec(self) -> CpuZstdDict:
        """The codec, which must be the one that was sent: Spark numbers broadcasts anew in
        every application, and an old column may find another's under its number."""
        found = self._broadcast.value
        if not isinstance(found, CpuZstdDict) or (found.dict_id, found.level) != self._identity:
            msg = (
                "the dictionary is not the one that was sent; make the column anew in this session"
            )
            raise S4BackendError(msg)
        return found


def batch_function(
    name: str, work: Work, shipped: Codec | ShippedDictionary, *, is_by_fields: bool
) -> Callable[..., Iterator[pa.Array]]:
    """What Spark calls with the batches of a column, or of its fields, in a task."""

    def function(batches):  # type: ignore[no-untyped-def]
        codec = shipped.codec() if isinstance(shipped, ShippedDictionary) else shipped
        for batch in batches:
            if is_by_fields:
                array = pa.StructArray.from_arrays(list(batch), names=list(FIELDS))
            elif isinstance(batch, tuple):
                msg = f"{name} takes one column, not {len(batch)}"
                raise TypeError(msg)
            else:
                array = batch
            is_large = _is_large(array.type)
            for made in work(array, codec):
                yield from for_spark(made, is_large)

    function.__name__ = function.__qualname__ = name
    # Spark reads off these what kind of function it is.
    takes = Iterator[tuple[pa.Array, ...]] if is_by_fields else Iterator[pa.Array]
    function.__annotations__ = {"batches": takes, "return": Iterator[pa.Array]}
    return function


def _is_large(dtype: pa.DataType) -> bool:
    """Whether Spark works with 64-bit offsets, which it says by what it hands over."""
    types = [dtype, *[dtype.field(i).type for i in range(dtype.num_fields)]]
    return any(pa.types.is_large_binary(t) or pa.types.is_large_string(t) for t in types)


def compress(array: pa.Array, codec: Codec) -> Iterator[pa.Array]:
    yield arrow.compress(array, codec)


def encode(array: pa.Array, codec: Codec) -> Iterator[pa.Array]:
    yield arrow.encode(array, codec)


def decompress(
    array: pa.Array, codec: Codec, *, is_bare: bool = False, **how: Any
) -> Iterator[pa.Array]:
    if pa.types.is_struct(array.type) == is_bare:
        wanted = "binary data" if is_bare else "a struct of payload, original_size and crc32c"
        msg = f"decompress takes {wanted} here, got {array.type}"
        raise TypeError(msg)
    starts = _native._arrow_split_rows(array, codec, False, how["max_size"], _PIECE_BYTES)
    yield from _piecewise(lambda part: arrow.decompress(part, codec, **how), array, starts)


def decode(array: pa.Array, codec: Codec, **how: Any) -> Iterator[pa.Array]:
    dictionary = codec if isinstance(codec, CpuZstdDict) else None
    starts = _native._arrow_split_rows(array, codec, True, how["max_size"], _PIECE_BYTES)
    yield from _piecewise(
        lambda part: arrow.decode(part, dictionary=dictionary, **how), array, starts
    )


def _piecewise(
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
            placed = type(error)(f"row {start + row} of its Arrow batch{rest}")
            placed.row = start + row  # type: ignore[union-attr]
            raise placed from None


def for_spark(made: pa.Array, is_large: bool) -> Iterator[pa.Array]:
    """An array in Spark's types, in as many parts as their offsets can count."""
    values = made.field("payload") if pa.types.is_struct(made.type) else made
    if not is_large and values.nbytes > MOST_BYTES and len(made) > 1:
        half = len(made) // 2
        yield from for_spark(made.slice(0, half), is_large)
        yield from for_spark(made.slice(half), is_large)
    else:
        yield _as_spark_has_it(made, is_large)


def _as_spark_has_it(made: pa.Array, is_large: bool) -> pa.Array:
    if is_large:
        return made
    if not pa.types.is_struct(made.type):
        return _narrowed(made)
    payload, *numbers = made.flatten()
    fields = [_narrowed(payload), *numbers]
    return pa.StructArray.from_arrays(fields, names=list(FIELDS), mask=made.is_null())


def _narrowed(values: pa.Array) -> pa.Array:
    """The same with 32-bit offsets."""
    if values.offset:
        # A slice keeps its offsets, which may be beyond 32 bits; a copy has its own.
        values = pa.concat_arrays([values, values.slice(0, 0)])
    is_text = pa.types.is_large_string(values.type)
    return values.cast(pa.string() if is_text else pa.binary())
