"""Rows that stand for a whole column."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from .. import polars as s4
from ..s4_codec import Passthrough

#: The name of the sampled column.
VALUE = "value"

#: A run of neighbouring rows is about as long as a page of Parquet, which compresses neighbours
#: together, so that samples of single rows would be unfair to it.
RUN_BYTES = 1 << 20

#: The fewest runs of a large column.
_LEAST_RUNS = 16

#: One value is at most this part of the sample; of a longer one, only its beginning is measured.
_LONGEST_PART = 8


@dataclass(frozen=True)
class Sample:
    """Rows of a column, without nulls."""

    #: Neighbouring rows, in random order: the first few stand for the column, too.
    runs: list[pl.Series]
    #: The rows of the whole column that are not null, and their bytes.
    rows: int
    bytes: int


class SeriesRows:
    """The rows of a series that are not null."""

    def __init__(self, series: pl.Series) -> None:
        _check_dtype(series.dtype)
        # Older versions of Polars have no extension types.
        if isinstance(series.dtype, getattr(pl, "BaseExtension", ())):
            series = series.ext.storage()
        # Polars takes a name such as ^a$ for a pattern.
        self._series = series.alias(VALUE).drop_nulls()
        if self._series.dtype in (pl.String, pl.Null):
            self._series = self._series.cast(pl.Binary)

    def sizes(self) -> pl.Series:
        """The bytes of each row, as Int64: Polars adds smaller integers modulo 2^32."""
        if self._series.dtype == pl.Binary:
            return self._series.bin.size().cast(pl.Int64)
        stored = self._series.to_frame().lazy().select(s4.compress(VALUE, Passthrough()))
        return stored.select(pl.col(VALUE).struct.field("original_size")).collect().to_series()

    def take(self, start: int, stop: int, most: int) -> pl.Series:
        """Rows as a series, the first ``most`` bytes of each."""
        rows = self._series.slice(start, stop - start)
        if rows.dtype == pl.Binary and int(rows.bin.size().max() or 0) > most:  # type: ignore[arg-type]
            return pl.Series(VALUE, [value[:most] for value in rows], dtype=pl.Binary)
        return rows


class BufferRows:
    """The rows of buffers that are not None."""

    def __init__(self, buffers: Iterable[Any]) -> None:
        self._views: list[memoryview] = []
        for number, buffer in enumerate(buffers):
            if buffer is None:
                continue
            try:
                view = memoryview(buffer)
                # A view of no bytes cannot be cast if it has several dimensions.
                self._views.append(view.cast("B") if view.nbytes else memoryview(b""))
            except TypeError as error:
                hint = "; encode text to bytes" if isinstance(buffer, str) else f": {error}"
                msg = f"value {number} must be a contiguous buffer or None, not "
                raise TypeError(f"{msg}{type(buffer).__name__}{hint}") from error

    def sizes(self) -> pl.Series:
        return pl.Series([view.nbytes for view in self._views], dtype=pl.Int64)

    def take(self, start: int, stop: int, most: int) -> pl.Series:
        values = [bytes(view[:most]) for view in self._views[start:stop]]
        return pl.Series(VALUE, values, dtype=pl.Binary)


def _check_dtype(dtype: pl.DataType) -> None:
    """Refuses what the column functions refuse, in their words."""
    try:
        pl.LazyFrame(schema={VALUE: dtype}).select(s4.compress(VALUE)).collect_schema()
    except pl.exceptions.ComputeError as error:
        # Polars prefixes the message, and appends the query.
        reason = str(error).split("\n", 1)[0].rpartition("compress expects ")[2]
        msg = f"advise expects {reason}"
        raise TypeError(msg) from error


def series_of(column: Any) -> pl.Series | None:
    """A column of Polars or Arrow data as a series; None for other objects."""
    if isinstance(column, (pl.LazyFrame, pl.Expr)):
        msg = f"column must hold values, not a {type(column).__name__}; pass a series: df['body']"
        raise TypeError(msg)
    if isinstance(column, pl.Series):
        return column
    if isinstance(column, pl.DataFrame):
        frame = column
    elif hasattr(column, "__arrow_c_stream__") or hasattr(column, "__arrow_c_array__"):
        series = pl.Series(column)
        if series.dtype in (pl.Categorical, pl.Enum):
            return series.cast(pl.String)
        if series.dtype != pl.Struct:
            return series
        frame = series.struct.unnest()
    else:
        return None
    if frame.width != 1:
        msg = f"column must be one column, not a table of {frame.width}: {frame.columns}"
        raise TypeError(f"{msg}; pass one of them")
    return frame.to_series()


def sampled(rows: SeriesRows | BufferRows, sample_bytes: int, seed: int) -> Sample:
    """Runs of rows, at most ``sample_bytes`` in all, that are spread over the whole column.

    The column is divided into parts of equally many bytes, and each part gives the rows that
    begin within one range at a random place. So every row has the same chance.
    """
    sizes = rows.sizes()
    most = max(1, sample_bytes // _LONGEST_PART)
    cut = sizes.clip(upper_bound=most)
    ends = cut.cum_sum()
    starts = ends - cut
    total = int(ends[-1]) if len(ends) else 0
    chosen = random.Random(seed)
    count = max(_LEAST_RUNS, min(sample_bytes, total) // RUN_BYTES)
    edges = [total * part // count for part in range(count + 1)]
    if total <= sample_bytes:
        bounds = [*_first(starts, edges[:-1]), len(sizes)]
        ranges = list(pairwise(bounds))
    else:
        length = sample_bytes // count
        begins = [
            low + chosen.randrange(max(1, high - low - length)) for low, high in pairwise(edges)
        ]
        first = _first(starts, begins)
        last = _first(starts, [begin + length for begin in begins])
        ranges = list(zip(first, last, strict=True))
    chosen.shuffle(ranges)
    kept: list[tuple[int, int]] = []
    left = sample_bytes
    for start, stop in ranges:
        size = int(ends[stop - 1] - starts[start]) if stop > start else 0
        if stop > start and size <= left:
            kept.append((start, stop))
            left -= size
    if not kept and len(sizes):
        # Few long values, none of which begins within a range.
        row = int(ends.search_sorted(chosen.randrange(max(1, total)), side="right"))
        kept = [(row, row + 1)]
    runs = [rows.take(start, stop, most) for start, stop in kept]
    return Sample(runs, len(sizes), int(sizes.sum()))


def _first(starts: pl.Series, offsets: list[int]) -> pl.Series:
    """The first row that begins at each offset or after it."""
    return starts.search_sorted(pl.Series(offsets, dtype=pl.Int64), side="left")
