"""What ways to store a column cost, measured on a sample of its rows."""

from __future__ import annotations

import io
import random
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import polars as pl

from .. import polars as s4
from ..s4_codec import (
    Codec,
    CpuGzip,
    CpuZstd,
    CpuZstdDict,
    NvcompBitcomp,
    NvcompGDeflate,
    NvcompZstd,
    Passthrough,
    S4BackendError,
    gpu_available,
    train_dictionary,
)
from .sample import VALUE, Sample

T = TypeVar("T")

#: Parquet's own compression: the alternative to a codec.
PARQUET = "parquet zstd level 3"

#: Seconds for each direction of each way. A slow way is measured on fewer rows.
_BUDGET = 0.1
_MOST_TRIES = 5

#: How much more is measured next, while that is expected to stay within the budget.
_GROWTH = 4

#: Bytes to train on, and sizes of dictionaries: of little data, the best of several sizes.
_TRAINING_BYTES = 8 << 20
_LITTLE_BYTES = 4 << 20
_DICTIONARY_SIZES = (112_640, 1 << 16, 1 << 14)

_ROW = "row"


@dataclass(frozen=True)
class Trained:
    """zstd with a dictionary that is yet to be trained."""

    level: int


@dataclass(frozen=True)
class Way:
    """One way to store the column, and what it costs."""

    name: str
    #: None for Parquet's own compression.
    codec: Codec | None
    #: Projected bytes of the whole column, and original bytes divided by them.
    bytes: int
    ratio: float
    #: MB/s of original bytes, on all cores.
    compress: float
    decompress: float
    #: Projected seconds to read 1% of the whole column's rows.
    read: float
    #: The share of values whose payload is longer than they are; None for Parquet.
    grow: float | None
    #: The size that a dictionary was trained for; None without one, or if it was given.
    dictionary_size: int | None = None


def default_codecs(dtype: pl.DataType) -> list[Codec | Trained]:
    """The ways that are compared by default."""
    found: list[Codec | Trained] = [Passthrough()]
    found += [CpuZstd(level) for level in (1, 3, 9, 19)]
    found += [CpuGzip(level) for level in (1, 6, 9)]
    is_numbers = isinstance(dtype, (pl.List, pl.Array))
    if not is_numbers:
        found += [Trained(level) for level in (3, 9, 19)]
    if gpu_available():
        found += [NvcompZstd(), NvcompGDeflate()]
        if is_numbers:
            found.append(NvcompBitcomp())
    return found


def given_codecs(codecs: Iterable[Codec | str] | Codec | str) -> list[Codec | Trained]:
    """The ways that a caller names."""
    if isinstance(codecs, (Codec, str)):
        codecs = [codecs]
    if not isinstance(codecs, Iterable):
        msg = f"codecs must be codecs or their names, not {type(codecs).__name__} {codecs!r}"
        raise TypeError(msg)
    found: list[Codec | Trained] = []
    for codec in codecs:
        if isinstance(codec, str):
            # Only a trained dictionary has no bytes of its own yet.
            is_trained = codec == "cpu-zstd-dict"
            found.append(Trained(3) if is_trained else Codec.from_name(codec))
        elif isinstance(codec, Codec):
            found.append(codec)
        else:
            msg = f"codecs must hold codecs or their names, not {type(codec).__name__}"
            raise TypeError(msg)
    if not found:
        msg = "codecs is empty; pass at least one codec, or None for all that are usual"
        raise ValueError(msg)
    return list(dict.fromkeys(found))


def way_name(codec: Codec) -> str:
    """A codec's name and settings."""
    words = [codec.name]
    if isinstance(codec, NvcompBitcomp):
        words.append(str(codec.data_type))
    if (level := getattr(codec, "level", None)) is not None:
        words.append(f"level {level}")
    return " ".join(words)


def _total(sizes: pl.Series) -> int:
    return int(sizes.cast(pl.Int64).sum())


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _best_of(call: Callable[[], T], spent: float = 0.0) -> tuple[float, T]:
    """The shortest of a few runs, within the budget."""
    best, result = _timed(call)
    spent += best
    for _ in range(_MOST_TRIES - 1):
        if spent + best > _BUDGET:
            break
        seconds, result = _timed(call)
        best, spent = min(best, seconds), spent + seconds
    return best, result


def _file(frame: pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file, **options)
    return file.getvalue()


def _rate(size: int, seconds: float) -> float:
    return size / max(seconds, 1e-9) / 1e6


