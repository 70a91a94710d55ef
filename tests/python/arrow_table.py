"""The tables that enrol an Arrow layout or a producer of Arrow data in every test."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import arro3.core
import duckdb
import nanoarrow
import polars as pl
import pyarrow as pa
from codecs_table import VALUES, text

if TYPE_CHECKING:
    from collections.abc import Callable

#: Values of every length that matters, text, and nulls.
TEXTS: list[str | None] = [
    *[value.decode() for value in VALUES if len(value) < 70_000 and value.isascii()],
    *[None if i % 5 == 3 else text(i * 31 % 200).decode() for i in range(300)],
    "größe " * 50,
    None,
]
WIDTH = 8


@dataclass(frozen=True)
class Layout:
    """A type of byte strings, and how to make arrays of it."""

    dtype: pa.DataType
    values: list[Any]

    @property
    def array(self) -> pa.Array:
        return pa.array(self.values, self.dtype)

    @property
    def is_text(self) -> bool:
        return isinstance(self.values[0], str)

    def __str__(self) -> str:
        return str(self.dtype)


BYTES = [value if value is None else value.encode() for value in TEXTS]
FIXED = [None if i % 7 == 2 else text(i + WIDTH)[-WIDTH:] for i in range(300)]

LAYOUTS = [
    Layout(pa.binary(), BYTES),
    Layout(pa.large_binary(), BYTES),
    Layout(pa.binary_view(), BYTES),
    Layout(pa.string(), TEXTS),
    Layout(pa.large_string(), TEXTS),
    Layout(pa.string_view(), TEXTS),
    Layout(pa.binary(WIDTH), FIXED),
    Layout(pa.dictionary(pa.int8(), pa.string()), TEXTS[:100]),
    Layout(pa.dictionary(pa.uint64(), pa.large_binary()), BYTES),
    Layout(pa.dictionary(pa.int32(), pa.binary(WIDTH)), FIXED),
    Layout(pa.null(), [None] * 30),
]


def nulls_in_dictionary() -> pa.Array:
    """Null keys, keys of null values, and values nobody refers to."""
    keys = pa.array([0, None, 1, 2, 0], pa.int8())
    return pa.DictionaryArray.from_arrays(keys, pa.array(["a" * 40, None, "b", "unused"]))


def unaligned(array: pa.Array) -> pa.Array:
    """The same array with every buffer at an odd address."""

    def moved(buffer: pa.Buffer | None) -> pa.Buffer | None:
        return None if buffer is None else pa.py_buffer(b"\0" + buffer.to_pybytes())[1:]

    is_list = array.type.num_fields > 0
    buffers = [moved(buffer) for buffer in array.buffers()]
    # The others are those of the items.
    own = buffers[: array.type.num_buffers] if is_list else buffers
    items = [unaligned(array.values)] if is_list else None
    return pa.Array.from_buffers(array.type, len(array), own, offset=array.offset, children=items)


def in_chunks(array: pa.Array) -> pa.ChunkedArray:
    """Chunks of several lengths, slices all, two of them empty."""
    cuts = [0, 0, 1, len(array) // 3, len(array) // 3, len(array)]
    chunks = [array.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
    return pa.chunked_array(chunks, array.type)


def without_views(array: pa.Array) -> pa.Array:
    """Arrays that nanoarrow can import: its 0.9 crashes on views."""
    return array.cast(pa.large_binary()) if array.type == pa.binary_view() else array


#: What becomes of an array before it is passed: shapes within PyArrow.
SHAPES: dict[str, Callable[[pa.Array], pa.Array | pa.ChunkedArray]] = {
    "array": lambda array: array,
    "slice": lambda array: array.slice(3, len(array) - 10),
    "slice of no rows": lambda array: array.slice(5, 0),
    "no rows": lambda array: array[:0],
    "no nulls": lambda array: pa.array([v for v in array.to_pylist() if v is not None], array.type),
    "only nulls": lambda array: pa.nulls(9, array.type),
    "chunks": in_chunks,
    "no chunks": lambda array: pa.chunked_array([], array.type),
}

#: Other producers of the same column, and whether it comes in chunks.
PRODUCERS: dict[str, tuple[Callable[[pa.Array], Any], bool]] = {
    "record batch": (lambda array: pa.record_batch({"body": array}), False),
    "table": (lambda array: pa.table({"body": in_chunks(array)}), True),
    "reader": (lambda array: pa.table({"body": array}).to_reader(), True),
    "polars series": (lambda array: pl.Series("body", array), True),
    "polars frame": (lambda array: pl.DataFrame({"body": pl.Series(array)}), True),
    "polars chunks": (
        lambda array: pl.concat([pl.Series(array[:5]), pl.Series(array[5:])], rechunk=False).slice(
            2
        ),
        True,
    ),
    "duckdb relation": (
        lambda array: duckdb.from_arrow(pa.table({"body": array})).project("body"),
        True,
    ),
    "nanoarrow array": (lambda array: nanoarrow.Array(without_views(array)), False),
    "nanoarrow chunks": (lambda array: nanoarrow.Array(in_chunks(without_views(array))), True),
    "arro3 array": (arro3.core.Array.from_arrow, False),
    "arro3 chunks": (lambda array: arro3.core.ChunkedArray.from_arrow(in_chunks(array)), True),
    "arro3 table": (lambda array: arro3.core.Table.from_arrow(pa.table({"b": array})), True),
}
