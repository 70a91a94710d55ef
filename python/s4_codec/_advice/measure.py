"""What ways to store a column cost, measured on a sample of its rows."""

from __future__ import annotations

import io
import random
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import polars as pl

from .. import polars as s4
from ..s4_codec import (
    Codec,
    CpuZstd,
    CpuZstdDict,
    Passthrough,
    S4BackendError,
    train_dictionary,
)
from .sample import VALUE, Sample
from .ways import PARQUET, Trained, Way, way_name

T = TypeVar("T")

#: Seconds for each direction of each way. A slow way is measured on fewer rows.
_BUDGET = 0.1
_LEAST_TRIES, _MOST_TRIES = 3, 10

#: How much more is measured next, while that is expected to stay within the budget.
_GROWTH = 4

#: Bytes to train on, and sizes of dictionaries: of little data, the best of several sizes.
_TRAINING_BYTES = 8 << 20
_LITTLE_BYTES = 4 << 20
_DICTIONARY_SIZES = (112_640, 1 << 16, 1 << 14)

#: What a run is cut into.
_PIECES = 8

_ROW = "row"


def _total(sizes: pl.Series) -> int:
    return int(sizes.cast(pl.Int64).sum())


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _best_of(call: Callable[[], T], spent: float = 0.0) -> tuple[float, T]:
    """The shortest of a few tries, within the budget."""
    best, result = _timed(call)
    spent, tries = spent + best, 1
    while tries < _MOST_TRIES and best < _BUDGET:
        if tries >= _LEAST_TRIES and spent + best > _BUDGET:
            break
        seconds, result = _timed(call)
        best, spent, tries = min(best, seconds), spent + seconds, tries + 1
    return best, result


