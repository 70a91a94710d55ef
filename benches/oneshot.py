"""Single values: this package, its peers from PyPI and the raw libraries, by value size.

    python benches/oneshot.py
    python benches/oneshot.py --codec cpu-zstd --sizes 1024 1048576
    python benches/oneshot.py --quick
    python benches/oneshot.py --data DIR

Prints MB/s of original bytes on one thread. "ours" computes the crc32c of every value when it
compresses and verifies it when it decompresses. "raw" is the library without Python and without
crc32c, in one call for a column of the same values. It writes one output after another, so for
values that fit the cache, calls that reuse the memory of one value can be faster.

The last columns are our rate relative to the fastest peer, to the fastest peer that also checks
its output, and to raw. The last table has the geometric means of these ratios.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl
from harness import (
    CODECS,
    Contender,
    CpuCodec,
    Rates,
    fastest,
    load,
    measure,
    progress,
    ratio,
    raw_driver,
    speed,
)
from peers import DISTRIBUTIONS, Peer, peers
from report import Report, benchmark_parser

SIZES = [100, 1 << 10, 10 << 10, 100 << 10, 1 << 20, 8 << 20, 32 << 20]
QUICK_SIZE = 8 << 20
OURS, RAW = "ours", "raw"
RATIOS = ("/fastest", "/fastest checking", "/raw")

#: The approximate minimum duration of a sample.
LEAST_SECONDS = 0.01
#: The most distinct values of one size, in number and in bytes.
MOST_VALUES, MOST_BYTES = 256, 4 << 20
#: Rows per call of the raw libraries: enough to make the cost of new contexts negligible.
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Case:
    """Values of one size and their compressed form."""

    codec: CpuCodec
    values: list[bytes]
    packed: list[tuple[bytes, int, int]]

    @property
    def payloads(self) -> list[bytes]:
        return [payload for payload, _, _ in self.packed]

    @property
    def total(self) -> int:
        return sum(map(len, self.values))


def cut(codec: CpuCodec, text: bytes, size: int) -> Case:
    """Values from positions spread evenly over the text.

    A value longer than the text repeats it. That makes it no easier to compress: the repeats
    are further apart than the window of either codec.
    """
    count = max(1, min(MOST_VALUES, MOST_BYTES // size))
    text *= -(-(size + count) // len(text))
    step = (len(text) - size) // count
    values = [text[step * i : step * i + size] for i in range(count)]
    return Case(codec, values, [codec.compress(value) for value in values])


def calls(
    function: Callable[..., object], arguments: Iterable[tuple[object, ...]]
) -> Callable[[], None]:
    """One run: a call per tuple with hardly any Python in between; results are dropped."""
    tuples = list(arguments)
    return lambda: deque(itertools.starmap(function, tuples), maxlen=0).clear()


def compress_once(peer: Peer, value: bytes) -> bytes:
    return bytes(peer.compress(value, *peer.compress_arguments))


def decompress_tuples(peer: Peer, case: Case) -> list[tuple[object, ...]]:
    """The arguments to decompress with a peer: our payloads, or its own where it needs them."""
    payloads = case.payloads
    if peer.own_payloads:
        payloads = [compress_once(peer, value) for value in case.values]
    return [
        (payload, *peer.decompress_arguments(len(value)))
        for payload, value in zip(payloads, case.values, strict=True)
    ]


def verify(case: Case, found: Sequence[Peer]) -> None:
    """Asserts that we decode every peer's output, and every peer decodes what it is given."""
    value, (_, size, crc32c) = case.values[0], case.packed[0]
    for peer in found:
        assert case.codec.decompress(compress_once(peer, value), size, crc32c) == value, peer.name
        assert bytes(peer.decompress(*decompress_tuples(peer, case)[0])) == value, peer.name


def compressors(case: Case, found: Sequence[Peer]) -> list[Contender]:
    """This package, every peer and the raw library, over the values."""
    runs = {OURS: calls(case.codec.compress, ((value,) for value in case.values))}
    for peer in found:
        arguments = ((value, *peer.compress_arguments) for value in case.values)
        runs[peer.name] = calls(peer.compress, arguments)
    return [Contender(name, case.total, run) for name, run in runs.items()] + raw(case, True)