class Bench:
    """Measures ways on a sample.

    Slow ways are measured on few of the runs. How well those compress in comparison to the whole
    sample is known from ``CpuZstd(3)``, the reference, so their ratios are corrected by it.
    """

    def __init__(self, sample: Sample, seed: int) -> None:
        self.sample = sample
        self._rows = self._frame(sample.runs)
        self._original = [_original(run) for run in sample.runs]
        packed = self._rows.select(s4.compress(VALUE, CpuZstd(3)))
        sizes = packed[VALUE].struct.field("payload").bin.size()
        self._reference, start = [], 0
        for run in sample.runs:
            self._reference.append(_total(sizes.slice(start, len(run))))
            start += len(run)
        # Sizes, checksums and lengths, which every payload has.
        empty = len(_file(packed.clear(), compression="uncompressed"))
        self._stored = len(_file(packed, compression="uncompressed")) - empty
        self._overhead = max(0, self._stored - sum(self._reference)) / max(1, len(packed))
        self._picks = self._random_rows(seed)
        self._fixed = self._read_seconds(packed.head(1), 0.0, compression="uncompressed")
        self._scan = self._read_seconds(packed, self._fixed, compression="uncompressed")

    def _frame(self, runs: Sequence[pl.Series]) -> pl.DataFrame:
        if not runs:
            return pl.DataFrame(schema={VALUE: pl.Binary})
        return pl.concat(runs, rechunk=False).to_frame()

    def _random_rows(self, seed: int) -> pl.Series:
        count = len(self._rows)
        picks = random.Random(seed).sample(range(count), min(count, -(-count // 100)))
        return pl.Series(sorted(picks), dtype=pl.UInt32)

    def _scale(self) -> float:
        """How often the sample goes into the column."""
        return self.sample.bytes / max(1, sum(self._original))

    def _read_seconds(self, frame: pl.DataFrame, fixed: float, **options: Any) -> float:
        """Seconds beyond ``fixed`` to read 1% of the rows of a Parquet file in memory."""
        data = _file(frame.with_row_index(_ROW), **options)
        picked = pl.col(_ROW).is_in(self._picks.implode())

        def read() -> pl.DataFrame:
            return pl.scan_parquet(io.BytesIO(data)).filter(picked).select(VALUE).collect()

        return max(0.0, _best_of(read)[0] - fixed)

    def parquet(self) -> Way:
        """Parquet's own compression of the same rows."""
        options = {"compression": "zstd", "compression_level": 3}
        empty = len(_file(self._rows.clear(), **options))
        packing, data = _best_of(lambda: _file(self._rows, **options))
        reading, _ = _best_of(lambda: pl.read_parquet(io.BytesIO(data)))
        original = sum(self._original)
        size = round(max(0, len(data) - empty) * self._rescale(original))
        scan = self._read_seconds(self._rows, self._fixed, **options)
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

    def _rescale(self, original: int) -> float:
        # A column of empty values scales by its rows.
        if original:
            return self.sample.bytes / original
        return self.sample.rows / max(1, len(self._rows))

    def _ratio(self, size: int) -> float:
        return self.sample.bytes / size if size else 1.0

    def codec(self, codec: Codec, runs: Sequence[int] | None = None) -> Way:
        """A codec, measured on the runs with these numbers, or the first of them."""
        order = range(len(self.sample.runs)) if runs is None else runs
        count, spent = 1, 0.0
        while True:
            measured = order[:count]
            rows = self._frame([self.sample.runs[run] for run in measured])
            compress = partial(rows.select, s4.compress(VALUE, codec))
            seconds, packed = _timed(compress)
            spent += seconds
            if count >= len(order) or spent + seconds * _GROWTH > _BUDGET:
                break
            count *= _GROWTH
        if spent + seconds <= _BUDGET:
            again, packed = _best_of(compress, spent)
            seconds = min(seconds, again)
        restored = s4.decompress(VALUE, codec, dtype=rows.schema[VALUE])
        unpacking, _ = _best_of(partial(packed.select, restored))
        original = sum(self._original[run] for run in measured)
        sizes = packed[VALUE].struct.field("payload").bin.size().cast(pl.Int64)
        payload = _total(sizes) * self._correction(measured, codec)
        size = round(payload * self._rescale(original) + self._overhead * self.sample.rows)
        if isinstance(codec, CpuZstdDict):
            size += len(codec.dict_bytes)
        grown = sizes > packed[VALUE].struct.field("original_size")
        scanning = self._scan * size / max(1, self._stored)
        decoding = self.sample.bytes / 100 / max(1, original) * unpacking
        return Way(
            way_name(codec),
            codec,
            size,
            self._ratio(size),
            _rate(original, seconds),
            _rate(original, unpacking),
            self._fixed + scanning + decoding,
            float(grown.mean() or 0.0),  # type: ignore[arg-type]
        )

    def _correction(self, runs: Sequence[int], codec: Codec) -> float:
        """How much better than the whole sample these runs compress."""
        reference = sum(self._reference[run] for run in runs)
        original = sum(self._original[run] for run in runs)
        if isinstance(codec, Passthrough) or not reference or not original:
            return 1.0
        return (sum(self._reference) / max(1, sum(self._original))) / (reference / original)

    def trained(self, levels: Sequence[int]) -> list[Way]:
        """zstd with a dictionary trained on every second run, measured on the others."""
        runs = self.sample.runs
        if len(runs) < 2:
            return []
        held_out = range(1, len(runs), 2)
        training: list[pl.Series] = []
        size = 0
        for run in range(0, len(runs), 2):
            if size < _TRAINING_BYTES:
                training.append(runs[run])
                size += self._original[run]
        sizes = _DICTIONARY_SIZES if size <= _LITTLE_BYTES else _DICTIONARY_SIZES[:1]
        best: Way | None = None
        for size in sizes:
            try:
                dictionary = train_dictionary(pl.concat(training, rechunk=False), size)
                found = self.codec(CpuZstdDict(dictionary, levels[0]), held_out)
                found = replace(found, dictionary_size=size)
            except S4BackendError:
                # There is too little to train on.
                continue
            if best is None or found.bytes < best.bytes:
                best = found
        if best is None or not isinstance(best.codec, CpuZstdDict):
            return []
        ways = [best]
        for level in levels[1:]:
            found = self.codec(CpuZstdDict(best.codec.dict_bytes, level), held_out)
            ways.append(replace(found, dictionary_size=best.dictionary_size))
        return ways


def _original(run: pl.Series) -> int:
    if run.dtype == pl.Binary:
        return _total(run.bin.size())
    stored = run.to_frame().select(s4.compress(VALUE, Passthrough())).to_series()
    return _total(stored.struct.field("original_size"))


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
