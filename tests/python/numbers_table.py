"""The tables that enrol a type of numbers, and lists of them, in every test of such columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Number:
    """A type in Polars, the same in Arrow, and what Bitcomp takes it for."""

    polars: Any
    arrow: pa.DataType
    bitcomp: str

    def __str__(self) -> str:
        return str(self.arrow)


NUMBERS = [
    Number(pl.Int8(), pa.int8(), "i8"),
    Number(pl.Int16(), pa.int16(), "i16"),
    Number(pl.Int32(), pa.int32(), "i32"),
    Number(pl.Int64(), pa.int64(), "i64"),
    Number(pl.UInt8(), pa.uint8(), "u8"),
    Number(pl.UInt16(), pa.uint16(), "u16"),
    Number(pl.UInt32(), pa.uint32(), "u32"),
    Number(pl.UInt64(), pa.uint64(), "u64"),
    Number(pl.Float32(), pa.float32(), "u32"),
    Number(pl.Float64(), pa.float64(), "u64"),
    Number(pl.Date(), pa.date32(), "i32"),
    Number(pl.Time(), pa.time64("ns"), "i64"),
    Number(pl.Datetime("ms"), pa.timestamp("ms"), "i64"),
    Number(pl.Datetime("us", "Europe/Paris"), pa.timestamp("us", "Europe/Paris"), "i64"),
    Number(pl.Duration("ns"), pa.duration("ns"), "i64"),
]
if hasattr(pl, "Float16"):
    NUMBERS.append(Number(pl.Float16(), pa.float16(), "u16"))

#: Numbers that Polars does not have.
ARROW_ONLY = [pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.timestamp("s")]

#: What containers have for the name of a data type.
CONTAINER_TYPES = {
    name: number
    for number, name in enumerate(["char", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"])
}


@dataclass(frozen=True)
class Lists:
    """A type of lists: how to make it of a type of numbers, and rows of integers."""

    polars: Callable[[Any], Any]
    arrow: Callable[[pa.DataType], pa.DataType]
    rows: list[Any]

    def series(self, number: Number) -> pl.Series:
        integers = pl.Series("x", self.rows, dtype=self.polars(pl.Int64()))
        return integers.cast(self.polars(number.polars))


LISTS = {
    "list": Lists(
        pl.List, pa.large_list, [[1, 2, 3], None, [], [4], [7] * 40, list(range(100)), None, []]
    ),
    "array": Lists(
        lambda inner: pl.Array(inner, 3),
        lambda inner: pa.list_(inner, 3),
        [[1, 2, 3], None, [4, 5, 6], [0, 0, 0], None, [7, 8, 9], [1, 1, 2]],
    ),
    "matrix": Lists(
        lambda inner: pl.Array(inner, (2, 3)),
        lambda inner: pa.list_(pa.list_(inner, 3), 2),
        [[[1, 2, 3], [4, 5, 6]], None, [[9, 8, 7], [6, 5, 4]], [[0] * 3] * 2, None, [[1] * 3] * 2],
    ),
    "list of arrays": Lists(
        lambda inner: pl.List(pl.Array(inner, 2)),
        lambda inner: pa.large_list(pa.list_(inner, 2)),
        [[[1, 2], [3, 4]], [], None, [[5, 6]], [[i, i + 1] for i in range(30)], None],
    ),
}


def row_bytes(series: pl.Series) -> list[bytes | None]:
    """The bytes of every row: its numbers, little-endian."""
    return [
        None if row is None else _numbers(row).tobytes()
        for row in (series[i] for i in range(len(series)))
    ]


def _numbers(row: pl.Series) -> Any:
    """The numbers of one row."""
    while row.dtype in (pl.List, pl.Array):
        row = row.explode() if len(row) else row.explode().clear()
    numbers = row.to_physical().to_numpy()
    return numbers.astype(numbers.dtype.newbyteorder("<"))
