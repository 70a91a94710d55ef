"""Bare payloads, which have no size and no checksum, against the same payloads with both.

    python benches/bare.py
    python benches/bare.py --quick --json FILE
    python benches/bare.py --data DIR

Payloads are written as others write them: of a length that they state, in several parts, or
without any length. Prints their speed relative to the same payloads with size and checksum, and
by how much one call raises the peak memory, beside the size of its output. Polars copies the
value of a column of one row, so that long values come in pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import zstandard
from harness import (
    CODECS,
    Contender,
    Corpus,
    Rates,
    load,
    measure,
    progress,
    ratio,
    speed,
)
from memory import peak, resident
from report import Cell, Report, benchmark_parser

import s4_codec.arrow
import s4_codec.polars
from s4_codec import crc32c, num_threads

ROUNDS, QUICK_ROUNDS = 15, 3
HOSTS = ("Polars", "Arrow")
BODY, PARTS, MIB = "body", 3, 1 << 20


def parts(value: bytes) -> list[bytes]:
    step = len(value) // PARTS + 1
    return [value[start : start + step] for start in range(0, len(value), step)] or [b""]


@dataclass(frozen=True)
class Kind:
    """Payloads of a codec, as ``pack`` writes them."""

    codec: str
    name: str
    pack: Callable[[bytes], bytes]


def zstd_without_size(value: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(value)


def concatenated(codec: str) -> Callable[[bytes], bytes]:
    return lambda value: b"".join(CODECS[codec].compress(part)[0] for part in parts(value))


KINDS = [
    Kind("cpu-zstd", "one frame", lambda value: CODECS["cpu-zstd"].compress(value)[0]),
    Kind("cpu-zstd", f"{PARTS} frames", concatenated("cpu-zstd")),
    Kind("cpu-zstd", "no content size", zstd_without_size),
    Kind("cpu-gzip", "one member", lambda value: CODECS["cpu-gzip"].compress(value)[0]),
    Kind("cpu-gzip", f"{PARTS} members", concatenated("cpu-gzip")),
]


def columns(corpus: Corpus, quick: bool) -> dict[str, list[bytes]]:
    """Values of several lengths, by what they are."""
    lines, documents = (20_000, 1000) if quick else (200_000, 8000)
    long = (8 if quick else 100) * MIB
    text = corpus.text * (long // len(corpus.text) + 1)
    repeated = (corpus.lines * (lines // len(corpus.lines) + 1))[:lines]
    return {
        "lines": repeated,
        "documents": (corpus.documents * (documents // len(corpus.documents) + 1))[:documents],
        "1 MiB": [text[start : start + MIB] for start in range(0, long // 2, MIB)],
        f"{long // MIB} MiB": [text[:long]] * 2,
        f"{long // MIB} MiB and lines": [text[:long], *repeated],
    }


def calls(kind: Kind, values: list[bytes]) -> dict[str, Callable[[], object]]:
    """Decompression of the same values, by host and form."""
    codec = CODECS[kind.codec]
    bare = pa.array([kind.pack(value) for value in values], pa.large_binary())
    sizes = pa.array([len(value) for value in values], pa.int64())
    checksums = pa.array([crc32c(value) for value in values], pa.int64())
    names = ["payload", "original_size", "crc32c"]
    sealed = pa.StructArray.from_arrays([bare, sizes, checksums], names)
    sealed_frame, bare_frame = (pl.DataFrame({BODY: pl.from_arrow(a)}) for a in (sealed, bare))
    return {
        "Polars sealed": lambda: sealed_frame.select(s4_codec.polars.decompress(BODY, codec)),
        "Polars bare": lambda: bare_frame.select(s4_codec.polars.decompress(BODY, codec)),
        "Arrow sealed": lambda: s4_codec.arrow.decompress(sealed, codec),
        "Arrow bare": lambda: s4_codec.arrow.decompress(bare, codec),
    }


def growth(kind: int, column: str, data: Path | None, quick: bool, call: str) -> int:
    """By how many bytes the first call raises the peak memory of this process."""
    run = calls(KINDS[kind], columns(load(data), quick)[column])[call]
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    output = run()
    after = peak()
    del output
    return after - before


@dataclass(frozen=True)
class Result:
    """What one kind of payloads of one column came to."""

    column: str
    codec: str
    kind: str
    #: Bytes of all values.
    size: int
    #: MB/s of decoded bytes, by call.
    rates: Rates
    #: The speed of bare payloads relative to sealed ones, by host.
    ratios: dict[str, float]
    #: Bytes by which a call raises the peak memory.
    growths: dict[str, int]

    @property
    def title(self) -> str:
        return f"{self.column}, {self.codec}, {self.kind}"


def result(name: str, values: list[bytes], number: int, args: argparse.Namespace) -> Result:
    kind, size = KINDS[number], sum(map(len, values))
    progress(f"{name}, {kind.codec}, {kind.name}")
    runs = calls(kind, values)
    rounds = QUICK_ROUNDS if args.quick else args.rounds
    rates = measure([Contender(call, size, run) for call, run in runs.items()], rounds)
    growths = {}
    for call in runs:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            growths[call] = pool.apply(growth, (number, name, args.data, args.quick, call))
    ratios = {host: ratio(rates, f"{host} bare", f"{host} sealed") for host in HOSTS}
    return Result(name, kind.codec, kind.name, size, rates, ratios, growths)


def main() -> None:
    parser = benchmark_parser(__doc__, ROUNDS, quick="few rounds, small columns")
    args = parser.parse_args()
    corpus = load(args.data)
    rounds = QUICK_ROUNDS if args.quick else args.rounds
    report = Report(args, corpus, rounds, num_threads(), ["zstandard"])
    results = [
        result(name, values, number, args)
        for name, values in columns(corpus, args.quick).items()
        for number in range(len(KINDS))
    ]
    progress("")
    lines: list[list[Cell]] = []
    for each in results:
        medians = [speed(each.rates, call) for call in each.rates]
        lines.append([each.title, *medians, *each.ratios.values()])
    columns_of_rates = dict.fromkeys(results[0].rates, ",.0f")
    columns_of_ratios = dict.fromkeys((f"{host} bare/sealed" for host in HOSTS), ".2f")
    header = {"MB/s": "", **columns_of_rates, **columns_of_ratios}
    report.table("decompression", header, lines, [each.rates for each in results])
    lines = []
    for each in results:
        sizes = [each.size, *each.growths.values()]
        lines.append([each.title, *(size / MIB for size in sizes)])
    header = {"MiB": "", "output": ",.0f", **dict.fromkeys(results[0].growths, ",.0f")}
    report.table("growth of the peak memory", header, lines)


if __name__ == "__main__":
    main()