def _file(frame: pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    # Statistics hold whole values, and a sample has far more of them than a column.
    frame.write_parquet(file, statistics=False, **options)
    return file.getvalue()


def _rate(size: int, seconds: float) -> float:
    return size / max(seconds, 1e-9) / 1e6


@dataclass(frozen=True)
class Part:
    """Rows in pieces. The first few pieces stand for all: codecs compress rows one by one."""

    pieces: list[pl.Series]
    #: The bytes of each piece, and of its payloads by ``CpuZstd(3)``.
    original: list[int]
    reference: list[int]

    def frame(self, count: int | None = None) -> pl.DataFrame:
        """The rows of all pieces, or of the first ones."""
        return _frame(self.pieces[:count])

    def sums(self, sizes: pl.Series) -> list[int]:
        """The sums of the sizes of the rows, by piece."""
        found, start = [], 0
        for piece in self.pieces:
            found.append(_total(sizes.slice(start, len(piece))))
            start += len(piece)
        return found


def _frame(pieces: Sequence[pl.Series]) -> pl.DataFrame:
    if not pieces:
        return pl.DataFrame(schema={VALUE: pl.Binary})
    # Polars calls the codec once for each chunk; chunks as short as pieces would be slow.
    return pl.concat(pieces, rechunk=True).to_frame()


def _interleaved(runs: Sequence[pl.Series]) -> list[pl.Series]:
    """The pieces of runs: the first of each run, then the second of each."""
    found = []
    for number in range(_PIECES):
        for run in runs:
            start, stop = (len(run) * part // _PIECES for part in (number, number + 1))
            if start < stop:
                found.append(run.slice(start, stop - start))
    return found


def _sizes(packed: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """The original size and the payload's size of each row, in bytes."""
    field = packed[VALUE].struct.field
    return field("original_size"), field("payload").bin.size().cast(pl.Int64)


class Bench:
    """Measures ways on a sample.

    Slow ways are measured on few of the pieces. How well those compress in comparison to all is
    known from ``CpuZstd(3)``, the reference, so their ratios are corrected by it.
    """

    def __init__(self, sample: Sample, seed: int) -> None:
        self.sample = sample
        # Parquet compresses neighbours together, so it takes the rows in their order.
        self._rows = _frame(sample.runs)
        pieces = _interleaved(sample.runs)
        packed = _frame(pieces).select(s4.compress(VALUE, CpuZstd(3)))
        self._original, self._payloads = _sizes(packed)
        self._all = _part(pieces, self._original, self._payloads)
        # Sizes, checksums and lengths, which every payload has.
        empty = len(_file(packed.clear(), compression="uncompressed"))
        self._stored = len(_file(packed, compression="uncompressed")) - empty
        self._overhead = max(0, self._stored - _total(self._payloads)) / max(1, len(packed))
        self._picks = self._random_rows(seed)
        self._fixed = self._read_seconds(packed.head(1), 0.0, compression="uncompressed")
        self._scan = self._read_seconds(packed, self._fixed, compression="uncompressed")

    def _random_rows(self, seed: int) -> list[int]:
        count = len(self._rows)
        picks = random.Random(seed).sample(range(count), min(count, -(-count // 100)))
        return sorted(picks)

    def _read_seconds(self, frame: pl.DataFrame, fixed: float, **options: Any) -> float:
        """Seconds beyond ``fixed`` to read 1% of the rows of a Parquet file in memory."""
        data = _file(frame.with_row_index(_ROW), **options)
        # With a list, Polars takes tens of milliseconds for up to a hundred of them.
        picked = pl.col(_ROW).is_in(pl.Series(self._picks, dtype=pl.UInt32).implode())

        def read() -> pl.DataFrame:
            return pl.scan_parquet(io.BytesIO(data)).filter(picked).select(VALUE).collect()

        return max(0.0, _best_of(read)[0] - fixed)

    def _scale(self) -> float:
        """How often the sample goes into the column."""
        original = sum(self._all.original)
        if original:
            return self.sample.bytes / original
        # A column of empty values scales by its rows.
        return self.sample.rows / max(1, len(self._rows))

    def _ratio(self, size: int) -> float:
        return self.sample.bytes / size if size else 1.0

    def parquet(self) -> Way:
        """Parquet's own compression of the same rows."""
        options = {"compression": "zstd", "compression_level": 3}
        empty = len(_file(self._rows.clear(), **options))
        packing, data = _best_of(lambda: _file(self._rows, **options))
        reading, _ = _best_of(lambda: pl.read_parquet(io.BytesIO(data)))
        size = round(max(0, len(data) - empty) * self._scale())
        scan = self._read_seconds(self._rows, self._fixed, **options)
        original = sum(self._all.original)
        return Way(
            PARQUET,
            None,
            size,
            self._ratio(size),
            _rate(original, packing),
            _rate(original, reading),
            self._fixed + scan * self._scale(),
            None,
        )

    def codec(self, codec: Codec) -> Way:
        """A codec, measured on all rows or, if it is slow, on some of them."""
        is_stored = isinstance(codec, Passthrough)
        known = self._all.original if is_stored else self._all.reference
        return self._measured(codec, self._all, known)[0]

    def _measured(
        self, codec: Codec, part: Part, known: list[int], is_whole: bool = False
    ) -> tuple[Way, list[int]]:
        """A codec, measured on as many pieces of a part as the budget allows, or on the whole;
        and the bytes of the payloads of each piece.

        ``known`` is the bytes of the payloads of all pieces by a similar codec.
        """
        count, spent = len(part.pieces) if is_whole else 1, 0.0
        while True:
            rows = part.frame(count)
            compress = partial(rows.select, s4.compress(VALUE, codec))
            packing, packed = _timed(compress)
            spent += packing
            if count >= len(part.pieces) or spent + packing * _GROWTH > _BUDGET:
                break
            count *= _GROWTH
        if spent + packing <= _BUDGET:
            again, packed = _best_of(compress, spent)
            packing = min(packing, again)
        restored = s4.decompress(VALUE, codec, dtype=rows.schema[VALUE])
        unpacking, _ = _best_of(partial(packed.select, restored))
        originals, payloads = _sizes(packed)
        original = sum(part.original[:count])
        # All payloads of the part, and then of the sample.
        expected = _total(payloads) * _quotient(sum(known), sum(known[:count]))
        expected *= _quotient(sum(self._all.reference), sum(part.reference))
        size = round(expected * self._scale() + self._overhead * self.sample.rows)
        if isinstance(codec, CpuZstdDict):
            size += len(codec.dict_bytes)
        scanning = self._scan * _quotient(size, self._stored)
        decoding = unpacking * self.sample.bytes / 100 / max(1, original)
        way = Way(
            way_name(codec),
            codec,
            size,
            self._ratio(size),
            _rate(original, packing),
            _rate(original, unpacking),
            self._fixed + scanning + decoding,
            float((payloads > originals).mean() or 0.0),  # type: ignore[arg-type]
        )
        return way, part.sums(payloads)

    def trained(self, levels: Sequence[int]) -> list[Way]:
        """zstd with a dictionary trained on some of the rows, measured on all others."""
        every = max(2, sum(self._all.original) // _TRAINING_BYTES)
        training, others = self._split(every)
        if training.dtype != pl.Binary:
            return []
        is_little = _total(training.bin.size()) <= _LITTLE_BYTES
        ways: list[Way] = []
        known: list[int] = []
        for size in _DICTIONARY_SIZES if is_little else _DICTIONARY_SIZES[:1]:
            try:
                trained = train_dictionary(training, size)
            except S4BackendError:
                # There is too little to train on.
                continue
            codec = CpuZstdDict(trained, levels[0])
            way, payloads = self._measured(codec, others, others.reference, is_whole=True)
            if not ways or way.bytes < ways[0].bytes:
                ways, known = [replace(way, dictionary_size=size)], payloads
        for level in levels[1:] if ways else ():
            best = ways[0]
            assert isinstance(best.codec, CpuZstdDict)
            codec = CpuZstdDict(best.codec.dict_bytes, level)
            way, _ = self._measured(codec, others, known)
            ways.append(replace(way, dictionary_size=best.dictionary_size))
        return ways

    def _split(self, every: int) -> tuple[pl.Series, Part]:
        """Every n-th row, and a part of the others."""
        rows = self._all.frame().to_series()
        is_other = pl.int_range(len(rows), eager=True) % every != 0
        pieces, start = [], 0
        for piece in self._all.pieces:
            pieces.append(piece.filter(is_other.slice(start, len(piece))))
            start += len(piece)
        pieces = [piece for piece in pieces if len(piece)]
        part = _part(pieces, self._original.filter(is_other), self._payloads.filter(is_other))
        return rows.filter(~is_other), part


def _part(pieces: list[pl.Series], original: pl.Series, payloads: pl.Series) -> Part:
    """A part of pieces whose rows have these sizes."""
    part = Part(pieces, [], [])
    return replace(part, original=part.sums(original), reference=part.sums(payloads))


def _quotient(one: float, other: float) -> float:
    return one / other if other else 1.0


def measured(
    sample: Sample,
    codecs: Sequence[Codec | Trained],
    seed: int,
    is_required: bool,
    progress: Callable[[float, str], object],
) -> list[Way]:
    """Measures all ways, Parquet's own compression last."""
    levels = [codec.level for codec in codecs if isinstance(codec, Trained)]
    plain = [codec for codec in codecs if isinstance(codec, Codec)]
    steps = len(plain) + len(levels) + 2
    progress(0.0, "sample")
    bench = Bench(sample, seed)
    ways = []
    for done, codec in enumerate(plain, 1):
        progress(done / steps, way_name(codec))
        try:
            ways.append(bench.codec(codec))
        except pl.exceptions.ComputeError as error:
            if is_required:
                raise
            msg = f"{way_name(codec)} is left out: {error}"
            warnings.warn(msg, RuntimeWarning, stacklevel=3)
    if levels:
        progress((len(plain) + 1) / steps, "cpu-zstd-dict")
        ways += bench.trained(levels)
    progress((steps - 1) / steps, PARQUET)
    ways.append(bench.parquet())
    progress(1.0, "done")
    return ways