def decompressors(case: Case, found: Sequence[Peer]) -> list[Contender]:
    """This package, every peer and the raw library, over the payloads."""
    runs = {OURS: calls(case.codec.decompress, case.packed)}
    for peer in found:
        runs[peer.name] = calls(peer.decompress, decompress_tuples(peer, case))
    return [Contender(name, case.total, run) for name, run in runs.items()] + raw(case, False)


def raw(case: Case, compress: bool) -> list[Contender]:
    """The raw library on one thread, over a column that repeats the values."""
    driver = raw_driver(threads=1)
    if driver is None:
        return []
    repeats = max(1, min(MOST_ROWS // len(case.values), MOST_BYTES // case.total))
    rows = driver.rows(pl.Series((case.values if compress else case.payloads) * repeats))
    lengths = pl.Series([len(value) for value in case.values] * repeats, dtype=pl.UInt64)
    sizes, name, level = lengths.to_arrow(), case.codec.name, case.codec.level

    def run() -> object:
        if compress:
            return driver.compress(name, level, rows)
        return driver.decompress(name, rows, sizes)

    return [Contender(RAW, case.total * repeats, run)]


def checks_output(codec: CpuCodec, peer: Peer) -> bool:
    """Whether a peer refuses a payload that decodes, but has one flipped bit.

    64 distinct bytes are stored uncompressed. So the bit is in the content of a zstd frame, and
    in the CRC-32 of a gzip member.
    """
    value = bytes(range(64))
    payload = compress_once(peer, value) if peer.own_payloads else codec.compress(value)[0]
    damaged = payload[:-8] + bytes([payload[-8] ^ 1]) + payload[-7:]
    try:
        peer.decompress(damaged, *peer.decompress_arguments(len(value)))
    except Exception:
        return True
    return False


def label(size: int) -> str:
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def over(rates: Rates, others: Iterable[str]) -> float | None:
    """Our rate relative to the fastest of ``others``."""
    best = fastest(rates, others)
    return ratio(rates, OURS, best) if best else None


@dataclass(frozen=True)
class Ratios:
    """Our rates for one codec, direction and size, relative to those of :data:`RATIOS`."""

    codec: str
    direction: str
    size: int
    values: tuple[float | None, ...]


def report_rates(
    report: Report,
    codec: CpuCodec,
    direction: str,
    results: dict[int, Rates],
    names: list[str],
    checking: list[str],
) -> list[Ratios]:
    """Reports the rates of all sizes beside those of the peers in ``names``."""
    columns = dict.fromkeys((OURS, *names, RAW), ",.0f") | dict.fromkeys(RATIOS, ".2f")
    rows: list[list[str | float | None]] = []
    found = []
    for size, rates in results.items():
        measured = [speed(rates, name) for name in (OURS, *names)]
        limit = speed(rates, RAW) if RAW in rates else None
        checked = [name for name in names if name in checking]
        ratios = tuple(over(rates, each) for each in (names, checked, rates.keys() & {RAW}))
        rows.append([label(size), *measured, limit, *ratios])
        found.append(Ratios(codec.name, direction, size, ratios))
    title = f"{codec}, {direction}"
    report.table(title, {"MB/s": "", **columns}, rows, list(results.values()))
    return found


def report_other_levels(report: Report, results: dict[int, Rates], found: Sequence[Peer]) -> None:
    for peer in found:
        rows = [
            (label(size), speed(rates, peer.name), over(rates, [peer.name]))
            for size, rates in results.items()
        ]
        title = f"{peer.name} at its own level {peer.own_level}, compress: not the same work"
        report.table(title, {"MB/s": "", peer.name: ",.0f", "ours/it": ".2f"}, rows)


def report_lengths(report: Report, cases: dict[int, Case], found: Sequence[Peer]) -> None:
    """Reports the compressed lengths at levels of the same number."""
    rows: list[list[str | float]] = []
    for size, case in cases.items():
        ours = sum(map(len, case.payloads))
        theirs = [sum(len(compress_once(peer, value)) for value in case.values) for peer in found]
        rows.append([label(size), ours / case.total, *(total / ours for total in theirs)])
    columns = {f"{peer.name}/ours": ".3f" for peer in found}
    title = f"{next(iter(cases.values())).codec}, bytes of payload"
    report.table(title, {"": "", "ours/original": ".1%", **columns}, rows)


def report_checks(
    report: Report, codec: CpuCodec, found: Sequence[Peer], checking: list[str]
) -> None:
    rows = [[OURS, "yes: crc32c and length"]]
    rows += [[peer.name, "yes" if peer.name in checking else "no"] for peer in found]
    title = f"{codec}: refuses a payload with one flipped bit"
    report.table(title, {"": "", "checks output": ""}, rows)


def mean(values: list[float]) -> float | None:
    return statistics.geometric_mean(values) if values else None


def report_means(report: Report, found: Sequence[Ratios]) -> None:
    """Reports the geometric means of the ratios, and the lowest to the fastest peer."""
    rows: list[list[str | float | None]] = []
    large = [each for each in found if each.direction == "decompress" and each.size >= 1 << 20]
    for name, cells in (("all", found), ("decompress from 1 MiB on", large)):
        columns = zip(*(each.values for each in cells), strict=True)
        means = [mean([value for value in column if value is not None]) for column in columns]
        if means:
            rows.append([f"geometric mean, {name}", *means, str(len(cells))])
    low = min(found, key=lambda each: each.values[0] or math.inf)
    if low.values[0] is not None:
        rows.append([f"lowest: {low.codec}, {low.direction} {label(low.size)}", *low.values, "1"])
    header = {"": "", **dict.fromkeys(RATIOS, ".3f"), "cells": ""}
    report.table("ours, relative to the others", header, rows)


def bench(
    report: Report, codec: CpuCodec, text: bytes, sizes: Sequence[int], rounds: int
) -> list[Ratios]:
    """Measures and reports one codec."""
    found = peers(codec)
    checking = [peer.name for peer in found if checks_output(codec, peer)]
    cases = {size: cut(codec, text, size) for size in sizes}
    compress: dict[int, Rates] = {}
    decompress: dict[int, Rates] = {}
    for size, case in cases.items():
        verify(case, found)
        progress(f"{codec}: compress {label(size)}")
        compress[size] = measure(compressors(case, found), rounds, LEAST_SECONDS)
        progress(f"{codec}: decompress {label(size)}")
        decompress[size] = measure(decompressors(case, found), rounds, LEAST_SECONDS)
    progress("")
    same_level = [peer.name for peer in found if peer.own_level is None]
    names = [peer.name for peer in found]
    ratios = report_rates(report, codec, "compress", compress, same_level, checking)
    ratios += report_rates(report, codec, "decompress", decompress, names, checking)
    report_other_levels(report, compress, [peer for peer in found if peer.own_level is not None])
    report_lengths(report, cases, found)
    report_checks(report, codec, found, checking)
    return ratios


def main() -> None:
    parser = benchmark_parser(__doc__, rounds=21, quick="7 rounds, nothing above 8 MiB")
    parser.add_argument("--codec", choices=CODECS, help="default: all")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="BYTES")
    args = parser.parse_args()
    if min(args.sizes) < 1:
        parser.error("--sizes: expected at least 1 byte")
    rounds = 7 if args.quick else args.rounds
    sizes = [size for size in args.sizes if size <= QUICK_SIZE] if args.quick else args.sizes
    corpus = load(args.data)
    report = Report(args, corpus, rounds, 1, DISTRIBUTIONS)
    codecs = CODECS.values() if args.codec is None else [CODECS[args.codec]]
    ratios = [bench(report, codec, corpus.text, sizes, rounds) for codec in codecs]
    report_means(report, list(itertools.chain(*ratios)))


if __name__ == "__main__":
    main()
